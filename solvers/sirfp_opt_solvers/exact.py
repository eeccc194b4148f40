"""Exact: branch and bound on convexified relaxations with their best duals."""

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
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sirfp_opt._validate import as_int
from sirfp_opt.errors import InfeasibleError, InvalidProblemError
from sirfp_opt.partner_bound import bounds_by_count
from sirfp_opt.protocols import SolverInfo
from sirfp_opt.solution import OPTIMALITY_TOLERANCE
from sirfp_opt_solvers._local.runs import check_jobs
from sirfp_opt_solvers._proof.grain import Margin
from sirfp_opt_solvers._proof.incumbent import offer_start
from sirfp_opt_solvers._proof.twins import merge_twins
from sirfp_opt_solvers.relaxations.box import BoxProblem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sirfp_opt.search import Search
    from sirfp_opt_solvers._proof.branching import Node, Outcome

__all__ = ["Exact"]

_NOTHING = np.zeros(0, dtype=np.int64)
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


@dataclass(frozen=True)
class Exact:
    """Branch and bound on convex relaxations; proves layers of hundreds of channels.

    Since x_i² = x_i for 0/1 variables, any diagonal d and any multipliers N >= 0 on
    the products x_i x_j may be moved about without changing the objective on feasible
    sets (in the minimising form, y being x with the weights -W):

        min ½ x'(A - N + diag d) x + (c - d/2)' x   over {0 <= x <= 1, Σ x = k},

    and where the matrix is positive semidefinite the minimum of this convex problem
    is a bound. At the root, d and N are those of (nearly) the best such bound, the
    dual of the doubly non-negative relaxation, found by coordinate sweeps and then by
    Newton and multiplier steps on a barrier; nodes below improve their parent's.
    Variables are fixed by reduced costs, a short compiled tree tries to finish each
    node, and what is left is split in two on a variable that is torn and has a high
    d_i. The node of the least bound comes first, so the bound rises all the time.

    Bounds are *dual* values with their rounding subtracted, and the matrix is shown to
    be positive semidefinite by a Cholesky factorisation with a margin, so a bound
    holds for the weights as given. The first incumbent is tabu search's.

    One iteration is one node with a dual of its own. With several threads, which
    nodes are visited, and which of several optima is found, depends on their timing.

    Parameters
    ----------
    barrier : float
        Weight of the barrier, times gap / m: less is tighter and slower.
    rounds : int
        Multiplier steps at a node below the root.
    root_rounds : int
        The same at the root, at most; it stops once they no longer help.
    budget : int
        Nodes of the compiled tree that tries to finish a node.
    max_nodes : int, optional
        Give up after so many nodes, as after Limits(iterations=...), but as an end of
        its own.
    n_jobs : int
        Threads, each with a node of its own.

    Raises
    ------
    InvalidProblemError
        If a parameter is out of its range.
    InfeasibleError
        If it is proved that no set meets the constraints.

    Notes
    -----
    Convexification by the diagonal: Billionnet, Elloumi, Plateau (2009), "Improving
    the performance of standard solvers for quadratic 0-1 programs by a tight convex
    reformulation", doi 10.1016/j.dam.2007.12.007. Numbers of channels in a range are
    so many roots of one tree.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import ChannelGraph, solve
    >>> maps = np.random.default_rng(0).random((30, 200)) ** 4
    >>> solve(ChannelGraph.from_redundancy(maps @ maps.T), 15, "exact").status.value
    'optimal'
    """

    barrier: float = 1.0
    rounds: int = 12
    root_rounds: int = 400
    budget: int = 100
    max_nodes: int | None = None
    n_jobs: int = 1
    info: ClassVar[SolverInfo] = SolverInfo(
        summary="branch and bound on convexified relaxations; proves whole layers",
        exact=True,
        limits=frozenset({"time", "iterations", "gap", "target"}),
        requires=("numba",),
    )

    def __post_init__(self) -> None:
        if not (math.isfinite(self.barrier) and self.barrier > 0):
            raise InvalidProblemError(
                f"`barrier` must be a positive number, got {self.barrier!r}. "
                "The default is 1.0."
            )
        as_int(self.rounds, "rounds", least=0)
        as_int(self.root_rounds, "root_rounds", least=1)
        as_int(self.budget, "budget", least=1)
        if self.max_nodes is not None:
            as_int(self.max_nodes, "max_nodes", least=1)
        check_jobs(self.n_jobs)

    def solve(self, search: Search) -> None:
        """Offer a start, then close the tree from the least bound on."""
        # Loads numba: only when it is to run.
        from sirfp_opt_solvers._proof.branching import Effort, Node, Odds, explore

        offer_start(search)
        if search.stop() or _proved(search):
            return
        merged = merge_twins(search.canonical, _allowance(search))
        canonical = merged.canonical
        margin = Margin.of(search.canonical, merged.slack)
        effort = Effort(self.barrier, self.rounds, self.root_rounds, self.budget)
        order = itertools.count()
        heap: list[tuple[float, int, Node]] = []
        for count, bound in bounds_by_count(search.canonical).items():
            box = BoxProblem.of(canonical, count)
            lower = box.from_canonical(bound + merged.slack)
            heap.append((lower, next(order), Node(box, _NOTHING, _NOTHING, lower)))
        heapq.heapify(heap)
        visited, odds, halted = 0, Odds(), False
        running: dict[Future[Outcome], float] = {}

        def stop() -> bool:
            return halted or search.stop()

        def report(lower: float) -> None:
            if not heap and len(running) < 2:  # at a root, which can take a while
                known = max(
                    box.to_canonical(lower) + merged.slack,
                    search.best_value + margin.loose,
                )
                search.tighten_canonical(known, visited)

        with _threads(self.n_jobs) as pool:
            try:
                while heap or running:
                    cut = box.from_canonical(search.best_value + margin.ahead)
                    while heap and len(running) < self.n_jobs:
                        lower, _, node = heapq.heappop(heap)
                        if lower >= cut:
                            heap.clear()
                            break
                        future = pool.submit(
                            explore, node, cut, effort, odds, stop, report
                        )
                        running[future] = lower
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        del running[future]
                        outcome = future.result()
                        visited += 1
                        for items in outcome.found:
                            search.offer_items(merged.items(items), visited)
                        for child in outcome.children:
                            heapq.heappush(heap, (child.lower, next(order), child))
                    least = min(
                        [*running.values(), *(lower for lower, *_ in heap[:1])],
                        default=math.inf,
                    )
                    known = max(
                        box.to_canonical(least) + merged.slack,
                        search.best_value + margin.loose,
                    )
                    search.tighten_canonical(known, visited)
                    if _proved(search):
                        return
                    ended = visited == self.max_nodes or search.stop(visited)
                    if ended and (heap or running):
                        return
            finally:
                halted = True  # lets the threads end before the pool waits for them
        if search.best is None:
            raise InfeasibleError(
                "`constraints` must leave a feasible set, got a tree without any: "
                f"none of {visited} nodes holds one. Loosen them."
            )
        # The tree is closed: every other set was bounded by the incumbent.
        search.tighten_canonical(search.best_value + margin.loose, visited)


def _allowance(search: Search) -> float:
    """Return what telling copies of a channel apart is not worth.

    Nothing, where values cancel so far that rounding shows.
    """
    if search.objective is None:
        return 0.0
    canonical = search.canonical
    worth = _ALIKE * abs(canonical.offset + search.best_value)  # in canonical units
    return worth if worth > canonical.rounding_error else 0.0


def _proved(search: Search) -> bool:
    """Tell whether incumbent and bound are as close as a proof must bring them."""
    gap = search.gap
    return gap is not None and gap <= OPTIMALITY_TOLERANCE
