"""A table of results: a CSV to which every finished run is added at once."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Results"]


class Keyed(Protocol):
    """Anything with an identity of text."""

    @property
    def key(self) -> tuple[str, ...]:
        """The identity, a column each."""
        ...


R = TypeVar("R", bound=Keyed)


class Results:
    """Finished runs in a CSV file, one line each.

    A last line that a crash has cut short is dropped, and its run is done again.

    Parameters
    ----------
    path : str or Path
        Made, with its folder, if it is not there.
    keys, figures : sequence of str
        Columns of a run's identity, and of what is measured of it.
    """

    def __init__(
        self, path: str | Path, keys: Sequence[str], figures: Sequence[str]
    ) -> None:
        self.path = Path(path)
        self.keys, self.columns = tuple(keys), (*keys, *figures)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text or not whole:
            self.path.write_text(whole or _line(self.columns), encoding="utf-8")

    def done(self) -> set[tuple[str, ...]]:
        """Return the keys of the runs that are there."""
        with self.path.open(encoding="utf-8", newline="") as lines:
            rows = csv.DictReader(lines)
            return {tuple(row[name] for name in self.keys) for row in rows}

    def missing(self, runs: Iterable[R]) -> list[R]:
        """Return those of `runs` that are not there yet, in their order."""
        done = self.done()
        return [run for run in runs if run.key not in done]

    def add(self, run: Keyed, figures: dict[str, Any]) -> None:
        """Append one run."""
        row = dict(zip(self.keys, run.key, strict=True)) | figures
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.write(_line(row.get(name, "") for name in self.columns))

    def frame(self) -> pd.DataFrame:
        """Return all runs, one row each."""
        return pd.read_csv(self.path)


def _line(values: Iterable[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()
