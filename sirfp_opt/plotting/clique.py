"""A layer as the graph that it is: channels on a circle, edges, the clique kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sirfp_opt.plotting._style import DARK, LIGHT, axes_or_new, join
from sirfp_opt.plotting.layers import layer_title, read_layer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes

    from sirfp_opt.plotting.layers import Layer

__all__ = ["plot_clique"]

_KEPT = "#0072b2"
# The heaviest so many edges: more of them are a grey disc.
_MOST_EDGES = 300
_NUMBERS_UP_TO = 40


def plot_clique(
    layer: Layer, selected: Iterable[int] | None = None, *, ax: Axes | None = None
) -> Axes:
    """Draw the graph of a layer: numbered channels on a circle, joined by their edges.

    The heavier an edge, the thicker and darker its line; at most the 300 heaviest are
    drawn, besides those of the clique. Where channels are kept, they are filled and
    their edges blue; the others are hollow and their edges faint.

    Parameters
    ----------
    layer : Solution, PruningProblem or ChannelGraph
    selected : iterable of int, optional
        The channels kept; by default the solution's, or none.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes

    Raises
    ------
    InvalidProblemError
        If a channel is not one of the graph's.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> from sirfp_opt import ChannelGraph, solve
    >>> from sirfp_opt.plotting import plot_clique
    >>> graph = ChannelGraph([[0, 3, 1], [3, 0, 2], [1, 2, 0]])
    >>> plot_clique(solve(graph, 2)).get_title()
    '2 of 3 channels kept'
    """
    graph, kept = read_layer(layer, selected)
    ax = axes_or_new(ax)
    inside = np.zeros(graph.n, dtype=bool)
    if kept is not None:
        inside[kept] = True
    angles = np.pi / 2 - 2 * np.pi * np.arange(graph.n) / graph.n
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)

    rows, columns = np.triu_indices(graph.n, 1)
    weights = np.abs(graph.weights[rows, columns])
    there = np.ones(rows.size, dtype=bool)
    if graph.adjacency is not None:
        there = graph.adjacency[rows, columns]
    both = inside[rows] & inside[columns]
    heaviest = np.argsort(-np.where(there, weights, -1.0), kind="stable")
    heavy = np.zeros(rows.size, dtype=bool)
    heavy[heaviest[:_MOST_EDGES]] = True
    strength = weights / max(float(weights.max(initial=0.0)), 1e-300)
    other = LIGHT if kept is not None else DARK
    for drawn, colour, least, order in (
        (there & heavy & ~both, other, 0.1, 1),
        (there & both, _KEPT, 1.2, 2),
    ):
        if not drawn.any():
            continue
        strong = strength[drawn]
        join(
            ax,
            points,
            rows[drawn],
            columns[drawn],
            linewidths=least + 3.2 * strong,
            alpha=np.maximum(least / 2, 0.08 + 0.92 * strong**2).tolist(),
            colors=colour,
            zorder=order,
        )

    ax.scatter(
        points[:, 0],
        points[:, 1],
        s=210 if graph.n <= _NUMBERS_UP_TO else 40,
        c=[_KEPT if kept_here else "white" for kept_here in inside],
        edgecolors=[_KEPT if kept_here else "#7a7a7a" for kept_here in inside],
        zorder=3,
    )
    if graph.n <= _NUMBERS_UP_TO:
        look: dict[str, Any] = {
            "ha": "center",
            "va": "center",
            "fontsize": 8,
            "zorder": 4,
        }
        for channel, (x, y) in enumerate(points):
            colour = "white" if inside[channel] else DARK
            ax.text(x, y, str(channel), color=colour, **look)
    ax.set_xlim(-1.15, 1.15)
    ax.set_ylim(-1.15, 1.15)
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.set_title(layer_title(graph, kept))
    return ax
