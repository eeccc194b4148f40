"""Graphs from tables and sparse lists: CSV, .npy, Matrix Market, rudy."""

from __future__ import annotations

import csv
import inspect
import io
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.graph import ChannelGraph
from sirfp_opt.io._edges import (
    as_number,
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
    from collections.abc import Iterator, Sequence

__all__ = ["read_csv", "read_matrix_market", "read_npy", "read_rudy"]


def read_csv(
    path: str | os.PathLike[str] | Source, *, sense: Sense | str | None = None
) -> ChannelGraph:
    r"""Read a list of edges, one ``one,other,weight`` a line, under a header or not.

    Separated by commas, semicolons or tabs, whichever the first line has. The ends are
    names of any kind; they become the labels, in the order in which they come. A pair
    that is not there is a missing edge: the two may not both be kept.

    Parameters
    ----------
    path : path-like
    sense : {"minimize", "maximize"}, optional
        "maximize" by default.

    Returns
    -------
    ChannelGraph

    Raises
    ------
    InvalidProblemError
        If a line is broken, naming it: not three fields, a weight that is no finite
        number, a pair that comes twice or joins a vertex to itself.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from sirfp_opt.io import read_csv
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "edges.csv"
    >>> _ = file.write_text("from,to,weight\na,b,2.5\nb,c,1\n")
    >>> graph = read_csv(file)
    >>> graph.labels, graph.weights[0].tolist()
    (('a', 'b', 'c'), [0.0, 2.5, 0.0])
    """
    source = Source.of(path)
    lines = source.lines()
    first = next((line for line in lines if line.strip()), "")
    mark = max(",;\t", key=first.count)
    places: dict[str, int] = {}
    edges: dict[tuple[int, int], tuple[int, float]] = {}
    header = True
    for number, words in _rows(source.name, lines, mark):
        got = repr(mark.join(words[:6]))
        rule = f"an edge is 'one{mark}other{mark}weight'"
        if len(words) != 3:
            broken(source.name, number, rule, got, "Correct the line.")
        weight = as_number(words[2])
        heading, header = header and not _like_a_number(words[2]), False
        if heading:
            continue
        if weight is None:
            broken(source.name, number, "weights are finite numbers", got, "Fix it.")
        i, j = (places.setdefault(word, len(places)) for word in words[:2])
        pair = (min(i, j), max(i, j))
        if i == j:
            rule = "an edge joins two vertices"
            broken(source.name, number, rule, got, "Drop the line.")
        if pair in edges:
            rule = f"an edge comes once (first on line {edges[pair][0]})"
            broken(source.name, number, rule, got, "Drop one of the two.")
        edges[pair] = number, weight
    check_size(source.name, max(len(lines), 1), len(places))
    weights, joined = np.zeros((len(places),) * 2), np.eye(len(places), dtype=bool)
    for (i, j), (_, weight) in edges.items():
        weights[i, j] = weights[j, i] = weight
        joined[i, j] = joined[j, i] = True
    return ChannelGraph(
        weights,
        sense=Sense.MAXIMIZE if sense is None else Sense.of(sense),
        adjacency=joined,
        name=source.stem,
        labels=list(places),
    )


def _rows(
    name: str, lines: Sequence[str], mark: str
) -> Iterator[tuple[int, list[str]]]:
    """Yield the fields of each row that is not blank, and the number of its line."""
    rows = csv.reader((f"{line}\n" for line in lines), delimiter=mark)
    try:
        for row in rows:
            words = [word.strip() for word in row]
            if any(words):
                yield rows.line_num, words
    except csv.Error as error:
        rule = "a row is text between commas, semicolons or tabs"
        broken(name, rows.line_num, rule, str(error), "Is a quote left open?")


def _like_a_number(word: str) -> bool:
    """Tell numbers, also those that no file should hold, from headings."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def read_npy(
    path: str | os.PathLike[str] | Source, *, sense: Sense | str | None = None
) -> ChannelGraph:
    """Read a square matrix that `numpy.save` wrote; minimised unless `sense` differs.

    Parameters
    ----------
    path : path-like
    sense : {"minimize", "maximize"}, optional
        "minimize" by default, as for archives.

    Raises
    ------
    InvalidProblemError
        If the file is damaged or holds no matrix of a graph.
    """
    source = Source.of(path)
    try:
        matrix = np.load(io.BytesIO(source.data), allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError) as error:
        _damaged(source, "an array that numpy.save wrote", error)
    direction = Sense.MINIMIZE if sense is None else Sense.of(sense)
    return _graph(source, matrix, direction)


def read_matrix_market(
    path: str | os.PathLike[str] | Source, *, sense: Sense | str | None = None
) -> ChannelGraph:
    """Read a symmetric Matrix Market matrix; an entry that is not there weighs 0.

    Entries of a "pattern" weigh 1.

    Parameters
    ----------
    path : path-like
    sense : {"minimize", "maximize"}, optional
        "maximize" by default.

    Raises
    ------
    InvalidProblemError
        If the file is damaged, or the matrix not square, real and symmetric.
    """
    import scipy.io

    source = Source.of(path)
    # Newer versions of scipy ask which kind of sparse matrix is wanted.
    known = inspect.signature(scipy.io.mmread).parameters
    kind: dict[str, Any] = {"spmatrix": False} if "spmatrix" in known else {}
    try:
        rows, columns, *_ = scipy.io.mminfo(io.BytesIO(source.data))
        check_size(source.name, 1, max(rows, columns))
        matrix: Any = scipy.io.mmread(io.BytesIO(source.data), **kind)
    except InvalidProblemError:
        raise
    except Exception as error:  # whatever scipy trips over in a broken file
        _damaged(source, "a Matrix Market file", error)
    dense = matrix.toarray() if hasattr(matrix, "toarray") else matrix
    return _graph(source, dense, Sense.MAXIMIZE if sense is None else Sense.of(sense))


def read_rudy(path: str | os.PathLike[str] | Source) -> ChannelGraph:
    r"""Read a rudy (also .sparse, .mc) list, to be maximised.

    The first line is ``n m``, every other one ``i j weight`` for one of the m edges,
    vertices numbered from 1. A pair that is not there weighs 0: the k-cluster problem.

    Parameters
    ----------
    path : path-like

    Raises
    ------
    InvalidProblemError
        If the file is broken, naming the line.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from sirfp_opt.io import read_rudy
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "path.sparse"
    >>> _ = file.write_text("3 2\n1 2 1\n2 3 1\n")
    >>> read_rudy(file)
    ChannelGraph(n=3, sense='maximize', name='path')
    """
    source = Source.of(path)
    lines = source.lines()
    rows = list(fields(lines))
    number, header = rows[0] if rows else (1, [""])
    counts = two_wholes(header)
    if counts is None:
        got = repr(" ".join(header[:6]))
        broken(source.name, number, "a rudy file begins with 'n m'", got, "Add it.")
    n, m = counts
    check_size(source.name, number, n)
    edges = parse_edges([lines[at - 1] for at, _ in rows[1:]], n, 1)
    last = rows[-1][0]
    if edges is None:
        edges, last = walk_edges(source.name, rows[1:], n, 1)
    if edges[2].size != m:
        got = f"{edges[2].size} at the end of the file"
        rule = f"the header announces {m} edges"
        broken(source.name, last, rule, got, "Is the file truncated?")
    return ChannelGraph.from_diversity(symmetric(n, edges), name=source.stem)


def _graph(source: Source, matrix: object, sense: Sense) -> ChannelGraph:
    try:
        return ChannelGraph(matrix, sense=sense, name=source.stem)  # type: ignore[arg-type]
    except InvalidProblemError as error:
        _damaged(source, "a file with the matrix of a graph", error)


def _damaged(source: Source, what: str, error: Exception) -> NoReturn:
    said = " ".join(str(error).split())[:200]
    raise InvalidProblemError(
        f"`path` must name {what}, got {source.name}: {said} Write it anew."
    ) from None
