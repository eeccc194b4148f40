"""Trace: the same rows of progress from every solver."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, overload

from sirfp_opt._validate import as_path
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.sense import relative_gap

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

__all__ = ["Trace", "TraceEvent"]

_COLUMNS = ("seconds", "iteration", "incumbent", "bound")


class TraceEvent(NamedTuple):
    """One moment of a run: something became better, or the run ended.

    Attributes
    ----------
    seconds : float
        Wall-clock time since `solve` was called.
    iteration : int
        In the solver's own unit.
    incumbent : float or None
        Objective of the best set so far, in the problem's sense and units.
    bound : float or None
        Best proven bound so far, likewise.
    """

    seconds: float
    iteration: int
    incumbent: float | None
    bound: float | None

    @property
    def gap(self) -> float | None:
        """Relative gap, None while incumbent or bound is unknown."""
        if self.incumbent is None or self.bound is None:
            return None
        return relative_gap(self.incumbent, self.bound)


@dataclass(frozen=True)
class Trace(Sequence[TraceEvent]):
    """The events of one run, oldest first.

    Examples
    --------
    >>> from sirfp_opt.trace import Trace, TraceEvent
    >>> Trace((TraceEvent(0.5, 10, 3.0, 2.0),))[-1].incumbent
    3.0
    """

    events: tuple[TraceEvent, ...] = ()

    def __len__(self) -> int:
        return len(self.events)

    def __iter__(self) -> Iterator[TraceEvent]:
        return iter(self.events)

    @overload
    def __getitem__(self, index: int) -> TraceEvent: ...
    @overload
    def __getitem__(self, index: slice) -> Trace: ...
    def __getitem__(self, index: int | slice) -> TraceEvent | Trace:
        if isinstance(index, slice):
            return Trace(self.events[index])
        return self.events[index]

    def __repr__(self) -> str:
        if not self.events:
            return "Trace(empty)"
        last = self.events[-1]
        return (
            f"Trace({len(self)} events, {last.seconds:.3g} s, "
            f"incumbent={last.incumbent}, bound={last.bound})"
        )

    def to_frame(self) -> pd.DataFrame:
        """Return a DataFrame with columns seconds, iteration, incumbent, bound."""
        import pandas

        rows = [[getattr(e, c) for c in _COLUMNS] for e in self.events]
        frame = pandas.DataFrame(rows, columns=list(_COLUMNS))
        return frame.astype({"incumbent": "float64", "bound": "float64"})

    def to_csv(self, path: str | Path) -> None:
        """Write the events to a CSV file that `from_csv` reads back exactly."""
        with as_path(path).open("w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle)
            writer.writerow(_COLUMNS)
            for e in self.events:
                writer.writerow(
                    [
                        repr(e.seconds),
                        e.iteration,
                        "" if e.incumbent is None else repr(e.incumbent),
                        "" if e.bound is None else repr(e.bound),
                    ]
                )

    @classmethod
    def from_csv(cls, path: str | Path) -> Trace:
        """Read a trace that `to_csv` wrote.

        Raises
        ------
        InvalidProblemError
            If the file is not one that `to_csv` wrote; the line is named.
        """
        with as_path(path).open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.reader(handle)
            try:
                if tuple(next(reader, ())) != _COLUMNS:
                    raise ValueError(f"the columns must be {', '.join(_COLUMNS)}")
                return cls(tuple(_event(row) for row in reader))
            except (ValueError, csv.Error) as error:
                raise InvalidProblemError(
                    f"`path` must be a trace, got {path}, line {reader.line_num}: "
                    f"{error}. Pass a file that Trace.to_csv wrote."
                ) from None


def _event(row: Sequence[str]) -> TraceEvent:
    """Read one row; raise ValueError if it is none."""
    seconds, iteration, incumbent, bound = row
    if any("_" in cell for cell in row):
        raise ValueError("numbers hold no underscores")
    event = TraceEvent(
        float(seconds),
        int(iteration),
        float(incumbent) if incumbent else None,
        float(bound) if bound else None,
    )
    known = (event.seconds, event.incumbent or 0.0, event.bound or 0.0)
    if not all(map(math.isfinite, known)):
        raise ValueError("numbers are finite")
    return event
