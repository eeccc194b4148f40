"""Labels that meet: element by element, along a dimension, as a set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sirfp_opt.pytorch.coupling.labels.classes import ELEMENT, HEAD
from sirfp_opt.pytorch.coupling.labels.internals import broadcast_shape
from sirfp_opt.pytorch.coupling.labels.shadows import compact, varies

if TYPE_CHECKING:
    from sirfp_opt._validate import IntArray
    from sirfp_opt.pytorch.coupling.labels.engine import Tracker
    from sirfp_opt.pytorch.coupling.labels.records import Call

__all__ = [
    "Labelled",
    "Labels",
    "Sets",
    "along",
    "flattened",
    "group",
    "join",
    "keep_constant",
    "labelled",
    "unite_bare",
]

CONSTANT = "its channels meet a constant of their number"

Labels = Sequence[Tensor | None]
"""What a rule answers: the labels of each result, None of one without channels."""


@dataclass(frozen=True)
class Sets:
    """Labels that belong together, row by row; judged when the run is over.

    Two sets may turn out to be one, once more labels are united: then there is nothing
    that tells groups apart.

    Attributes
    ----------
    rows : ndarray of shape (sets, K)
    heads : ndarray of shape (sets,)
        A label for each.
    hard : bool
        Whether only whole sets can go.
    why : (module, reason), optional
        Why a single set stays; without, it may go channel by channel.
    """

    rows: IntArray
    heads: IntArray
    hard: bool
    why: tuple[str, str] | None = None


@dataclass(frozen=True)
class Labelled:
    """Labels, of size 1 where they do not vary, and the sizes of their tensor."""

    label: Tensor
    shape: tuple[int, ...]

    def lift(self, rank: int) -> Labelled:
        """Return the same with leading dimensions of size 1."""
        lead = (1,) * (rank - len(self.shape))
        label = self.label.reshape(lead + tuple(self.label.shape))
        return Labelled(label, lead + self.shape)


def labelled(label: Tensor, shape: Sequence[int]) -> Labelled:
    """Return labels with the sizes of their tensor."""
    return Labelled(label, tuple(shape))


def join(
    tracker: Tracker, call: Call, one: Labelled, other: Labelled
) -> Labelled | None:
    """Return the labels of an element-wise result; those that meet are united.

    Where a single value meets many channels, it goes with them as a group, or stays.
    """
    shape = broadcast_shape(one.shape, other.shape)
    alone = [
        [s == 1 and large.label.shape[d] > 1 for d, s in enumerate(small.shape)]
        for small, large in ((one, other), (other, one))
    ]
    if all(any(flags) for flags in alone):
        why = "an outer product or sum spreads its channels over others"
        tracker.fix(one.label, call, why)
        tracker.fix(other.label, call, why)
        return None
    for (small, large), flags in zip(((one, other), (other, one)), alone, strict=True):
        if any(flags):
            return Labelled(_spread(tracker, call, small.label, large.label), shape)
    _keep_constants(tracker, call, one.label, other.label)
    tracker.classes.unite(one.label, other.label)
    met = torch.where(one.label > 0, one.label, other.label)
    met = tracker.classes.find(met)
    return Labelled(compact(met), shape)


def _spread(tracker: Tracker, call: Call, small: Tensor, large: Tensor) -> Tensor:
    """Relate labels to those that each of them is broadcast over."""
    kinds = tracker.classes.kinds(small)
    together = any(
        s > 1 and n > 1 for s, n in zip(small.shape, large.shape, strict=True)
    )
    if kinds == {ELEMENT} and together:
        tracker.spread.append((small, large, call.where))
    elif HEAD in kinds or together:
        tracker.classes.link(small, large)
    elif kinds != {ELEMENT}:  # a bare number may stay as it is
        tracker.fix(small, call, "it is broadcast over other channels")
    if HEAD in kinds:
        return compact(torch.where(large > 0, large, small))
    return large


def _keep_constants(tracker: Tracker, call: Call, one: Tensor, other: Tensor) -> None:
    """Fix channels that meet a part of a tensor that belongs to no channel."""
    for bare, label in ((one, other), (other, one)):
        if bool((bare > 0).all()):
            continue
        for dim in range(bare.dim()):
            if bare.shape[dim] == 1 or label.shape[dim] != bare.shape[dim]:
                continue
            empty = bare.movedim(dim, 0).flatten(1).amax(1) == 0
            if bool(empty.any()):
                met = label.movedim(dim, 0)[empty]
                tracker.fix(met, call, CONSTANT)


def keep_constant(
    tracker: Tracker, call: Call, label: Tensor, constant: Tensor
) -> None:
    """Fix channels that meet a tensor without any that has a number for each.

    One that has the same number for all of them, a norm that was expanded or a mask for
    every head, may be made for as many as there are: the trial shows. Numbers that are
    the same in every head leave whole heads free.
    """
    lead = label.dim() - constant.dim()
    own = [
        lead + d
        for d, n in enumerate(constant.shape)
        if n > 1 and label.shape[lead + d] > 1 and varies(constant, d)
    ]
    if own:
        _in_slices(tracker, call, label, own)


def _in_slices(
    tracker: Tracker, call: Call, label: Tensor, dims: Sequence[int]
) -> None:
    """Let labels along some dimensions go together only; a single such set stays."""
    rows = flattened(tracker.classes.find(label), dims)
    rows = torch.unique(rows.reshape(-1, rows.shape[-1]), dim=0)
    start = tracker.classes.fresh(len(rows), HEAD)
    heads = start + np.arange(len(rows))
    why = call.where, CONSTANT
    tracker.sets.append(Sets(rows.numpy(), heads, hard=True, why=why))


def flattened(label: Tensor, dims: Sequence[int]) -> Tensor:
    """Return labels with some of their dimensions as one, the last: (..., K)."""
    rest = [d for d in range(label.dim()) if d not in dims]
    sizes = [label.shape[d] for d in rest]
    return label.permute(*rest, *dims).reshape(*sizes, -1)


def along(tracker: Tracker, one: Labelled, dim: int) -> Tensor:
    """Return one label for each position of a dimension; those that share one unite."""
    dim %= len(one.shape)
    lines = one.label.movedim(dim, 0).flatten(1)
    first = lines.amax(1, keepdim=True)
    tracker.classes.unite(first, lines)
    line = tracker.classes.find(first[:, 0])
    return line.expand(one.shape[dim]).contiguous()


def unite_bare(tracker: Tracker, label: Tensor, dims: Sequence[int]) -> Tensor:
    """Unite sets along some dimensions that are bare parameters with the other one.

    A class token or a learned query has no channels of its own: position by position
    they are those of the tokens it stands among. Where these are of several kinds
    (heads), it is left to others to say which.
    """
    label = tracker.classes.find(label)
    rows = flattened(label, dims)
    rows = torch.unique(rows.reshape(-1, rows.shape[-1]), dim=0)
    if len(rows) < 2 or rows.shape[1] < 2:
        return label
    bare = [tracker.classes.kinds(row) == {ELEMENT} for row in rows]
    others = [row for row, own in zip(rows, bare, strict=True) if not own]
    if not any(bare) or len(others) > 1:
        return label
    first = others[0] if others else rows[0]
    tracker.classes.unite(first.expand(rows.shape), rows)
    return compact(tracker.classes.find(label))


def group(tracker: Tracker, sets: Tensor, *, hard: bool = False) -> Tensor | None:
    """Make each distinct set of labels (last dimension) a group, and return its label.

    Parameters
    ----------
    tracker : Tracker
    sets : Tensor of shape (..., K)
    hard : bool
        Whether the members of a set can go together only. Otherwise the same place of
        each set may go instead.

    Returns
    -------
    Tensor of shape (...) or None
        None if there are no two sets: then nothing is left to tell apart.
    """
    sets = tracker.classes.find(sets.contiguous())
    rows, index = np.unique(
        sets.reshape(-1, sets.shape[-1]).numpy(), axis=0, return_inverse=True
    )
    some = (rows > 0).any(axis=1)
    if some.sum() < 2:
        return None
    numbers = np.zeros(len(rows), dtype=np.int64)
    for place in np.flatnonzero(some):
        row = rows[place]
        key = (hard, *row[row > 0].tolist())
        if key not in tracker.heads:
            tracker.heads[key] = tracker.classes.fresh(1, HEAD)
            if not hard:
                tracker.products[tracker.heads[key]] = tracker.where
        numbers[place] = tracker.heads[key]
    tracker.sets.append(Sets(rows[some], numbers[some], hard))
    return torch.from_numpy(numbers[index.reshape(-1)]).view(sets.shape[:-1])
