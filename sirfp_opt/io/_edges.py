"""Edge lists in text files: parsed in bulk, diagnosed line by line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from sirfp_opt.errors import InvalidProblemError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    from sirfp_opt._validate import FloatArray

__all__ = ["broken", "fields", "load_text", "parse_numbers", "walk_edges"]


def load_text(path: str | os.PathLike[str]) -> str:
    """Return a text file's content.

    Raises
    ------
    InvalidProblemError
        If it is no text.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidProblemError(
            f"`path` must name a text file, got {path}, whose byte {error.start} is "
            "none of UTF-8. Unpack it, or give it the suffix of its format."
        ) from None


def broken(path: object, line: int, rule: str, got: str, way_out: str) -> NoReturn:
    """Raise the error for a line of a file."""
    raise InvalidProblemError(
        f"`path` must name a sound file, got {path}, line {line}: {rule}, got {got}. "
        f"{way_out}"
    )


def parse_numbers(text: str) -> FloatArray | None:
    """Return all numbers of a text at once, None if something in it is no number."""
    try:
        return np.array(text.split(), dtype=np.float64)
    except ValueError:
        return None


def fields(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the number, from 1, and the words of each line that is not blank."""
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if words:
            yield number, words


def walk_edges(
    path: object, rows: Iterable[tuple[int, list[str]]], n: int, first: int
) -> tuple[int, int]:
    """Check edges i j w one by one; raise at the first that is wrong.

    Only called when the bulk checks have found that something is wrong.

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
    edges, last : int
        How many edges there are, and the number of the last line.

    Raises
    ------
    InvalidProblemError
        Naming the line.
    """
    seen: dict[tuple[int, int], int] = {}
    number = 1
    for number, words in rows:
        got = repr(" ".join(words[:6]))
        if len(words) != 3:
            broken(
                path, number, "a pair is 'i j weight'", got, "Is the file truncated?"
            )
        try:
            i, j, weight = int(words[0]), int(words[1]), float(words[2])
        except ValueError:
            broken(path, number, "a pair is 'i j weight'", got, "Correct the line.")
        if not np.isfinite(weight):
            broken(path, number, "weights are finite", got, "Drop the pair or fix it.")
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
    return len(seen), number
