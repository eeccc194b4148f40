"""Are two networks' outputs the same? Each channel is measured by its own size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["Comparison", "compare"]

ROUNDINGS = 4
"""Units in the last place, of a usual channel of the output, that count as rounding."""


@dataclass(frozen=True)
class Comparison:
    """How far outputs are from what they should be.

    Attributes
    ----------
    relative : float
        Largest difference of any channel of any output, beyond rounding, as a share of
        the largest number in that channel; inf where shapes differ or one side is not
        finite where the other is.
    difference, scale : float
        Largest absolute difference of all, and largest number of all.
    output : int
        Which output the worst channel is in.
    channel : int or None
        Which channel of it; None where the output has one dimension.
    """

    relative: float
    difference: float
    scale: float
    output: int = 0
    channel: int | None = None

    def __str__(self) -> str:
        where = "" if self.channel is None else f", channel {self.channel}"
        return (
            f"{self.relative:.2g} of the size of output {self.output}{where} "
            f"(at most {self.difference:.2g}, of {self.scale:.2g})"
        )


def compare(outputs: Sequence[Tensor], expected: Sequence[Tensor]) -> Comparison:
    """Compare outputs with what is expected, output by output, channel by channel.

    One number for all outputs would hide an error in a small channel behind a large
    one, a logit of -1e9 say. So a channel c of an output is off by

        (max|y_c - e_c| - r s) / max|e_c|,  at least 0,

    where s is the median size of the output's channels and r a few units in the last
    place of its dtype: what cancellation leaves of a channel is no error. Channels are
    counted along the second and along the last dimension, whichever is worse: maps are
    (N, C, H, W), tokens (N, L, C).

    Parameters
    ----------
    outputs, expected : sequence of Tensor
        Floating-point tensors, in the same order.

    Returns
    -------
    Comparison

    Examples
    --------
    >>> import torch
    >>> from sirfp_opt.pytorch.comparison import compare
    >>> y = torch.tensor([[1.0, 1e-3, -1e9]])
    >>> round(compare([y * torch.tensor([1.0, 1.25, 1.0])], [y]).relative, 2)
    0.25
    """
    if [t.shape for t in outputs] != [t.shape for t in expected]:
        return Comparison(math.inf, math.inf, 0.0)
    worst = Comparison(0.0, 0.0, 0.0)
    difference = scale = 0.0
    for number, (one, other) in enumerate(zip(outputs, expected, strict=True)):
        if not other.numel():
            continue
        unit = max(torch.finfo(t.dtype).eps for t in (one, other))
        one, other = one.double(), other.double()
        # NaN here and NaN there, or the same infinity, are no difference.
        same = (one == other) | (one.isnan() & other.isnan())
        gap = torch.where(same, 0.0, (one - other).abs())
        gap = torch.where(gap.isfinite(), gap, math.inf)
        size = torch.where(other.isfinite(), other.abs(), 0.0)
        difference = max(difference, float(gap.max()))
        scale = max(scale, float(size.max()))
        for relative, channel in _by_channel(gap, size, ROUNDINGS * unit):
            # An error of a channel shows along the other dimension, too: say it once.
            if relative > 1.1 * worst.relative:
                worst = Comparison(relative, 0.0, 0.0, number, channel)
    return Comparison(worst.relative, difference, scale, worst.output, worst.channel)


def _by_channel(
    gap: Tensor, size: Tensor, rounding: float
) -> list[tuple[float, int | None]]:
    """Return the worst channel along each dimension that may count channels."""
    if gap.dim() < 2:
        gaps, sizes = gap.reshape(1, -1).amax(1), size.reshape(1, -1).amax(1)
        return [(_relative(gaps, sizes, rounding)[0], None)]
    found: list[tuple[float, int | None]] = []
    for dim in dict.fromkeys((1, gap.dim() - 1)):
        others = [d for d in range(gap.dim()) if d != dim]
        found.append(_relative(gap.amax(others), size.amax(others), rounding))
    return found


def _relative(gaps: Tensor, sizes: Tensor, rounding: float) -> tuple[float, int]:
    beyond = (gaps - rounding * sizes.median()).clamp(min=0.0)
    # Of a channel of zeros, any difference beyond rounding is infinitely much.
    off = torch.where(beyond > 0, beyond / sizes, 0.0)
    worst = int(off.argmax())
    return float(off[worst]), worst
