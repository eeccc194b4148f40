"""The search that `Lagrangian` and `Optimal` share: prices, repairs, narrowing."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt.allocation.exchange import Exchange
from sirfp_opt.allocation.relaxation import DualPoint, Relaxation
from sirfp_opt.allocation.split import Split, SplitProblem
from sirfp_opt.errors import InfeasibleError
from sirfp_opt.sense import relative_gap

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sirfp_opt._validate import FloatArray, IntArray

__all__ = ["SplitSearch"]

COARSE_LEVELS = 24


@dataclass(eq=False)
class SplitSearch:
    """One search for the best split: the incumbent, the bound, what is left to try.

    Parameters
    ----------
    problem : SplitProblem
    deadline : float
        ``time.perf_counter()`` at which the search has to end.
    gap : float
        Stop once the relative gap is at most this.
    max_table : int
        See `Elimination`.

    Attributes
    ----------
    left : SplitProblem
        The counts that a split better than the incumbent may still have.
    k : ndarray of int64
        The incumbent.
    objective, bound : float
    """

    problem: SplitProblem
    deadline: float = np.inf
    gap: float = 1e-4
    max_table: int = 1_000_000
    left: SplitProblem = field(init=False)
    k: IntArray = field(init=False)
    objective: float = field(init=False)
    bound: float = field(init=False, default=-np.inf)
    multipliers: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        self.left = self.problem
        self.k = self.problem.least
        if not self.problem.feasible(self.k):
            raise InfeasibleError("the least split must keep the budgets")
        self.objective = self.problem.objective(self.k)
        self._exchange = Exchange(self.problem, self.deadline)
        free = sum(float(np.min(loss)) for loss in self.problem.losses)
        self.bound = free - 1e-11 * abs(free)
        self.multipliers = np.zeros(len(self.problem.forms))

    # -- incumbent and bound -----------------------------------------------------

    def offer(self, k: IntArray) -> bool:
        """Take a feasible split if it is better than the incumbent."""
        if not self.problem.feasible(k):
            return False
        objective = self.problem.objective(k)
        if objective >= self.objective and not np.array_equal(self.k, k):
            return False
        better = objective < self.objective
        self.k, self.objective = k.astype(np.int64), objective
        self.bound = min(self.bound, objective)
        return better

    def tighten(self, bound: float, multipliers: FloatArray | None = None) -> None:
        """Take a lower bound on what is left, which bounds all the rest as well."""
        bound = min(bound, self.objective)
        if bound > self.bound:
            self.bound = bound
            if multipliers is not None:
                self.multipliers = multipliers

    @property
    def proved(self) -> bool:
        """Whether the gap is as small as asked."""
        return self._relative_gap() <= self.gap

    def _relative_gap(self) -> float:
        return relative_gap(self.objective, self.bound)

    @property
    def late(self) -> bool:
        """Whether the time is over."""
        return time.perf_counter() > self.deadline

    def split(self) -> Split:
        """Return the incumbent and what is proved about it."""
        limit = None
        if self.objective > self.bound:
            limit = "gap" if self.proved else "time" if self.late else None
        return Split(self.k, self.objective, self.bound, self.multipliers, limit)

    # -- steps -------------------------------------------------------------------

    def start(self, splits: Iterable[IntArray] = ()) -> None:
        """Find first incumbents: the splits given, and two local searches."""
        for k in splits:
            self.offer(k)
        for k in splits:
            self.offer(self._exchange.improved(k))
        self.offer(self._exchange.improved(self._priced(self.problem.most)))
        self.offer(self._exchange.improved(self._priced(self.problem.least)))

    def _priced(self, start: IntArray) -> IntArray:
        """Return the local minimum at the least prices that keep the budgets.

        All budgets get the same price for their whole limit; it is found by bisection.
        """
        spread = sum(float(np.ptp(loss)) for loss in self.problem.losses)
        ones = np.ones(len(self.problem.forms))
        low, high = 1e-4, 1e4
        best = self.problem.least
        for _ in range(24):
            middle = float(np.sqrt(low * high))
            k = self._exchange.descend(start, middle * spread * ones)
            if self.problem.feasible(k):
                high, best = middle, k
            else:
                low = middle
            if self.late:
                break
        return best

    def bound_by(self, levels: int) -> None:
        """Maximise the relaxation of what is left, repair, drop what cannot be."""
        relaxation = Relaxation(self.left, levels, max_table=self.max_table)
        start = self.multipliers
        if not start.any():
            start = np.full(len(self.problem.forms), 0.3 * self._size())
        # While intervals are coarse, the last digits of the prices gain nothing.
        tolerance = max(0.1 * self.gap, 0.05 * self._relative_gap())
        points = relaxation.maximize(start, tolerance=tolerance, deadline=self.deadline)
        self.tighten(points[0].value, points[0].multipliers)
        repaired = [self._exchange.repaired(point.k) for point in points[:4]]
        best = min(repaired, key=self.problem.objective)
        self.offer(best)
        self.offer(self._exchange.exchanged(best))
        if not self.proved and not self.late:
            self._narrow(relaxation, points[0])

    def _size(self) -> float:
        spread = sum(float(np.ptp(loss)) for loss in self.problem.losses)
        return max(spread, 1e-9)

    def _narrow(self, relaxation: Relaxation, point: DualPoint) -> None:
        margin = 1e-10 * max(abs(self.objective), self._size())
        keep = relaxation.survivors(point, self.objective + margin)
        self.left = self.left.narrowed(keep) if all(p.size for p in keep) else self.left

    @property
    def freedom(self) -> float:
        """Natural logarithm of the number of splits that are left."""
        return float(sum(np.log(c.size) for c in self.left.counts))

    def run(self, *, most_levels: int = 96, rounds: int = 100) -> None:
        """Alternate bounding and narrowing until proved, late, stuck or out of rounds.

        Parameters
        ----------
        most_levels : int
            Intervals start coarse and are doubled up to so many when that is too slow.
        rounds : int
        """
        levels, stuck = min(COARSE_LEVELS, most_levels), 0
        for _ in range(rounds):
            if self.proved or self.late:
                break
            gap, freedom = self.objective - self.bound, self.freedom
            self.bound_by(levels)
            closed = 1 - (self.objective - self.bound) / gap if gap > 0 else 1.0
            shrunk = 1 - self.freedom / freedom if freedom > 0 else 1.0
            if levels < most_levels and closed < 0.5 and shrunk < 0.2:
                levels = min(2 * levels, most_levels)
                stuck = 0
            elif closed < 0.02 and shrunk < 0.02:
                stuck += 1
                if stuck > 1:
                    break
            if freedom == 0:
                break
