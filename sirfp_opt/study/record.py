"""RunRecord: all that is kept of one run, in plain JSON values."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sirfp_opt._fields import Fields
from sirfp_opt.trace import Trace, TraceEvent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ANSWERS", "FAILURES", "RunRecord"]

ANSWERS = frozenset({"optimal", "feasible"})
# "infeasible" is an answer, too; these are not.
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
    def overran(self) -> bool:
        """Whether the run passed its time limit by much: by a quarter, and 0.25 s."""
        limit = self.limits.get("time")
        return limit is not None and self.seconds > 1.25 * float(limit) + 0.25

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
            If a field is missing, not known, or of another kind.
        """
        fields = Fields(data, "what RunRecord.to_dict returned")
        names = {f.name for f in dataclasses.fields(cls)}
        for name in sorted(set(fields.data) - names):
            fields.refuse(name, "not at all: it is no field")
        n = fields.whole("n", least=1)
        plain: dict[str, Any] = {name: fields.text(name) for name in _TEXTS}
        plain |= {name: fields.real_or_none(name) for name in _NUMBERS}
        plain |= {name: fields.mapping(name) for name in _MAPPINGS}
        return cls(
            **plain,
            n=n,
            k=None if fields.data.get("k") is None else fields.whole("k"),
            seed=fields.whole("seed"),
            limit=fields.text_or_none("limit"),
            seconds=fields.real("seconds", least=0.0),
            selected=fields.channels("selected", n),
            trace=tuple(
                (e.seconds, e.iteration, e.incumbent, e.bound)
                for e in fields.trace("trace")
            ),
        )


_TEXTS = (
    *("key", "instance", "problem", "sense", "method", "solver"),
    *("status", "error", "machine"),
)
_NUMBERS = ("objective", "bound", "gap")
_MAPPINGS = ("options", "limits", "versions")
