"""What a layer's loss does to the output of the network that it is a part of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt._rules import check_fields, number, ruled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sirfp_opt._validate import FloatArray

__all__ = ["Response"]

USUAL = 1.25
"""Power where only one point is known: the middle of those that we have measured."""
POWERS = 0.3, 3.0
LEAST = 1e-3
"""Least scale: what seems not to matter at all on a few samples is no free gift."""


@dataclass(frozen=True)
class Response:
    """What share of its signal an output loses if one layer alone loses the share f.

    It is taken to be a power of f, scale · f^power, and all of the signal at most.

    Parameters
    ----------
    scale : float
    power : float

    Raises
    ------
    InvalidProblemError
        If one of them is negative.

    Examples
    --------
    >>> from sirfp_opt.network import Response
    >>> response = Response.through([(0.1, 0.02), (0.2, 0.08)])
    >>> response.power, round(float(response(0.3)), 6)
    (2.0, 0.18)
    """

    scale: float = ruled(number(0.0, way="Measure what the output loses."), 1.0)
    power: float = ruled(number(0.0, way="1 is a loss in proportion."), 1.0)

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(self, lost: FloatArray | float) -> FloatArray:
        """Return what the output loses, for a layer's losses as shares of its worth."""
        inside = np.clip(lost, 0.0, 1.0)
        out: FloatArray = np.minimum(self.scale * inside**self.power, 1.0)
        return out

    @classmethod
    def through(cls, points: Sequence[tuple[float, float]]) -> Response:
        """Return the response through one or two measured points (f, output's loss).

        Parameters
        ----------
        points : sequence of (float, float)
            The first is met in any case; the second one sets the power, which is kept
            between 0.3 and 3. Points at f = 0 say nothing.

        Returns
        -------
        Response
            Without any point, what the layer loses is what the output loses.
        """
        some = [(f, e) for f, e in points if f > 0]
        if not some:
            return cls()
        (first, loss), power = some[0], USUAL
        if len(some) > 1 and min(loss, some[1][1]) > 0 and some[1][0] != first:
            rise = math.log(some[1][1] / loss) / math.log(some[1][0] / first)
            power = min(max(rise, POWERS[0]), POWERS[1])
        return cls(max(loss, LEAST * first) / first**power, power)
