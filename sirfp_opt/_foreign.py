"""Graphs of other packages: what they hold, read and written without their import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sirfp_opt._validate import (
    MOST_CHANNELS,
    BoolArray,
    Checked,
    FloatArray,
    as_real,
    as_text,
    brief,
    checked_square,
)
from sirfp_opt.errors import InvalidProblemError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import networkx as nx
    import pandas as pd

__all__ = ["Foreign", "make_networkx", "read_networkx", "read_pandas", "read_sparse"]


@dataclass(frozen=True)
class Foreign:
    """What was read, as arguments of a `ChannelGraph`.

    Attributes
    ----------
    weights : ndarray of shape (n, n), or Checked
    labels : tuple of str, optional
    vertex_weights : list of float, optional
    adjacency : ndarray of bool, shape (n, n), optional
    name : str
    """

    weights: FloatArray | Checked
    labels: tuple[str, ...] | None = None
    vertex_weights: list[float] | None = None
    adjacency: BoolArray | None = None
    name: str = ""


def read_networkx(
    graph: nx.Graph[Any], weight: str, vertex_weight: str | None
) -> Foreign:
    """Read a `networkx.Graph`; see `ChannelGraph.from_networkx`."""
    if not hasattr(graph, "is_multigraph"):
        raise InvalidProblemError(
            f"`graph` must be a networkx.Graph, got {brief(graph)}. "
            "For a matrix take from_diversity or from_redundancy."
        )
    if graph.is_directed() or graph.is_multigraph():
        raise InvalidProblemError(
            "`graph` must be an undirected networkx.Graph without parallel edges, "
            f"got {type(graph).__name__}. Convert it with networkx.Graph(graph)."
        )
    as_text(weight, "weight", hint="It names an attribute of edges.")
    if vertex_weight is not None:
        as_text(vertex_weight, "vertex_weight", hint="It names one of nodes.")
    nodes = list(graph.nodes)
    if not 0 < len(nodes) <= MOST_CHANNELS:
        raise InvalidProblemError(
            f"`graph` must have between 1 and {MOST_CHANNELS} nodes, got "
            f"{len(nodes)}. Each node stands for a channel."
        )
    position = {node: i for i, node in enumerate(nodes)}
    weights = np.zeros((len(nodes), len(nodes)))
    adjacency = np.eye(len(nodes), dtype=bool)
    edges: Iterable[tuple[Any, Any, Any]] = graph.edges(data=weight)
    for u, v, value in edges:
        if value is None:
            raise InvalidProblemError(
                f"`weight` must name an attribute of every edge, got {weight!r}, "
                f"which edge ({u!r}, {v!r}) lacks. Set it, or pass its name."
            )
        i, j = position[u], position[v]
        number = as_real(value, weight, hint=f"It is that of edge ({u!r}, {v!r}).")
        weights[i, j] = weights[j, i] = number
        adjacency[i, j] = adjacency[j, i] = True
    return Foreign(
        weights,
        tuple(str(node) for node in nodes),
        None if vertex_weight is None else _of_nodes(graph, vertex_weight),
        adjacency,
        str(graph.name or ""),
    )


def _of_nodes(graph: nx.Graph[Any], name: str) -> list[float]:
    """Return an attribute that every node must have."""
    lacking = [u for u in graph.nodes if name not in graph.nodes[u]]
    if lacking:
        raise InvalidProblemError(
            f"`vertex_weight` must name an attribute of every node, got {name!r}, "
            f"which node {lacking[0]!r} lacks. Set it there, or leave the argument out."
        )
    return [as_real(graph.nodes[u][name], name, hint=f"It is {u!r}'s.") for u in graph]


def read_pandas(frame: pd.DataFrame) -> Foreign:
    """Read a square DataFrame; see `ChannelGraph.from_pandas`."""
    if not (hasattr(frame, "index") and hasattr(frame, "columns")):
        raise InvalidProblemError(
            f"`frame` must be a pandas.DataFrame, got {brief(frame)}. "
            "For a matrix take from_diversity or from_redundancy."
        )
    rows, columns = list(frame.index), list(frame.columns)
    if rows != columns:
        raise InvalidProblemError(
            "`frame` must have the same labels, in the same order, as index and "
            f"columns, got {rows[:3]}... and {columns[:3]}.... "
            "Pass frame.loc[labels, labels]."
        )
    return Foreign(
        checked_square(frame.to_numpy(), "frame"),
        tuple(str(label) for label in rows),
    )


def read_sparse(matrix: Any, absent: str) -> Foreign:
    """Read a scipy.sparse matrix; see `ChannelGraph.from_sparse`."""
    if not (hasattr(matrix, "tocoo") and hasattr(matrix, "nnz")):
        raise InvalidProblemError(
            f"`matrix` must be a scipy.sparse matrix, got {brief(matrix)}. "
            "For a dense one take from_diversity or from_redundancy."
        )
    if absent not in ("zero", "missing"):
        raise InvalidProblemError(
            f"`absent` must be 'zero' or 'missing', got {brief(absent)}. Say 'zero' if "
            "a pair without an entry weighs 0, 'missing' if it may not both be kept."
        )
    shape = tuple(matrix.shape)
    if len(shape) != 2 or shape[0] != shape[1] or not 0 < shape[0] <= MOST_CHANNELS:
        raise InvalidProblemError(
            f"`matrix` must be a square matrix (n, n) with 1 <= n <= {MOST_CHANNELS}, "
            f"got shape {shape}. One row and one column stand for each channel."
        )
    weights = checked_square(matrix.toarray(), "matrix")
    if absent == "zero":
        return Foreign(weights)
    entries = matrix.tocoo()
    present = np.eye(shape[0], dtype=bool)
    present[entries.row, entries.col] = True
    # An entry on one side of the diagonal only is there, too: both are one pair.
    return Foreign(weights, adjacency=present | present.T)


def make_networkx(
    weights: FloatArray,
    vertex_weights: FloatArray,
    adjacency: BoolArray | None,
    labels: tuple[str, ...] | None,
    name: str,
) -> nx.Graph[int]:
    """Return the `networkx.Graph` of a `ChannelGraph`'s parts; see its method."""
    import networkx

    out: nx.Graph[int] = networkx.Graph(name=name)
    for i, own in enumerate(vertex_weights.tolist()):
        out.add_node(i, weight=own)
        if labels is not None:
            out.nodes[i]["label"] = labels[i]
    rows, columns = np.triu_indices(len(weights), 1)
    for i, j in zip(rows.tolist(), columns.tolist(), strict=True):
        if adjacency is None or adjacency[i, j]:
            out.add_edge(i, j, weight=float(weights[i, j]))
    return out
