"""Split the budgets of a network's problem over its layers, then solve each layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sirfp_opt._parallel import (
    Clock,
    Stages,
    check_jobs,
    check_progress,
    progress_stages,
)
from sirfp_opt.api import prepare
from sirfp_opt.errors import InvalidProblemError, SolverError
from sirfp_opt.network.allocation import Allocation, create_allocator, name_of
from sirfp_opt.network.curves import ValueCurves
from sirfp_opt.network.problem import NetworkProblem
from sirfp_opt.network.solution import NetworkSolution
from sirfp_opt.objective import Objective

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sirfp_opt.limits import Limits
    from sirfp_opt.network.allocation import Allocator
    from sirfp_opt.protocols import Solver

__all__ = ["solve_network", "split_by"]


def solve_network(
    problem: NetworkProblem,
    method: str | Solver = "auto",
    *,
    allocation: str | Allocator = "optimal",
    certify: bool | str = False,
    curves: ValueCurves | None = None,
    n_jobs: int = 1,
    time_limit: float | None = None,
    limits: Limits | None = None,
    seed: int = 0,
    progress: bool | Stages | None = None,
    **options: Any,
) -> NetworkSolution:
    """Split the budgets over the layers, then solve each layer at its count.

    Parameters
    ----------
    problem : NetworkProblem
    method : str or Solver
        What solves the layers: a name from `available_solvers()`, or an object. The
        set of the value curve is its warm start, so it is never worse than that; the
        greedy at its defaults has found that very set, and is not run again.
    allocation : {"optimal", "lagrangian", "threshold", "uniform"} or Allocator
        What splits the budgets; pass an object for its parameters, for instance
        ``Optimal(time_limit=60)``. The objective is that of `problem.worth`: an
        allocation with another worth of its own ("balanced") is refused.
    certify : bool or str
        Give each layer's set a proven bound, by a level of `sirfp_opt.bound`; True is
        the tightest, which takes seconds for each layer of a thousand channels.
    curves : ValueCurves, optional
        Curves to split on instead of the problem's greedy ones, for instance refined.
    n_jobs : int
        Threads of joblib for curves and layers; -1 for all cores.
    time_limit : float, optional
        Seconds for each layer's solver.
    limits : Limits, optional
        Other limits of each layer's solver.
    seed : int
        Of the solvers.
    progress : bool or callable, optional
        True for a bar for each stage, or ``callback(stage, done, total)``; by default
        bars on a terminal, and log messages elsewhere. False: neither.
    **options
        Parameters of the method.

    Returns
    -------
    NetworkSolution
        Counts, sets, objective, bound and gap, asked and reached costs.

    Raises
    ------
    InfeasibleError
        If it is proved that a budget cannot be reached: before any work, with the least
        reachable value and the layers that block.
    NoSolutionError
        If no plan within the budgets is found, and more is not proved.
    SolverError
        If a foreign allocation passes a budget or breaks a constraint.
    """
    if not isinstance(problem, NetworkProblem):
        raise InvalidProblemError(
            f"`problem` must be a NetworkProblem, got {type(problem).__name__}. "
            "Make one of graphs, a cost model and a budget."
        )
    allocator = create_allocator(allocation)
    if not isinstance(curves, (ValueCurves, type(None))) or (
        curves is not None and set(curves) != set(problem.layers)
    ):
        raise InvalidProblemError(
            f"`curves` must be ValueCurves of the problem's layers, got "
            f"{type(curves).__name__}. Leave them out for the problem's own."
        )
    check_jobs(n_jobs)
    check_progress(progress)
    for objective in {
        getattr(layer, "objective", Objective.CLIQUE)
        for layer in problem.layers.values()
    }:
        prepare(
            method,
            options,
            time_limit=time_limit,
            limits=limits,
            seed=seed,
            certify=certify,
            objective=objective,
        )
    problem.check_reachable()
    with progress_stages(progress) as tell:
        clock = Clock(tell)
        known = problem.curves if curves is None else curves
        with clock.stage("curves", len(known)) as tick:
            known.build(n_jobs=n_jobs, tick=tick)
        with clock.stage("split"):
            made = split_by(problem, allocator, known)
        delivered = _delivered(known, made)
        open_ = {
            name: [made.counts[name]]
            for name, layer in problem.layers.items()
            if made.counts[name] < layer.n and name not in (made.kept or {})
        }
        with clock.stage("sets", len(open_)) as tick:
            refined, solutions = delivered.refine(
                open_,
                method,
                n_jobs=n_jobs,
                tick=tick,
                time_limit=time_limit,
                limits=limits,
                seed=seed,
                certify=certify,
                **options,
            )
    return NetworkSolution(
        problem=problem,
        made=made,
        curves=refined,
        split_curves=known,
        price=problem.worth.price_of(known, problem.factors),
        solutions={name: solution for (name, _), solution in solutions.items()},
        allocation=name_of(allocation),
        method=name_of(method),
        seconds=clock.seconds,
    )


def split_by(
    problem: NetworkProblem,
    allocation: str | Allocator,
    curves: ValueCurves | None = None,
    starts: Sequence[Mapping[str, int]] = (),
) -> Allocation:
    """Split the budgets of a problem over its layers, without solving them.

    Parameters
    ----------
    problem : NetworkProblem
    allocation : str or Allocator
    curves : ValueCurves, optional
    starts : sequence of mapping of str to int
        Splits that an optimising allocation is not to be worse than.

    Returns
    -------
    Allocation
        Checked: it is within the budgets, and its counts are on the curves.

    Raises
    ------
    InfeasibleError
        If it is proved that no split keeps the budgets.
    NoSolutionError
        If the allocation finds none.
    SolverError
        If what it finds breaks a budget or a constraint: then it is wrong.
    """
    allocator = create_allocator(allocation)
    curves = problem.curves if curves is None else curves
    problem.check_reachable(curves)
    if all(curves[name].counts.size == 1 for name in problem.layers):
        # There is nothing to split, and no other split.
        least = {name: int(curves[name].counts[0]) for name in problem.layers}
        losses = problem.worth.losses(curves, problem.factors).by_layer.values()
        made = Allocation(least, bound=math.fsum(float(loss[0]) for loss in losses))
    else:
        made = allocator.allocate(problem, curves, starts)
    _check(problem, made, name_of(allocation), curves)
    return made


def _check(
    problem: NetworkProblem, made: Allocation, name: str, curves: ValueCurves
) -> None:
    """Refuse what a foreign allocation may have got wrong."""
    for unit in problem.layers:
        count = made.counts.get(unit)
        if count not in curves[unit].counts:
            raise SolverError(
                f"allocation {name!r} must keep numbers of channels that are allowed, "
                f"got {count} of {unit!r}, where {curves[unit].counts.tolist()[:8]} "
                "... are. Report this to its author."
            )
    if not problem.keeps_budget({unit: made.counts[unit] for unit in problem.layers}):
        raise SolverError(
            f"allocation {name!r} must keep the budgets {problem.limits}, got "
            f"{problem.cost.predict(made.counts)}. Take 'optimal', and report this to "
            "its author."
        )
    for unit, kept in (made.kept or {}).items():
        try:
            curves[unit].layer(made.counts[unit]).check(kept)
        except InvalidProblemError as error:
            raise SolverError(
                f"allocation {name!r} must keep sets that are allowed, got one of "
                f"{unit!r} that is not: {error} Let it choose the numbers only."
            ) from error


def _delivered(curves: ValueCurves, made: Allocation) -> ValueCurves:
    """Put the sets that an allocation has chosen on the curves, better or not."""
    if not made.kept:
        return curves
    return curves.delivering(made.kept)
