"""Solution: what `solve` returns, checked and priced by the core alone."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sirfp_opt._fields import Fields
from sirfp_opt._validate import brief, require
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.sense import Sense, relative_gap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sirfp_opt._validate import IntArray
    from sirfp_opt.set_problem import SetProblem
    from sirfp_opt.trace import Trace

__all__ = ["OPTIMALITY_TOLERANCE", "Solution", "Status"]

# A bound this close to the objective, relatively, counts as a proof of optimality.
# It leaves room for the rounding that honest bounds carry, and nothing else.
OPTIMALITY_TOLERANCE = 1e-6


class Published(Protocol):
    """A value that is known from elsewhere, such as `sirfp_opt.io.BestKnown`."""

    def verdict(self, objective: float) -> str:
        """Say how an objective compares, in words."""
        ...


class Status(StrEnum):
    """What is known about a solution."""

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Solution:
    """A feasible set of channels, with what is proved about it and how it was found.

    Attributes
    ----------
    selected : ndarray of int64, ascending
        The channels kept.
    objective : float
        Its value, recomputed by the core in float64.
    bound : float or None
        No feasible set is better than this (smaller when minimising, larger when
        maximising); None if nothing was proved. `certify` in `solve` asks for one.
    status : Status
        OPTIMAL if `gap` is at most `OPTIMALITY_TOLERANCE` (1e-6), else FEASIBLE.
    sense : Sense
        Which way the objective runs.
    limit : str or None
        Which limit stopped the solver ("time", "iterations", "no_improvement",
        "gap", "target", "callback", "interrupt"), None if it ended by itself.
    runtime : float
        Wall-clock seconds, model building and compilation included.
    compile_seconds : float
        What of it went into compiling kernels; 0 once they are kept on disk.
    solver : str
        Name of the method.
    options : dict
        The method's parameters, defaults included.
    seed : int
        The seed given to `solve`.
    trace : Trace
        Incumbent and bound over time.
    problem : SetProblem or None
        What was solved; None on a solution read back from JSON.
    title : str
        The layer's name.
    stored_labels : tuple of str or None
        Labels of the channels kept, on a solution read back from JSON.
    """

    selected: IntArray
    objective: float
    bound: float | None
    sense: Sense
    limit: str | None
    runtime: float
    solver: str
    options: dict[str, Any]
    seed: int
    trace: Trace
    n: int
    problem: SetProblem | None = field(default=None)
    compile_seconds: float = 0.0
    title: str = ""
    stored_labels: tuple[str, ...] | None = None

    @property
    def gap(self) -> float | None:
        """|objective - bound| / max(|objective|, |bound|); None without a bound."""
        return None if self.bound is None else relative_gap(self.objective, self.bound)

    @property
    def status(self) -> Status:
        """OPTIMAL only with a proof."""
        gap = self.gap
        proved = gap is not None and gap <= OPTIMALITY_TOLERANCE
        return Status.OPTIMAL if proved else Status.FEASIBLE

    @property
    def k(self) -> int:
        """Number of channels kept."""
        return int(self.selected.size)

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Labels of the channels kept, where the layer has labels."""
        labels = None if self.problem is None else self.problem.channel_labels
        if labels is None:
            return self.stored_labels
        return tuple(labels[i] for i in self.selected)

    def __repr__(self) -> str:
        proof = "no bound" if self.bound is None else f"bound={self.bound:.9g}"
        gap = "" if self.gap is None else f", gap={self.gap:.2%}"
        return (
            f"Solution({self.status.value}, k={self.k} of {self.n}, "
            f"objective={self.objective:.9g}, {proof}{gap}, solver={self.solver!r}, "
            f"{self.runtime:.3g} s)"
        )

    def _rows(self, published: Published | None = None) -> list[tuple[str, str]]:
        stopped = "ended by itself" if self.limit is None else f"{self.limit} limit"
        if self.limit in ("callback", "interrupt"):
            stopped = str(self.limit)
        options = ", ".join(f"{k}={v!r}" for k, v in self.options.items())
        gap = self.gap
        rows = [
            ("status", self.status.value),
            ("objective", f"{self.objective:.12g} ({self.sense.value})"),
            ("bound", "none" if self.bound is None else f"{self.bound:.12g}"),
            ("gap", "unknown" if gap is None else f"{gap:.4%}"),
            ("channels", f"{self.k} of {self.n}"),
            ("solver", f"{self.solver}({options})"),
            ("seed", str(self.seed)),
            ("runtime", f"{self.runtime:.4g} s, {stopped}"),
        ]
        if published is not None:
            rows.append(("published", published.verdict(self.objective)))
        return rows

    def summary(self, *, published: Published | None = None) -> str:
        """Return the facts, one a line, ready to print.

        Parameters
        ----------
        published : BestKnown, optional
            The best value published for this instance, see `sirfp_opt.io.best_known`
            and `best_known_for`: one line then says how the objective compares, and
            flags one that is better.
        """
        if published is not None and not hasattr(published, "verdict"):
            raise InvalidProblemError(
                f"`published` must be a BestKnown, got {brief(published)}. "
                "Pass what sirfp_opt.io.best_known returned."
            )
        rows = self._rows(published)
        return "\n".join(f"{name:<10}{value}" for name, value in rows)

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
            for name, value in self._rows()
        )
        return f"<table>{cells}</table>"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-ready values; `from_dict` reads them back."""
        return {
            "selected": self.selected.tolist(),
            "objective": self.objective,
            "bound": self.bound,
            "gap": self.gap,
            "status": self.status.value,
            "sense": self.sense.value,
            "limit": self.limit,
            "runtime": self.runtime,
            "compile_seconds": self.compile_seconds,
            "solver": self.solver,
            "options": dict(self.options),
            "seed": self.seed,
            "n": self.n,
            "title": self.title,
            "labels": None if self.labels is None else list(self.labels),
            "trace": [
                [e.seconds, e.iteration, e.incumbent, e.bound] for e in self.trace
            ],
        }

    @classmethod
    def from_dict(
        cls, data: Mapping[str, Any], problem: SetProblem | None = None
    ) -> Solution:
        """Read what `to_dict` wrote; with `problem`, check it anew.

        Parameters
        ----------
        data : mapping
        problem : SetProblem, optional
            Then the set is checked and the objective recomputed on it.

        Raises
        ------
        InvalidProblemError
            If a field is missing or of another kind, the bound is no bound, or set
            and objective are not the problem's.
        """
        fields = Fields(data, "what Solution.to_dict returned")
        n = fields.whole("n", least=1)
        selected = np.asarray(fields.channels("selected", n), dtype=np.int64)
        objective, bound = fields.real("objective"), fields.real_or_none("bound")
        sense = Sense.of(fields.text("sense"))
        if problem is not None:
            from sirfp_opt.set_problem import SetProblem

            selected = require(problem, SetProblem, "problem").check(selected)
            priced = problem.evaluate(selected)
            slack = problem.canonical.objective_rounding + 1e-9 * abs(priced)
            if (n, sense) != (problem.n, problem.sense) or (
                abs(priced - objective) > slack
            ):
                raise InvalidProblemError(
                    f"`data` must be a solution of `problem`, got the objective "
                    f"{objective!r} ({sense.value}, n={n}) for a set that is worth "
                    f"{priced!r} there ({problem.sense.value}, n={problem.n}). Pass "
                    "the problem that was solved."
                )
            objective = priced
        selected.setflags(write=False)
        if bound is not None and sense.sign * (objective - bound) > 0:
            slack = OPTIMALITY_TOLERANCE * max(abs(objective), abs(bound))
            if abs(objective - bound) > slack:
                fields.refuse("bound", f"that the objective {objective!r} respects")
        return cls(
            selected=selected,
            objective=objective,
            bound=bound,
            sense=sense,
            limit=fields.text_or_none("limit"),
            runtime=fields.real("runtime", least=0.0),
            compile_seconds=(
                fields.real("compile_seconds", least=0.0)
                if "compile_seconds" in data
                else 0.0
            ),
            solver=fields.text("solver"),
            options=fields.mapping("options"),
            seed=fields.whole("seed"),
            n=n,
            trace=fields.trace("trace"),
            problem=problem,
            title=fields.text("title") if "title" in fields.data else "",
            stored_labels=_labels(fields, selected.size),
        )


def _labels(fields: Fields, count: int) -> tuple[str, ...] | None:
    """Read the labels of the channels kept, one for each, where there are any."""
    if fields.data.get("labels") is None:  # also in files of former versions
        return None
    labels = fields.sequence("labels")
    if len(labels) != count or not all(isinstance(label, str) for label in labels):
        fields.refuse("labels", f"as {count} texts")
    return tuple(labels)
