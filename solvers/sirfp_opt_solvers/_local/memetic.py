"""Memetic search: a small population of tabu-improved sets and their children."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt_solvers._local.fixed_point import FixedPoint
from sirfp_opt_solvers._local.swap_run import Known, SwapRun

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sirfp_opt.canonical import CanonicalProblem

    Items = NDArray[np.int64]

__all__ = ["Effort", "Memetic"]

# A value in fixed point, and the set it belongs to.
Member = tuple[int, Known]

# Conflicts become twice as dear after this many runs in a row without a conflict-free
# set, up to this many times max |W| + max |c|.
_FRUITLESS = 20
_DEAREST = 20.0
# Share of the generations that try another tenure, and the weight of the last child
# in a tenure's score.
_EXPLORED, _LEARNED = 0.3, 0.2
# Depths are not doubled beyond this.
_DEEPEST = 1 << 19


@dataclass(frozen=True)
class Effort:
    """How hard a memetic search tries; see `Tabu` for the meaning of the fields."""

    population: int
    depth: int
    swap_depth: int
    tenures: tuple[int, ...]


class Memetic:
    """A walker (see `_runs`) for problems whose items all have the same size.

    Parameters
    ----------
    canonical : CanonicalProblem
        With some cardinality between 1 and m - 1.
    fixed : FixedPoint
    effort : Effort
    rng : numpy.random.Generator
    starts : sequence of ndarray of int
        Sets for the first generations; random ones follow.
    target : float, optional
        Objective at which a compiled run may break off.
    patience : int, optional
        Generations without a better set after which the walker is done.
    """

    def __init__(
        self,
        canonical: CanonicalProblem,
        fixed: FixedPoint,
        effort: Effort,
        rng: np.random.Generator,
        *,
        starts: Sequence[Items] = (),
        target: float | None = None,
        patience: int | None = None,
    ) -> None:
        self._canonical, self._fixed, self._effort = canonical, fixed, effort
        self._rng = rng
        self._sizes = [c for c in canonical.cardinalities if 0 < c < canonical.m]
        self._starts = [s for s in reversed(starts) if s.size in self._sizes]
        self._anchor = self._starts[-1].size if self._starts else self._sizes[0]
        self._target = target
        self._goal = self._wanted = fixed.goal(canonical, target)
        self._penalty, self._fruitless = 2.0, 0
        self._depth, self._swap_depth = effort.depth, effort.swap_depth
        self._population: list[Member] = []
        self._places = effort.population
        self._elite: list[Member] = []
        self._merged = False
        self._idle = 0
        # The middle one is the rule of thumb: it starts ahead of the others.
        arms = len(effort.tenures)
        self._scores = [0.6 if a == arms // 2 else 0.5 for a in range(arms)]
        self._arm = arms // 2
        self._best: int | None = None
        self._run: SwapRun | None = None
        self._swapping = False
        self.generations = self.improved_in = 0
        self.iterations = self.found_at = 0
        self._patience = patience
        self.done = False

    def advance(self, budget: int) -> Items | None:
        """Do `budget` iterations, fewer at the target; return the best set if new."""
        found = None
        end = self.iterations + budget
        while self.iterations < end and not self.done:
            if self._run is None:
                self._run = self._conceive()
            better = self._improve(self._run, end - self.iterations)
            if better is not None:
                found = better
                if self._run.value >= self._wanted:
                    break  # the core prices it now: going on may be for nothing
        return found

    def _improve(self, run: SwapRun, budget: int) -> Items | None:
        """Take a run further; return its set if it is the best of all."""
        before, behind = self.iterations, run.iterations
        if self._swapping:
            made = run.best_swap(self._swap_depth, budget, self._goal)
        else:
            made = run.drop_add(self._depth, budget, self._goal)
        self.iterations += made
        better = None
        if run.feasible and (self._best is None or run.value > self._best):
            self._best, better = run.value, run.items
            self.found_at = before + run.found_at - behind
            self.improved_in = self.generations
            self._anchor = better.size
            self._goal = max(self._goal, self._best + 1)
        elif made < budget:
            self._turn(run)
        return better

    def _turn(self, run: SwapRun) -> None:
        """Go on to best swaps, or take the child into the population."""
        if not self._swapping:
            self._swapping = True
            known = run.known()
            self._run = SwapRun(self._fixed, known[0], self._tenure, self._rng, known)
            return
        self._swapping, self._run = False, None
        self.generations += 1
        self._credit(run.value)
        if self._patience is not None:
            self.done = self.generations - self.improved_in >= self._patience
        if run.feasible:
            self._fruitless = 0
        else:
            self._fruitless += 1
            if self._fruitless >= _FRUITLESS and self._penalty < _DEAREST:
                self._make_dearer()
                return
        self._adopt(run.value, run.known())

    def _make_dearer(self) -> None:
        self._penalty, self._fruitless = 2 * self._penalty, 0
        self._fixed = FixedPoint.of(self._canonical, self._penalty)
        self._goal = self._wanted = self._fixed.goal(self._canonical, self._target)
        self._best = None  # known values are in the old units
        self._population.clear()
        self._elite.clear()
        self._places, self._merged = self._effort.population, False

    def _conceive(self) -> SwapRun:
        """Start a run from a given set, a random one, or a child of two."""
        near = None
        self._choose_tenure()
        if self._starts:
            items = self._starts.pop()
        elif len(self._population) < self._places:
            items = self._complete(np.zeros(0, dtype=np.int64), self._newcomer_size())
        else:
            one, two = self._rng.choice(len(self._population), 2, replace=False)
            near = self._population[one][1]
            mother, father = near[0], self._population[two][1][0]
            items = self._complete(
                np.intersect1d(mother, father, assume_unique=True),
                self._child_size(mother.size),
            )
        return SwapRun(self._fixed, items, self._tenure, self._rng, near)

    def _choose_tenure(self) -> None:
        """Take the tenure that has done best, or now and then a neighbour of it."""
        best = self._scores.index(max(self._scores))
        if self._rng.random() < _EXPLORED:
            best += 1 if self._rng.random() < 0.5 else -1
        self._arm = min(max(best, 0), len(self._scores) - 1)

    def _credit(self, value: int) -> None:
        """Score the tenure by the share of the population that its child beats."""
        if not self._population:
            return
        rank = sum(v <= value for v, _ in self._population) / len(self._population)
        self._scores[self._arm] += _LEARNED * (rank - self._scores[self._arm])

    @property
    def _tenure(self) -> int:
        return self._effort.tenures[self._arm]

    def _newcomer_size(self) -> int:
        """Return a size near the best set's: its own, ±1, ±2, ±4, ... steps away."""
        turn = self.generations % self._effort.population
        step = 0 if turn == 0 else (1 << (turn - 1) // 2) * (-1 if turn % 2 else 1)
        return self._step(self._anchor, step)

    def _child_size(self, size: int) -> int:
        """Return the parent's size, or half of the time one 1, 2, 4, ... steps away."""
        if len(self._sizes) == 1 or self._rng.random() < 0.5:
            return size
        step = 1 << int(self._rng.geometric(0.5) - 1)
        return self._step(size, step if self._rng.random() < 0.5 else -step)

    def _step(self, size: int, step: int) -> int:
        here = self._sizes.index(size) + step
        return self._sizes[min(max(here, 0), len(self._sizes) - 1)]

    def _complete(self, common: Items, size: int) -> Items:
        """Return a random set of that size that holds what two parents share."""
        order = self._rng.permutation(self._canonical.m)
        shared = np.isin(order, common)
        return np.concatenate((order[shared], order[~shared]))[:size]

    def _adopt(self, value: int, child: Known) -> None:
        """Let a child replace the worst; renew a population that stagnates."""
        population = self._population
        known = _is_among((value, child), population)
        if not known and len(population) < self._places:
            population.append((value, child))
            return
        population.sort(key=lambda member: -member[0])
        if not known and value > population[-1][0]:
            population[-1] = (value, child)
            self._idle = 0
            return
        self._idle += 1
        if self._idle >= self._places:
            self._idle = 0
            self._renew()

    def _renew(self) -> None:
        """Give up a population of which nothing new comes.

        Every other time its better half meets the best of all those before it; else,
        and if that has been tried, a population is raised from scratch, to end up
        elsewhere. Once both have failed, runs go twice as deep.
        """
        population, most = self._population, self._effort.population
        if len(self._elite) > 0 and not self._merged:
            elite = [e for e in self._elite if not _is_among(e, population)]
            self._elite.append(population[0])
            population[most // 2 :] = elite[-most // 2 :]
            self._places = max(2, len(population))
            self._merged = True
            return
        self._elite.append(population[0])
        population.clear()
        self._places = most
        if self._merged:
            self._depth = min(2 * self._depth, _DEEPEST)
            self._swap_depth = min(2 * self._swap_depth, _DEEPEST)
        self._merged = False


def _is_among(one: Member, others: list[Member]) -> bool:
    return any(one[0] == v and np.array_equal(one[1][0], k[0]) for v, k in others)
