"""MDPLIB text: instances of the maximum diversity problem."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt.constraints import LayerConstraints
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.graph import ChannelGraph
from sirfp_opt.io._edges import broken, fields, load_text, parse_numbers, walk_edges
from sirfp_opt.problem import PruningProblem
from sirfp_opt.sense import Sense

if TYPE_CHECKING:
    import os

    from sirfp_opt._validate import FloatArray

__all__ = ["read_mdplib", "write_mdplib"]


def read_mdplib(path: str | os.PathLike[str]) -> PruningProblem:
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
    text = load_text(path)
    lines = fields(text.splitlines())
    number, header = next(lines, (1, [""]))
    if len(header) != 2 or not all(re.fullmatch(r"\d+", word) for word in header):
        broken(
            path,
            number,
            "an MDPLIB file begins with 'n k'",
            repr(" ".join(header[:6])),
            "Is it of another format?",
        )
    n, k = int(header[0]), int(header[1])
    if not (n >= 2 and 1 <= k <= n):
        broken(path, number, "n and k meet 1 <= k <= n, n >= 2", f"{n} {k}", "Fix it.")
    pairs = n * (n - 1) // 2
    values = parse_numbers(text)
    weights = None if values is None else _in_bulk(values[2:], n, pairs)
    if weights is None:
        found, last = walk_edges(path, lines, n, 0)
        broken(
            path,
            last,
            f"{n} elements make {pairs} pairs",
            f"{found} at the end of the file",
            "Is the file truncated, or n wrong?",
        )
    graph = ChannelGraph.from_diversity(weights, name=Path(path).stem)
    return PruningProblem(graph, LayerConstraints(k))


def _in_bulk(values: FloatArray, n: int, pairs: int) -> FloatArray | None:
    """Return the weights, None if anything is wrong."""
    if values.size != 3 * pairs or not np.isfinite(values).all():
        return None
    i, j, d = values.reshape(-1, 3).T
    if i.min() < 0 or j.min() < 0 or max(i.max(), j.max()) >= n:
        return None
    rows, columns = i.astype(np.int64), j.astype(np.int64)
    if (rows != i).any() or (columns != j).any() or (rows == columns).any():
        return None
    low, high = np.minimum(rows, columns), np.maximum(rows, columns)
    if np.bincount(low * n + high, minlength=1).max() > 1:
        return None
    weights = np.zeros((n, n))
    weights[rows, columns] = d
    weights[columns, rows] = d
    return weights


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
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")
