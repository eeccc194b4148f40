"""Large maps, taken in a part at a time, or at some of their positions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["draw", "most_at_a_time", "parts"]

CPU, ACCELERATOR = 1 << 22, 1 << 25
"""Elements of maps, or of patches of them, held at a time."""


def most_at_a_time(maps: Tensor) -> int:
    """Return how many elements made of maps are held at a time, on their device."""
    return CPU if maps.device.type == "cpu" else ACCELERATOR


def parts(tensor: Tensor, dim: int, size: int) -> Sequence[Tensor]:
    """Cut a tensor along `dim` into parts of at most `size` entries, at least one."""
    if tensor.shape[dim] <= size:
        return (tensor,)
    return torch.split(tensor, max(1, size), dim=dim)


def draw(total: int, count: int | None, seed: int) -> Tensor:
    """Return positions of `total`: one at random in each of `count` stretches.

    Where others are drawn at each batch nothing is favoured, and the error falls as
    batches are averaged. A regular grid would fall in step with strides and transposed
    convolutions.

    Parameters
    ----------
    total : int
    count : int or None
        None, or one that is not below `total`: all positions.
    seed : int

    Returns
    -------
    Tensor of int64, shape (count,)
        Sorted, on the CPU.
    """
    if count is None or total <= count:
        return torch.arange(total)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.arange(count) + torch.rand(count, generator=generator)
    return (chosen * (total / count)).long().clamp_(max=total - 1)
