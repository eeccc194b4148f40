"""One scale for the redundancies of layers whose maps differ in size and strength."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np

from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.graph import ChannelGraph
from sirfp_opt.reconstruction import ReconstructionProblem

__all__ = ["NORMALIZATIONS", "normalized"]

NORMALIZATIONS = ("none", "trace", "cosine", "map_size")


@singledispatch
def normalized(
    graph: Any, mode: str, *, map_size: float | None = None
) -> tuple[Any, float]:
    """Return a graph and a factor that put layers on one scale.

    The paper's redundancy is an inner product of L1-normalised maps, which shrinks as
    one over the map's positions; raw objectives of two layers do not compare.

    Like `value_curve`, it goes by the kind of layer (`functools.singledispatch`).

    Parameters
    ----------
    graph : ChannelGraph or ReconstructionProblem
        The latter's objective is a share of a signal, and left as it is.
    mode : {"none", "trace", "cosine", "map_size"}
        Leave it; divide the objective by Σ_i R_ii; replace R_ij by
        R_ij / sqrt(R_ii R_jj) (a channel with R_ii = 0 keeps no redundancy); or
        multiply the objective by the number of positions of the layer's maps.
    map_size : float, optional
        Positions (height times width) for "map_size".

    Returns
    -------
    graph : ChannelGraph
        The graph to solve; another one for "cosine" only.
    factor : float
        What its objective is to be multiplied by.

    Notes
    -----
    "trace" is free of the number of channels too: the row sum of a channel over all n
    of a layer is then its mean redundancy relative to the layer's mean R_ii. On
    cosines, row sums grow with n, and wide layers lose more than narrow ones.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import ChannelGraph
    >>> graph = ChannelGraph.from_redundancy(np.array([[4.0, 1.0], [1.0, 1.0]]))
    >>> normalized(graph, "trace")[1], normalized(graph, "cosine")[0].weights[0, 1]
    (0.2, np.float64(0.5))
    """
    raise InvalidProblemError(
        f"`graph` must be a ChannelGraph, got {type(graph).__name__}. "
        "Use ChannelGraph.from_redundancy."
    )


@normalized.register
def _share_as_it_is(
    graph: ReconstructionProblem, mode: str, *, map_size: float | None = None
) -> tuple[ReconstructionProblem, float]:
    """Return the layer: its objective is a share of a signal, on one scale already."""
    del mode, map_size
    return graph, 1.0


@normalized.register
def _normalized_graph(
    graph: ChannelGraph, mode: str, *, map_size: float | None = None
) -> tuple[ChannelGraph, float]:
    if mode not in NORMALIZATIONS:
        raise InvalidProblemError(
            f"`normalize` must be one of {list(NORMALIZATIONS)}, got {mode!r}. "
            "The default is 'trace'."
        )
    if mode == "map_size":
        if map_size is None or not map_size > 0:
            raise InvalidProblemError(
                f"`map_sizes` must give the positions of each layer's maps, got "
                f"{map_size!r} for {graph.name!r}. Pass height times width."
            )
        return graph, float(map_size)
    own = graph.self_redundancy
    if mode == "trace":
        total = float(own.sum())
        return graph, 1.0 / total if total > 0 else 1.0
    if mode == "cosine":
        scale = np.zeros_like(own)
        scale[own > 0] = 1.0 / np.sqrt(own[own > 0])
        scaled = ChannelGraph(
            graph.weights * scale[:, None] * scale[None, :],
            sense=graph.sense,
            vertex_weights=graph.vertex_weights,
            adjacency=graph.adjacency,
            name=graph.name,
            labels=graph.labels,
            self_redundancy=(own > 0).astype(np.float64),
        )
        return scaled, 1.0
    return graph, 1.0
