"""The best split, with a proof: prices, narrowing, and CP-SAT on what is left."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from sirfp_opt._rules import check_fields, ruled, whole
from sirfp_opt.network.allocation.lagrangian import (
    GAP,
    SECONDS,
    SplitAllocator,
    check_worth,
    deadline_after,
)
from sirfp_opt.network.splitting.branching import Node, SplitSearch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sirfp_opt._validate import IntArray
    from sirfp_opt.network.cost import CostForm
    from sirfp_opt.network.splitting.problem import Split, SplitProblem
    from sirfp_opt.network.worth import Worth

__all__ = ["Optimal", "solve_by_cpsat"]

# Below e^12 splits, CP-SAT is done in no time.
_SMALL = 12.0
# Objective coefficients of CP-SAT stay far below its 64 bits, and their sum below 2^31.
_OBJECTIVE_RANGE = 2**30


@dataclass(frozen=True)
class Optimal(SplitAllocator):
    """The split of least loss within the budgets, proved to a gap.

    The problem is that of `Lagrangian`. Its bound is used twice: at the best prices,
    the elimination also says how good the best relaxed split with k_u = c would be, for
    every unit u and count c, and counts that cannot lead to a better split than the
    one in hand are dropped. On the shorter lists finer intervals fit, which gives a
    better bound, and so on. What is left when this stalls is a small problem in
    integers, with the bilinear costs as they are, for CP-SAT (OR-Tools).

    On its own, CP-SAT makes little of the products: it bounds k_u k_v by planes over
    the whole range of both. See ``benchmarks/allocation.py``.

    Parameters
    ----------
    worth : Worth, optional
        What is minimised, if it is to be said here: the problem's, and no other.
    gap : float
        Stop once the relative gap is at most this; 0 asks for a full proof.
    time_limit : float, optional
        Seconds for the search, value curves not counted.
    workers : int
        Threads of CP-SAT; with 1, and no time limit reached, the run is repeatable.
    max_table : int
        Entries of the largest table of the elimination: time and memory.

    Notes
    -----
    The bound is valid for the value curves as they are: no split is better as long as
    a layer's k channels are those of its curve. It allows for the rounding of CP-SAT's
    scaled losses; costs are whole numbers and exact.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import ChannelGraph
    >>> from sirfp_opt.network import Affine, CostForm, CostModel, NetworkProblem
    >>> from sirfp_opt.network.allocation import Optimal
    >>> layers = {u: ChannelGraph.from_redundancy(np.full((8, 8), 0.5)) for u in "ab"}
    >>> product = CostForm.from_products(
    ...     ["a", "b"], [(9.0, Affine(0, {"a": 1}), Affine(0, {"b": 1}))])
    >>> cost = CostModel(["a", "b"], [8, 8], {"macs": product})
    >>> problem = NetworkProblem(layers, cost, {"macs": 0.5})
    >>> best = Optimal(gap=0.0).allocate(problem, problem.curves)
    >>> sorted(best.counts.values()), round(best.info["gap"], 6)
    ([5, 6], 0.0)
    """

    worth: Worth | None = None
    gap: float = ruled(GAP, 1e-4)
    time_limit: float | None = ruled(SECONDS, 30.0)
    workers: int = ruled(whole(1), 1)
    max_table: int = ruled(whole(1), 1_000_000)

    def __post_init__(self) -> None:
        check_fields(self)
        check_worth(self.worth)

    def split(self, problem: SplitProblem, starts: Iterable[IntArray] = ()) -> Split:
        """Solve the bare problem; never worse than a feasible one of `starts`."""
        deadline = deadline_after(self.time_limit)
        search = SplitSearch(
            problem, deadline=deadline, gap=self.gap, max_table=self.max_table
        )
        search.start(starts)
        search.run(finish=_Finisher(self.workers), small=_SMALL)
        return search.split()


def solve_by_cpsat(
    problem: SplitProblem,
    *,
    time_limit: float | None = 30.0,
    gap: float = 1e-4,
    workers: int = 1,
) -> Split:
    """Solve a split by CP-SAT alone, from a local search's result: for comparison.

    Parameters
    ----------
    problem : SplitProblem
    time_limit, gap, workers
        As for `Optimal`.
    """
    search = SplitSearch(problem, deadline=deadline_after(time_limit), gap=gap)
    search.start()
    root = Node(problem, search.bound, search.multipliers)
    search.conclude(_Finisher(workers)(search, root))
    return search.split()


@dataclass(frozen=True)
class _Finisher:
    """Lets CP-SAT search the counts of a node, and prove what it can."""

    workers: int

    def __call__(self, search: SplitSearch, node: Node) -> float:
        from ortools.sat.python import cp_model

        model = _Model(node.left, search.k)
        solver = cp_model.CpSolver()
        parameters = solver.parameters
        parameters.num_workers = self.workers
        parameters.random_seed = 0
        parameters.catch_sigint_signal = False
        # or-tools issue 5293: this presolve rule miscounts coefficients above 2^31.
        parameters.presolve_inclusion_work_limit = 0
        parameters.relative_gap_limit = search.gap / 2
        if math.isfinite(search.deadline):
            left = search.deadline - time.perf_counter()
            parameters.max_time_in_seconds = max(0.1, left)
        status = solver.solve(model.proto)
        if status == cp_model.INFEASIBLE:
            return math.inf
        if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            search.offer(np.array([solver.value(k) for k in model.k], dtype=np.int64))
        elif status != cp_model.UNKNOWN:
            return node.bound
        return model.to_loss(solver.best_objective_bound)


class _Model:
    """A split as integers for CP-SAT; a relaxation where it has to round."""

    def __init__(self, problem: SplitProblem, hint: IntArray) -> None:
        from ortools.sat.python import cp_model

        self.proto = cp_model.CpModel()
        self._domain = cp_model.Domain
        self.problem = problem
        lows = [float(loss.min()) for loss in problem.losses]
        spread = math.fsum(float(np.ptp(loss)) for loss in problem.losses)
        # Rounding down losses keeps the bound valid.
        self._scale = _OBJECTIVE_RANGE / spread if spread > 0 else 1.0
        self._offset = math.fsum(lows)
        self.k = [
            self.proto.new_int_var_from_domain(
                self._domain.from_values(counts.tolist()), name
            )
            for name, counts in zip(problem.units, problem.counts, strict=True)
        ]
        tables = [
            np.floor((loss - low) * self._scale).astype(np.int64)
            for loss, low in zip(problem.losses, lows, strict=True)
        ]
        self.proto.minimize(sum(self._loss(u, table) for u, table in enumerate(tables)))
        self._products: dict[tuple[int, int], Any] = {}
        for b in range(len(problem.forms)):
            self._budget(b)
        if all(np.isin(x, c) for x, c in zip(hint, problem.counts, strict=True)):
            for k, value in zip(self.k, hint.tolist(), strict=True):
                self.proto.add_hint(k, value)

    def to_loss(self, bound: float) -> float:
        """Map a bound on the model's objective to a bound on the loss."""
        value = self._offset + bound / self._scale
        return value - 1e-12 * (abs(self._offset) + abs(value))

    def _loss(self, u: int, table: IntArray) -> Any:
        counts = self.problem.counts[u]
        if counts.size == 1:
            return int(table[0])
        y = self.proto.new_int_var(int(table.min()), int(table.max()), f"loss{u}")
        rows = list(zip(counts.tolist(), table.tolist(), strict=True))
        self.proto.add_allowed_assignments([self.k[u], y], rows)
        for (k1, y1), (k2, y2) in _hull(rows):  # what linear programming sees of it
            self.proto.add((k2 - k1) * (y - y1) >= (y2 - y1) * (self.k[u] - k1))
        return y

    def _budget(self, b: int) -> None:
        form, limit = self.problem.forms[b], float(self.problem.ceilings[b])
        scale = _denominator(form)
        terms = [_whole(form.const, scale)]
        for u in np.flatnonzero(form.linear):
            terms.append(_whole(form.linear[u], scale) * self._term(int(u)))
        for u, v in np.argwhere(form.quadratic):
            coefficient = _whole(form.quadratic[u, v], scale)
            terms.append(coefficient * self._product(int(u), int(v)))
        # Costs are whole, or were rounded down: what is feasible stays feasible.
        self.proto.add(sum(terms) <= math.floor(limit * scale + 1e-6))

    def _term(self, u: int) -> Any:
        counts = self.problem.counts[u]
        return int(counts[0]) if counts.size == 1 else self.k[u]

    def _product(self, u: int, v: int) -> Any:
        one, other = self._term(u), self._term(v)
        if isinstance(one, int) or isinstance(other, int):
            return one * other
        if (u, v) not in self._products:
            low = int(self.problem.counts[u][0] * self.problem.counts[v][0])
            high = int(self.problem.counts[u][-1] * self.problem.counts[v][-1])
            product = self.proto.new_int_var(low, high, f"k{u}*k{v}")
            self.proto.add_multiplication_equality(product, [one, other])
            self._products[u, v] = product
        return self._products[u, v]


def _hull(rows: list[tuple[int, int]]) -> list[tuple[tuple[int, int], ...]]:
    """Return the edges of the lower convex hull of points sorted by x."""
    hull: list[tuple[int, int]] = []
    for x, y in rows:
        while len(hull) > 1:
            (x1, y1), (x2, y2) = hull[-2:]
            if (y2 - y1) * (x - x1) < (y - y1) * (x2 - x1):
                break
            hull.pop()
        hull.append((x, y))
    return list(pairwise(hull))


def _denominator(form: CostForm) -> int:
    """Return a factor that makes the coefficients whole, or nearly so."""
    values = [form.const, *form.linear.tolist(), *form.quadratic.ravel().tolist()]
    fractions = [Fraction(value).limit_denominator(4096) for value in values]
    factor = math.lcm(*{fraction.denominator for fraction in fractions})
    errors = (abs(x - f) for x, f in zip(values, fractions, strict=True))
    return factor if factor < 2**20 and max(errors) < 1e-9 else 2**20


def _whole(value: float, scale: int) -> int:
    return math.floor(value * scale + 1e-6)
