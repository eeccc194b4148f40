"""The demo's picture: what was solved, what was kept, and what the network sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from sirfp_opt import ChannelGraph
from sirfp_opt.plotting import plot_plan, plot_redundancy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from sirfp_opt.network.plan import PruningPlan

_SMALLEST_NAMED = 40  # pixels; smaller patches of a class are drawn but not named
_GROUND, _INK, _WRONG = (0.97, 0.97, 0.97), (0.72, 0.72, 0.72), (0.62, 0.10, 0.14)


def draw(
    path: Path,
    *,
    graphs: Mapping[str, ChannelGraph],
    plan: PruningPlan,
    image: NDArray[np.float32],
    maps: Mapping[str, NDArray[np.int64]],
) -> None:
    """Draw and save the picture.

    Parameters
    ----------
    path : Path
        Where to save it; the suffix says the format.
    graphs : mapping of str to ChannelGraph
        By unit; of the one that is cut most, before and after are shown.
    plan : PruningPlan
        What the network keeps.
    image : ndarray of shape (H, W, 3)
        One scene.
    maps : mapping of str to ndarray of int64, shape (H, W)
        Titles of the truth and of two predictions, in this order.
    """
    # Without pyplot: its global state, and anybody's open figures, are left alone.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 8), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 4)
    above = [figure.add_subplot(grid[0, column]) for column in range(4)]
    below = [figure.add_subplot(grid[1, column]) for column in (2, 3)]
    hardest = min(plan, key=lambda unit: plan.counts[unit] / plan.sizes[unit])
    draw_contributions(above[:2], graphs[hardest], plan[hardest])
    plot_plan(plan, ax=figure.add_subplot(grid[1, :2]))

    above[2].imshow(image)
    above[2].set_title("a validation scene")
    truth = next(iter(maps.values()))
    for axis, (title, classes) in zip((above[3], *below), maps.items(), strict=True):
        draw_classes(axis, classes, truth)
        axis.set_title(title)
    for axis in (*above[2:], *below):
        axis.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=100)


def draw_contributions(
    axes: Sequence[Axes], graph: ChannelGraph, kept: NDArray[np.int64]
) -> None:
    """Show what a unit's channels have in common before and after, in the same shades.

    Parameters
    ----------
    axes : sequence of two Axes
        Where to draw.
    graph : ChannelGraph
        The unit, of reconstruction errors.
    kept : ndarray of int64
        Its channels kept.
    """
    # Weights are -2 E_ij: shown is how much two channels overlap, of either sign.
    whole = ChannelGraph.from_redundancy(graph.weights / -2, absolute=True)
    left = ChannelGraph.from_redundancy(whole.weights[np.ix_(kept, kept)])
    plot_redundancy(whole, kept, ax=axes[0])
    plot_redundancy(left, range(left.n), ax=axes[1])
    axes[1].images[0].set_clim(axes[0].images[0].get_clim())
    axes[1].set(xticks=[], yticks=[])
    share = graph.value_of(kept) / graph.value_of(np.arange(graph.n))
    for axis in axes:
        if (bar := axis.images[0].colorbar) is not None:
            bar.set_label("overlap of what two channels contribute")
    axes[0].set_title(f"{graph.name} before:\n{graph.n} channels")
    axes[1].set_title(
        f"after: {left.n} channels,\nwhich carry {share:.0%} of what is read"
    )


def draw_classes(
    axis: Axes, classes: NDArray[np.int64], truth: NDArray[np.int64]
) -> None:
    """Show a class map with the digits' names, and wrong pixels dark.

    Parameters
    ----------
    axis : Axes
        Where to draw.
    classes, truth : ndarray of int64, shape (H, W)
        The map to show and the right one.
    """
    shown = np.where((classes > 0)[..., None], _INK, _GROUND)
    shown[classes != truth] = _WRONG
    axis.imshow(shown)
    wrong = np.count_nonzero(classes != truth) / truth.size
    if wrong:
        axis.set_xlabel(f"wrong (dark): {wrong:.1%} of the pixels")
    for digit in range(10):
        patches, count = ndimage.label(classes == 1 + digit)
        for patch in range(1, count + 1):
            rows, columns = np.nonzero(patches == patch)
            if len(rows) >= _SMALLEST_NAMED:
                axis.text(
                    float(columns.mean()),
                    float(rows.mean()),
                    str(digit),
                    ha="center",
                    va="center",
                    fontsize=12,
                    fontweight="bold",
                    bbox={"boxstyle": "circle,pad=0.15", "fc": "white", "ec": "black"},
                )
