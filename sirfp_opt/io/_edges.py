"""Edge lists in text files: parsed in bulk, diagnosed line by line."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from sirfp_opt._validate import MOST_CHANNELS
from sirfp_opt.errors import InvalidProblemError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sirfp_opt._validate import FloatArray, IntArray

__all__ = [
    "as_number",
    "as_whole",
    "broken",
    "check_size",
    "fields",
    "parse_edges",
    "symmetric",
    "two_wholes",
    "walk_edges",
]

# Python reads more than this: 1_0, digits of other scripts, numbers of any length.
_WHOLE = re.compile(r"-?[0-9]{1,15}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,6})?")
_ENDLESS = {"nan", "inf", "infinity"}


def as_whole(word: str) -> int | None:
    """Return a whole number as files write it, None if it is none."""
    return int(word) if _WHOLE.fullmatch(word) else None


def as_number(word: str) -> float | None:
    """Return a finite number as files write it, None if it is none."""
    value = float(word) if _NUMBER.fullmatch(word) else math.inf
    return value if math.isfinite(value) else None


def two_wholes(words: Sequence[str]) -> tuple[int, int] | None:
    """Return both of two whole numbers, None if the words are not just that."""
    numbers = [value for value in map(as_whole, words) if value is not None]
    return (numbers[0], numbers[1]) if len(numbers) == len(words) == 2 else None


def broken(path: object, line: int, rule: str, got: str, way_out: str) -> NoReturn:
    """Raise the error for a line of a file."""
    raise InvalidProblemError(
        f"`path` must name a sound file, got {path}, line {line}: {rule}, got {got}. "
        f"{way_out}"
    )


def check_size(path: object, line: int, n: int) -> None:
    """Raise where a header announces more vertices than a graph can have."""
    if not 1 <= n <= MOST_CHANNELS:
        broken(
            path,
            line,
            f"a graph has between 1 and {MOST_CHANNELS} vertices",
            str(n),
            "Is the header right?",
        )


def fields(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the number, from 1, and the words of each line that is not blank."""
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if words:
            yield number, words


def parse_edges(
    lines: Sequence[str], n: int, first: int
) -> tuple[IntArray, IntArray, FloatArray] | None:
    """Return both ends, from 0, and the weights; None if anything is out of order.

    Parameters
    ----------
    lines : sequence of str
        Of three words each, none of them blank.
    n : int
        Vertices, numbered from `first`.
    first : int
        0 or 1.
    """
    # A mark at each end of a line, so that no line takes words of another.
    words = " ; ".join(lines).split()
    ends = [*words[0::4], *words[1::4]]
    together = "".join(ends)
    if (
        len(words) != max(4 * len(lines) - 1, 0)
        or words[3::4].count(";") != max(len(lines) - 1, 0)
        or (lines and not (together.isascii() and together.isdigit()))
        or max(map(len, ends), default=0) > 15
        or any("_" in word for word in words[2::4])
    ):
        return None
    try:
        weights = np.array(words[2::4], dtype=np.float64)
    except ValueError:
        return None
    rows = np.array(words[0::4], dtype=np.int64) - first
    columns = np.array(words[1::4], dtype=np.int64) - first
    low, high = np.minimum(rows, columns), np.maximum(rows, columns)
    sound = (
        bool(np.isfinite(weights).all())
        and not bool((rows == columns).any())
        and bool((low >= 0).all())
        and bool((high < n).all())
        and _distinct(low * n + high, n * n)
    )
    return (rows, columns, weights) if sound else None


def symmetric(n: int, edges: tuple[IntArray, IntArray, FloatArray]) -> FloatArray:
    """Return the matrix of shape (n, n) with a weight for each edge, else 0."""
    rows, columns, given = edges
    weights = np.zeros((n, n))
    weights[rows, columns] = weights[columns, rows] = given
    return weights


def _distinct(numbers: IntArray, most: int) -> bool:
    met = np.zeros(most, dtype=bool)
    met[numbers] = True
    return int(np.count_nonzero(met)) == numbers.size


def walk_edges(
    path: object, rows: Iterable[tuple[int, list[str]]], n: int, first: int
) -> tuple[tuple[IntArray, IntArray, FloatArray], int]:
    """Read edges i j w one by one; raise at the first that is wrong.

    Slow: for files that `parse_edges` finds something odd in.

    Parameters
    ----------
    path : object
        For the message.
    rows : iterable of (line number, words)
    n : int
        Vertices, numbered from `first`.
    first : int
        0 or 1.

    Returns
    -------
    edges : tuple of arrays
        Both ends, from 0, and the weights.
    last : int
        The number of the last line.

    Raises
    ------
    InvalidProblemError
        Naming the line.
    """
    seen: dict[tuple[int, int], int] = {}
    weights: list[float] = []
    number = 1
    for number, words in rows:
        got = repr(" ".join(words[:6]))
        if len(words) != 3:
            broken(
                path, number, "a pair is 'i j weight'", got, "Is the file truncated?"
            )
        i, j, weight = as_whole(words[0]), as_whole(words[1]), as_number(words[2])
        if weight is None and words[2].lower().lstrip("+-") in _ENDLESS:
            broken(path, number, "weights are finite", got, "Drop the pair or fix it.")
        if i is None or j is None or weight is None:
            broken(
                path,
                number,
                "a pair is 'i j weight', numbers such as 7 and -2.5e-3",
                got,
                "Correct the line.",
            )
        for index in (i, j):
            if not first <= index < first + n:
                hint = "Does the header state the right number of vertices?"
                shifted = index == 0 if first else index == n
                if shifted and not any(first in pair for pair in seen):
                    hint = f"The file seems to count from {1 - first}: renumber it."
                broken(
                    path,
                    number,
                    f"vertices run from {first} to {first + n - 1}",
                    got,
                    hint,
                )
        if i == j:
            broken(path, number, "a pair joins two vertices", got, "Drop the line.")
        pair = (min(i, j), max(i, j))
        if pair in seen:
            broken(
                path,
                number,
                f"a pair comes once (first on line {seen[pair]})",
                got,
                "Drop one of the two.",
            )
        seen[pair] = number
        weights.append(weight)
    ends = np.array(list(seen), dtype=np.int64).reshape(-1, 2) - first
    return (ends[:, 0], ends[:, 1], np.array(weights, dtype=np.float64)), number
