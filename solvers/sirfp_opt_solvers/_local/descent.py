"""Descents to a local optimum: best swap, and adding or dropping where k is free."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt_solvers._local.construct import fill
from sirfp_opt_solvers._local.swap_run import SwapRun

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sirfp_opt.canonical import CanonicalProblem
    from sirfp_opt_solvers._local.fixed_point import FixedPoint

    Items = NDArray[np.int64]

__all__ = ["MixedDescents", "SwapDescents"]


class SwapDescents:
    """A walker (see `_runs`): descents by best swap, one after another.

    For items of one size. Where several sizes of sets are allowed, a set that no swap
    improves tries the next smaller and the next larger size, by dropping the worst or
    adding the best items and descending again, and goes on from there if that is
    better.

    Parameters
    ----------
    canonical : CanonicalProblem
        With some cardinality between 1 and m - 1.
    fixed : FixedPoint
    rng : numpy.random.Generator
    starts : sequence of ndarray of int
        Sets to start from; random ones follow.
    descents : int, optional
        The walker is done after so many; None: never.
    goal : int
        Stop at a set of at least this value, in fixed point.
    """

    def __init__(
        self,
        canonical: CanonicalProblem,
        fixed: FixedPoint,
        rng: np.random.Generator,
        *,
        starts: Sequence[Items],
        descents: int | None,
        goal: int,
    ) -> None:
        self._canonical, self._fixed, self._rng = canonical, fixed, rng
        self._sizes = [c for c in canonical.cardinalities if 0 < c < canonical.m]
        self._starts = [s for s in reversed(starts) if s.size in self._sizes]
        self._left, self._goal = descents, goal
        self._run: SwapRun | None = None
        self._resting: SwapRun | None = None
        self._untried: list[int] = []
        self._best: int | None = None
        self.iterations = self.found_at = 0
        self.done = False

    def advance(self, budget: int) -> Items | None:
        """Make `budget` swaps; return the best set if it is new."""
        found = None
        end = self.iterations + budget
        while self.iterations < end and not self.done:
            if self._run is None:
                self._run = self._begin()
            run, before = self._run, self.iterations
            made = run.best_swap(0, end - before, self._goal)
            self.iterations += made
            if run.feasible and (self._best is None or run.value > self._best):
                self._best, found = run.value, run.items
                self.found_at = self.iterations
                self._goal = max(self._goal, run.value + 1)
            elif self.iterations < end:
                self._settle(run)
        return found

    def _begin(self) -> SwapRun:
        if self._starts:
            items = self._starts.pop()
        else:
            size = int(self._rng.choice(self._sizes))
            items = self._rng.permutation(self._canonical.m)[:size]
        return SwapRun(self._fixed, items, 1, self._rng)

    def _settle(self, run: SwapRun) -> None:
        """Go on to another size, or end the descent."""
        # A descent that begins costs an iteration, so that none is for nothing.
        self.iterations += 1
        if self._resting is None or run.value > self._resting.value:
            self._resting = run
            here = self._sizes.index(run.items.size)
            self._untried = [
                self._sizes[p]
                for p in (here - 1, here + 1)
                if 0 <= p < len(self._sizes)
            ]
        if self._untried:
            items = self._resized(self._resting.items, self._untried.pop())
            self._run = SwapRun(self._fixed, items, 1, self._rng)
            return
        self._run = self._resting = None
        if self._left is not None:
            self._left -= 1
            self.done = self._left <= 0

    def _resized(self, items: Items, size: int) -> Items:
        """Add the best or drop the worst items until there are `size`."""
        fixed, m = self._fixed, self._canonical.m
        inside = np.zeros(m, dtype=bool)
        inside[items] = True
        gains = fixed.values[:m].astype(np.int64)
        for item in items:
            gains += fixed.weights[item, :m]
        grow = size > items.size
        for _ in range(abs(size - items.size)):
            pool = np.flatnonzero(~inside if grow else inside)
            item = pool[gains[pool].argmax() if grow else gains[pool].argmin()]
            inside[item] = grow
            gains += fixed.weights[item, :m] if grow else -fixed.weights[item, :m]
        return np.flatnonzero(inside)


class MixedDescents:
    """A walker for items of different sizes, in float64 and NumPy.

    A move adds, drops or swaps items such that the set stays feasible; the best is
    made until none gains.

    Parameters
    ----------
    canonical : CanonicalProblem
    rng : numpy.random.Generator
    starts : sequence of ndarray of int
        Feasible sets to start from; random ones follow.
    descents : int, optional
        The walker is done after so many; None: never.
    """

    def __init__(
        self,
        canonical: CanonicalProblem,
        rng: np.random.Generator,
        *,
        starts: Sequence[Items],
        descents: int | None,
    ) -> None:
        self._canonical, self._rng = canonical, rng
        self._starts, self._left = list(reversed(starts)), descents
        self._allowed = np.zeros(int(canonical.sizes.sum()) + 1, dtype=bool)
        self._allowed[list(canonical.counts)] = True
        self._items: Items | None = None
        self._best = -np.inf
        self.iterations = self.found_at = 0
        self.done = False

    def advance(self, budget: int) -> Items | None:
        """Make `budget` moves; return the best set if it is new."""
        found = None
        for _ in range(budget):
            self.iterations += 1
            if self._items is None:
                self._items = self._begin()
            better = None if self._items is None else self._move(self._items)
            if better is not None:
                self._items = better
                continue
            if self._items is not None:
                value = self._canonical.evaluate(self._items)
                if value > self._best:
                    self._best, found = value, self._items
                    self.found_at = self.iterations
            self._items = None
            if self._left is not None:
                self._left -= 1
                if self._left <= 0:
                    self.done = True
                    break
        return found

    def _begin(self) -> Items | None:
        if self._starts:
            return self._starts.pop()
        canonical, rng = self._canonical, self._rng
        count = int(rng.choice(canonical.counts))
        return fill(canonical, rng.permutation(canonical.m), count)

    def _move(self, items: Items) -> Items | None:
        """Return the set after the best move, None if no move gains."""
        problem, sizes = self._canonical, self._canonical.sizes
        inside = np.zeros(problem.m, dtype=bool)
        inside[items] = True
        chosen, free = np.flatnonzero(inside), np.flatnonzero(~inside)
        total = int(sizes[chosen].sum())
        gains = problem.values + problem.weights @ inside
        # Row and column 0 stand for "no item", so adds, drops and swaps are one table.
        out, into = np.concatenate(([-1], chosen)), np.concatenate(([-1], free))
        worth = np.zeros((out.size, into.size))
        worth[1:] -= gains[chosen][:, None]
        worth[:, 1:] += gains[free]
        worth[1:, 1:] -= problem.weights[np.ix_(chosen, free)]
        after = np.full(worth.shape, total)
        after[1:] -= sizes[chosen][:, None]
        after[:, 1:] += sizes[free]
        barred = ~self._allowed[np.clip(after, 0, self._allowed.size - 1)]
        if problem.conflicts is not None:
            among = problem.conflicts[np.ix_(chosen, free)]
            clashes = among.sum(axis=0)
            barred[0, 1:] |= clashes > 0
            barred[1:, 1:] |= clashes[None, :] - among > 0
        worth[barred] = -np.inf
        a, b = np.unravel_index(int(worth.argmax()), worth.shape)
        if worth[a, b] <= problem.rounding_error:
            return None
        if a:
            inside[out[a]] = False
        if b:
            inside[into[b]] = True
        return np.flatnonzero(inside)
