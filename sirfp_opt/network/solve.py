"""Split the budgets of a network's problem over its layers, then solve each layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sirfp_opt._parallel import Clock, Stages, progress_stages
from sirfp_opt.errors import InfeasibleError, InvalidProblemError
from sirfp_opt.network.allocation import Uniform, Worth, create_allocator
from sirfp_opt.network.solution import NetworkSolution
from sirfp_opt.network.splitting.problem import Split

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sirfp_opt._validate import IntArray
    from sirfp_opt.limits import Limits
    from sirfp_opt.network.allocation import Allocator
    from sirfp_opt.network.curves import ValueCurves
    from sirfp_opt.network.problem import NetworkProblem
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
    progress: bool | Stages = False,
    **options: Any,
) -> NetworkSolution:
    """Split the budgets over the layers, then solve each layer at its count.

    Parameters
    ----------
    problem : NetworkProblem
    method : str or Solver
        What solves the layers: a name from `available_solvers()`, or an object. The
        set of the value curve is its warm start, so it is never worse than that.
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
    progress : bool or callable
        True for progress bars, or ``callback(stage, done, total)``.
    **options
        Parameters of the method.

    Returns
    -------
    NetworkSolution
        Counts, sets, objective, bound and gap, asked and reached costs.

    Raises
    ------
    InfeasibleError
        If a budget cannot be reached: before any work, with the least reachable value
        and the layers that block.
    """
    problem.check_reachable()
    with progress_stages(progress) as tell:
        clock = Clock(tell)
        known = problem.curves if curves is None else curves
        with clock.stage("curves", len(known)) as tick:
            known.build(n_jobs=n_jobs, tick=tick)
        with clock.stage("split"):
            split = split_by(problem, allocation, known)
        counts = dict(zip(problem.cost.units, split.k.tolist(), strict=True))
        open_ = {
            name: [counts[name]]
            for name, graph in problem.layers.items()
            if counts[name] < graph.n
        }
        with clock.stage("sets", len(open_)) as tick:
            refined, solutions = known.refine(
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
        counts=counts,
        curves=refined,
        price=problem.worth.price_of(known, problem.factors),
        split=split,
        solutions={name: solution for (name, _), solution in solutions.items()},
        allocation=_name(allocation),
        method=_name(method),
        seconds=clock.seconds,
    )


def split_by(
    problem: NetworkProblem,
    allocation: str | Allocator,
    curves: ValueCurves | None = None,
    starts: Iterable[IntArray] = (),
) -> Split:
    """Split the budgets of a problem over its layers, without solving them.

    Parameters
    ----------
    problem : NetworkProblem
    allocation : str or Allocator
    curves : ValueCurves, optional
    starts : iterable of ndarray of int64
        Splits that an optimising allocation is not to be worse than.

    Returns
    -------
    Split
        With an infinitely loose bound where the allocation gives none.
    """
    allocator = create_allocator(allocation)
    own = getattr(allocator, "worth", problem.worth)
    if own not in (Worth(), problem.worth):
        raise InvalidProblemError(
            f"`allocation` must have no worth of its own here, got {own}. Put it into "
            "the problem: NetworkProblem(..., worth=Worth('balanced'))."
        )
    numbers = problem.split_problem(curves)
    layers, budget = problem.as_layers, problem.fractions
    if hasattr(allocator, "split"):
        uniform = Uniform().allocate(layers, problem.cost, budget).counts
        first = problem.cost.as_counts(uniform)
        found: Split = allocator.split(numbers, [first, *starts])
        return found
    asked = allocator.allocate(layers, problem.cost, budget).counts
    k = numbers.snapped(problem.cost.as_counts(asked))
    if not numbers.feasible(k):
        raise InfeasibleError(
            f"`allocation` must keep the budgets {problem.budget}, got "
            f"{problem.cost.predict(k)} from {_name(allocation)!r}. Take 'optimal'."
        )
    return Split(k, numbers.objective(k), -np.inf, np.zeros(len(numbers.forms)))


def _name(thing: Any) -> str:
    return thing if isinstance(thing, str) else type(thing).__name__.lower()
