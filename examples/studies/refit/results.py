"""The table of results: a CSV to which every finished run is added at once."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from examples.studies.refit.execute import FIGURES
from examples.studies.refit.runs import KEYS, Run

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["COLUMNS", "SHIPPED", "Results"]

COLUMNS = (*KEYS, *FIGURES)
SHIPPED = Path(__file__).with_name("results.csv")


class Results:
    """Finished runs in a CSV file, one line each.

    A last line that a crash has cut short is dropped, and its run is done again.

    Parameters
    ----------
    path : str or Path
        Made, with its folder, if it is not there.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text or not whole:
            self.path.write_text(whole or _line(COLUMNS), encoding="utf-8")

    def done(self) -> set[tuple[str, ...]]:
        """Return the keys of the runs that are there."""
        with self.path.open(encoding="utf-8", newline="") as lines:
            rows = csv.DictReader(lines)
            return {tuple(row[name] for name in KEYS) for row in rows}

    def missing(self, runs: Iterable[Run]) -> list[Run]:
        """Return those of `runs` that are not there yet, in their order."""
        done = self.done()
        return [run for run in runs if run.key not in done]

    def add(self, run: Run, figures: dict[str, Any]) -> None:
        """Append one run."""
        row = dict(zip(KEYS, run.key, strict=True)) | figures
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.write(_line(row.get(name, "") for name in COLUMNS))

    def frame(self) -> pd.DataFrame:
        """Return all runs, one row each."""
        return pd.read_csv(self.path)


def _line(values: Iterable[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()
