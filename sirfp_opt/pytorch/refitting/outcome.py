"""Whether a fit is taken, and where it goes."""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch import distributed as dist

from sirfp_opt.pytorch.refitting.readers import put_weight
from sirfp_opt.pytorch.refitting.solve import Errors, Fit, judge

if TYPE_CHECKING:
    from sirfp_opt.pytorch.refitting.gather import Gatherer
    from sirfp_opt.pytorch.refitting.readers import Reader
    from sirfp_opt.pytorch.refitting.records import Rows
    from sirfp_opt.pytorch.refitting.report import LayerRefit

__all__ = [
    "NOTHING",
    "Place",
    "accepted",
    "judged",
    "put",
    "settle",
    "shares",
    "take_place",
]

NOTHING = "no picture was left to fit on"


@dataclass(frozen=True, eq=False)
class Place:
    """What takes up the means of channels that are gone.

    Attributes
    ----------
    kind : {"bias", "norm", "none"}
        The layer's bias, the running mean of the norm behind it, or nothing.
    values : Tensor or None
        That bias or mean, to be written into.
    start : Tensor or None
        What it was after the cut.
    """

    kind: Literal["bias", "norm", "none"]
    values: Tensor | None = None
    start: Tensor | None = None


def take_place(reader: Reader, gatherer: Gatherer, pruned: nn.Module) -> Place:
    """Return what can take up a change of a reader's means, as it is now."""
    bias = reader.target.bias
    if isinstance(bias, Tensor):
        return Place("bias", bias, bias.detach().clone())
    name = gatherer.norm_behind(reader.layer)
    norm = dict(pruned.named_modules()).get(name) if name else None
    if norm is None:
        return Place("none")
    mean = norm._buffers.get("running_mean")
    if mean is None:
        return Place("norm")
    return (
        Place("norm", mean, mean.clone())
        if len(mean) == len(reader.outputs)
        else Place("none")
    )


def judged(
    reader: Reader, fit: Fit, rows: Rows, place: Place, ranks: torch.device | None
) -> tuple[Errors, int]:
    """Return the errors on a sample of rows, that of all ranks, and its size."""
    errors = judge(reader, fit, rows.get(), place.kind) if len(rows) else Errors()
    count = float(len(rows))
    if ranks is not None:
        sums = [*astuple(errors), count]
        table = torch.tensor(sums, dtype=torch.float64, device=ranks)
        dist.all_reduce(table)
        *sums, count = table.tolist()
        errors = Errors(*sums)
    return errors, int(count)


def shares(errors: Errors) -> tuple[float | None, float | None]:
    """Return the errors before and after as shares of the signal."""
    if not errors.signal > 0:
        return None, None
    return errors.before / errors.signal, errors.after / errors.signal


def settle(
    reader: Reader,
    fit: Fit,
    row: LayerRefit,
    errors: Errors,
    held: Errors,
    place: Place,
) -> LayerRefit:
    """Give the layer its new weights, or those that it was cut to.

    Parameters
    ----------
    reader : Reader
    fit : Fit
    row : LayerRefit
        What the report says if they are taken.
    errors, held : Errors
        On the pictures of the fit and on others.
    place : Place

    Returns
    -------
    LayerRefit
    """
    row = accepted(row, errors, held)
    put(reader, None if row.kind == "cut" else fit, place)
    return row


def accepted(row: LayerRefit, errors: Errors, held: Errors) -> LayerRefit:
    """Return a row as it is, or that of a layer left as it was cut, with the reason.

    Parameters
    ----------
    row : LayerRefit
    errors, held : Errors
        On the pictures of the fit and on others.
    """
    if not errors.lower:
        why = "a refit would not err less"
    elif held.after > held.before:
        why = "a refit would err more on the pictures that were held out"
    else:
        return row
    return replace(row, kind="cut", offset="none", reason=why)


def put(reader: Reader, fit: Fit | None, place: Place) -> None:
    """Write a fit into the pruned layer, from what was cut; None: nothing else."""
    cut, change, offset = reader.cut, None, None
    if fit is not None:
        change = fit.weight.to(cut.device)
        offset = fit.offset.flatten()
    # The sum in the precision of the fit, rounded once.
    put_weight(reader.target, cut if change is None else cut.to(change) + change)
    if place.values is None or place.start is None:
        return
    values = place.start
    if offset is not None:
        offset = offset.to(values.device)
        sign = 1 if place.kind == "bias" else -1
        values = values.to(offset) + sign * offset
    with torch.no_grad():
        place.values.copy_(values)
