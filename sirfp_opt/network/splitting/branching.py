"""The search that `Lagrangian` and `Optimal` share: prices, narrowing, branching."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt.errors import InfeasibleError
from sirfp_opt.network.splitting.exchange import Exchange
from sirfp_opt.network.splitting.problem import Split, SplitProblem
from sirfp_opt.network.splitting.relaxation import DualPoint, Relaxation
from sirfp_opt.sense import relative_gap

if TYPE_CHECKING:
    from sirfp_opt._validate import FloatArray, IntArray

__all__ = ["Node", "SplitSearch"]

COARSE_LEVELS = 24
# A bound this close, relatively, is as good as met: bounds allow for rounding.
_ROUNDING = 1e-9


@dataclass(eq=False)
class Node:
    """A part of all splits, by lists of counts, and what is known about it.

    Parameters
    ----------
    left : SplitProblem
        The counts that a split in this part, better than the incumbent, may have.
    bound : float
        No split in this part has a smaller loss.
    multipliers : ndarray of float64
        Prices of the best bound so far.
    levels : int
        Intervals of the relaxation.
    """

    left: SplitProblem
    bound: float
    multipliers: FloatArray
    levels: int = COARSE_LEVELS

    @property
    def freedom(self) -> float:
        """Natural logarithm of the number of splits in this part."""
        return float(sum(np.log(c.size) for c in self.left.counts))


Finish = Callable[["SplitSearch", Node], float]
"""Solves a small node outright: offers splits, returns a bound for it."""


@dataclass(eq=False)
class SplitSearch:
    """One search for the best split: an incumbent, and a bound over open parts.

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
    k : ndarray of int64
        The incumbent.
    objective, bound : float
    multipliers : ndarray of float64
        The prices behind the first bound over all splits.
    """

    problem: SplitProblem
    deadline: float = np.inf
    gap: float = 1e-4
    max_table: int = 1_000_000
    k: IntArray = field(init=False)
    objective: float = field(init=False)
    bound: float = field(init=False)
    multipliers: FloatArray = field(init=False)
    _points: list[DualPoint] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.k = self.problem.least
        if not self.problem.feasible(self.k):
            raise InfeasibleError("the least split must keep the budgets")
        self.objective = self.problem.objective(self.k)
        self._exchange = Exchange(self.problem, self.deadline)
        free = sum(float(np.min(loss)) for loss in self.problem.losses)
        self.bound = free - 1e-11 * abs(free)
        self.multipliers = np.zeros(len(self.problem.forms))
        self._spread = sum(float(np.ptp(loss)) for loss in self.problem.losses)
        self._open: list[tuple[float, int, Node]] = []
        self._number = itertools.count()
        self._closed = np.inf

    # -- incumbent and bound -----------------------------------------------------

    def offer(self, k: IntArray) -> bool:
        """Take a feasible split if it is better than the incumbent."""
        if not self.problem.feasible(k):
            return False
        objective = self.problem.objective(k)
        if objective >= self.objective:
            return False
        self.k, self.objective = k.astype(np.int64), objective
        self.bound = min(self.bound, objective)
        return True

    @property
    def proved(self) -> bool:
        """Whether the gap is as small as asked."""
        return self._near(self.bound)

    def _near(self, bound: float) -> bool:
        if bound >= self.objective:
            return True
        return relative_gap(self.objective, bound) <= max(self.gap, _ROUNDING)

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

    def conclude(self, bound: float) -> None:
        """Take a bound on all splits, from somebody who has solved them otherwise."""
        self.bound = max(self.bound, min(bound, self.objective))

    # -- the first splits --------------------------------------------------------

    def start(self, splits: Iterable[IntArray] = ()) -> None:
        """Find first incumbents: the splits given, and local searches."""
        for k in splits:
            self.offer(self.problem.snapped(k))
        self.offer(self._exchange.improved(self.k))
        self.offer(self._exchange.improved(self._priced(self.problem.most)))
        self.offer(self._exchange.improved(self._priced(self.problem.least)))

    def _priced(self, start: IntArray) -> IntArray:
        """Return the local minimum at the least prices that keep the budgets.

        All budgets get the same price for their whole limit; it is found by bisection.
        """
        ones = np.ones(len(self.problem.forms))
        low, high = 1e-4, 1e4
        best = self.problem.least
        for _ in range(24):
            middle = float(np.sqrt(low * high))
            k = self._exchange.descend(start, middle * self._spread * ones)
            if self.problem.feasible(k):
                high, best = middle, k
            else:
                low = middle
            if self.late:
                break
        return best

    # -- the search --------------------------------------------------------------

    def run(
        self,
        *,
        most_levels: int = 96,
        rounds: int | None = None,
        finish: Finish | None = None,
        small: float = 0.0,
    ) -> None:
        """Bound and narrow; branch where that stalls; until proved or late.

        Parameters
        ----------
        most_levels : int
            Intervals start coarse and are doubled up to so many when that is too slow.
        rounds : int, optional
            At most so many relaxations, and no branching.
        finish : callable, optional
            Solves nodes whose freedom is at most `small`.
        """
        start = np.full(len(self.problem.forms), 0.3 * max(self._spread, 1e-9))
        levels = min(COARSE_LEVELS, most_levels)
        self._push(Node(self.problem, self.bound, start, levels))
        while self._open and not (self.proved or self.late):
            _, _, node = heapq.heappop(self._open)
            stalled = self._tighten(node, most_levels, rounds)
            if not stalled or rounds is not None or self.late:
                self._close(node)
            elif finish is not None and node.freedom <= small:
                node.bound = max(node.bound, finish(self, node))
                self._close(node)
            else:
                children = self._branches(node)
                if not children:
                    self._close(node)
                for child in children:
                    self._push(child)
            self._account()

    def _push(self, node: Node) -> None:
        heapq.heappush(self._open, (node.bound, next(self._number), node))

    def _close(self, node: Node) -> None:
        self._closed = min(self._closed, node.bound)

    def _account(self, node: Node | None = None) -> None:
        """Set the bound to the least over all parts; the best known split bounds it."""
        parts = [self._closed, *(bound for bound, *_ in self._open[:1])]
        parts += [] if node is None else [node.bound]
        self.bound = max(self.bound, min([self.objective, *parts]))

    def _tighten(self, node: Node, most_levels: int, rounds: int | None) -> bool:
        """Relax and narrow one node; return whether it stalled before it was done."""
        for _ in itertools.count() if rounds is None else range(rounds):
            if self._near(node.bound) or self.late:
                return False
            gap, freedom = self.objective - node.bound, node.freedom
            if not self._relax(node):
                return False
            self._account(node)
            closed = 1 - (self.objective - node.bound) / gap if gap > 0 else 1.0
            shrunk = 1 - node.freedom / freedom if freedom > 0 else 1.0
            if closed < 0.5 and shrunk < 0.2:
                if node.levels < most_levels:
                    node.levels = min(2 * node.levels, most_levels)
                elif closed < 0.15 and shrunk < 0.1:
                    return True
        return True

    def _relax(self, node: Node) -> bool:
        """Maximise the relaxation, repair, drop counts; return whether any are left.

        The points of the last relaxation stay with the node, to branch on.
        """
        if not node.left.feasible(node.left.least):
            node.bound = np.inf
            return False
        if node.freedom == 0.0:
            self.offer(node.left.least)
            node.bound = node.left.objective(node.left.least)
            return False
        relaxation = Relaxation(node.left, node.levels, max_table=self.max_table)
        # While intervals are coarse, the last digits of the prices gain nothing.
        open_gap = relative_gap(self.objective, node.bound)
        tolerance = max(0.1 * self.gap, 0.05 * min(open_gap, 1.0))
        points = relaxation.maximize(
            node.multipliers, tolerance=tolerance, deadline=self.deadline
        )
        self._points = points
        if points[0].value > node.bound:
            node.bound, node.multipliers = points[0].value, points[0].multipliers
            if not self._open and self._closed == np.inf:
                self.multipliers = node.multipliers
        self._repair(points[:4], node.bound)
        if self._near(node.bound) or self.late:
            return True
        margin = 1e-10 * max(abs(self.objective), self._spread)
        keep = relaxation.survivors(points[0], self.objective + margin)
        if not all(places.size for places in keep):
            node.bound = np.inf  # nothing as good as the incumbent is left
            return False
        node.left = node.left.narrowed(keep)
        return True

    def _repair(self, points: list[DualPoint], bound: float) -> None:
        """Make splits within the budgets of the relaxation's minimisers."""
        repaired = [self._exchange.repaired(point.k) for point in points]
        best = min(repaired, key=self.problem.objective)
        self.offer(best)
        # An exchange gains little: from far above the incumbent it is not worth it.
        if self.problem.objective(best) <= 2 * self.objective - bound:
            self.offer(self._exchange.exchanged(best))

    def _branches(self, node: Node) -> list[Node]:
        """Cut a node in two where the relaxation is torn.

        At the best prices two minimisers meet, one above and one within the budgets.
        The unit of which they differ most, in cost, is cut between them; where they
        agree, the unit whose counts leave most cost open is cut in the middle.
        """
        point = self._points[0]
        price = point.multipliers / np.maximum(self.problem.limits, 1e-12)
        weight = sum(
            p * form.gradient(point.k)
            for p, form in zip(price, self.problem.forms, strict=True)
        )
        over = [p.k for p in self._points if (p.slope > 0).any()]
        within = [p.k for p in self._points if not (p.slope > 0).any()]
        torn = np.zeros(self.problem.m)
        if over and within:
            torn = np.abs(over[0] - within[0]) * weight
            at = (over[0] + within[0]) / 2
        if not torn.any():
            span = node.left.most - node.left.least
            torn = span * np.maximum(weight, 1e-12)
            at = (node.left.most + node.left.least) / 2
        for unit in np.argsort(-torn, kind="stable"):
            counts = node.left.counts[unit]
            low = np.flatnonzero(counts <= at[unit])
            high = np.flatnonzero(counts > at[unit])
            if low.size and high.size:
                return [self._child(node, int(unit), part) for part in (low, high)]
        return []

    def _child(self, node: Node, unit: int, places: IntArray) -> Node:
        keep = [np.arange(c.size) for c in node.left.counts]
        keep[unit] = places
        left = node.left.narrowed(keep)
        return Node(left, node.bound, node.multipliers, node.levels)
