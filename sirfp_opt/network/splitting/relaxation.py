"""Lagrangian relaxation of a split: budgets priced, the rest minimised exactly."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt.network.splitting.elimination import Elimination, largest_scope

if TYPE_CHECKING:
    from sirfp_opt._validate import FloatArray, IntArray
    from sirfp_opt.network.splitting.problem import SplitProblem

__all__ = ["DualPoint", "Relaxation"]

FEWEST_LEVELS = 6


@dataclass(frozen=True, eq=False)
class DualPoint:
    """The relaxation at one set of prices.

    Attributes
    ----------
    value : float
        A lower bound on the loss of every split within the budgets.
    multipliers : ndarray of float64
        Price of each budget's whole limit.
    slope : ndarray of float64
        Supergradient of `value` in the multipliers: by how much of each limit the
        minimiser is above it.
    k : ndarray of int64
        The minimiser; it need not keep the budgets.
    elimination : Elimination
    """

    value: float
    multipliers: FloatArray
    slope: FloatArray
    k: IntArray
    elimination: Elimination


class Relaxation:
    """L(p) = min over k of Σ_u loss_u(k_u) + Σ_b p_b (cost_b(k) / limit_b - 1), p >= 0.

    Every L(p) is a lower bound on the split's loss. The minimum is over all units
    jointly, products included, by `Elimination`. Long lists of counts are cut into
    intervals of which only the least count l enters the products: for k in the
    interval and any d_v that k_v is never below,

        k_u k_v  >=  l_u l_v + (k_u - l_u) d_v + (k_v - l_v) d_u,

    so that the value stays a lower bound, and is exact once intervals are single.

    Parameters
    ----------
    problem : SplitProblem
    levels : int
        At most so many intervals for each unit; fewer for units that a thick part of
        the network would otherwise put into tables that are too large.
    max_table : int
        See `Elimination`.
    """

    def __init__(
        self, problem: SplitProblem, levels: int, *, max_table: int = 1_000_000
    ) -> None:
        self.problem = problem
        self._max_table = max_table
        self._scale = np.maximum(problem.ceilings, 1e-12)
        self._starts = [
            _starts(c, most)
            for c, most in zip(
                problem.counts, _levels(problem, max(levels, 1), max_table), strict=True
            )
        ]
        self._floor = [
            c[s].astype(np.float64)
            for c, s in zip(problem.counts, self._starts, strict=True)
        ]
        self._forms = [
            (
                form.const,
                form.linear,
                np.diag(form.quadratic).copy(),
                np.triu(form.quadratic, 1),
            )
            for form in problem.forms
        ]
        least = problem.least.astype(np.float64)
        # By budget and unit: what one channel more costs at least, next to the others.
        self._beside = [(cross + cross.T) @ least for *_, cross in self._forms]
        self.exact = all(
            s.size == c.size for c, s in zip(problem.counts, self._starts, strict=True)
        )

    def at(self, multipliers: FloatArray) -> DualPoint:
        """Return the relaxation at these prices."""
        problem, price = self.problem, multipliers / self._scale
        unary, best = [], []
        for u, loss in enumerate(problem.losses):
            total = loss + sum(
                p * cost for p, cost in zip(price, self._own(u), strict=True)
            )
            starts = self._starts[u]
            low = np.minimum.reduceat(total, starts)
            unary.append(low)
            hit = np.flatnonzero(total <= np.repeat(low, self._lengths(u)))
            # The first place in each interval that has the interval's minimum.
            best.append(hit[np.searchsorted(hit, starts)])
        cross = sum(p * form[3] for p, form in zip(price, self._forms, strict=True))
        pairs = {
            (int(u), int(v)): float(cross[u, v])
            for u, v in np.argwhere(np.asarray(cross) > 0)
        }
        elimination = Elimination(unary, self._floor, pairs, max_table=self._max_table)
        states, assumed = elimination.minimizer()
        k = np.array(
            [problem.counts[u][best[u][s]] for u, s in enumerate(states)],
            dtype=np.int64,
        )
        slope = np.array([form[0] for form in self._forms])
        for bucket, known in assumed:
            u = bucket.scope[0]
            place = best[u][known[u]]
            for b, own in enumerate(self._own(u)):
                slope[b] += bucket.share * own[place]
            for v, w in bucket.pairs:
                product = self._floor[v][known[v]] * self._floor[w][known[w]]
                for b, form in enumerate(self._forms):
                    slope[b] += form[3][v, w] * product
        fixed = float(
            sum(p * form[0] for p, form in zip(price, self._forms, strict=True))
        )
        value = elimination.value + fixed - float(multipliers.sum())
        # Some hundred sums of terms of this size: far less rounding than this.
        size = abs(elimination.value) + fixed + float(multipliers.sum())
        return DualPoint(
            value - 1e-11 * size,
            multipliers,
            slope / self._scale - 1.0,
            k,
            elimination,
        )

    def _own(self, u: int) -> list[FloatArray]:
        """By budget, what each count of unit u costs beside the products of floors."""
        counts = self.problem.counts[u].astype(np.float64)
        above = counts - np.repeat(self._floor[u], self._lengths(u))
        return [
            linear[u] * counts + square[u] * counts**2 + beside[u] * above
            for (_, linear, square, _), beside in zip(
                self._forms, self._beside, strict=True
            )
        ]

    def _lengths(self, u: int) -> IntArray:
        return np.diff(np.append(self._starts[u], self.problem.counts[u].size))

    def maximize(
        self,
        start: FloatArray,
        *,
        tolerance: float = 1e-4,
        rounds: int = 20,
        deadline: float = np.inf,
    ) -> list[DualPoint]:
        """Search for the prices of the best bound, by cutting planes in a moving box.

        L is concave and lies below each of its tangent planes; their maximum over a
        box around the best point so far is the next point (J. E. Kelley, 1960).

        Parameters
        ----------
        start : ndarray of float64
        tolerance : float
            Stop once the planes leave no more than this to gain, relatively.
        rounds : int
            At most so many points.
        deadline : float
            ``time.perf_counter()`` at which to stop.

        Returns
        -------
        list of DualPoint
            All points visited, best first.
        """
        from scipy.optimize import linprog

        points = [self.at(start)]
        reach = np.full(start.size, 3.0)
        while len(points) < rounds and time.perf_counter() < deadline:
            best = max(points, key=lambda p: p.value)
            scale = max(abs(best.value), 1e-9)
            planes = [(p.slope, p.value - p.slope @ p.multipliers) for p in points]
            center = np.maximum(best.multipliers, 1e-3 * scale)
            box = [
                (0.0 if c <= 1e-3 * scale else c / r, c * r)
                for c, r in zip(center, reach, strict=True)
            ]
            found = linprog(
                np.append(np.zeros(start.size), -1.0),
                A_ub=np.array([np.append(-slope, 1.0) for slope, _ in planes]),
                b_ub=np.array([height for _, height in planes]),
                bounds=[*box, (None, None)],
                method="highs",
            )
            if found.x is None or found.fun is None:  # numerical trouble: be content
                break
            if -found.fun - best.value <= tolerance * scale:
                break
            points.append(self.at(np.asarray(found.x[:-1])))
        return sorted(points, key=lambda p: -p.value)

    def survivors(self, point: DualPoint, objective: float) -> list[IntArray]:
        """Return, by unit, places of the counts that a better split may still have.

        A count is out if the best relaxed split that has it is above `objective`.
        """
        shift = point.value - point.elimination.value
        keep = []
        for u, low in enumerate(point.elimination.marginals()):
            alive = np.repeat(low + shift <= objective, self._lengths(u))
            keep.append(np.flatnonzero(alive))
        return keep


def _levels(problem: SplitProblem, levels: int, max_table: int) -> list[int]:
    """Return how many intervals each unit may have, for tables to fit if they can."""
    cross = sum(np.triu(form.quadratic, 1) > 0 for form in problem.forms)
    pairs = [(int(u), int(v)) for u, v in np.argwhere(cross)]
    states = [min(c.size, levels) for c in problem.counts]
    while True:
        scope = largest_scope(states, pairs)
        if np.prod([float(states[u]) for u in scope]) <= max_table:
            return states
        widest = max(scope, key=states.__getitem__)
        if states[widest] <= FEWEST_LEVELS:
            return states  # too thick: `Elimination` will split units
        states[widest] = max(FEWEST_LEVELS, int(0.8 * states[widest]))


def _starts(counts: IntArray, levels: int) -> IntArray:
    """Return where each of at most `levels` intervals starts, none wider than needed.

    Narrowing leaves holes in a list of counts; an interval across one would be loose.
    """
    if counts.size <= levels:
        return np.arange(counts.size)
    low, high = 0, int(counts[-1] - counts[0])  # width `high` takes one interval
    while high - low > 1:
        width = (low + high) // 2
        if len(_cover(counts, width, levels)) <= levels:
            high = width
        else:
            low = width
    return np.array(_cover(counts, high, levels))


def _cover(counts: IntArray, width: int, most: int) -> list[int]:
    """Return starts of the fewest intervals of a width, `most` + 1 at most."""
    starts = [0]
    while len(starts) <= most:
        after = int(np.searchsorted(counts, counts[starts[-1]] + width, side="right"))
        if after == counts.size:
            break
        starts.append(after)
    return starts
