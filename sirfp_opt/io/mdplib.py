"""MDPLIB text: instances of the maximum diversity problem."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt._validate import as_path, require
from sirfp_opt.constraints import LayerConstraints
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.graph import ChannelGraph
from sirfp_opt.io._edges import (
    broken,
    check_size,
    fields,
    parse_edges,
    symmetric,
    two_wholes,
    walk_edges,
)
from sirfp_opt.io._source import Source
from sirfp_opt.problem import PruningProblem
from sirfp_opt.sense import Sense

if TYPE_CHECKING:
    import os

__all__ = ["read_mdplib", "write_mdplib"]


def read_mdplib(path: str | os.PathLike[str] | Source) -> PruningProblem:
    r"""Read an MDPLIB file: a complete graph and how many elements to choose.

    The first line is ``n k``, every other one ``i j d`` for a pair i < j of elements,
    numbered from 0, all n (n - 1) / 2 of them. The sum of d is maximised. The
    library is "MDPLIB 2.0" (Martí et al., European Journal of Operational Research,
    2021).

    Parameters
    ----------
    path : path-like
        The graph is named after the file, without its suffix.

    Returns
    -------
    PruningProblem

    Raises
    ------
    InvalidProblemError
        If the file is broken, naming the line: a pair is missing or comes twice, an
        index is out of range, a weight is no finite number, n or k is wrong.
    OSError
        If there is no such file.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from sirfp_opt.io import read_mdplib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "tiny.txt"
    >>> _ = file.write_text("3 2\n0 1 5\n0 2 1\n1 2 2.5\n")
    >>> read_mdplib(file).graph.weights.tolist()
    [[0.0, 5.0, 1.0], [5.0, 0.0, 2.5], [1.0, 2.5, 0.0]]
    """
    source = Source.of(path)
    lines = source.lines()
    numbered = fields(lines)
    number, header = next(numbered, (1, [""]))
    counts = two_wholes(header)
    if counts is None:
        broken(
            source.name,
            number,
            "an MDPLIB file begins with 'n k'",
            repr(" ".join(header[:6])[:60]),
            "Is it of another format?",
        )
    n, k = counts
    check_size(source.name, number, n)
    if not 1 <= k <= n:
        broken(source.name, number, "n and k meet 1 <= k <= n", f"{n} {k}", "Fix it.")
    pairs = n * (n - 1) // 2
    full = [line for line in lines[number:] if line and not line.isspace()]
    edges = parse_edges(full, n, 0) if len(full) == pairs else None
    if edges is None:
        edges, last = walk_edges(source.name, numbered, n, 0)
        if edges[2].size != pairs:
            broken(
                source.name,
                last,
                f"{n} elements make {pairs} pairs",
                f"{edges[2].size} at the end of the file",
                "Is the file truncated, or n wrong?",
            )
    graph = ChannelGraph.from_diversity(symmetric(n, edges), name=source.stem)
    return PruningProblem(graph, LayerConstraints(k))


def write_mdplib(problem: PruningProblem, path: str | os.PathLike[str]) -> None:
    """Write a problem as MDPLIB text; `read_mdplib` reads back the same numbers.

    Parameters
    ----------
    problem : PruningProblem
        Maximised, over a complete graph without vertex weights, with k fixed and no
        other constraint: the format has no room for more.
    path : path-like

    Raises
    ------
    InvalidProblemError
        If the problem has more to it than the format can hold.
    """
    problem = require(problem, PruningProblem, "problem")
    graph, counts = problem.graph, problem.constraints.counts(problem.graph.n)
    if graph.sense is not Sense.MAXIMIZE or problem.features or len(counts) != 1:
        extra = ", ".join(sorted(problem.features)) or f"sense {graph.sense.value!r}"
        raise InvalidProblemError(
            f"`problem` must be maximised and have only k as a constraint for MDPLIB, "
            f"got {extra}. Write .npz or .graphml."
        )
    n = graph.n
    rows, columns = np.triu_indices(n, 1)
    weights = graph.weights[rows, columns]
    lines = [f"{n} {counts[0]}"]
    lines += [
        f"{i} {j} {w!r}"
        for i, j, w in zip(
            rows.tolist(), columns.tolist(), weights.tolist(), strict=True
        )
    ]
    as_path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")
