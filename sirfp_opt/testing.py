"""The conformance suite: what every solver, ours or a stranger's, must pass.

>>> from sirfp_opt.testing import check_solver
>>> check_solver("greedy")  # raises SolverError with all that is wrong
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from sirfp_opt.api import solve
from sirfp_opt.constraints import LayerConstraints
from sirfp_opt.errors import (
    InfeasibleError,
    NoSolutionError,
    SirfpError,
    SolverError,
    UnsupportedError,
)
from sirfp_opt.graph import ChannelGraph
from sirfp_opt.limits import Limits
from sirfp_opt.problem import PruningProblem
from sirfp_opt.registry import create_solver
from sirfp_opt.sense import Sense
from sirfp_opt.solution import Solution, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sirfp_opt._validate import FloatArray
    from sirfp_opt.protocols import Solver

__all__ = ["GoldenCase", "check_solver", "enumerate_optimum", "golden_cases"]


@dataclass(frozen=True)
class GoldenCase:
    """A small problem whose optimum was found by plain enumeration.

    Attributes
    ----------
    name : str
        What is special about it.
    problem : PruningProblem
    optimum : float or None
        None if no set is feasible.
    """

    name: str
    problem: PruningProblem
    optimum: float | None


def enumerate_optimum(problem: PruningProblem) -> float | None:
    """Return the best objective by plain enumeration, None if nothing is feasible.

    Shares no line with the solvers or with the canonical form: loops over all sets
    and reads the graph and the constraints as the user wrote them.

    Parameters
    ----------
    problem : PruningProblem
        Of at most 16 or so channels.

    Returns
    -------
    float or None
    """
    graph, rules = problem.graph, problem.constraints
    sign = problem.sense.sign
    best: float | None = None
    for size in rules.counts(graph.n):
        for chosen in combinations(range(graph.n), size):
            inside = set(chosen)
            if not inside.issuperset(rules.must_keep):
                continue
            if inside.intersection(rules.must_drop):
                continue
            if any(0 < len(inside.intersection(g)) < len(g) for g in rules.tied):
                continue
            pairs = list(combinations(chosen, 2))
            if graph.adjacency is not None and not all(
                graph.adjacency[i, j] for i, j in pairs
            ):
                continue
            value = sum(float(graph.weights[i, j]) for i, j in pairs)
            value += sum(float(graph.vertex_weights[i]) for i in chosen)
            if best is None or sign * value > sign * best:
                best = value
    return best


def _weight_kinds(n: int, rng: np.random.Generator) -> dict[str, FloatArray]:
    """Return symmetric matrices that have tripped solvers before."""
    maps = rng.random((n, 40)) ** 3
    normal = rng.normal(size=(n, n))
    twins = rng.random((n, n))
    twins[n // 2 :] = twins[: n - n // 2]
    twins[:, n // 2 :] = twins[:, : n - n // 2]
    dead = maps.copy()
    dead[:2] = 0.0
    return {
        "gram of positive maps": maps @ maps.T,
        "mixed signs": normal + normal.T,
        "all negative": -(maps @ maps.T) - 0.1,
        "all zero": np.zeros((n, n)),
        "all equal": np.ones((n, n)),
        "integers": np.rint(5 * (normal + normal.T)),
        "duplicate channels": twins + twins.T,
        "dead channels": dead @ dead.T,
        "tiny as 1/HW": 1e-7 * (maps @ maps.T),
        "huge": 1e9 * (normal + normal.T),
        "one heavy edge": np.pad([[0.0, 1e4], [1e4, 0.0]], (0, n - 2)) + maps @ maps.T,
    }


def _constraint_kinds(n: int) -> dict[str, tuple[LayerConstraints, bool]]:
    """Return constraints by name, and whether the graph also lacks edges."""
    k = n // 2
    return {
        "k": (LayerConstraints(k), False),
        "k=1": (LayerConstraints(1), False),
        "k=n-1": (LayerConstraints(n - 1), False),
        "k=n": (LayerConstraints(n), False),
        "must_keep": (LayerConstraints(k, must_keep=[0, n - 1]), False),
        "must_drop": (LayerConstraints(k, must_drop=[1, 2]), False),
        "keep and drop": (LayerConstraints(k, must_keep=[3], must_drop=[0]), False),
        "tied pairs": (
            LayerConstraints(4, tied=[(i, i + 1) for i in range(0, n - 1, 2)]),
            False,
        ),
        "tied unequal": (LayerConstraints(k, tied=[(0, 1, 2), (4, 5)]), False),
        "k range": (LayerConstraints(k_min=2, k_max=n - 2), False),
        "multiple_of": (LayerConstraints(k_min=1, k_max=n, multiple_of=3), False),
        "missing edges": (LayerConstraints(3), True),
        "missing edges, range": (LayerConstraints(k_min=2, k_max=5), True),
        "everything": (
            LayerConstraints(
                k_min=3, k_max=6, must_keep=[2], must_drop=[6], tied=[(0, 1)]
            ),
            True,
        ),
    }


def golden_cases(n: int = 8, seed: int = 0) -> Iterator[GoldenCase]:
    """Yield small problems with their optima: weights x constraints x both senses.

    Parameters
    ----------
    n : int
        Channels, 8 to 12.
    seed : int

    Yields
    ------
    GoldenCase
    """
    rng = np.random.default_rng(seed)
    kinds = _weight_kinds(n, rng)
    vertex = rng.normal(size=n)
    missing = np.triu(rng.random((n, n)) < 0.25, 1)
    adjacency = ~(missing | missing.T)
    rules = _constraint_kinds(n)
    pairs = [(w, c) for w in kinds for c in ("k", "k range")]
    pairs += [(w, c) for w in ("mixed signs", "gram of positive maps") for c in rules]
    for weight_kind, rule_kind in dict.fromkeys(pairs):
        constraints, incomplete = rules[rule_kind]
        for sense in Sense:
            for with_vertices in (False, True):
                scale = float(np.abs(kinds[weight_kind]).max()) or 1.0
                graph = ChannelGraph(
                    weights=kinds[weight_kind],
                    sense=sense,
                    vertex_weights=vertex * scale if with_vertices else None,
                    adjacency=adjacency if incomplete else None,
                )
                problem = PruningProblem(graph, constraints)
                name = f"{sense.value} {weight_kind}, {rule_kind}"
                if with_vertices:
                    name += ", vertex weights"
                yield GoldenCase(name, problem, enumerate_optimum(problem))


def _infeasible_cases(n: int = 8) -> Iterator[GoldenCase]:
    """Yield problems that nothing solves: too few channels fit together."""
    pairs_only = np.zeros((n, n), dtype=bool)
    for i in range(0, n, 2):
        pairs_only[i : i + 2, i : i + 2] = True
    graph = ChannelGraph(weights=np.ones((n, n)), adjacency=pairs_only)
    yield GoldenCase("no clique of 3", PruningProblem(graph, LayerConstraints(3)), None)


def _audit(case: GoldenCase, solution: Solution, exact: bool) -> Iterator[str]:
    """Yield what is wrong with a solution, from the case's own numbers alone."""
    problem, optimum = case.problem, case.optimum
    if optimum is None:
        yield f"found {solution.selected.tolist()} where nothing is feasible"
        return
    problem.check(solution.selected)
    magnitude = float(np.abs(problem.graph.weights).sum())
    magnitude += float(np.abs(problem.graph.vertex_weights).sum())
    slack = 1e-9 * magnitude + 1e-300
    sign = problem.sense.sign
    if abs(solution.objective - problem.evaluate(solution.selected)) > slack:
        yield f"objective {solution.objective!r} is not that of the set"
    if sign * (solution.objective - optimum) > slack:
        yield f"objective {solution.objective!r} beats the optimum {optimum!r}"
    if solution.bound is not None and sign * (optimum - solution.bound) > slack:
        yield f"bound {solution.bound!r} cuts off the optimum {optimum!r}"
    proved = solution.status is Status.OPTIMAL
    # A proof is only as fine as the tolerance it is stated with.
    fine = slack + 1e-6 * abs(optimum)
    if (proved or exact) and abs(solution.objective - optimum) > fine:
        yield f"objective {solution.objective!r} is not the optimum {optimum!r}"
    if exact and not proved:
        yield f"no proof after {solution.runtime:.2f} s (gap {solution.gap})"


def _run(case: GoldenCase, method: Any, **arguments: Any) -> Iterator[str]:
    """Solve one case and yield what is wrong, contract breaches included."""
    _, solver = create_solver(method)
    supported = case.problem.features <= solver.info.supports
    try:
        solution = solve(case.problem, method=method, **arguments)
    except UnsupportedError as error:
        if supported:
            yield f"declares support, yet raised {error}"
        return
    except InfeasibleError as error:
        if case.optimum is not None:
            yield f"claims infeasibility: {error}"
        return
    except NoSolutionError:
        if case.optimum is not None:
            yield "found nothing though a feasible set exists"
        return
    except SirfpError as error:
        yield f"raised {type(error).__name__}: {error}"
        return
    if not supported:
        yield f"solved a problem with {sorted(case.problem.features)} unsupported"
    yield from _audit(case, solution, solver.info.exact)


def _behaviour(
    case: GoldenCase, method: Any, time_limit: float | None
) -> Iterator[str]:
    """Yield breaches of what holds around an answer: warm starts, seeds, callbacks."""
    _, solver = create_solver(method)
    first = solve(case.problem, method=method, time_limit=time_limit, seed=7)
    again = solve(case.problem, method=method, time_limit=time_limit, seed=7)
    if first.selected.tolist() != again.selected.tolist():
        yield "two runs with one seed gave different sets"
    best = solve(case.problem, method="brute_force")
    warm = solve(
        case.problem,
        method=method,
        warm_start=best.selected,
        time_limit=time_limit,
    )
    if abs(warm.objective - best.objective) > 1e-9 * max(1.0, abs(best.objective)):
        yield f"lost a warm start of {best.objective!r}: {warm.objective!r}"
    seen: list[float | None] = []
    told = solve(
        case.problem,
        method=method,
        callback=lambda p: seen.append(p.objective),
        time_limit=time_limit,
    )
    if told.objective not in seen:
        yield "the callback was not told of the final incumbent"
    if "iterations" in solver.info.limits:
        short = Limits(iterations=1, time=time_limit)
        limited = solve(
            case.problem, method=method, limits=short, warm_start=best.selected
        )
        if limited.objective != warm.objective:
            yield "an iteration limit of 1 lost the warm start"


def check_solver(
    method: str | Solver, *, seed: int = 0, time_limit: float | None = None
) -> None:
    """Run the conformance suite on a solver; return quietly if it passes.

    Small problems (every kind of weights and constraints, both senses) whose optima
    were enumerated; features the solver does not declare must be refused; exact
    solvers must prove each optimum; bounds must hold; warm starts must never be lost;
    equal seeds must give equal sets.

    Parameters
    ----------
    method : str or Solver
        As for `solve`.
    seed : int
        Of the problems.
    time_limit : float, optional
        Seconds for each of some 190 runs. By default none: methods that end by
        themselves are not kept waiting (a metaheuristic uses all the time it is given).

    Raises
    ------
    SolverError
        With every breach, one a line.
    """
    name, _ = create_solver(method)
    breaches = []
    cases = [*golden_cases(seed=seed), *_infeasible_cases()]
    for case in cases:
        for breach in _run(case, method, time_limit=time_limit, seed=seed):
            breaches.append(f"{case.name}: {breach}")
    plain = next(c for c in cases if not c.problem.features)
    for breach in _behaviour(plain, method, time_limit):
        breaches.append(f"{plain.name}, behaviour: {breach}")
    if breaches:
        raise SolverError(
            f"solver {name!r} must pass the conformance suite, got {len(breaches)} "
            "breaches:\n" + "\n".join(breaches)
        )
