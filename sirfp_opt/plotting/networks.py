"""Pictures of a whole network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt.plotting._style import DARK, LIGHT, axes_or_new

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sirfp_opt.network.plan import PruningPlan

__all__ = ["plot_plan"]

_MOST_NAMES = 60


def plot_plan(
    plan: PruningPlan, *, share: bool = False, ax: Axes | None = None
) -> Axes:
    """Draw how many channels each unit of a network keeps.

    Parameters
    ----------
    plan : PruningPlan
    share : bool
        Draw percentages instead of numbers of channels.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes
    """
    names = list(plan)
    sizes = np.array([plan.sizes[name] for name in names], dtype=np.float64)
    kept = np.array([plan.counts[name] for name in names], dtype=np.float64)
    if share:
        kept, sizes = 100 * kept / sizes, np.full(len(names), 100.0)
    places = np.arange(len(names))
    ax = axes_or_new(ax, (min(14.0, max(5.0, 0.28 * len(names))), 4.0))
    ax.bar(places, sizes, width=0.8, color=LIGHT, label="before")
    ax.bar(places, kept, width=0.8, color=DARK, label="kept")
    if len(names) <= _MOST_NAMES:
        ax.set_xticks(places, names, rotation=90, fontsize=7)
    else:
        ax.set_xlabel("pruning unit")
    ax.set_ylabel("channels [%]" if share else "channels")
    ax.margins(x=0.01)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1.0, 1.0))
    total = sum(plan.counts.values()), sum(plan.sizes.values())
    ax.set_title(f"{total[0]} of {total[1]} channels kept", loc="left")
    return ax
