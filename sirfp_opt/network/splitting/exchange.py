"""Good splits by local moves: lower until feasible, fill up, exchange pairs."""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sirfp_opt._validate import FloatArray, IntArray
    from sirfp_opt.network.splitting.problem import SplitProblem

__all__ = ["Exchange"]


class Exchange:
    """Local search on a `SplitProblem`; every result keeps the budgets.

    Parameters
    ----------
    problem : SplitProblem
        Its least split must be feasible.
    deadline : float
        ``time.perf_counter()`` at which the search has to end.
    """

    def __init__(self, problem: SplitProblem, deadline: float = np.inf) -> None:
        self.problem = problem
        self.deadline = deadline
        self._linear = np.array([form.linear for form in problem.forms])
        self._square = np.array([np.diag(form.quadratic) for form in problem.forms])
        self._cross = np.array(
            [
                form.quadratic + form.quadratic.T - 2 * np.diag(np.diag(form.quadratic))
                for form in problem.forms
            ]
        )
        self._scale = np.maximum(problem.limits, 1e-12)
        self._last = np.array([counts.size - 1 for counts in problem.counts])

    @cached_property
    def _best_up_to(self) -> list[IntArray]:
        """By unit, for each place the best place up to it; of equals the largest."""
        out = []
        for loss in self.problem.losses:
            low = np.minimum.accumulate(loss)
            best = np.where(loss <= low, np.arange(loss.size), 0)
            out.append(np.maximum.accumulate(best))
        return out

    def descend(
        self, k: IntArray, multipliers: FloatArray, sweeps: int = 30
    ) -> IntArray:
        """Minimise loss plus priced costs over one unit at a time, until none moves.

        Parameters
        ----------
        k : ndarray of int64
            Where to start.
        multipliers : ndarray of float64
            Price of each budget's whole limit.
        sweeps : int
            At most so many rounds over all units.
        """
        price = multipliers / self._scale
        linear, square = price @ self._linear, price @ self._square
        cross = np.tensordot(price, self._cross, axes=1)
        k = k.astype(np.float64)
        for _ in range(sweeps):
            before = k.copy()
            for u, (counts, loss) in enumerate(
                zip(self.problem.counts, self.problem.losses, strict=True)
            ):
                slope = linear[u] + cross[u] @ k
                total = loss + counts * (slope + square[u] * counts)
                k[u] = counts[int(total.argmin())]
            if np.array_equal(k, before):
                break
        return k.astype(np.int64)

    def lowered(self, k: IntArray) -> IntArray:
        """Take from units that lose least for what they save, until k is feasible."""
        problem, k = self.problem, k.copy()
        places = problem.places(k)
        while not problem.feasible(k):
            over = self.problem.costs(k) > self.problem.limits
            # A sixteenth of what is above the least at a time: sizes differ widely.
            to = np.maximum(places - np.maximum(1, places // 16), 0)
            target = np.array([c[p] for c, p in zip(problem.counts, to, strict=True)])
            saved = (self._change(k, target) * over[:, None]).sum(axis=0)
            lost = self._loss_at(to) - self._loss_at(places)
            ratio = np.where(saved < 0, lost / np.minimum(saved, -1e-300), -np.inf)
            u = int(ratio.argmax())  # the least loss for each unit of cost saved
            if not saved[u] < 0:
                return problem.least
            places[u], k[u] = to[u], target[u]
        return k

    def filled(self, k: IntArray) -> IntArray:
        """Give some counts more to one unit after the other, most gain for its cost.

        In large steps first, since gains change slowly; down to single ones.
        """
        for jump in (32, 8, 1):
            grown: IntArray | None = k
            while grown is not None:
                k, grown = grown, self._grown(grown, jump)
        return k

    def _grown(self, k: IntArray, jump: int) -> IntArray | None:
        """Return k, the unit that gains most `jump` counts up; None if none fits."""
        problem, places = self.problem, self.problem.places(k)
        to = np.minimum(places + jump, self._last)
        target = np.array([c[p] for c, p in zip(problem.counts, to, strict=True)])
        change = self._change(k, target)
        room = (problem.limits - problem.costs(k)) / self._scale
        gain = self._loss_at(places) - self._loss_at(to)
        fits = (change <= room[:, None] + 1e-15).all(axis=0) & (to > places)
        fits &= gain >= 0
        ratio = np.where(fits, gain / np.maximum(change.max(axis=0), 1e-300), -1.0)
        for u in np.argsort(-ratio, kind="stable"):
            if ratio[u] < 0:
                break
            trial = k.copy()
            trial[u] = target[u]
            if problem.feasible(trial):
                return trial
        return None

    def exchanged(self, k: IntArray) -> IntArray:
        """Change two units at a time, to their best feasible pair, while that helps.

        For every value of the first unit the largest value of the second that the
        budgets leave room for is known in closed form.
        """
        k = k.copy()
        free = [u for u, counts in enumerate(self.problem.counts) if counts.size > 1]
        moved = set(free)
        while moved:
            # After the first round only what has moved is worth another look.
            looked_at, moved = sorted(moved), set()
            for u in looked_at:
                if time.perf_counter() > self.deadline:
                    return k
                for v in free:
                    if u != v and self._exchange(k, u, v):
                        moved |= {u, v}
        return k

    def _exchange(self, k: IntArray, u: int, v: int) -> bool:
        problem = self.problem
        counts, other = problem.counts[u], problem.counts[v]
        rest = k.astype(np.float64)
        rest[[u, v]] = 0.0
        values = counts.astype(np.float64)
        most = np.full(values.size, np.inf)
        for b, form in enumerate(problem.forms):
            near = self._cross[b] @ rest
            room = problem.limits[b] - form(rest)
            room = room - values * (self._linear[b][u] + near[u])
            room = room - self._square[b][u] * values**2
            slope = self._linear[b][v] + near[v] + self._cross[b][u, v] * values
            square = self._square[b][v]
            with np.errstate(divide="ignore", invalid="ignore"):
                if square > 0:
                    root = np.sqrt(np.maximum(slope**2 + 4 * square * room, 0.0))
                    fit = (root - slope) / (2 * square)
                else:
                    fit = np.where(slope > 0, room / slope, np.inf)
            most = np.minimum(most, np.where(room < 0, -1.0, fit + 1e-9))
        place = np.searchsorted(other, most, side="right") - 1
        total = np.full(values.size, np.inf)
        ok = place >= 0
        best = self._best_up_to[v][place[ok]]
        total[ok] = problem.losses[u][ok] + problem.losses[v][best]
        now = self._loss_of(u, k[u]) + self._loss_of(v, k[v])
        at = int(total.argmin())
        if not total[at] < now - 1e-12 * abs(now):
            return False
        trial = k.copy()
        trial[u] = counts[at]
        trial[v] = other[self._best_up_to[v][place[at]]]
        if not problem.feasible(trial):  # the closed form was a rounding error off
            return False
        k[:] = trial
        return True

    def repaired(self, k: IntArray) -> IntArray:
        """Lower and fill up."""
        return self.filled(self.lowered(k))

    def improved(self, k: IntArray) -> IntArray:
        """Lower, fill up and exchange."""
        return self.exchanged(self.repaired(k))

    def _change(self, k: IntArray, target: IntArray) -> FloatArray:
        """By budget and unit: the change of cost / limit if u went to target_u."""
        step = (target - k).astype(np.float64)
        slope = self._linear + self._cross @ k.astype(np.float64)
        change = slope * step + self._square * (target.astype(float) ** 2 - k**2.0)
        out: FloatArray = change / self._scale[:, None]
        return out

    def _loss_at(self, places: IntArray) -> FloatArray:
        pairs = zip(self.problem.losses, places, strict=True)
        return np.array([loss[p] for loss, p in pairs])

    def _loss_of(self, u: int, count: int) -> float:
        place = int(np.searchsorted(self.problem.counts[u], count))
        return float(self.problem.losses[u][place])
