"""Bounds by effort: what no set can beat, without searching for the set."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import numpy as np

from sirfp_opt._signals import Interrupted, interruptible, part_of_one
from sirfp_opt.errors import InfeasibleError, InvalidProblemError
from sirfp_opt.limits import Limits
from sirfp_opt.objective import Objective
from sirfp_opt.problem import as_problem
from sirfp_opt.registry import create_solver
from sirfp_opt.search import Search
from sirfp_opt.sense import Sense, relative_gap

if TYPE_CHECKING:
    from sirfp_opt.canonical_form import CanonicalForm
    from sirfp_opt.constraints import LayerConstraints
    from sirfp_opt.solution import Solution

__all__ = [
    "BOUND_GROUP",
    "DEFAULTS",
    "EFFORTS",
    "LEVELS",
    "Bound",
    "bound",
    "check_effort",
    "strengthen",
]

BOUND_GROUP = "sirfp_opt.bounds"

EFFORTS = (
    "combinatorial",
    "eigenvalue",
    "semidefinite",
    "doubly_nonnegative",
    "triangle",
)
"""Levels for cliques, cheapest first; each includes the ones before it."""

LEVELS = {
    Objective.CLIQUE: EFFORTS,
    Objective.REFIT: ("all", "eigenvalue", "quadratic"),
}
"""Levels for each objective, cheapest first. The first one comes for nothing."""

DEFAULTS = {Objective.CLIQUE: "doubly_nonnegative", Objective.REFIT: "quadratic"}
"""The level for each objective that pays whatever the size."""

Level = Callable[[Any, int, float, Callable[[], bool]], float]
"""``level(canonical, count, enough, stop)`` bounds from above the canonical value of
all sets whose sizes total `count`. It need not go below `enough`, and may end with what
it has once ``stop()`` is true."""


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A proven bound on what any feasible set is worth.

    Attributes
    ----------
    value : float
        In the problem's sense and units: no feasible set is better. The rounding of
        all sums is accounted for.
    method : str
        The level that gave it.
    seconds : float
        Wall-clock time it took, cheaper levels included.
    sense : Sense
        MINIMIZE: a lower bound. MAXIMIZE: an upper bound.
    levels : dict of str to float
        The bound after each level that was reached.
    """

    value: float
    method: str
    seconds: float
    sense: Sense
    levels: dict[str, float] = field(default_factory=dict, repr=False)

    def gap(self, objective: float | Solution) -> float:
        """Return the relative gap of an objective, or a solution's, to this bound.

        |objective - bound| / max(|objective|, |bound|), as `Solution.gap`.
        """
        if not isinstance(objective, (int, float)):
            objective = objective.objective
        return relative_gap(float(objective), self.value)

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {
            "value": self.value,
            "method": self.method,
            "seconds": self.seconds,
            "sense": self.sense.value,
            "levels": dict(self.levels),
        }


def bound(
    graph: Any,
    k: int | float | tuple[int, int] | None = None,
    *,
    effort: str | None = None,
    sense: Sense | str | None = None,
    constraints: LayerConstraints | None = None,
    time_limit: float | None = None,
) -> Bound:
    """Bound the optimum: no set of k channels is better.

    Parameters
    ----------
    graph, k, sense, constraints
        As for `sirfp_opt.solve`.
    effort : str, optional
        How hard to try; a level includes the cheaper ones, so the bound is never worse.
        For cliques, by default "doubly_nonnegative":

        - "combinatorial": each channel meets its best partners; milliseconds, loose.
        - "eigenvalue": a convex quadratic relaxation, made convex by one shift of the
          diagonal. O(n³).
        - "semidefinite": by the best diagonal there is.
        - "doubly_nonnegative": and with x_i x_j >= 0.
        - "triangle": and with triangle inequalities, up to 600 channels; the tightest.

        For a `ReconstructionProblem`, by default "quadratic":

        - "all": what keeping every channel is worth.
        - "eigenvalue": what d components drop at least, whatever they are (Fan; Eckart
          and Young): the d smallest eigenvalues of C^½ P C^½, reader by reader. O(n³).
        - "quadratic": the best quadratic function of the dropped set that is nowhere
          above the loss, and the proof of a clique problem for it.
    time_limit : float, optional
        Wall-clock seconds; the tightest bound so far is returned then, as it is on
        Ctrl-C and SIGTERM.

    Returns
    -------
    Bound

    Raises
    ------
    InvalidProblemError
        If an argument breaks a rule.
    InfeasibleError
        If it is seen that no set meets the constraints.

    Notes
    -----
    With x_i² = x_i, any diagonal d may be added to the quadratic form and subtracted
    from the linear one: Hammer and Rubin (1970); the best d is the semidefinite
    relaxation's dual: Billionnet and Elloumi (2007), doi:10.1007/s10107-005-0637-9.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import ChannelGraph, bound, solve
    >>> maps = np.random.default_rng(0).random((24, 60)) ** 4
    >>> graph = ChannelGraph.from_redundancy(maps @ maps.T)
    >>> lower = bound(graph, 12)
    >>> lower.value <= solve(graph, 12, method="tabu").objective
    True
    """
    started = time.perf_counter()
    problem = as_problem(graph, k, sense=sense, constraints=constraints)
    levels = LEVELS[problem.objective]
    effort = DEFAULTS[problem.objective] if effort is None else effort
    check_effort(effort, problem.objective)
    search = Search(problem, limits=Limits(time=time_limit), started=started)
    reached: dict[str, float] = {}
    try:
        with interruptible(lambda: search.stopped_by("interrupt")):
            if effort != levels[0]:
                # No bound goes below what a set is worth: a set says when to stop.
                create_solver("greedy", {"polish": True})[1].solve(search)
            strengthen(search, effort, search.stop, reached)
    except KeyboardInterrupt as request:
        if not reached or part_of_one():
            if isinstance(request, Interrupted):
                request.redeliver()
            raise
    assert search.bound is not None  # the cheapest bound is always finite
    method = min(reached, key=lambda level: problem.sense.sign * reached[level])
    return Bound(
        value=search.bound,
        method=method,
        seconds=search.seconds,
        sense=problem.sense,
        levels=reached,
    )


def check_effort(
    effort: object, objective: Objective = Objective.CLIQUE, name: str = "effort"
) -> None:
    """Raise unless `effort` is the name of a level of bounds on this objective."""
    levels = LEVELS[objective]
    if not isinstance(effort, str) or effort not in levels:
        raise InvalidProblemError(
            f"`{name}` must be one of {list(levels)}, got {effort!r}. "
            "The last is the tightest."
        )


def strengthen(
    search: Search,
    effort: str,
    stop: Callable[[], bool] = lambda: False,
    reached: dict[str, float] | None = None,
) -> dict[str, float]:
    """Tighten a run's bound level by level, until it meets the incumbent.

    Parameters
    ----------
    search : Search
        Its incumbent, if it has one, tells how tight a bound is of use.
    effort : str
        The last level.
    stop : callable
        Asked before each level but the first, and within.
    reached : dict, optional
        What is returned, for callers who want it although they are interrupted.

    Returns
    -------
    dict of str to float
        The bound after each level, in the problem's sense and units.
    """
    canonical = search.form
    enough = search.best_value
    slack = canonical.rounding_error / 2
    known = canonical.bounds_by_count()
    objective = search.problem.objective
    levels = LEVELS[objective]
    reached = {} if reached is None else reached
    for level in levels[: levels.index(effort) + 1]:
        if level != levels[0]:
            if stop() or search.gap == 0.0 or max(known.values()) <= enough:
                break
            function = _level(level, objective)
            _improve(known, function, canonical, enough, slack, stop)
            if max(known.values()) == -math.inf:
                raise InfeasibleError(
                    "`constraints` must leave a feasible set, got numbers of channels "
                    f"{canonical.counts} of which none can be kept. Loosen them."
                )
        search.tighten_canonical(max(known.values()))
        if search.bound is not None:
            reached[level] = search.bound
    return reached


def _improve(
    known: dict[int, float],
    level: Level,
    canonical: CanonicalForm,
    enough: float,
    slack: float,
    stop: Callable[[], bool],
) -> None:
    """Improve the bounds of those numbers of channels that could hold the optimum."""
    worst = enough
    for count in sorted(known, key=lambda count: -known[count]):
        if known[count] <= worst or stop():
            return
        value = _settled(canonical, count)
        if value is None:
            value = level(canonical, count, enough, stop)
        known[count] = min(known[count], value + slack)
        worst = max(worst, known[count])


def _settled(canonical: CanonicalForm, count: int) -> float | None:
    """Return the value where a number of channels leaves no choice, else None."""
    if count == 0:
        return 0.0
    if count < int(canonical.sizes.sum()):
        return None
    if canonical.conflicts is not None:  # no empty ones: not all can be kept
        return -math.inf
    return canonical.evaluate(np.arange(canonical.m))


@cache
def _level(level: str, objective: Objective) -> Level:
    """Return the function behind a level; the built-in ones come as entry points."""
    name = level if objective is Objective.CLIQUE else f"{objective}_{level}"
    for point in entry_points(group=BOUND_GROUP, name=name):
        return point.load()  # type: ignore[no-any-return]
    raise InvalidProblemError(
        f"`effort` must name an installed level, got {name!r}, of which no entry point "
        f"in the group {BOUND_GROUP!r} is found. Reinstall sirfp-opt."
    )
