"""The conformance suite: what every solver, ours or a stranger's, must pass.

>>> from sirfp_opt.testing import check_solver
>>> check_solver("greedy")  # raises SolverError with all that is wrong
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sirfp_opt.api import solve
from sirfp_opt.errors import (
    InfeasibleError,
    NoSolutionError,
    SirfpError,
    SolverError,
    UnsupportedError,
)
from sirfp_opt.golden_cases import (
    GoldenCase,
    enumerate_optimum,
    golden_cases,
    infeasible_cases,
    refit_cases,
)
from sirfp_opt.limits import Limits
from sirfp_opt.problem import PruningProblem
from sirfp_opt.registry import create_solver
from sirfp_opt.solution import Solution, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sirfp_opt.protocols import Solver

__all__ = [
    "GoldenCase",
    "check_solver",
    "enumerate_optimum",
    "golden_cases",
    "refit_cases",
]


def _audit(case: GoldenCase, solution: Solution, exact: bool) -> Iterator[str]:
    """Yield what is wrong with a solution, from the case's own numbers alone."""
    problem, optimum = case.problem, case.optimum
    if optimum is None:
        yield f"found {solution.selected.tolist()} where nothing is feasible"
        return
    problem.check(solution.selected)
    magnitude = 1.0  # of a refit problem, whose objective is a share
    if isinstance(problem, PruningProblem):
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
    supported = (
        case.problem.features <= solver.info.supports
        and case.problem.objective in solver.info.objectives
    )
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
        yield (
            f"solved a problem of the {case.problem.objective} objective with "
            f"{sorted(case.problem.features)}, of which some is unsupported"
        )
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

    Small problems (every objective, kind of weights and constraints, both senses) whose
    optima were enumerated; what the solver does not declare must be refused; exact
    solvers must prove each optimum; bounds must hold; warm starts must never be lost;
    equal seeds must give equal sets.

    Parameters
    ----------
    method : str or Solver
        As for `solve`.
    seed : int
        Of the problems.
    time_limit : float, optional
        Seconds for each of some 230 runs. By default none: methods that end by
        themselves are not kept waiting (a metaheuristic uses all the time it is given).

    Raises
    ------
    SolverError
        With every breach, one a line.
    """
    name, solver = create_solver(method)
    breaches = []
    cases = [*golden_cases(seed=seed), *refit_cases(seed=seed), *infeasible_cases()]
    for case in cases:
        for breach in _run(case, method, time_limit=time_limit, seed=seed):
            breaches.append(f"{case.name}: {breach}")
    for objective in sorted(solver.info.objectives):
        plain = next(
            c
            for c in cases
            if c.problem.objective is objective and not c.problem.features
        )
        for breach in _behaviour(plain, method, time_limit):
            breaches.append(f"{plain.name}, behaviour: {breach}")
    if breaches:
        raise SolverError(
            f"solver {name!r} must pass the conformance suite, got {len(breaches)} "
            "breaches:\n" + "\n".join(breaches)
        )
