"""DIMACS text with weights on the edges (and, where given, on the vertices)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt._validate import as_path, require
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.graph import ChannelGraph
from sirfp_opt.io._edges import (
    as_number,
    as_whole,
    broken,
    check_size,
    fields,
    parse_edges,
    symmetric,
    two_wholes,
    walk_edges,
)
from sirfp_opt.io._source import Source
from sirfp_opt.sense import Sense

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from sirfp_opt._validate import FloatArray

__all__ = ["read_dimacs", "write_dimacs"]

# The comment in which `write_dimacs` keeps the graph's name.
_NAME = "c sirfp_opt name: "

# What an edge without a weight weighs, by the numbers of its ends.
_RULES: dict[str, Callable[[int, int], int]] = {
    "ones": lambda i, j: 1,
    "mod200": lambda i, j: (i + j) % 200 + 1,
}


def read_dimacs(
    path: str | os.PathLike[str] | Source, *, weight_rule: str | None = None
) -> ChannelGraph:
    r"""Read an edge-weighted DIMACS graph, to be maximised.

    Lines are ``c ...`` (comment), ``p edge n m`` (once, first), ``n i w`` (weight of
    vertex i, 0 where there is none) and ``e i j w``, vertices numbered from 1. Two
    vertices without an edge may not both be chosen: the maximum edge weight clique
    problem.

    Parameters
    ----------
    path : path-like
        The graph is named after the file, without its suffix, unless `write_dimacs`
        has noted its name.
    weight_rule : {"ones", "mod200"}, optional
        For files of the DIMACS challenge, whose edges are ``e i j``: all weigh 1, or
        (i + j) mod 200 + 1, as the literature on edge-weighted cliques has it. Without
        a rule such files are refused.

    Returns
    -------
    ChannelGraph

    Raises
    ------
    InvalidProblemError
        If the file is broken, naming the line: an edge comes twice or has no weight,
        an index is out of range, there are not as many edges as it says, a line is of
        no known kind.
    OSError
        If there is no such file.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from sirfp_opt.io import read_dimacs
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "path.clq"
    >>> _ = file.write_text("c a path\np edge 3 2\ne 1 2 5\ne 2 3 4\n")
    >>> read_dimacs(file)
    ChannelGraph(n=3, sense='maximize', missing_edges=1, name='path')
    """
    source = Source.of(path)
    lines = source.lines()
    found = _sort(source.name, lines)
    n, numbers = found.n, found.edges
    if weight_rule is not None:
        lines = _weighted(source.name, lines, numbers, weight_rule)
    edges = parse_edges([lines[number - 1].lstrip()[1:] for number in numbers], n, 1)
    if edges is None or len(numbers) != found.m:
        words = ((number, lines[number - 1].split()[1:]) for number in numbers)
        edges, _ = walk_edges(source.name, words, n, 1)
        if edges[2].size != found.m:
            broken(
                source.name,
                len(lines),
                f"the header announces {found.m} edges",
                f"{edges[2].size} at the end of the file",
                "Is the file truncated, or the header wrong?",
            )
    rows, columns, _ = edges
    adjacency = np.eye(n, dtype=bool)
    adjacency[rows, columns] = adjacency[columns, rows] = True
    return ChannelGraph.from_diversity(
        symmetric(n, edges),
        vertex_weights=found.vertex_weights,
        adjacency=adjacency,
        name=found.name or source.stem,
    )


def _weighted(
    path: object, lines: list[str], numbers: list[int], weight_rule: str
) -> list[str]:
    """Return the lines with a weight on each edge, by a rule of its ends."""
    if weight_rule not in _RULES:
        raise InvalidProblemError(
            f"`weight_rule` must be one of {sorted(_RULES)}, got {weight_rule!r}. "
            "Leave it out for files that have weights."
        )
    made = list(lines)
    for number in numbers:
        words = lines[number - 1].split()
        ends = two_wholes(words[1:])
        if ends is None:
            got = repr(" ".join(words[:6]))
            rule = "an edge without weight is 'e i j'"
            broken(path, number, rule, got, "Leave out weight_rule, or fix the line.")
        made[number - 1] = f"e {ends[0]} {ends[1]} {_RULES[weight_rule](*ends)}"
    return made


@dataclass
class _Sorted:
    """The header, the vertex weights, and the numbers of the lines with edges."""

    n: int
    m: int
    vertex_weights: FloatArray
    edges: list[int] = field(default_factory=list)
    name: str = ""


def _sort(path: object, lines: list[str]) -> _Sorted:
    found: _Sorted | None = None
    weighted: dict[int, int] = {}
    name = ""
    for number, words in fields(lines):
        kind = words[0]
        got = repr(" ".join(words[:6]))
        if kind == "c":
            if lines[number - 1].startswith(_NAME):
                name = lines[number - 1].removeprefix(_NAME).strip()
        elif kind == "p":
            counts = two_wholes(words[2:])
            if found is not None or counts is None:
                broken(path, number, "the one header is 'p edge n m'", got, "Fix it.")
            check_size(path, number, counts[0])
            found = _Sorted(*counts, np.zeros(counts[0]))
        elif found is None:
            broken(path, number, "'p edge n m' comes first", got, "Add the header.")
        elif kind == "e":
            found.edges.append(number)
        elif kind == "n":
            vertex = as_whole(words[1]) if len(words) == 3 else None
            weight = as_number(words[2]) if len(words) == 3 else None
            if vertex is None or weight is None:
                broken(path, number, "a vertex is 'n i weight'", got, "Correct it.")
            if not 1 <= vertex <= found.n:
                rule = f"vertices run from 1 to {found.n}"
                broken(path, number, rule, got, "Correct it.")
            if vertex in weighted:
                rule = f"a vertex comes once (first on line {weighted[vertex]})"
                broken(path, number, rule, got, "Drop one of the two.")
            weighted[vertex] = number
            found.vertex_weights[vertex - 1] = weight
        else:
            broken(path, number, "a line begins with c, p, n or e", got, "Drop it.")
    if found is None:
        broken(path, len(lines), "'p edge n m' comes first", "no header", "Add it.")
    found.name = name
    return found


def write_dimacs(graph: ChannelGraph, path: str | os.PathLike[str]) -> None:
    """Write a graph as edge-weighted DIMACS; `read_dimacs` reads back its numbers.

    Parameters
    ----------
    graph : ChannelGraph
        To be maximised: the format knows no other sense. Its labels and its
        `self_redundancy` have no place in it.
    path : path-like

    Raises
    ------
    InvalidProblemError
        If the graph is to be minimised.
    """
    graph = require(graph, ChannelGraph, "graph")
    if graph.sense is not Sense.MAXIMIZE:
        raise InvalidProblemError(
            f"`graph` must be maximised for DIMACS, got sense {graph.sense.value!r}. "
            "Write .npz or .graphml, or from_diversity(-weights)."
        )
    rows, columns = np.triu_indices(graph.n, 1)
    if graph.adjacency is not None:
        joined = graph.adjacency[rows, columns]
        rows, columns = rows[joined], columns[joined]
    lines = [_NAME + " ".join(graph.name.split())] if graph.name else []
    lines.append(f"p edge {graph.n} {rows.size}")
    lines += [
        f"n {i + 1} {w!r}" for i, w in enumerate(graph.vertex_weights.tolist()) if w
    ]
    lines += [
        f"e {i + 1} {j + 1} {w!r}"
        for i, j, w in zip(
            rows.tolist(),
            columns.tolist(),
            graph.weights[rows, columns].tolist(),
            strict=True,
        )
    ]
    as_path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")
