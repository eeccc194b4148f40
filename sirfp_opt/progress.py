"""Progress: what a callback is told while a solver runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sirfp_opt.sense import relative_gap

if TYPE_CHECKING:
    from sirfp_opt._validate import IntArray

__all__ = ["Callback", "Progress"]


@dataclass(frozen=True)
class Progress:
    """What a callback is told: at each improvement, and now and then in between.

    Attributes
    ----------
    seconds : float
        Wall-clock time since `solve` was called.
    iteration : int
        In the solver's own unit.
    objective : float or None
        Of the best set so far.
    bound : float or None
        Best proven so far.
    selected : ndarray of int64 or None
        The best set so far, read-only.
    """

    seconds: float
    iteration: int
    objective: float | None
    bound: float | None
    selected: IntArray | None

    @property
    def gap(self) -> float | None:
        """Relative gap, None while either side is unknown."""
        if self.objective is None or self.bound is None:
            return None
        return relative_gap(self.objective, self.bound)


Callback = Callable[[Progress], "bool | None"]
"""Told of a run's progress; a true answer stops it."""
