"""Channels that a network's code lays out in rows and columns, or takes apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from sirfp_opt._validate import IntArray
    from sirfp_opt.pytorch.coupling.labels.records import Call

__all__ = ["Grid", "laid_out", "taken_apart"]


@dataclass(frozen=True)
class Grid:
    """Channels that the code lays out in rows and columns, or takes apart.

    `labels` has two dimensions or more: the channels along each of its axes may have to
    go together.
    """

    where: str
    labels: IntArray


def laid_out(label: Tensor) -> Tensor | None:
    """Return channels that a view lays out in rows and columns (heads, shuffles)."""
    wide = [n for n in label.shape if n > 1]
    return label.reshape(wide) if len(wide) > 1 else None


def taken_apart(
    call: Call, whole: Tensor, parts: Sequence[Tensor | None]
) -> Tensor | None:
    """Return the parts of equal length of a split or a slice as rows of a grid."""
    dim = int(call["dim"] or 0) % whole.dim()
    if whole.shape[dim] < 2:
        return None
    length = call.out.shape[dim]
    if call.name == "slice":
        if whole.shape[dim] % length or whole.shape[dim] == length:
            return None
        rows = list(torch.split(whole, length, dim))
    else:
        rows = [part for part in parts if part is not None]
        if any(row.shape[dim] != length for row in rows):
            return None
    if length < 2 or len(rows) < 2:
        return None
    return torch.stack([row.movedim(dim, 0).reshape(length, -1)[:, 0] for row in rows])
