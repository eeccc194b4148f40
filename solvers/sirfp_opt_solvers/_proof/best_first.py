"""The upper tree of the exact solver, its node of least bound first."""

from __future__ import annotations

import heapq
import itertools
import math
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt.errors import InfeasibleError
from sirfp_opt.solution import OPTIMALITY_TOLERANCE
from sirfp_opt_solvers._proof.branching import Effort, Node, Odds, Outcome, explore
from sirfp_opt_solvers._proof.grain import Margin
from sirfp_opt_solvers._proof.incumbent import is_large, is_proved, offer_better
from sirfp_opt_solvers._proof.twins import merge_twins
from sirfp_opt_solvers.relaxations.box import BoxProblem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sirfp_opt.search import Search

__all__ = ["BestFirst"]

_NOTHING = np.zeros(0, dtype=np.int64)
# Seconds between two looks at the clock while threads work.
_TICK = 0.1
# What copies of a channel may differ by, all in all, as a share of the objective.
_ALIKE = OPTIMALITY_TOLERANCE / 4


class _Inline(Executor):
    """Runs what is submitted at once, so that one job needs no thread."""

    def submit(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def]
        """Return the finished call."""
        future: Future[object] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@contextmanager
def _threads(n_jobs: int) -> Iterator[Executor]:
    with _Inline() if n_jobs == 1 else ThreadPoolExecutor(n_jobs) as pool:
        yield pool


class BestFirst:
    """Closes a tree whose roots are the allowed totals of sizes.

    Parameters
    ----------
    search : Search
        Its incumbent is what sets have to beat.
    bounds : dict of int to float
        A canonical bound for each total.
    effort : Effort
    n_jobs : int
        Threads, each with a node of its own.
    max_nodes : int, optional
    """

    def __init__(
        self,
        search: Search,
        bounds: dict[int, float],
        effort: Effort,
        n_jobs: int,
        max_nodes: int | None,
    ) -> None:
        self.search, self.effort = search, effort
        self.n_jobs, self.max_nodes = n_jobs, max_nodes
        self.merged = merge_twins(search.canonical, _allowance(search))
        self.margin = Margin.of(search.canonical, self.merged.slack)
        self.visited, self.halted = 0, False
        self.odds = Odds()
        self.order = itertools.count()
        self.heap: list[tuple[float, int, Node]] = []
        self.running: dict[Future[Outcome], float] = {}
        for count, bound in bounds.items():
            self.box = BoxProblem.of(self.merged.canonical, count)
            lower = self.box.from_canonical(bound + self.merged.slack)
            self._push(Node(self.box, _NOTHING, _NOTHING, lower))

    def run(self) -> None:
        """Offer what is found and proved until the tree is closed, or a limit met.

        Raises
        ------
        InfeasibleError
            If the whole tree holds no set.
        """
        with _threads(self.n_jobs) as pool:
            try:
                while self.heap or self.running:
                    self._submit(pool)
                    # Not for ever: this thread looks at the clock for all.
                    for future in wait(
                        self.running, timeout=_TICK, return_when=FIRST_COMPLETED
                    ).done:
                        del self.running[future]
                        self._take(future.result())
                    if self._proved() or self._ended():
                        return
            finally:
                self.halted = True  # the threads end before the pool waits for them
        if self.search.best is None:
            raise InfeasibleError(
                "`constraints` must leave a feasible set, got a tree without any: "
                f"none of {self.visited} nodes holds one. Loosen them."
            )
        # The tree is closed: every other set was bounded by the incumbent.
        self._know(-math.inf)

    def _push(self, node: Node) -> None:
        heapq.heappush(self.heap, (node.lower, next(self.order), node))

    def _submit(self, pool: Executor) -> None:
        """Give every thread a node, the least bounds first."""
        cut = self.box.from_canonical(self.search.best_value + self.margin.ahead)
        while self.heap and len(self.running) < self.n_jobs:
            lower, _, node = heapq.heappop(self.heap)
            if lower >= cut:
                self.heap.clear()
                break
            future = pool.submit(
                explore, node, cut, self.effort, self.odds, self._stop, self._report
            )
            self.running[future] = lower

    def _take(self, outcome: Outcome) -> None:
        """Take in what exploring a node has given."""
        self.visited += 1
        for items in outcome.found:
            self.search.offer_items(self.merged.items(items), self.visited)
        for child in outcome.children:
            self._push(child)
        if outcome.hard and is_large(self.search.canonical) and not self._stop():
            offer_better(self.search, self._stop)

    def _proved(self) -> bool:
        """Tell the least open bound; return whether that is a proof."""
        least = min(
            [*self.running.values(), *(lower for lower, *_ in self.heap[:1])],
            default=math.inf,
        )
        self._know(self.box.to_canonical(least))
        return is_proved(self.search)

    def _ended(self) -> bool:
        ended = self.visited == self.max_nodes or self.search.stop(self.visited)
        return ended and bool(self.heap or self.running)

    def _stop(self) -> bool:
        return self.halted or self.search.stop()

    def _report(self, lower: float) -> None:
        """Tell the bound of a root while it is worked on, which can take a while."""
        if not self.heap and len(self.running) < 2:
            self._know(self.box.to_canonical(lower))

    def _know(self, open_bound: float) -> None:
        """Tell what follows from a bound on the merged sets that are open."""
        known = max(
            open_bound + self.merged.slack, self.search.best_value + self.margin.loose
        )
        self.search.tighten_canonical(known, self.visited)


def _allowance(search: Search) -> float:
    """Return what telling copies of a channel apart is not worth.

    Nothing, where values cancel so far that rounding shows.
    """
    if search.objective is None:
        return 0.0
    canonical = search.canonical
    worth = _ALIKE * abs(canonical.offset + search.best_value)  # in canonical units
    return worth if worth > canonical.rounding_error else 0.0
