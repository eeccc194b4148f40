"""What a graph is like, in numbers that tell how hard it will be."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sirfp_opt._validate import require
from sirfp_opt.graph import ChannelGraph

__all__ = ["GraphFacts", "describe"]


@dataclass(frozen=True)
class GraphFacts:
    """Numbers about a channel graph.

    Attributes
    ----------
    name : str
    n : int
        Channels.
    sense : str
    missing_edges : int
    vertex_weights : bool
        Whether any vertex weight is not zero.
    least, mean, largest : float
        Of the edge weights, those missing left out; 0 without any edge.
    variation : float
        Standard deviation over mean of the absolute edge weights; small: every set is
        about as good as any other.
    negative : float
        Share of the edge weights below zero.
    dead : int
        Channels without any weight, their diagonal included.
    twins : int
        Pairs of channels whose weights to all others agree to 1e-9 of the largest.
    smallest_eigenvalue, largest_eigenvalue : float
        Of the matrix with its diagonal.
    convex : bool
        Whether no eigenvalue is negative beyond rounding: then the continuous
        relaxation is convex as it stands.
    effective_rank : float
        exp(entropy) of the absolute eigenvalues divided by their sum (Roy and
        Vetterli 2007): how many directions the channels really span.
    """

    name: str
    n: int
    sense: str
    missing_edges: int
    vertex_weights: bool
    least: float
    mean: float
    largest: float
    variation: float
    negative: float
    dead: int
    twins: int
    smallest_eigenvalue: float
    largest_eigenvalue: float
    convex: bool
    effective_rank: float

    def to_dict(self) -> dict[str, Any]:
        """Return the facts as plain values."""
        return asdict(self)


def describe(graph: ChannelGraph) -> GraphFacts:
    """Return numbers about a graph; one eigendecomposition, O(n³).

    Parameters
    ----------
    graph : ChannelGraph

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import ChannelGraph
    >>> from sirfp_opt.study import describe
    >>> facts = describe(ChannelGraph.from_redundancy(np.eye(4) + 1))
    >>> facts.mean, facts.twins, facts.convex
    (1.0, 6, True)
    """
    n = require(graph, ChannelGraph, "graph").n
    present = np.triu(np.ones((n, n), dtype=bool), 1)
    missing = 0
    if graph.adjacency is not None:
        missing = int((present & ~graph.adjacency).sum())
        present &= graph.adjacency
    # Squares of what is very large or small would be infinite or nothing.
    largest = max(
        float(np.abs(graph.weights).max()), float(np.abs(graph.self_redundancy).max())
    )
    exponent = math.frexp(largest)[1]
    weights = np.ldexp(graph.weights, -exponent)
    edges = weights[present]
    if edges.size == 0:
        edges = np.zeros(1)
    size = np.abs(edges)
    whole = weights + np.diag(np.ldexp(graph.self_redundancy, -exponent))
    values = np.linalg.eigvalsh(whole)
    magnitudes = np.abs(values)
    total = float(magnitudes.sum())
    shares = magnitudes[magnitudes > 0] / total if total else np.ones(1)
    return GraphFacts(
        name=graph.name,
        n=n,
        sense=graph.sense.value,
        missing_edges=missing,
        vertex_weights=bool(graph.vertex_weights.any()),
        least=math.ldexp(float(edges.min()), exponent),
        mean=math.ldexp(float(edges.mean()), exponent),
        largest=math.ldexp(float(edges.max()), exponent),
        variation=float(size.std() / size.mean()) if size.any() else 0.0,
        negative=float((edges < 0).mean()),
        dead=int((~whole.any(axis=1)).sum()),
        twins=_twins(weights),
        smallest_eigenvalue=math.ldexp(float(values[0]), exponent),
        largest_eigenvalue=math.ldexp(float(values[-1]), exponent),
        convex=bool(values[0] >= -1e-9 * max(magnitudes[0], magnitudes[-1])),
        effective_rank=math.exp(-float((shares * np.log(shares)).sum())),
    )


def _twins(weights: np.typing.NDArray[np.float64]) -> int:
    """Count pairs i, j with W_il = W_jl for all other l."""
    n = weights.shape[0]
    tolerance = 1e-9 * float(np.abs(weights).max(initial=0.0))
    count = 0
    for i in range(n - 1):
        apart = np.abs(weights[i + 1 :] - weights[i])
        # The entries at i and at j hold the pair's own weight and the diagonal.
        apart[:, i] = 0.0
        apart[np.arange(n - i - 1), np.arange(i + 1, n)] = 0.0
        count += int((apart.max(axis=1) <= tolerance).sum())
    return count
