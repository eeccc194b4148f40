"""One layer: which fit, whether it is taken, and where it goes."""

from __future__ import annotations

from dataclasses import astuple, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch import distributed as dist

from sirfp_opt.pytorch.batches import device_of
from sirfp_opt.pytorch.refitting.moments import Normal
from sirfp_opt.pytorch.refitting.readers import Reader, put_weight, weight_of
from sirfp_opt.pytorch.refitting.report import LayerRefit
from sirfp_opt.pytorch.refitting.solve import (
    Errors,
    Fit,
    fit_full,
    fit_merged,
    judge,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sirfp_opt.pytorch.extraction.inputs import ReaderInputs
    from sirfp_opt.pytorch.refitting.gather import Gatherer, Rows
    from sirfp_opt.pytorch.refitting.moments import Moments

__all__ = ["refit_layer"]

FEW = 16
"""Rows below which a sample of them says nothing."""


def refit_layer(
    reader: Reader,
    gatherer: Gatherer,
    pruned: nn.Module,
    together: bool,
    known: Mapping[str, ReaderInputs],
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
    """
    how, record = gatherer.how, gatherer.records[reader.layer]
    device = device_of(pruned)

    def normal(moments: Moments, sizes: tuple[int, int]) -> Normal:
        return moments.over_ranks(sizes, device) if together else moments.result()

    place, norm = _place(reader, gatherer, pruned)
    ranks = device if together else None
    reason, fit, rows = "", None, 0
    wide = int(weight_of(reader.module, reader.fold).shape[2])
    if record.blocks:
        found = [
            normal(moments, (len(block.kept) * reader.taps, len(block.outputs)))
            for block, moments in zip(reader.blocks, record.blocks, strict=True)
        ]
        record.blocks = []
        rows = found[0].rows
        if rows >= reader.unknowns:
            fit = fit_full(reader, found, how.ridge, place)
        else:
            reason = f"{rows} positions are too few for {reader.unknowns} unknowns"
        del found
    elif how.kind == "full" and reader.fold > 1:
        reason = "of a flattened map a picture gives one row only"
    elif not reader.pointwise and how.kind == "full":
        reason = f"{reader.unknowns} unknowns are more than {how.max_unknowns}"
    kind = how.kind if fit is not None or reader.pointwise else "merge"
    if fit is None:
        source = gatherer.records[record.alias or reader.layer].inputs
        groups = int(getattr(reader.module, "groups", 1))
        if reader.layer in gatherer.known:
            inputs = _as_normal(known[reader.layer], device)
        else:
            inputs = normal(source, (groups * wide, 0))
        rows = inputs.rows
        fit = fit_merged(reader, inputs, record.shares, how.ridge, place)
    errors = fit.errors
    if kind == "merge" and not reader.pointwise:
        sample, count = _judged(reader, fit, record.judged, place, ranks)
        errors = sample if count >= FEW else errors
    held, count = _judged(reader, fit, record.held, place, ranks)
    taken = LayerRefit(
        reader.layer,
        kind,
        reader.unknowns if kind == "full" else reader.unknowns // reader.taps,
        rows if reader.layer not in gatherer.known else 0,
        *_shares(errors),
        *(_shares(held) if count else (None, None)),
        offset=place,
        reason=reason,
    )
    why = ""
    if not rows:
        why = "no picture was left to fit on"
    elif not errors.lower:
        why = "a refit would not err less"
    elif held.after > held.before:
        why = "a refit would err more on the pictures that were held out"
    if why:
        return replace(taken, kind="cut", offset="none", reason=why)
    _write(reader, fit, norm)
    return taken


def _as_normal(inputs: ReaderInputs, device: torch.device) -> Normal:
    mean, covariance = (
        torch.from_numpy(part).to(device).double()
        for part in (inputs.mean, inputs.covariance)
    )
    none = mean.new_zeros(0)
    return Normal(1, mean, covariance, none, none.reshape(0, len(mean)), none)


def _place(
    reader: Reader, gatherer: Gatherer, pruned: nn.Module
) -> tuple[str, nn.Module | None]:
    """Return what can take up a change of means, and the norm if it is one."""
    if isinstance(reader.target.bias, Tensor):
        return "bias", None
    name = gatherer.norm_behind(reader.layer)
    if not name:
        return "none", None
    norm = dict(pruned.named_modules()).get(name)
    mean = None if norm is None else norm._buffers.get("running_mean")
    fits = mean is None or len(mean) == len(reader.outputs)
    return ("norm", norm) if norm is not None and fits else ("none", None)


def _judged(
    reader: Reader, fit: Fit, rows: Rows, place: str, ranks: torch.device | None
) -> tuple[Errors, int]:
    """Return the errors on a sample of rows, that of all ranks, and its size."""
    errors = judge(reader, fit, rows.get(), place) if len(rows) else Errors()
    count = float(len(rows))
    if ranks is not None:
        sums = [*astuple(errors), count]
        table = torch.tensor(sums, dtype=torch.float64, device=ranks)
        dist.all_reduce(table)
        *sums, count = table.tolist()
        errors = Errors(*sums)
    return errors, int(count)


def _shares(errors: Errors) -> tuple[float | None, float | None]:
    if not errors.signal > 0:
        return None, None
    return errors.before / errors.signal, errors.after / errors.signal


def _write(reader: Reader, fit: Fit, norm: nn.Module | None) -> None:
    target = reader.target
    own = weight_of(target, reader.fold)
    change = fit.weight.to(own.device)
    # The sum in the precision of the fit, rounded once.
    put_weight(target, own.to(change) + change)
    offset = fit.offset.flatten()
    with torch.no_grad():
        if isinstance(target.bias, Tensor):
            target.bias.copy_(target.bias.to(offset) + offset.to(target.bias.device))
        mean = None if norm is None else norm._buffers.get("running_mean")
        if mean is not None:
            mean.copy_(mean.to(offset) - offset.to(mean.device))
