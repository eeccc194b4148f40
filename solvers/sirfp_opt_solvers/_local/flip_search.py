"""Iterated tabu for problems whose items differ in size: slower, but it covers all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt_solvers._local.backward import fill_loosely
from sirfp_opt_solvers._local.fixed_point import FixedPoint
from sirfp_opt_solvers._local.runs import xorshift_state
from sirfp_opt_solvers._local.start import prices_of_totals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sirfp_opt.canonical import CanonicalProblem

    Items = NDArray[np.int64]

__all__ = ["FlipSearch"]

_DEAREST = 16.0
_SPREAD = 10
# Share of the best set's order that a new start shuffles.
_SHAKES = (0.1, 0.3, 1.0)


class FlipSearch:
    """A walker (see `_runs`) that adds and drops single items.

    A swap of items of different size would change the total, so totals that are not
    allowed are passed through, at a price; so are conflicts. Runs that end without an
    allowed set make both dearer.

    Parameters
    ----------
    canonical : CanonicalProblem
    fixed : FixedPoint
    depth : int
        Iterations of a run without a better set.
    tenure : int
        Shortest time before an item may be flipped again.
    rng : numpy.random.Generator
    starts : sequence of ndarray of int
        Sets for the first runs.
    target : float, optional
        Objective at which a compiled run may break off.
    patience : int, optional
        Generations without a better set after which the walker is done.
    """

    def __init__(
        self,
        canonical: CanonicalProblem,
        fixed: FixedPoint,
        depth: int,
        tenure: int,
        rng: np.random.Generator,
        *,
        starts: Sequence[Items],
        target: float | None = None,
        patience: int | None = None,
    ) -> None:
        from sirfp_opt_solvers._kernels import flips

        self._kernel = flips
        self._canonical, self._rng = canonical, rng
        self._depth, self._target = depth, target
        m = canonical.m
        self._tenure = min(tenure, m // 4)
        self._spread = max(1, min(_SPREAD, m // 4))
        self._starts = list(reversed(starts))
        self._reference = self._starts[-1]
        self._dearness = 1.0
        self._bits = xorshift_state(rng)
        self._inside = np.zeros(m, dtype=np.uint8)
        self._best_inside = self._inside.copy()
        self._until = np.zeros(m, dtype=np.int64)
        self._state = np.zeros(flips.N_STATE, dtype=np.int64)
        self._best: int | None = None
        self.generations = self.improved_in = 0
        self.iterations = self.found_at = 0
        self._patience = patience
        self.done = False
        self._price(fixed)
        self._begin(self._starts.pop())

    def _price(self, fixed: FixedPoint) -> None:
        self._fixed = fixed
        self._prices = prices_of_totals(
            self._canonical, self._reference, fixed.scale * self._dearness
        )
        self._goal = self._wanted = fixed.goal(self._canonical, self._target)

    def _begin(self, items: Items) -> None:
        """Set the kernel's arrays up for a new run."""
        fixed, state, kernel = self._fixed, self._state, self._kernel
        self._gains = fixed.values.copy()
        for item in items:
            self._gains += fixed.weights[item]
        self._inside[:] = 0
        self._inside[items] = 1
        self._until[:] = 0
        state[:] = 0
        state[kernel.TOTAL] = self._canonical.sizes[items].sum()
        doubled = int(self._gains[items].sum(dtype=np.int64))
        doubled += int(fixed.values[items].sum(dtype=np.int64))
        state[kernel.VALUE] = doubled // 2
        if fixed.penalty:
            among = fixed.weights[np.ix_(items, items)]
            state[kernel.CONFLICTS] = np.count_nonzero(among == -fixed.penalty) // 2
        state[kernel.BEST] = kernel.NOTHING
        if state[kernel.CONFLICTS] == 0 and self._prices[state[kernel.TOTAL]] == 0:
            state[kernel.BEST] = state[kernel.VALUE]
            self._best_inside[:] = self._inside

    def advance(self, budget: int) -> Items | None:
        """Do `budget` iterations, fewer at the target; return the best set if new."""
        found = None
        end = self.iterations + budget
        state, kernel = self._state, self._kernel
        while self.iterations < end and not self.done:
            before, behind = self.iterations, int(state[kernel.ITERATION])
            kernel.flip(
                self._fixed.weights,
                self._fixed.sizes,
                self._fixed.penalty,
                self._prices,
                self._gains,
                self._inside,
                self._best_inside,
                self._until,
                state,
                self._bits,
                self._tenure,
                self._spread,
                self._depth,
                end - before,
                self._goal,
            )
            self.iterations += int(state[kernel.ITERATION]) - behind
            best = int(state[kernel.BEST])
            if best != kernel.NOTHING and (self._best is None or best > self._best):
                self._best = best
                found = np.flatnonzero(self._best_inside)
                self._reference = found
                self.found_at = before + int(state[kernel.BEST_AT]) - behind
                self.improved_in = self.generations
                self._goal = max(self._goal, best + 1)
                if best >= self._wanted:
                    break  # the core prices it now: going on may be for nothing
            elif self.iterations < end:
                self._renew(best != kernel.NOTHING)
        return found

    def _renew(self, fruitful: bool) -> None:
        """Start the next run, from a shaken best set or from anywhere."""
        self.generations += 1
        if self._patience is not None:
            self.done = self.generations - self.improved_in >= self._patience
        if not fruitful and self._dearness < _DEAREST:
            self._dearness *= 2
            fixed = self._fixed
            if self._canonical.conflicts is not None:
                fixed = FixedPoint.of(self._canonical, 2 * self._dearness)
                self._best = None  # known in the old units
            self._price(fixed)
        if self._starts:
            self._begin(self._starts.pop())
            return
        rng, m = self._rng, self._canonical.m
        shaken = rng.permutation(m)
        kept = np.isin(shaken, self._reference)
        kept &= rng.random(m) >= rng.choice(_SHAKES)
        order = np.concatenate((shaken[kept], shaken[~kept]))
        count = int(rng.choice(self._canonical.counts))
        self._begin(fill_loosely(self._canonical, order, count))
