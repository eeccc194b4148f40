"""One layer, fitted to what it reads in the original network."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from sirfp_opt.pytorch.batches import device_of
from sirfp_opt.pytorch.refitting.moments import Normal
from sirfp_opt.pytorch.refitting.outcome import (
    NOTHING,
    judged,
    put,
    settle,
    shares,
)
from sirfp_opt.pytorch.refitting.report import LayerRefit
from sirfp_opt.pytorch.refitting.solve import Fit, fit_full, fit_merged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sirfp_opt.pytorch.extraction.inputs import ReaderInputs
    from sirfp_opt.pytorch.refitting.gather import Gatherer
    from sirfp_opt.pytorch.refitting.moments import Moments
    from sirfp_opt.pytorch.refitting.outcome import Place
    from sirfp_opt.pytorch.refitting.readers import Reader

__all__ = ["refit_layer"]

FEW = 16
"""Rows below which a sample of them says nothing."""


def refit_layer(
    reader: Reader,
    gatherer: Gatherer,
    pruned: nn.Module,
    together: bool,
    known: Mapping[str, ReaderInputs],
    place: Place,
) -> LayerRefit:
    """Give a layer of the pruned network new weights, or leave it as it was cut.

    Parameters
    ----------
    reader : Reader
    gatherer : Gatherer
        What was seen of it.
    pruned : nn.Module
    together : bool
        Over the ranks of `torch.distributed`: every one must come here.
    known : mapping of str to ReaderInputs
        What was measured before.
    place : Place
        Where a change of means goes.
    """
    how, record = gatherer.how, gatherer.records[reader.layer]
    device = device_of(pruned)

    def normal(moments: Moments, sizes: tuple[int, int]) -> Normal:
        return moments.over_ranks(sizes, device) if together else moments.result()

    ranks = device if together else None
    reason, fit, rows = "", None, 0

    def merged() -> tuple[Fit, int]:
        source = gatherer.records[record.alias or reader.layer].inputs
        groups = int(getattr(reader.module, "groups", 1))
        if reader.layer in gatherer.known:
            inputs = _as_normal(known[reader.layer], device)
        else:
            inputs = normal(source, (groups * reader.width, 0))
        fit = fit_merged(reader, inputs, record.shares, how.ridge, place.kind)
        return fit, inputs.rows

    if record.blocks:
        found = [
            normal(moments, (len(block.kept) * reader.taps, len(block.outputs)))
            for block, moments in zip(reader.blocks, record.blocks, strict=True)
        ]
        record.blocks = []
        rows = found[0].rows
        if rows >= reader.unknowns:
            fit = fit_full(reader, found, how.ridge, place.kind)
        else:
            reason = f"{rows} positions are too few for {reader.unknowns} unknowns"
        del found
    elif how.kind == "full" and reader.fold > 1:
        reason = "of a flattened map a picture gives one row only"
    elif not reader.pointwise and how.kind == "full":
        reason = f"{reader.unknowns} unknowns are more than {how.max_unknowns}"
    kind = how.kind if fit is not None or reader.pointwise else "merge"
    if fit is None:
        fit, rows = merged()
    held, count = judged(reader, fit, record.held, place, ranks)
    if kind == "full" and not reader.pointwise and count:
        # Many weights, few pictures: what fits these best need not fit others.
        other, seen = merged()
        others, _ = judged(reader, other, record.held, place, ranks)
        if others.after < held.after:
            reason = "with every weight free it errs more on pictures held out"
            kind, fit, rows, held = "merge", other, seen, others
    errors = fit.errors
    if kind == "merge" and not reader.pointwise:
        sample, size = judged(reader, fit, record.judged, place, ranks)
        errors = sample if size >= FEW else errors
    row = LayerRefit(
        reader.layer,
        kind,
        reader.unknowns if kind == "full" else reader.unknowns // reader.taps,
        rows if reader.layer not in gatherer.known else 0,
        *shares(errors),
        *(shares(held) if count else (None, None)),
        offset=place.kind,
        reason=reason,
    )
    if not rows:
        put(reader, None, place)
        return replace(row, kind="cut", offset="none", reason=NOTHING)
    return settle(reader, fit, row, errors, held, place)


def _as_normal(inputs: ReaderInputs, device: torch.device) -> Normal:
    mean, covariance = (
        torch.from_numpy(part).to(device).double()
        for part in (inputs.mean, inputs.covariance)
    )
    none = mean.new_zeros(0)
    return Normal(1, mean, covariance, none, none.reshape(0, len(mean)), none)
