"""GraphML, GEXF and GML, by way of NetworkX: for graphs made or looked at elsewhere."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from sirfp_opt._validate import as_path, as_real, require
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.graph import ChannelGraph
from sirfp_opt.io._edges import as_number
from sirfp_opt.io._source import Source
from sirfp_opt.sense import Sense

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

__all__ = ["read_gexf", "read_gml", "read_graphml", "write_graphml"]


def read_graphml(
    path: str | os.PathLike[str] | Source, *, sense: Sense | str | None = None
) -> ChannelGraph:
    """Read an undirected GraphML graph; a missing edge = the two are incompatible.

    Edges carry an attribute "weight"; where nodes have one too, all of them, these are
    the vertex weights. A graph attribute "sense" and node attributes "label" and
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
        If the file is no GraphML, or its graph is directed, has parallel edges, an
        edge without weight, or an attribute that only some nodes have.
    OSError
        If there is no such file.
    """
    import networkx

    return _read(path, sense, "GraphML", networkx.read_graphml)


def read_gexf(
    path: str | os.PathLike[str] | Source, *, sense: Sense | str | None = None
) -> ChannelGraph:
    """Read an undirected GEXF graph, as `read_graphml` reads GraphML."""
    import networkx

    return _read(path, sense, "GEXF", networkx.read_gexf)


def read_gml(
    path: str | os.PathLike[str] | Source, *, sense: Sense | str | None = None
) -> ChannelGraph:
    """Read an undirected GML graph, as `read_graphml` reads GraphML."""
    import networkx

    def reader(file: io.BytesIO) -> Any:
        # Labels may repeat; numbers are what GML identifies nodes by.
        return networkx.read_gml(file, label=None)  # type: ignore[call-overload]

    return _read(path, sense, "GML", reader)


def _read(
    path: str | os.PathLike[str] | Source,
    sense: Sense | str | None,
    kind: str,
    reader: Callable[[io.BytesIO], Any],
) -> ChannelGraph:
    source = Source.of(path)
    if kind != "GML":
        _check_text(source)
    try:
        found = reader(io.BytesIO(source.data))
    except Exception as error:  # whatever networkx trips over in a broken file
        raise _broken(source, f"{type(error).__name__}: {error}", kind) from None
    nodes = found.nodes
    if sense is None:
        stated = found.graph.get("sense", Sense.MAXIMIZE)
        try:
            direction = Sense.of(stated)
        except InvalidProblemError:
            raise _broken(source, f"the sense {stated!r}", kind) from None
    else:
        direction = Sense.of(sense)
    try:
        own = _of_nodes(found, "self_redundancy")
        graph = ChannelGraph.from_networkx(
            found,
            vertex_weight="weight" if _of_nodes(found, "weight") else None,
            sense=direction,
            name=str(found.graph.get("name") or source.stem),
        )
        return ChannelGraph(
            weights=graph.weights,
            sense=direction,
            vertex_weights=graph.vertex_weights,
            adjacency=graph.adjacency,
            name=graph.name,
            labels=tuple(str(nodes[u].get("label", u)) for u in nodes),
            self_redundancy=own or None,
        )
    except InvalidProblemError as error:
        raise _broken(source, str(error), kind) from None


def _broken(source: Source, why: str, kind: str = "GraphML") -> InvalidProblemError:
    return InvalidProblemError(
        f"`path` must name a {kind} file of an undirected graph with weights, got "
        f"{source.name}: {' '.join(why.split())[:300]} Correct or export it anew."
    )


def _of_nodes(graph: Any, name: str) -> list[float]:
    """Return an attribute of all nodes, nothing where no node has it."""
    having = [u for u in graph.nodes if name in graph.nodes[u]]
    if having and len(having) < len(graph):
        lacking = next(u for u in graph.nodes if name not in graph.nodes[u])
        raise InvalidProblemError(
            f"{name!r} must be given for all nodes or none, got {len(having)} of "
            f"{len(graph)}, none for {lacking!r}."
        )
    return [as_real(graph.nodes[u][name], name, hint=f"It is {u!r}'s.") for u in having]


def _check_text(source: Source) -> None:
    """Refuse what networkx would pass over: strange numbers, nodes nobody declared."""
    try:
        root = ElementTree.fromstring(source.data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise _broken(source, f"no XML: {error}.") from None
    kinds = {"int", "integer", "long", "float", "double", "real"}
    numeric = {
        key.get("id")
        for key in root.iter()
        if _local(key) == "key" and key.get("attr.type") in kinds
    }
    declared: set[str | None] = set()
    for element in root.iter():
        if _local(element) == "node":
            if element.get("id") in declared:
                raise _broken(source, f"node {element.get('id')!r} comes twice.")
            declared.add(element.get("id"))
        elif _local(element) == "data" and element.get("key") in numeric:
            word = (element.text or "").strip()
            if as_number(word) is None:
                raise _broken(source, f"{word[:40]!r} is no finite number.")
    for element in root.iter():
        for end in ("source", "target"):
            if _local(element) == "edge" and element.get(end) not in declared:
                raise _broken(
                    source, f"an edge's {end} {element.get(end)!r} is no node."
                )


def _local(element: ElementTree.Element) -> str:
    """Return an element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]


def write_graphml(graph: ChannelGraph, path: str | os.PathLike[str]) -> None:
    """Write a graph as GraphML; `read_graphml` reads back its numbers.

    Parameters
    ----------
    graph : ChannelGraph
    path : path-like
    """
    import networkx

    graph = require(graph, ChannelGraph, "graph")
    target = as_path(path)
    out = graph.to_networkx()
    out.graph["sense"] = graph.sense.value
    out.graph["name"] = graph.name
    for i in range(graph.n):
        out.nodes[i]["self_redundancy"] = float(graph.self_redundancy[i])
    networkx.write_graphml(out, target)
