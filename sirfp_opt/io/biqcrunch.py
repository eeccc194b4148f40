"""BiqCrunch's .bc text: binary quadratic problems, of which cliques of fixed size."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt.constraints import LayerConstraints
from sirfp_opt.graph import ChannelGraph
from sirfp_opt.io._edges import as_number, as_whole, broken, check_size, fields
from sirfp_opt.io._source import Source
from sirfp_opt.problem import PruningProblem
from sirfp_opt.sense import Sense

if TYPE_CHECKING:
    import os

__all__ = ["read_biqcrunch"]

# What the format allows between the numbers of a line.
_MARKS = str.maketrans("{}(),", "     ")
_FIXED = "constraints fix how many variables are 1 (or follow from that)"
_OTHER = "Other constraints have no place here; take a solver of its own for them."


@dataclass
class _Matrix:
    """The entries of one matrix: of the objective, or of a constraint."""

    line: int
    linear: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    pairs: dict[tuple[int, int], float] = field(default_factory=dict)


def read_biqcrunch(
    path: str | os.PathLike[str] | Source,
) -> ChannelGraph | PruningProblem:
    r"""Read a BiqCrunch file whose constraints, if any, fix the number of variables.

    After comments (``;`` or ``*``) come 1 (maximise) or -1 (minimise), the number of
    constraints, the number of blocks, the size n + 1 of the matrices, the right-hand
    sides, and lines ``c 1 i j q``: the entry (i, j), and (j, i), of the matrix of
    constraint c, or of the objective for c = 0. Row n + 1 holds half of the linear
    terms, so a pair weighs 2 q and a variable q_ii + 2 q_{i, n+1}. A constraint
    a Σ x = b says k = b / a; those that follow from it, x_i Σ x = k x_i, are checked
    and left out.

    Parameters
    ----------
    path : path-like
        The graph is named after the file, without its suffix.

    Returns
    -------
    PruningProblem, or ChannelGraph where the file has no constraint

    Raises
    ------
    InvalidProblemError
        If the file is broken or has another constraint, naming the line.
    OSError
        If there is no such file.

    Notes
    -----
    The format is described in section 2.2 of BiqCrunch's manual (Krislock, Malick,
    Roupin 2017, doi 10.1145/3005345).

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from sirfp_opt.io import read_biqcrunch
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "path.bc"
    >>> edges = "0 1 1 2 0.5\n0 1 2 3 0.5\n"
    >>> kept = "1 1 1 4 1\n1 1 2 4 1\n1 1 3 4 1\n"
    >>> _ = file.write_text("1 =max problem\n1\n1\n{4}\n4.0\n" + edges + kept)
    >>> problem = read_biqcrunch(file)
    >>> problem.constraints.k, problem.graph.weights[0].tolist()
    (2, [0.0, 1.0, 0.0])
    """
    source = Source.of(path)
    lines = [
        "" if line.lstrip()[:1] in (";", "*") else line.translate(_MARKS)
        for line in source.lines()
    ]
    rows = list(fields(lines))
    sense, n, right, start = _header(source.name, rows, len(lines))
    matrices = _entries(source.name, rows[start:], n, len(right))
    objective = matrices.pop(0, _Matrix(1))
    weights, own = np.zeros((n, n)), np.zeros(n)
    for (i, j), q in objective.pairs.items():
        weights[i, j] = weights[j, i] = q
    for i, q in objective.linear.items():
        own[i] = q
    graph = ChannelGraph(weights, sense=sense, vertex_weights=own, name=source.stem)
    k = _count(source.name, matrices, right, n, len(lines))
    return graph if k is None else PruningProblem(graph, LayerConstraints(k))


def _header(
    name: str, rows: list[tuple[int, list[str]]], last: int
) -> tuple[Sense, int, list[float], int]:
    """Return the sense, n, the right-hand sides, and which row comes next."""

    def row(at: int, what: str) -> tuple[int, list[str]]:
        if at >= len(rows):
            broken(name, max(last, 1), what, "the end of the file", "Is it truncated?")
        return rows[at]

    def first_of(at: int, what: str, least: int) -> int:
        number, words = row(at, what)
        value = as_whole(words[0])
        if value is None or value < least:
            broken(name, number, what, repr(" ".join(words[:6])), "Correct it.")
        return value

    direction = first_of(0, "a .bc file begins with 1 (maximise) or -1 (minimise)", -1)
    if direction == 0:
        broken(name, rows[0][0], "the first number is 1 or -1", "0", "Correct it.")
    count = first_of(1, "the second line is the number of constraints", 0)
    blocks = first_of(2, "the third line is the number of blocks", 1)
    if blocks != 1:
        rule = "there is one block, as without inequalities"
        broken(name, rows[2][0], rule, str(blocks), _OTHER)
    what = "the fourth line is the size of the matrices, {n + 1}"
    number, words = row(3, what)
    size = as_whole(words[0]) if len(words) == 1 else None
    if size is None:
        broken(name, number, what, repr(" ".join(words[:6])), "Correct it.")
    check_size(name, number, size - 1)
    right: list[float] = []
    if count:
        what = f"the fifth line holds {count} right-hand sides"
        number, words = row(4, what)
        values = [as_number(word) for word in words]
        right = [value for value in values if value is not None]
        if len(right) != len(words) or len(right) != count:
            broken(name, number, what, f"{len(words)} words", "Correct it.")
    sense = Sense.MAXIMIZE if direction > 0 else Sense.MINIMIZE
    return sense, size - 1, right, 5 if count else 4


def _entries(
    name: str, rows: list[tuple[int, list[str]]], n: int, count: int
) -> dict[int, _Matrix]:
    """Return the matrices by number, 0 for the objective's."""
    found: dict[int, _Matrix] = {}
    seen: dict[tuple[int, int, int], int] = {}
    for number, words in rows:
        got = repr(" ".join(words[:6]))
        whole = [as_whole(word) for word in words[:4]]
        value = as_number(words[4]) if len(words) == 5 else None
        c, block, i, j = (-1 if w is None else w for w in [*whole, None][:4])
        if value is None or None in whole:
            rule = "an entry is 'constraint 1 i j value'"
            broken(name, number, rule, got, "Is the file truncated?")
        if not 0 <= c <= count:
            rule = f"constraints run from 0 (the objective) to {count}"
            broken(name, number, rule, got, "Correct the line.")
        if block != 1:
            broken(name, number, "there is one block", got, _OTHER)
        i, j = min(i, j), max(i, j)
        if not (i >= 1 and j <= n + 1):
            rule = f"rows and columns run from 1 to {n + 1}"
            broken(name, number, rule, got, "Correct the line.")
        if i == j == n + 1:
            rule = "the last row and column meet in 0"
            broken(name, number, rule, got, "Take the constant out.")
        if (c, i, j) in seen:
            rule = f"an entry comes once (first on line {seen[c, i, j]})"
            broken(name, number, rule, got, "Drop one of the two.")
        seen[c, i, j] = number
        matrix = found.setdefault(c, _Matrix(number))
        if i == j:
            matrix.linear[i - 1] += value
        elif j == n + 1:
            matrix.linear[i - 1] += 2.0 * value
        elif value:
            matrix.pairs[i - 1, j - 1] = 2.0 * value
    return found


def _count(
    name: str, matrices: dict[int, _Matrix], right: list[float], n: int, last: int
) -> int | None:
    """Return the k that the constraints state; raise if they state anything else."""
    k: int | None = None
    products = []
    for c, side in enumerate(right, start=1):
        matrix = matrices.get(c)
        if matrix is None:
            broken(name, last, _FIXED, f"constraint {c} without entries", _OTHER)
        if matrix.pairs:
            products.append((matrix, side))
            continue
        share = set(matrix.linear.values())
        a = share.pop() if len(share) == 1 and len(matrix.linear) == n else 0.0
        stated = side / a if a else 0.0
        if stated != int(stated) or not 1 <= stated <= n or k not in (None, stated):
            broken(name, matrix.line, _FIXED, f"constraint {c}", _OTHER)
        k = int(stated)
    for matrix, side in products:
        if k is None or side != 0.0 or not _follows(matrix, n, k):
            broken(name, matrix.line, _FIXED, "a constraint with products", _OTHER)
    return k


def _follows(matrix: _Matrix, n: int, k: int) -> bool:
    """Tell whether a matrix is a multiple of x_i (Σ x − k) for some i."""
    values = set(matrix.pairs.values())
    shared = set.intersection(*map(set, matrix.pairs))
    if len(values) != 1 or len(matrix.pairs) != n - 1:
        return False
    (c,) = values
    used = {i: q for i, q in matrix.linear.items() if q}
    wanted = -c * (k - 1)
    return any(used == ({i: wanted} if wanted else {}) for i in shared)
