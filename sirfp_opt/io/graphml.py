"""GraphML, by way of NetworkX: for graphs made or looked at elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.graph import ChannelGraph
from sirfp_opt.sense import Sense

if TYPE_CHECKING:
    import os

__all__ = ["read_graphml", "write_graphml"]


def read_graphml(
    path: str | os.PathLike[str], *, sense: Sense | str | None = None
) -> ChannelGraph:
    """Read an undirected GraphML graph; a missing edge = the two are incompatible.

    Edges carry an attribute "weight"; where every node has one too, these are the
    vertex weights. A graph attribute "sense" and node attributes "label" and
    "self_redundancy", as `write_graphml` makes them, are taken up.

    Parameters
    ----------
    path : path-like
    sense : {"minimize", "maximize"}, optional
        By default the file's own, else "maximize".

    Returns
    -------
    ChannelGraph

    Raises
    ------
    InvalidProblemError
        If the file is no GraphML, or its graph is directed, has parallel edges or an
        edge without weight.
    OSError
        If there is no such file.
    """
    import networkx

    try:
        found = networkx.read_graphml(path)
    except (ParseError, networkx.NetworkXError, ValueError) as error:
        raise InvalidProblemError(
            f"`path` must name a GraphML file, got {path}: {error}. Export it anew."
        ) from None
    nodes = found.nodes
    weighted = len(nodes) > 0 and all("weight" in nodes[u] for u in nodes)
    direction = Sense.of(sense or found.graph.get("sense", Sense.MAXIMIZE))
    graph = ChannelGraph.from_networkx(
        found,
        vertex_weight="weight" if weighted else None,
        sense=direction,
        name=str(found.graph.get("name") or Path(path).stem),
    )
    weights = graph.weights.copy()
    for i, u in enumerate(nodes):
        weights[i, i] = nodes[u].get("self_redundancy", 0.0)
    labels = tuple(str(nodes[u].get("label", u)) for u in nodes)
    return ChannelGraph(
        weights=weights,
        sense=direction,
        vertex_weights=graph.vertex_weights,
        adjacency=graph.adjacency,
        name=graph.name,
        labels=labels,
    )


def write_graphml(graph: ChannelGraph, path: str | os.PathLike[str]) -> None:
    """Write a graph as GraphML; `read_graphml` reads back its numbers.

    Parameters
    ----------
    graph : ChannelGraph
    path : path-like
    """
    import networkx

    out = graph.to_networkx()
    out.graph["sense"] = graph.sense.value
    out.graph["name"] = graph.name
    for i in range(graph.n):
        out.nodes[i]["self_redundancy"] = float(graph.self_redundancy[i])
    networkx.write_graphml(out, path)
