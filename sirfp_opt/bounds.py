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

from sirfp_opt.errors import InfeasibleError, InvalidProblemError
from sirfp_opt.limits import Limits
from sirfp_opt.partner_bound import bounds_by_count
from sirfp_opt.problem import as_problem
from sirfp_opt.registry import create_solver
from sirfp_opt.search import Search
from sirfp_opt.sense import Sense, relative_gap

if TYPE_CHECKING:
    from sirfp_opt.canonical import CanonicalProblem
    from sirfp_opt.constraints import LayerConstraints
    from sirfp_opt.solution import Solution

__all__ = ["BOUND_GROUP", "EFFORTS", "Bound", "bound", "check_effort", "strengthen"]

BOUND_GROUP = "sirfp_opt.bounds"

EFFORTS = ("combinatorial", "eigenvalue", "semidefinite", "doubly_nonnegative")
"""Levels, cheapest first; each includes the ones before it."""

Level = Callable[["CanonicalProblem", int, float, Callable[[], bool]], float]
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
    k: int | tuple[int, int] | None = None,
    *,
    effort: str = "doubly_nonnegative",
    sense: Sense | str | None = None,
    constraints: LayerConstraints | None = None,
    time_limit: float | None = None,
) -> Bound:
    """Bound the optimum: no set of k channels is better.

    Parameters
    ----------
    graph, k, sense, constraints
        As for `sirfp_opt.solve`.
    effort : str
        How hard to try; a level includes the cheaper ones, so the bound is never worse.

        - "combinatorial": each channel meets its best partners; milliseconds, loose.
        - "eigenvalue": a convex quadratic relaxation, made convex by one shift of the
          diagonal. O(n³).
        - "semidefinite": by the best diagonal there is.
        - "doubly_nonnegative": and with x_i x_j >= 0; the tightest.
    time_limit : float, optional
        Wall-clock seconds; the tightest bound so far is returned then.

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
    check_effort(effort)
    problem = as_problem(graph, k, sense=sense, constraints=constraints)
    search = Search(problem, limits=Limits(time=time_limit), started=started)
    if effort != EFFORTS[0]:
        # No bound goes below what a set is worth, so any set says when to stop trying.
        create_solver("greedy", {"polish": True})[1].solve(search)
    reached = strengthen(search, effort, search.stop)
    assert search.bound is not None  # the combinatorial bound is always finite
    method = min(reached, key=lambda level: problem.sense.sign * reached[level])
    return Bound(
        value=search.bound,
        method=method,
        seconds=search.seconds,
        sense=problem.sense,
        levels=reached,
    )


def check_effort(effort: object, name: str = "effort") -> None:
    """Raise unless `effort` is a level's name."""
    if not isinstance(effort, str) or effort not in EFFORTS:
        raise InvalidProblemError(
            f"`{name}` must be one of {list(EFFORTS)}, got {effort!r}. "
            "The last is the tightest."
        )


def strengthen(
    search: Search, effort: str, stop: Callable[[], bool] = lambda: False
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

    Returns
    -------
    dict of str to float
        The bound after each level, in the problem's sense and units.
    """
    canonical = search.canonical
    enough = search.best_value
    slack = canonical.rounding_error / 2
    known = bounds_by_count(canonical)
    reached: dict[str, float] = {}
    for level in EFFORTS[: EFFORTS.index(effort) + 1]:
        if level != EFFORTS[0]:
            if stop() or search.gap == 0.0 or max(known.values()) <= enough:
                break
            _improve(known, _level(level), canonical, enough, slack, stop)
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
    canonical: CanonicalProblem,
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


def _settled(canonical: CanonicalProblem, count: int) -> float | None:
    """Return the value where a number of channels leaves no choice, else None."""
    if count == 0:
        return 0.0
    if count < int(canonical.sizes.sum()):
        return None
    if canonical.conflicts is not None:  # no empty ones: not all can be kept
        return -math.inf
    return canonical.evaluate(np.arange(canonical.m))


@cache
def _level(name: str) -> Level:
    """Return the function behind a level; the built-in ones come as entry points."""
    for point in entry_points(group=BOUND_GROUP, name=name):
        return point.load()  # type: ignore[no-any-return]
    raise InvalidProblemError(
        f"`effort` must name an installed level, got {name!r}, of which no entry point "
        f"in the group {BOUND_GROUP!r} is found. Reinstall sirfp-opt."
    )
