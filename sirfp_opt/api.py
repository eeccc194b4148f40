"""The front door: validate, look up, run, verify. Nothing else happens here."""

from __future__ import annotations

import dataclasses
import time
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from sirfp_opt._signals import Interrupted, interruptible, part_of_one
from sirfp_opt._validate import as_int, brief
from sirfp_opt.bounds import DEFAULTS, LEVELS, check_effort, strengthen
from sirfp_opt.errors import (
    InfeasibleError,
    InvalidProblemError,
    NoSolutionError,
    SolverError,
    UnsupportedError,
)
from sirfp_opt.limits import Limits
from sirfp_opt.objective import Objective
from sirfp_opt.problem import as_problem
from sirfp_opt.registry import create_solver
from sirfp_opt.search import Callback, Search
from sirfp_opt.solution import Solution

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sirfp_opt.constraints import LayerConstraints
    from sirfp_opt.protocols import Solver
    from sirfp_opt.sense import Sense
    from sirfp_opt.set_problem import SetProblem

__all__ = ["Prepared", "prepare", "solve"]


def solve(
    graph: Any,
    k: int | float | tuple[int, int] | None = None,
    method: str | Solver = "auto",
    *,
    sense: Sense | str | None = None,
    constraints: LayerConstraints | None = None,
    time_limit: float | None = None,
    limits: Limits | None = None,
    seed: int = 0,
    warm_start: Iterable[int] | Solution | None = None,
    callback: Callback | None = None,
    certify: bool | str = False,
    **options: Any,
) -> Solution:
    """Keep k channels of least redundancy, or of most diversity.

    Parameters
    ----------
    graph : ChannelGraph, PruningProblem, ReconstructionProblem, path or foreign
        The layer, or a file that `sirfp_opt.io.read` reads. A bare matrix (its diagonal
        is no part of the objective), a DataFrame and a networkx.Graph (missing edge =
        the two may not both be kept) are maximised unless `sense` says otherwise.
    k : int, float or (int, int), optional
        How many channels to keep: a number, a share of them in (0, 1], or (k_min,
        k_max). May be left out if `constraints`, the problem or the file says it.
    method : str or Solver
        A name from `available_solvers()`, or a solver object.
    sense : {"minimize", "maximize"}, optional
        For bare inputs; a ChannelGraph has its own.
    constraints : LayerConstraints, optional
        must_keep, must_drop, tied groups, multiple_of, ranges.
    time_limit : float, optional
        Wall-clock seconds, model building included; short for Limits(time=...).
    limits : Limits, optional
        Any other limit; one that the method cannot honour raises.
    seed : int
        Same seed, same answer (with one worker and no time limit, bit for bit).
    warm_start : iterable of int or Solution, optional
        A feasible set of channels. The answer is never worse.
    callback : callable, optional
        Called with a `Progress` at each improvement, and about ten times a second in
        between; return True to stop.
    certify : bool or str
        Prove a bound for the answer of a heuristic, so that it has a gap. A level's
        name sets the effort, see `sirfp_opt.bound`; True is its default. With a time
        limit the method gets half of it, the bound what is left. Exact methods bring
        bounds of their own; only the combinatorial one is added to theirs.
    **options
        Parameters of the method.

    Returns
    -------
    Solution
        Always feasible, checked and priced by the core in float64.

    Raises
    ------
    InvalidProblemError
        If an argument breaks a rule; nothing has been run then.
    UnknownSolverError, SolverNotInstalledError
        If the method is not known or cannot run here.
    UnsupportedError
        If the method cannot honour a constraint, a limit or an option.
    InfeasibleError
        If it is proved that no set meets the constraints.
    NoSolutionError
        If a limit came before any feasible set.

    Notes
    -----
    Ctrl-C and SIGTERM hand back the best set so far, with ``limit="interrupt"``,
    where `solve` runs in the main thread and the signals have their usual handlers,
    which are put back before it returns. Without a set they do what they always do.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import solve
    >>> diversity = np.array([[0, 3, 1], [3, 0, 2], [1, 2, 0]])
    >>> solve(diversity, 2, method="brute_force").selected.tolist()
    [0, 1]
    """
    started = time.perf_counter()
    problem = as_problem(graph, k, sense=sense, constraints=constraints)
    name, solver, limits, seed, effort = prepare(
        method,
        options,
        time_limit=time_limit,
        limits=limits,
        seed=seed,
        certify=certify,
        objective=problem.objective,
    )
    if callback is not None and not callable(callback):
        raise InvalidProblemError(
            f"`callback` must be callable, got {brief(callback)}. "
            "Pass a function of one Progress."
        )
    _check_support(name, solver, problem)
    search = Search(
        problem,
        limits=limits
        if effort is None or effort == LEVELS[problem.objective][0]
        else _halved(limits),
        seed=seed,
        warm_start=warm_start,
        callback=callback,
        started=started,
        solver=name,
    )
    try:
        with interruptible(lambda: search.stopped_by("interrupt")):
            if not _settled(search):
                _run(solver, search)
            if effort is not None and search.limit not in ("callback", "interrupt"):
                rest = dataclasses.replace(Limits(), time=limits.time)
                clock = search.beside(rest)
                strengthen(search, effort, clock.stop)
    except KeyboardInterrupt as request:
        if search.best is None or part_of_one():
            if isinstance(request, Interrupted):
                request.redeliver()
            raise
        search.stopped_by("interrupt")
    return _solution(search, solver)


_NO_LIMITS = Limits()


class Prepared(NamedTuple):
    """How to solve, checked: what can be known before there is a problem."""

    name: str
    solver: Solver
    limits: Limits
    seed: int
    effort: str | None


def prepare(
    method: str | Solver,
    options: Mapping[str, Any] | None = None,
    *,
    time_limit: float | None = None,
    limits: Limits | None = None,
    seed: int = 0,
    certify: bool | str = False,
    objective: Objective = Objective.CLIQUE,
) -> Prepared:
    """Check all of `solve` that needs no problem, for those who get to it later.

    Parameters
    ----------
    method, options, time_limit, limits, seed, certify
        As for `solve`.
    objective : Objective
        Of the problems to come.

    Raises
    ------
    InvalidProblemError, UnknownSolverError, SolverNotInstalledError, UnsupportedError
        As `solve` does.
    """
    name, solver = create_solver(method, options)
    info = solver.info
    if objective not in info.objectives:
        raise UnsupportedError(
            f"`method` must take the {objective} objective, got {name!r}, "
            f"which takes {', '.join(sorted(info.objectives))}. "
            "See available_solvers()."
        )
    merged = _merge_limits(limits, time_limit)
    if merged is not _NO_LIMITS and (
        barred := [limit for limit in merged.given if limit not in info.limits]
    ):
        raise UnsupportedError(
            f"`limits` must be among {sorted(info.limits)} for {name!r}, got "
            f"{', '.join(barred)}. Drop it or take another method."
        )
    effort = _effort(certify, objective, exact=info.exact)
    return Prepared(name, solver, merged, as_int(seed, "seed", least=0), effort)


def _run(solver: Solver, search: Search) -> None:
    """Let the solver work; whoever holds a set cannot have proved that none is."""
    try:
        solver.solve(search)
        search.catch_up()
    except InfeasibleError as error:
        if search.best is None:
            raise
        raise SolverError(
            f"solver {search.solver!r} must not contradict itself, got 'infeasible' "
            f"where the set {search.best.tolist()[:8]} is known: {error} Report this "
            "to the solver's author."
        ) from error


def _settled(search: Search) -> bool:
    """Answer at once where there is nothing to choose, so solvers need not care."""
    canonical = search.form
    numbers = canonical.cardinalities
    if numbers == (0,):
        search.offer_items([])
    elif numbers == (canonical.m,) and canonical.conflicts is None:
        search.offer_items(range(canonical.m))
    else:
        # Without a set in hand a method is let begin, however late it is: the first
        # thing that all of ours do is to offer one.
        # Only a limit of 0 says that nothing is to run.
        late = search.best is None and search.limits.time != 0.0
        return not late and search.stop()
    if search.objective is not None:
        search.tighten(search.objective)
    return True


def _effort(certify: bool | str, objective: Objective, *, exact: bool) -> str | None:
    """Return the last level of bounds to try, None for none."""
    if certify is False:
        return None
    levels = LEVELS[objective]
    effort = DEFAULTS[objective] if certify is True else certify
    check_effort(effort, objective, "certify")
    return levels[0] if exact else effort


def _halved(limits: Limits) -> Limits:
    if limits.time is None:
        return limits
    return dataclasses.replace(limits, time=limits.time / 2)


def _merge_limits(limits: Limits | None, time_limit: float | None) -> Limits:
    if limits is None:
        return _NO_LIMITS if time_limit is None else Limits(time=time_limit)
    if not isinstance(limits, Limits):
        raise InvalidProblemError(
            f"`limits` must be a Limits, got {type(limits).__name__}. "
            "Pass Limits(time=..., iterations=...)."
        )
    if time_limit is None:
        return limits
    if limits.time is not None:
        raise InvalidProblemError(
            f"`time_limit` must be left out beside limits.time={limits.time}, got "
            f"{time_limit}. State it once."
        )
    return dataclasses.replace(limits, time=time_limit)


def _check_support(name: str, solver: Solver, problem: SetProblem) -> None:
    """Refuse, before any work, constraints that the solver cannot honour."""
    info = solver.info
    features = problem.features
    if not features <= info.supports:
        lacking = sorted(features - info.supports)
        raise UnsupportedError(
            f"`method` must support {', '.join(lacking)}, got {name!r}, which supports "
            f"{', '.join(sorted(info.supports)) or 'none of the features'}. "
            "See available_solvers()."
        )


def _solution(search: Search, solver: Solver) -> Solution:
    problem = search.problem
    if search.best is None or search.objective is None:
        why = f"its {search.limit} limit" if search.limit else "the end of its search"
        raise NoSolutionError(
            f"`method` {search.solver!r} must find a feasible set, got none before "
            f"{why}. Raise the limit, pass a warm_start, or take method='cpsat', which "
            "can prove that there is none."
        )
    return Solution(
        selected=search.best,
        objective=search.objective,
        bound=search.bound,
        sense=problem.sense,
        limit=search.limit,
        runtime=search.seconds,
        compile_seconds=search.compile_seconds,
        solver=search.solver,
        options=_options(solver),
        seed=search.seed,
        trace=search.trace(),
        n=problem.n,
        problem=problem,
        title=problem.title,
    )


def _options(solver: Any) -> dict[str, Any]:
    kind: Any = type(solver)
    return {name: getattr(solver, name) for name in _field_names(kind)}


@cache
def _field_names(cls: type[Any]) -> tuple[str, ...]:
    if not dataclasses.is_dataclass(cls):
        return ()
    return tuple(field.name for field in dataclasses.fields(cls))
