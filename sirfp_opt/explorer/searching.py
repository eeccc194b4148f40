"""From a layer to its explorer: the path, a search at each count, and the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sirfp_opt._extras import require_extra
from sirfp_opt._parallel import Stages, progress_stages
from sirfp_opt._validate import as_int
from sirfp_opt.constraints import LayerConstraints, share_of
from sirfp_opt.errors import InvalidProblemError, NoSolutionError
from sirfp_opt.explorer.layer import MOST_DRAWN, ExploredLayer
from sirfp_opt.explorer.page import Explorer
from sirfp_opt.graph import ChannelGraph
from sirfp_opt.network.curves import value_curve
from sirfp_opt.objective import Objective
from sirfp_opt.problem import PruningProblem
from sirfp_opt.reconstruction import ReconstructionProblem

if TYPE_CHECKING:
    from collections.abc import Callable

    from sirfp_opt._validate import FloatArray, IntArray
    from sirfp_opt.network.curve import ValueCurve
    from sirfp_opt.protocols import Solver
    from sirfp_opt.set_problem import SetProblem

__all__ = ["as_maps", "explore", "stepped_through"]

_MOST_COUNTS = 64
"""Counts that are searched of a layer that is too large for all of them."""

# What is proved beside a heuristic's set: cheap enough for every count.
_EFFORT = {Objective.CLIQUE: "semidefinite", Objective.REFIT: "eigenvalue"}


def explore(
    layers: Any,
    *,
    k: int | float | None = None,
    selected: Any = None,
    maps: Any = None,
    method: str | Solver = "auto",
    time_limit: float | None = 1.0,
    seed: int = 0,
    title: str = "",
    progress: bool | Stages = False,
) -> Explorer:
    """Make a page on which a reader moves k: clique, matrix, value curve, maps.

    At each count of a layer of up to 128 channels, and at 64 counts of a larger one,
    `method` looks for the best set, and a bound is proved. Greedy's sets come from one
    nested path.

    Parameters
    ----------
    layers : ChannelGraph, problem or Solution, or mapping of str to these
        The layer or, by name, the layers. A Solution brings its set along, and a
        problem's constraints hold, its k excepted: that is what the page moves.
    k : int or float, optional
        Where the page opens: a number of channels, or a share of each layer's. By
        default that of the set of interest, else half.
    selected : iterable of int, or mapping of str to these, optional
        A set of interest, shown beside greedy's and the best one; by default a
        Solution's.
    maps : array_like of shape (n, height, width), or mapping of str to these, optional
        One map a channel, for instance the activations of one image.
    method : str or Solver
        What looks for the best set.
    time_limit : float, optional
        Seconds for each count; None for no limit. Trained layers take milliseconds.
    seed : int
        Same seed, same sets where no time limit strikes.
    title : str
        The page's heading; by default the layer's name.
    progress : bool or callable
        True for a progress bar, or ``callback(stage, done, total)``.

    Returns
    -------
    Explorer
        ``.save(path)`` writes the page; in a notebook it shows itself.

    Raises
    ------
    InvalidProblemError
        If a layer is none, or maps or a set do not fit it.
    MissingExtraError
        If jinja2 is not installed.
    InfeasibleError, NoSolutionError
        If a layer has no allowed set at any count, or none was found.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import ChannelGraph, solve
    >>> from sirfp_opt.explorer import explore
    >>> alike = np.array([[0, 3, 1, 2], [3, 0, 2, 2], [1, 2, 0, 4], [2, 2, 4, 0]])
    >>> layer = ChannelGraph.from_redundancy(alike, name="four channels")
    >>> page = explore(solve(layer, 2))
    >>> [row["best"]["value"] for row in page.data["layers"][0]["rows"]]
    [0.0, 1.0, 6.0, 14.0]
    """
    require_extra("study", "jinja2")
    named = dict(layers) if isinstance(layers, Mapping) else {"": layers}
    if not named:
        raise InvalidProblemError(
            "`layers` must hold at least one layer, got none. Pass a ChannelGraph."
        )
    problems = {name: _problem(layer) for name, layer in named.items()}
    several = isinstance(layers, Mapping)
    chosen = {
        name: _chosen(name, named[name], problem, selected, several)
        for name, problem in problems.items()
    }
    pictures = {
        name: as_maps(_of(maps, name, several, "maps"), problem.n)
        for name, problem in problems.items()
    }
    paths = {name: _path(problem) for name, problem in problems.items()}
    starts = {
        name: _start(path, k, chosen[name], several) for name, path in paths.items()
    }
    counts = {
        name: stepped_through(path, _MOST_COUNTS, starts[name])
        for name, path in paths.items()
    }
    explored = []
    total, done = sum(map(len, counts.values())), 0
    with progress_stages(progress) as tell:
        for name, path in paths.items():

            def tick() -> None:
                nonlocal done
                done += 1
                tell("searching", done, total)

            best, searched = _searched(
                path, counts[name], method, time_limit, seed, tick
            )
            explored.append(
                ExploredLayer(
                    greedy=path,
                    best=best,
                    counts=counts[name],
                    start=starts[name],
                    searched=searched,
                    chosen=chosen[name],
                    maps=pictures[name],
                )
            )
    names = list(named) if several else [explored[0].name]
    return Explorer.of(dict(zip(names, explored, strict=True)), title=title)


def stepped_through(path: ValueCurve, most: int, start: int) -> tuple[int, ...]:
    """Return the counts that a page steps through: all of a small layer, else some.

    Parameters
    ----------
    path : ValueCurve
    most : int
        About so many of a layer of more than 128 channels, evenly spread.
    start : int
        A count that is to be among them.
    """
    counts = path.counts
    if path.n > MOST_DRAWN and counts.size > most:
        places = np.linspace(0, counts.size - 1, most).round().astype(int)
        counts = np.union1d(counts[places], start)
    return tuple(int(count) for count in counts)


def as_maps(maps: Any, n: int) -> FloatArray | None:
    """Return maps as floats of shape (n, height, width).

    Raises
    ------
    InvalidProblemError
        If they have another shape or are not finite.
    """
    if maps is None:
        return None
    stack = np.asarray(maps, dtype=np.float64)
    if stack.ndim != 3 or len(stack) != n or stack.size == 0:
        raise InvalidProblemError(
            f"`maps` must have shape ({n}, height, width), got {stack.shape}. "
            "Pass the maps of one image, for instance activations[0]."
        )
    if not np.isfinite(stack).all():
        raise InvalidProblemError(
            "`maps` must be finite, got NaN or infinity. Pass another image's."
        )
    return stack


def _searched(
    path: ValueCurve,
    counts: tuple[int, ...],
    method: str | Solver,
    time_limit: float | None,
    seed: int,
    tick: Callable[[], None],
) -> tuple[ValueCurve, dict[int, str]]:
    """Solve a layer at some counts; return the better curve, and each set's status."""
    found, searched = [], {}
    for k in counts:
        try:
            solution = path.solve(
                k,
                method,
                time_limit=time_limit,
                seed=seed,
                certify=_EFFORT[path.problem.objective],
            )
        except NoSolutionError:  # the path's set is what there is
            solution = None
        if solution is not None:
            found.append(solution)
            searched[k] = solution.status.value
        tick()
    return path.including(found), searched


def _problem(layer: Any) -> SetProblem:
    """Return the problem of what was passed, over a range of counts.

    Raises
    ------
    InvalidProblemError
        If there is none.
    """
    problem = getattr(layer, "problem", layer)  # a Solution's
    if isinstance(problem, ChannelGraph):
        return PruningProblem(problem, LayerConstraints(k_min=1))
    if not isinstance(problem, PruningProblem | ReconstructionProblem):
        raise InvalidProblemError(
            "`layers` must be a ChannelGraph, a problem or a Solution that knows its "
            f"problem, got {type(layer).__name__}. Wrap a matrix in "
            "ChannelGraph.from_redundancy(matrix)."
        )
    rules = problem.constraints
    if rules.k is None:
        return problem
    return problem.constrained(rules.with_count((1, problem.n)))


def _path(problem: SetProblem) -> ValueCurve:
    rules = problem.constraints
    if isinstance(problem, PruningProblem):
        return value_curve(problem.graph, rules)
    return value_curve(problem, rules)


def _start(path: ValueCurve, k: Any, chosen: IntArray | None, several: bool) -> int:
    """Return the count at which the page opens, one of the curve's.

    Raises
    ------
    InvalidProblemError
        If `k` is none of them; of several layers, the nearest will do.
    """
    counts = path.counts
    if k is None:
        wanted = path.n // 2 if chosen is None else int(chosen.size)
    else:
        number = isinstance(k, float | np.floating)
        wanted = share_of(k, path.n) if number else as_int(k, "k", least=1)
        if wanted not in counts and not several:
            raise InvalidProblemError(
                f"`k` must be a number of channels that may be kept, {counts[0]} to "
                f"{counts[-1]}, got {k}. Leave it out for half of them."
            )
    return int(counts[np.argmin(np.abs(counts - wanted))])


def _of(values: Any, name: str, several: bool, what: str) -> Any:
    """Return what belongs to one layer, None if nothing does."""
    if values is None:
        return None
    if not several:
        return values
    if not isinstance(values, Mapping):
        raise InvalidProblemError(
            f"`{what}` must be a mapping as the layers are, got "
            f"{type(values).__name__}. Pass {{name: ...}}."
        )
    return values.get(name)


def _chosen(
    name: str, layer: Any, problem: SetProblem, selected: Any, several: bool
) -> IntArray | None:
    """Return the set of interest, checked."""
    mine = _of(selected, name, several, "selected")
    if mine is None and hasattr(layer, "problem"):
        mine = layer.selected
    if mine is None:
        return None
    mine = [as_int(c, "selected", least=0) for c in getattr(mine, "selected", mine)]
    exact = problem.constraints.with_count(max(1, len(mine)))
    return problem.constrained(exact).check(mine)
