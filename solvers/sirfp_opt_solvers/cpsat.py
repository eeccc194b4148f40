"""CP-SAT: the problem as linear constraints over integers, by OR-Tools."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn

import numpy as np

from sirfp_opt._rules import check_fields, choice, flag, ruled, whole
from sirfp_opt.errors import (
    InfeasibleError,
    SolverError,
    UnsupportedError,
)
from sirfp_opt.protocols import SolverInfo
from sirfp_opt.solution import OPTIMALITY_TOLERANCE
from sirfp_opt_solvers._proof.incumbent import offer_start
from sirfp_opt_solvers._proof.worker import run_beside
from sirfp_opt_solvers.relaxations.linear import (
    IntegerWeights,
    PartnerBounds,
    masked_weights,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from sirfp_opt.canonical import CanonicalProblem
    from sirfp_opt.problem import PruningProblem
    from sirfp_opt.search import Search

__all__ = ["FORMULATIONS", "CpSat", "write_cp_model"]

Formulation = Literal["glover", "rlt", "standard"]
FORMULATIONS: tuple[Formulation, ...] = ("glover", "rlt", "standard")


@dataclass(frozen=True)
class CpSat:
    """Exact, with a proven bound, on any mix of constraints; for small layers.

    Maximise Σ_i z_i + 2 Σ_i c_i x_i (twice the objective) over binaries x, where z_i
    stands for x_i · Σ_j w_ij x_j. The formulations:

    - ``glover``: m integers z_i with z_i <= U_i x_i and z_i <= Σ_j w_ij x_j −
      L_i (1 − x_i), where U_i is the most that item i can meet inside a set of allowed
      size, L_i the least outside (Glover 1975, doi:10.1287/mnsc.22.4.455).
    - ``standard``: a binary y_ij per pair, y_ij <= x_i and y_ij <= x_j where
      w_ij > 0, y_ij >= x_i + x_j − 1 where w_ij < 0.
    - ``rlt``: those, and the product of the size constraint with each x_i and 1 − x_i
      (Adams and Sherali 1986, doi:10.1287/mnsc.32.10.1274).

    CP-SAT computes in integers: weights are scaled by a power of two and rounded, and
    the bound is given back in the original weights with the rounding error added.

    One iteration is one conflict of CP-SAT's search (of each worker).

    Parameters
    ----------
    formulation : {"glover", "rlt", "standard"}
    workers : int, optional
        Threads; all CPU cores by default. With 1 the run is repeatable.
    deterministic : bool
        Make a run with several workers repeatable too; they then take turns, which
        costs speed.
    max_terms : int
        Refuse models with more coefficients than this.

    Raises
    ------
    UnsupportedError
        If the model has more than `max_terms` coefficients.
    InfeasibleError
        If it is proved that there is no feasible set.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import solve
    >>> diversity = np.array([[0, 3, 1, 1], [3, 0, 2, 1], [1, 2, 0, 4], [1, 1, 4, 0]])
    >>> answer = solve(diversity, 3, method="cpsat", workers=1)
    >>> answer.selected.tolist(), answer.objective, answer.status.value
    ([1, 2, 3], 7.0, 'optimal')
    """

    formulation: Formulation = ruled(
        choice(*FORMULATIONS, way="'glover' is the quickest."), "glover"
    )
    workers: int | None = ruled(whole(1, optional=True), None)
    deterministic: bool = ruled(flag(), False)
    max_terms: int = ruled(whole(1), 2_000_000)
    info: ClassVar[SolverInfo] = SolverInfo(
        summary="OR-Tools CP-SAT on scaled integers; any constraints, small layers",
        exact=True,
        limits=frozenset({"time", "iterations", "gap", "target"}),
        requires=("ortools",),
        cites=("adams1986tight", "glover1975improved"),
    )

    def __post_init__(self) -> None:
        check_fields(self)

    def solve(self, search: Search) -> None:
        """Offer a start, build the model, run CP-SAT on it, pass on what it proves."""
        canonical = search.canonical
        terms = _terms(canonical, self.formulation)
        if terms > self.max_terms:
            raise UnsupportedError(
                f"`max_terms` must be at least the model's number of coefficients, "
                f"{terms} for {canonical.m} items, got {self.max_terms}. Take "
                "method='exact' (or 'tabu' with certify=True), or raise max_terms."
            )
        offer_start(search)
        integers = IntegerWeights.of(
            masked_weights(canonical), canonical.values, canonical.cardinalities
        )
        model = _Model(canonical, self.formulation, search.stop)
        if not model.build(integers):
            return
        most = self._run(search, model, _to_canonical(integers))
        if most is not None and (search.gap or 0.0) > OPTIMALITY_TOLERANCE:
            self._refine(search, integers, most)

    def _refine(self, search: Search, integers: IntegerWeights, most: float) -> None:
        """Close what the rounding to integers leaves open, by one more run.

        The first run proved that no set is worth more than most/2 in the integers.
        Only sets worth at least floor/2 there can still beat the incumbent; of those,
        find the one that lost most in the rounding.
        """
        canonical, scale = search.canonical, integers.scale
        floor = math.floor(2 * (search.best_value - integers.error) * scale) - 1
        lost = IntegerWeights.of(
            integers.lost_weights, integers.lost_values, canonical.cardinalities
        )
        model = _Model(canonical, "glover", search.stop)
        if not (model.require(integers, floor) and model.build(lost)):
            return

        def to_canonical(twice: float) -> float:
            inside = most / (2 * scale) + _to_canonical(lost)(twice)
            return max(inside, floor / (2 * scale) + integers.error)

        self._run(search, model, to_canonical)

    def _run(
        self, search: Search, model: _Model, to_canonical: Callable[[float], float]
    ) -> float | None:
        """Run CP-SAT and pass on what it finds; return the maximum once proved."""
        from ortools.sat.python import cp_model

        if search.best_items is not None:
            model.hint(search.best_items)
        solver = cp_model.CpSolver()
        parameters = solver.parameters
        parameters.num_workers = self.workers or os.cpu_count() or 1
        parameters.interleave_search = self.deterministic
        parameters.random_seed = search.seed % 2**31
        parameters.catch_sigint_signal = False  # Ctrl-C is the caller's
        if search.limits.time is not None:
            parameters.max_time_in_seconds = search.remaining()
        conflicts = search.remaining_iterations()
        if conflicts is not None:
            parameters.max_number_of_conflicts = conflicts

        def work(post: Callable[[Any], None]) -> None:
            class Listener(cp_model.CpSolverSolutionCallback):  # type: ignore[misc]
                def on_solution_callback(self) -> None:
                    chosen = [i for i, x in enumerate(model.x) if self.boolean_value(x)]
                    post((chosen, self.best_objective_bound, self.num_conflicts))

            solver.best_bound_callback = lambda bound: post((None, bound, None))
            solver.solve(model.proto, Listener())

        def handle(event: tuple[list[int] | None, float, int | None]) -> bool:
            chosen, bound, done = event
            if chosen is not None:
                search.offer_items(chosen, done)
            search.tighten_canonical(to_canonical(bound), done)
            return search.stop()

        run_beside(work, handle=handle, idle=search.stop, cancel=solver.stop_search)
        if search.limit is not None:
            return None
        outcome = solver.response_proto.status
        if outcome == cp_model.INFEASIBLE:
            _raise_infeasible(search)
        if outcome == cp_model.MODEL_INVALID:
            raise SolverError(
                f"solver 'cpsat' must build valid models, got "
                f"{model.proto.validate()!r}. Please report this problem."
            )
        if outcome in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            last = [i for i, x in enumerate(model.x) if solver.boolean_value(x)]
            handle((last, solver.best_objective_bound, solver.num_conflicts))
        if outcome == cp_model.OPTIMAL:
            return float(solver.best_objective_bound)
        # It stopped by itself a moment before our own clock or count did.
        search.stopped_by("iterations" if search.limits.time is None else "time")
        return None


def write_cp_model(
    problem: PruningProblem, path: Path, formulation: Formulation
) -> None:
    """Write the CP-SAT model of a problem: text if `path` ends in "txt", else binary.

    Its coefficients are the integers that `CpSat` works on; the objective's
    `scaling_factor` and `offset` turn their sum into the user's own objective, in the
    user's sense, off by the rounding alone.
    """
    canonical = problem.canonical
    integers = IntegerWeights.of(
        masked_weights(canonical), canonical.values, canonical.cardinalities
    )
    model = _Model(canonical, formulation, lambda: False)
    model.build(integers)
    objective = model.proto.proto.objective
    # It reads scaling_factor · (offset + Σ), Σ being minus twice the integers' value.
    twice = 2 * integers.scale
    objective.scaling_factor = -canonical.sign / twice
    objective.offset = objective.offset - canonical.offset * twice
    if not model.proto.export_to_file(str(path)):
        raise OSError(f"CP-SAT could not write {path}.")


def _to_canonical(integers: IntegerWeights) -> Callable[[float], float]:
    """Return the map from bounds on twice the integers' value to canonical bounds."""
    return lambda twice: twice / (2 * integers.scale) + integers.error


def _raise_infeasible(search: Search) -> NoReturn:
    if search.best is not None:
        raise SolverError(
            "solver 'cpsat' must not contradict itself, got INFEASIBLE from CP-SAT "
            "where a feasible set is known. Please report this problem."
        )
    raise InfeasibleError(
        "`constraints` must leave a feasible set; CP-SAT proved that no clique of "
        f"allowed size meets {search.problem.constraints!r}. Loosen them."
    )


def _terms(canonical: CanonicalProblem, formulation: Formulation) -> int:
    """Count the coefficients that a formulation has, to the leading orders."""
    m = canonical.m
    conflicts = 0 if canonical.conflicts is None else int(canonical.conflicts.sum())
    if formulation == "glover":
        return m * (m + 6) + conflicts
    pairs = m * (m - 1) // 2
    rows = pairs * 6 + conflicts + m
    return rows + 8 * pairs if formulation == "rlt" else rows


class _Model:
    """A CP-SAT model of a canonical problem, on integers.

    Its building methods return False once told to stop.
    """

    def __init__(
        self,
        canonical: CanonicalProblem,
        formulation: Formulation,
        stop: Callable[[], bool],
    ) -> None:
        from ortools.sat.python import cp_model

        self.canonical = canonical
        self.formulation = formulation
        self.stop = stop
        self.proto = cp_model.CpModel()
        self._sum = cp_model.LinearExpr.sum
        self._dot = cp_model.LinearExpr.weighted_sum
        # What the auxiliary variables stand for: x_i Σ_j w_ij x_j, and x_i x_j.
        self._sums: list[tuple[Any, int, NDArray[np.int64]]] = []
        self._pairs: list[tuple[Any, int, int]] = []
        x = self.x = [self.proto.new_bool_var(f"x{i}") for i in range(canonical.m)]
        self.proto.add_linear_expression_in_domain(
            self._dot(x, canonical.sizes.tolist()),
            cp_model.Domain.from_values(list(canonical.counts)),
        )
        if canonical.conflicts is not None:
            for i, j in np.argwhere(np.triu(canonical.conflicts)).tolist():
                self.proto.add_at_most_one((x[i], x[j]))

    def build(self, integers: IntegerWeights) -> bool:
        """Maximise twice the value of the set in the integers."""
        value = self._twice(integers)
        if value is None:
            return False
        self.proto.maximize(value)
        return not self.stop()

    def require(self, integers: IntegerWeights, floor: int) -> bool:
        """Require twice the value in the integers to be at least `floor`."""
        value = self._twice(integers)
        if value is None:
            return False
        self.proto.add(value >= floor)
        return True

    def _twice(self, integers: IntegerWeights) -> Any | None:
        """Return an expression that can be as large as twice the value, not larger."""
        own = self._dot(self.x, (2 * integers.values).tolist())
        if self.formulation == "glover":
            pairs = self._glover(integers.weights)
        else:
            pairs = self._products(integers.weights)
        return None if pairs is None else pairs + own

    def _glover(self, weights: NDArray[np.int64]) -> Any | None:
        proto, x = self.proto, self.x
        meets = PartnerBounds.of(weights, self.canonical.cardinalities)
        parts = []
        for i in range(self.canonical.m):
            if self.stop():
                return None
            most, least = int(meets.most_in[i]), int(meets.least_in[i])
            outside = int(meets.least_out[i])
            z = proto.new_int_var(min(least, 0), max(most, 0), f"z{i}")
            partners = self._dot(x, weights[i].tolist())  # w_ii = 0
            proto.add(z <= most * x[i])
            proto.add(z <= partners - outside + outside * x[i])
            parts.append(z)
            self._sums.append((z, i, weights[i]))
        return self._sum(parts)

    def _products(self, weights: NDArray[np.int64]) -> Any | None:
        proto, x, m = self.proto, self.x, self.canonical.m
        every = self.formulation == "rlt"  # its rows need y_ij = x_i x_j exactly
        products: dict[tuple[int, int], Any] = {}
        for i in range(m):
            if self.stop():
                return None
            for j in range(i + 1, m):
                if weights[i, j] == 0 and not every:
                    continue
                y = products[i, j] = proto.new_bool_var(f"y{i},{j}")
                self._pairs.append((y, i, j))
                if weights[i, j] > 0 or every:
                    proto.add_implication(y, x[i])
                    proto.add_implication(y, x[j])
                if weights[i, j] < 0 or every:
                    proto.add_bool_or(y, ~x[i], ~x[j])
        for i in range(m if every else 0):
            if self.stop():
                return None
            self._multiply_size_row(i, products)
        return self._dot(
            list(products.values()), [2 * int(weights[pair]) for pair in products]
        )

    def _multiply_size_row(self, i: int, products: dict[tuple[int, int], Any]) -> None:
        """Add the products of low <= Σ_j s_j x_j <= high with x_i and with 1 − x_i."""
        proto, x, sizes = self.proto, self.x, self.canonical.sizes.tolist()
        low, high = self.canonical.counts[0], self.canonical.counts[-1]
        others = [j for j in range(self.canonical.m) if j != i]
        size = [sizes[j] for j in others]
        both = self._dot([products[min(i, j), max(i, j)] for j in others], size)
        total = self._dot([x[j] for j in others], size)
        proto.add(both >= (low - sizes[i]) * x[i])
        proto.add(both <= (high - sizes[i]) * x[i])
        if low < high:  # where they are equal, the rows above imply those below
            proto.add(total - both >= low - low * x[i])
            proto.add(total - both <= high - high * x[i])

    def hint(self, items: NDArray[np.int64]) -> None:
        """Give CP-SAT a full solution to start from."""
        inside = np.zeros(self.canonical.m, dtype=bool)
        inside[items] = True
        for x, chosen in zip(self.x, inside.tolist(), strict=True):
            self.proto.add_hint(x, chosen)
        for z, i, row in self._sums:
            self.proto.add_hint(z, int(row[inside].sum()) if inside[i] else 0)
        for y, i, j in self._pairs:
            self.proto.add_hint(y, bool(inside[i] and inside[j]))
