"""Pictures of a budget: what it costs, and how allocations split it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.plotting._style import axes_or_new, line_style

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes

    from sirfp_opt.network.frontier import Frontier
    from sirfp_opt.network.plan import PruningPlan
    from sirfp_opt.network.solution import NetworkSolution

__all__ = ["plot_frontier", "plot_kept"]

VALUES = {
    "objective": "loss of worth",
    "redundancy": "redundancy of what is kept (scaled)",
}


def plot_frontier(
    frontier: Frontier,
    *,
    cost: str | None = None,
    value: str = "objective",
    ax: Axes | None = None,
) -> Axes:
    """Draw loss or redundancy against the cost reached, a line for each allocation.

    Parameters
    ----------
    frontier : Frontier
        From `sirfp_opt.network.frontier.sweep`.
    cost : str, optional
        What the x axis shows, the first budget by default.
    value : {"objective", "redundancy"}
        What the y axis shows. Proved bounds on the objective are shaded.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes

    Raises
    ------
    InvalidProblemError
        If there is no such cost or value.
    """
    cost = cost or next(iter(frontier[0].asked))
    if cost not in frontier[0].reached:
        raise InvalidProblemError(
            f"`cost` must be one of {sorted(frontier[0].reached)}, got {cost!r}. "
            "Leave it out for the first budget."
        )
    if value not in VALUES:
        raise InvalidProblemError(
            f"`value` must be one of {list(VALUES)}, got {value!r}. "
            "The objective is what is minimised."
        )
    ax = axes_or_new(ax)
    for number, name in enumerate(frontier.allocations):
        points = sorted(frontier.of(name), key=lambda p: p.reached[cost])
        x = np.array([100 * point.reached[cost] for point in points])
        y = np.array([getattr(point, value) for point in points])
        style = line_style(number)
        ax.plot(x, y, label=name, **style)
        bounds = [point.bound for point in points]
        if value == "objective" and all(bound is not None for bound in bounds):
            low = np.array(bounds, dtype=np.float64)
            ax.fill_between(x, low, y, color=style["color"], alpha=0.2, linewidth=0)
    ax.set_xlabel(f"{cost} left [%]")
    ax.set_ylabel(VALUES[value])
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    return ax


def plot_kept(
    solutions: Mapping[str, NetworkSolution | PruningPlan], *, ax: Axes | None = None
) -> Axes:
    """Draw which share of each layer several solutions keep, layers in their order.

    Parameters
    ----------
    solutions : mapping of str to NetworkSolution or PruningPlan
        By label, all of one network.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes

    Raises
    ------
    InvalidProblemError
        If there is no solution, or they are of different networks.
    """
    plans = {
        label: one.plan() if hasattr(one, "plan") else one
        for label, one in solutions.items()
    }
    names = list(next(iter(plans.values()), {}))
    if not names or any(list(plan) != names for plan in plans.values()):
        raise InvalidProblemError(
            f"`solutions` must be of one network, got {list(plans)} with layers of "
            "different names, or none. Draw each network by itself."
        )
    ax = axes_or_new(ax, (min(14.0, max(5.0, 0.28 * len(names))), 4.0))
    places = np.arange(len(names))
    for number, (label, plan) in enumerate(plans.items()):
        share = [100 * plan.counts[name] / plan.sizes[name] for name in names]
        style = line_style(number) | {"linestyle": "none"}
        shift = 0.5 * ((number + 0.5) / len(plans) - 0.5)
        ax.plot(places + shift, share, label=label, **style)
        ax.vlines(places + shift, 0, share, color=style["color"], linewidth=0.8)
    ax.set_xticks(places, names, rotation=90, fontsize=7)
    ax.set_ylim(0, 105)
    ax.margins(x=0.01)
    ax.set_ylabel("channels kept [%]")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, ncols=4, loc="lower left", bbox_to_anchor=(0.0, 1.0))
    return ax
