"""DIMACS text with weights on the edges (and, where given, on the vertices)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.graph import ChannelGraph
from sirfp_opt.io._edges import broken, fields, load_text, parse_numbers, walk_edges
from sirfp_opt.sense import Sense

if TYPE_CHECKING:
    import os

    from sirfp_opt._validate import BoolArray, FloatArray

__all__ = ["read_dimacs", "write_dimacs"]


def read_dimacs(path: str | os.PathLike[str]) -> ChannelGraph:
    r"""Read an edge-weighted DIMACS graph, to be maximised.

    Lines are ``c ...`` (comment), ``p edge n m`` (once, first), ``n i w`` (weight of
    vertex i, 0 where there is none) and ``e i j w``, vertices numbered from 1. Two
    vertices without an edge may not both be chosen: the maximum edge weight clique
    problem.

    Parameters
    ----------
    path : path-like
        The graph is named after the file, without its suffix.

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
    lines = load_text(path).splitlines()
    edge_lines, n, m, vertex_weights = _sort(path, lines)
    found = _in_bulk([lines[number - 1] for number in edge_lines], n)
    if found is None or len(edge_lines) != m:
        words = ((number, lines[number - 1].split()[1:]) for number in edge_lines)
        count, _ = walk_edges(path, words, n, 1)
        broken(
            path,
            len(lines),
            f"the header announces {m} edges",
            f"{count} at the end of the file",
            "Is the file truncated, or the header wrong?",
        )
    weights, adjacency = found
    return ChannelGraph.from_diversity(
        weights,
        vertex_weights=vertex_weights,
        adjacency=adjacency,
        name=Path(path).stem,
    )


def _sort(path: object, lines: list[str]) -> tuple[list[int], int, int, FloatArray]:
    """Read the header and the vertex weights; tell where the edges are."""
    edges: list[int] = []
    n = m = -1
    vertex_weights = np.zeros(0)
    for number, words in fields(lines):
        kind = words[0]
        if kind == "c":
            continue
        got = repr(" ".join(words[:6]))
        if kind == "p":
            if n >= 0 or len(words) != 4 or not (words[2] + words[3]).isdecimal():
                broken(path, number, "the one header is 'p edge n m'", got, "Fix it.")
            n, m = int(words[2]), int(words[3])
            vertex_weights = np.zeros(n)
        elif n < 0:
            broken(path, number, "'p edge n m' comes first", got, "Add the header.")
        elif kind == "e":
            edges.append(number)
        elif kind == "n":
            try:
                vertex, weight = int(words[1]), float(words[2])
                if len(words) != 3 or not np.isfinite(weight):
                    raise ValueError
            except (IndexError, ValueError):
                broken(path, number, "a vertex is 'n i weight'", got, "Correct it.")
            if not 1 <= vertex <= n:
                broken(path, number, f"vertices run from 1 to {n}", got, "Correct it.")
            vertex_weights[vertex - 1] = weight
        else:
            broken(path, number, "a line begins with c, p, n or e", got, "Drop it.")
    if n < 0:
        broken(path, len(lines), "'p edge n m' comes first", "no header", "Add it.")
    return edges, n, m, vertex_weights


def _in_bulk(lines: list[str], n: int) -> tuple[FloatArray, BoolArray] | None:
    """Return weights and adjacency, None if anything is wrong."""
    values = parse_numbers(" ".join(line.lstrip()[1:] for line in lines))
    if values is None or values.size != 3 * len(lines) or not np.isfinite(values).all():
        return None
    i, j, w = values.reshape(-1, 3).T
    rows, columns = i.astype(np.int64) - 1, j.astype(np.int64) - 1
    if (rows + 1 != i).any() or (columns + 1 != j).any() or (rows == columns).any():
        return None
    ends = np.concatenate((rows, columns))
    if ends.size and (ends.min() < 0 or ends.max() >= n):
        return None
    adjacency = np.eye(n, dtype=bool)
    adjacency[rows, columns] = adjacency[columns, rows] = True
    if np.count_nonzero(adjacency) != n + 2 * len(lines):
        return None  # an edge comes twice
    weights = np.zeros((n, n))
    weights[rows, columns] = weights[columns, rows] = w
    return weights, adjacency


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
    if graph.sense is not Sense.MAXIMIZE:
        raise InvalidProblemError(
            f"`graph` must be maximised for DIMACS, got sense {graph.sense.value!r}. "
            "Write .npz or .graphml, or from_diversity(-weights)."
        )
    rows, columns = np.triu_indices(graph.n, 1)
    if graph.adjacency is not None:
        joined = graph.adjacency[rows, columns]
        rows, columns = rows[joined], columns[joined]
    lines = [f"c {graph.name}"] if graph.name else []
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
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")
