"""RunRecord: all that is kept of one run, in plain JSON values."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.trace import Trace, TraceEvent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["FAILURES", "RunRecord"]

# "infeasible" is an answer; these are not.
FAILURES = frozenset({"no_solution", "unsupported", "error", "killed"})

Event = tuple[float, int, float | None, float | None]


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run of one method on one problem with one seed.

    Attributes
    ----------
    key : str
        Fingerprint of all that went in; the same key is never run twice.
    instance : str
        The problem's name in the study.
    problem : str
        Fingerprint of the graph and the constraints.
    n : int
        Number of channels.
    k : int or None
        How many are to be kept (found to be kept, where k is a range).
    sense : str
    method : str
        The method's label in the study.
    solver : str
        The method's name in the registry.
    options : dict
        The method's parameters, defaults included.
    seed : int
    limits : dict
        The limits that were set.
    status : str
        "optimal", "feasible", "infeasible" (proved); or, if the run failed,
        "no_solution", "unsupported", "error", "killed".
    objective, bound, gap : float or None
    limit : str or None
        Which limit stopped the run.
    selected : tuple of int
        The channels kept; empty without a solution.
    seconds : float
        Wall-clock time of `solve`; of the whole attempt if it failed.
    trace : tuple of (seconds, iteration, incumbent, bound)
    error : str
        One line, empty unless the run failed.
    versions : dict
        Of Python and of the distributions involved.
    machine : str
    """

    key: str
    instance: str
    problem: str
    n: int
    k: int | None
    sense: str
    method: str
    solver: str
    options: Mapping[str, Any]
    seed: int
    limits: Mapping[str, Any]
    status: str
    objective: float | None = None
    bound: float | None = None
    gap: float | None = None
    limit: str | None = None
    selected: Sequence[int] = ()
    seconds: float
    trace: Sequence[Event] = ()
    error: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: str = ""

    @property
    def failed(self) -> bool:
        """Whether the run gave no answer."""
        return self.status in FAILURES

    @property
    def time_to_best(self) -> float | None:
        """Seconds until the run found its own best set, None without one."""
        return self.time_to(self.objective) if self.objective is not None else None

    def time_to(self, target: float, tolerance: float = 0.0) -> float | None:
        """Return the seconds until an incumbent reached `target`, None if none did.

        Parameters
        ----------
        target : float
        tolerance : float
            How far short of it counts as reached, absolutely.
        """
        sign = 1.0 if self.sense == "maximize" else -1.0
        for seconds, _, incumbent, _ in self.trace:
            if incumbent is not None and sign * (incumbent - target) >= -tolerance:
                return seconds
        return None

    def as_trace(self) -> Trace:
        """Return the events as a `Trace`."""
        return Trace(tuple(TraceEvent(*event) for event in self.trace))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; `from_dict` reads them back."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RunRecord:
        """Read what `to_dict` wrote.

        Raises
        ------
        InvalidProblemError
            If a field is missing or not known.
        """
        names = {f.name for f in dataclasses.fields(cls)}
        try:
            if unknown := sorted(set(data) - names):
                raise TypeError(f"unknown fields {unknown}")
            record = cls(**data)
        except TypeError as error:
            raise InvalidProblemError(
                f"`data` must hold the fields of a RunRecord, got {error}. "
                "Pass what RunRecord.to_dict returned."
            ) from None
        return dataclasses.replace(
            record,
            trace=tuple((s, i, value, bound) for s, i, value, bound in record.trace),
            selected=tuple(record.selected),
        )
