"""Pictures of one layer: its redundancies, its channels, its feature maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.graph import ChannelGraph
from sirfp_opt.plotting._style import DARK, LIGHT, SHADES, axes_or_new, join
from sirfp_opt.problem import PruningProblem
from sirfp_opt.reconstruction import ReconstructionProblem
from sirfp_opt.sense import Sense

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes

    from sirfp_opt._validate import FloatArray, IntArray
    from sirfp_opt.solution import Solution

    Layer = ChannelGraph | PruningProblem | Solution

__all__ = [
    "layer_title",
    "plot_embedding",
    "plot_feature_maps",
    "plot_redundancy",
    "read_layer",
]

# Edges of the clique are drawn up to this many channels; beyond, they hide the points.
_MOST_EDGES_FROM = 24


def plot_redundancy(
    layer: Layer, selected: Iterable[int] | None = None, *, ax: Axes | None = None
) -> Axes:
    """Draw the matrix of edge weights, the channels kept first.

    Within the kept and within the dropped, channels are ordered by the leading
    eigenvector of their own block, so that alike ones stand together. The diagonal and
    missing edges are blank. The shades end at the 99th percentile.

    Parameters
    ----------
    layer : Solution, PruningProblem or ChannelGraph
    selected : iterable of int, optional
        The channels kept; by default the solution's, or none: then the order is the
        graph's own.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes

    Raises
    ------
    InvalidProblemError
        If a channel is not one of the graph's.
    """
    graph, kept = read_layer(layer, selected)
    order, edge = np.arange(graph.n), 0
    if kept is not None:
        dropped = np.setdiff1d(np.arange(graph.n), kept)
        order = np.concatenate([_seriated(graph, kept), _seriated(graph, dropped)])
        edge = kept.size
    shown = np.array(graph.weights[np.ix_(order, order)])
    np.fill_diagonal(shown, np.nan)
    if graph.adjacency is not None:
        shown[~graph.adjacency[np.ix_(order, order)]] = np.nan
    known = shown[np.isfinite(shown)]
    low, high = (0.0, 1.0) if known.size == 0 else np.percentile(known, [0, 99])
    ax = axes_or_new(ax, (5.0, 4.2))
    image = ax.imshow(
        shown, cmap=SHADES, vmin=float(low), vmax=float(high), interpolation="nearest"
    )
    if edge:
        ax.axhline(edge - 0.5, color="white", linewidth=1.5)
        ax.axvline(edge - 0.5, color="white", linewidth=1.5)
    word = "redundancy" if graph.sense is Sense.MINIMIZE else "diversity"
    ax.figure.colorbar(image, ax=ax, label=word, extend="max", shrink=0.85)
    if kept is None:
        ax.set_xlabel("channel")
        ax.set_ylabel("channel")
    else:
        middle = [(edge - 1) / 2, (edge + graph.n - 1) / 2]
        ax.set_xticks(middle, ["kept", "dropped"])
        ax.set_yticks(middle, ["kept", "dropped"], rotation=90, va="center")
        ax.tick_params(length=0)
    ax.set_title(layer_title(graph, kept))
    return ax


def plot_embedding(
    layer: Layer, selected: Iterable[int] | None = None, *, ax: Axes | None = None
) -> Axes:
    """Draw the channels as points in the plane: alike ones near each other.

    Classical multidimensional scaling (Torgerson 1952). Distances: with a positive
    diagonal, that of the normalised Gram matrix, d² = 2 - 2·R_ij / sqrt(R_ii·R_jj);
    else max R - R_ij for redundancies and D_ij itself for diversities.

    Parameters
    ----------
    layer : Solution, PruningProblem or ChannelGraph
    selected : iterable of int, optional
        The channels kept; by default the solution's. Filled points are kept, hollow
        ones dropped; up to 24 kept ones are joined, alike ones by thicker lines.
    ax : matplotlib Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    InvalidProblemError
        If a channel is not one of the graph's.
    """
    graph, kept = read_layer(layer, selected)
    points = _scaled(_squared_distances(graph))
    ax = axes_or_new(ax)
    inside = np.zeros(graph.n, dtype=bool)
    if kept is not None:
        inside[kept] = True
        if 1 < kept.size <= _MOST_EDGES_FROM:
            _draw_edges(ax, graph, kept, points)
    x, y = points.T
    ax.scatter(
        x[~inside],
        y[~inside],
        s=30,
        facecolors="white",
        edgecolors="#7a7a7a",
        label="dropped",
        zorder=2,
    )
    ax.scatter(x[inside], y[inside], s=38, color=DARK, label="kept", zorder=3)
    if kept is not None:
        ax.legend(frameon=False)
    ax.set_aspect("equal", adjustable="datalim")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_title(layer_title(graph, kept))
    return ax


def plot_feature_maps(
    maps: Any,
    selected: Iterable[int],
    *,
    most: int = 32,
    ax: Axes | None = None,
) -> Axes:
    """Draw channels' feature maps: those kept on the left, those dropped on the right.

    Parameters
    ----------
    maps : array_like of shape (n, height, width)
        One map a channel, of one image or a mean; each is shaded over its own range.
    selected : iterable of int
        The channels kept.
    most : int
        Draw at most this many on either side, the first ones.
    ax : matplotlib Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    InvalidProblemError
        If `maps` is not three-dimensional, or a channel is not one of them.
    """
    stack = np.asarray(maps, dtype=np.float64)
    if stack.ndim != 3 or stack.size == 0:
        raise InvalidProblemError(
            f"`maps` must have shape (channels, height, width), got {stack.shape}. "
            "Pass the maps of one image, for instance activations[0]."
        )
    n, height, width = stack.shape
    kept = _channels(selected, n)
    dropped = np.setdiff1d(np.arange(n), kept)
    both = {"kept": kept, "dropped": dropped}
    sides = {name: all_of for name, all_of in both.items() if all_of.size}
    largest = max(min(most, all_of.size) for all_of in sides.values())
    columns = max(1, int(np.ceil(np.sqrt(largest * height / width))))
    blocks = [_mosaic(stack[all_of[:most]], columns) for all_of in sides.values()]
    rows = max(block.shape[0] for block in blocks)
    gap = max(4, width // 2)
    across = sum(block.shape[1] for block in blocks) + gap * (len(blocks) - 1)
    canvas = np.full((rows, across), np.nan)
    ax = axes_or_new(ax, (4.0 * len(blocks), 4.2))
    left = 0
    for (name, all_of), block in zip(sides.items(), blocks, strict=True):
        canvas[: block.shape[0], left : left + block.shape[1]] = block
        told = f"{name}: {all_of.size} of {n}"
        if all_of.size > most:
            told += f", the first {most}"
        ax.text(left + block.shape[1] / 2, -3, told, ha="center", va="bottom")
        left += block.shape[1] + gap
    ax.imshow(canvas, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
    ax.set_axis_off()
    return ax


def read_layer(
    layer: Layer, selected: Iterable[int] | None
) -> tuple[ChannelGraph, IntArray | None]:
    """Return the graph and the channels kept, None if nothing was chosen.

    Raises
    ------
    InvalidProblemError
        If there is no graph to draw, or a channel is not one of the graph's.
    """
    if isinstance(layer, ChannelGraph):
        graph = layer
    elif isinstance(layer, PruningProblem):
        graph = layer.graph
    elif not hasattr(layer, "problem"):
        raise InvalidProblemError(
            "`layer` must be a Solution, a PruningProblem or a ChannelGraph, got "
            f"{type(layer).__name__}. Wrap a matrix in ChannelGraph(matrix)."
        )
    elif isinstance(layer.problem, PruningProblem | ReconstructionProblem):
        problem = layer.problem
        if isinstance(problem, PruningProblem):
            graph = problem.graph
        else:
            graph = problem.as_graph()
        selected = layer.selected if selected is None else selected
    else:
        raise InvalidProblemError(
            "`layer` must know its graph, got a Solution without a problem. "
            "Read it with Solution.from_dict(data, problem), or pass the graph."
        )
    return graph, None if selected is None else _channels(selected, graph.n)


def _channels(selected: Iterable[int], n: int) -> IntArray:
    from sirfp_opt._validate import as_indices, in_range

    kept = as_indices(selected, "selected")
    in_range(kept, n, "selected")
    return np.asarray(kept, dtype=np.int64)


def layer_title(graph: ChannelGraph, kept: IntArray | None) -> str:
    """Return the name of a layer with how many channels it has, and keeps."""
    counts = f"{graph.n} channels"
    if kept is not None:
        counts = f"{kept.size} of {graph.n} channels kept"
    return f"{graph.name}: {counts}" if graph.name else counts


def _seriated(graph: ChannelGraph, channels: IntArray) -> IntArray:
    """Order channels by the leading eigenvector of their block of weights."""
    if channels.size < 3:
        return channels
    _, vectors = np.linalg.eigh(graph.weights[np.ix_(channels, channels)])
    leading = vectors[:, -1] if vectors[:, -1].sum() > 0 else -vectors[:, -1]
    return channels[np.argsort(-leading, kind="stable")]


def _squared_distances(graph: ChannelGraph) -> FloatArray:
    own = graph.self_redundancy
    if graph.sense is Sense.MINIMIZE and bool((own > 0).all()):
        scale = np.sqrt(own)
        squared = 2.0 - 2.0 * graph.weights / np.outer(scale, scale)
    elif graph.sense is Sense.MINIMIZE:
        squared = (graph.weights.max() - graph.weights) ** 2
    else:
        squared = graph.weights**2
    squared = np.maximum(squared, 0.0)
    np.fill_diagonal(squared, 0.0)
    return np.asarray(squared, dtype=np.float64)


def _scaled(squared: FloatArray) -> FloatArray:
    """Return the points of classical multidimensional scaling, shape (n, 2)."""
    n = squared.shape[0]
    centred = squared - squared.mean(axis=0)
    gram = -(centred - centred.mean(axis=1, keepdims=True)) / 2
    values, vectors = np.linalg.eigh(gram)
    points = np.zeros((n, 2))
    take = min(2, n)
    leading = np.sqrt(np.maximum(values[::-1][:take], 0.0))
    points[:, :take] = vectors[:, ::-1][:, :take] * leading
    return points


def _draw_edges(
    ax: Axes, graph: ChannelGraph, kept: IntArray, points: FloatArray
) -> None:
    """Join the channels kept; the heavier the edge, the thicker the line."""
    above = np.triu_indices(kept.size, 1)
    rows, columns = kept[above[0]], kept[above[1]]
    weights = np.abs(graph.weights[rows, columns])
    widths = 0.2 + 2.0 * weights / max(float(np.abs(graph.weights).max()), 1e-300)
    join(ax, points, rows, columns, linewidths=widths, colors=LIGHT, zorder=1)


def _mosaic(maps: FloatArray, columns: int) -> FloatArray:
    """Set maps side by side, each over its own range, in rows of `columns`."""
    count, height, width = maps.shape
    rows = max(1, -(-count // columns))
    canvas = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), np.nan)
    for place, plane in enumerate(maps):
        top, left = (height + 1) * (place // columns), (width + 1) * (place % columns)
        low, high = plane.min(), plane.max()
        canvas[top : top + height, left : left + width] = (
            (plane - low) / (high - low) if high > low else 0.5
        )
    return canvas
