"""What pruning did, in numbers and in words."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sirfp_opt.pytorch.headline import headline, warning

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

    from sirfp_opt.network.plan import PruningUnit
    from sirfp_opt.network.solution import NetworkSolution
    from sirfp_opt.pytorch.refitting.report import RefitReport
    from sirfp_opt.pytorch.request import PruneRequest

__all__ = ["PruneReport", "UnitReport", "reasons", "unit_reports"]


@dataclass(frozen=True)
class UnitReport:
    """One pruning unit before and after.

    Attributes
    ----------
    unit : str
        Its name.
    size, kept : int
        Channels before and after.
    sense : {"minimize", "maximize"}
        Whether the graph's objective is a redundancy, or the error that is avoided.
    objective_before, objective : float
        Of all channels, and of those kept, on the graph that was solved: as it was
        extracted, unless ``Worth(normalize="cosine")`` had it scaled.
    bound : float or None
        Proven bound on the objective of so many channels, where there is one.
    status : str
        How the set was found: "optimal", "feasible", "whole" (nothing removed) or
        "allocation" (chosen with the numbers).
    layers : int
        Layers that were cut.
    """

    unit: str
    size: int
    kept: int
    sense: str
    objective_before: float
    objective: float
    bound: float | None
    status: str
    layers: int


@dataclass(frozen=True, eq=False)
class PruneReport:
    """Asked and reached costs, each unit, and what was left whole and why.

    Attributes
    ----------
    solution : NetworkSolution
        The solution of the network's problem that was cut: its sets are the plan's.
    request : PruneRequest
        What was asked for.
    units : tuple of UnitReport
        The pruning units.
    measured : dict of str to int
        Costs after, as measured on the pruned network: MACs of one sample, parameters.
    exclusions : tuple of dict
        unit, size, layer, reason of what was left whole.
    untraced : tuple of str
        Layers that no output depends on; left whole.
    max_difference : float or None
        Largest |pruned - masked| of the outputs; None if not verified.
    output_scale : float or None
        Largest |masked| there.
    relative_difference : float or None
        Largest difference in any channel of any output, beyond rounding, as a share of
        that channel's own size; see `comparison.compare`.
    refit : RefitReport or None
        What became of the layers that read what was cut, where a refit was asked for.
    notes : tuple of str
        Anything else worth knowing.
    seconds : dict of str to float
        Wall-clock time of each stage.
    least : dict of str to int
        Costs of the network in which each unit keeps its smallest group of channels.
    """

    solution: NetworkSolution
    request: PruneRequest
    units: tuple[UnitReport, ...]
    measured: dict[str, int]
    exclusions: tuple[dict[str, Any], ...] = ()
    untraced: tuple[str, ...] = ()
    max_difference: float | None = None
    output_scale: float | None = None
    relative_difference: float | None = None
    refit: RefitReport | None = None
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    least: dict[str, int] = field(default_factory=dict)

    @property
    def given(self) -> bool:
        """Whether the numbers of channels were given: there was nothing to split."""
        return self.request.keep is not None

    # -- the first line ----------------------------------------------------------

    @property
    def channels(self) -> dict[str, int]:
        """Channels of all units and of what was left whole; a coupled one counts once.

        total, can (be cut), kept (of those that can).
        """
        can = sum(unit.size for unit in self.units)
        return {
            "total": can + sum(int(e["size"]) for e in self.exclusions),
            "can": can,
            "kept": sum(unit.kept for unit in self.units),
        }

    @property
    def macs(self) -> dict[str, int] | None:
        """MACs of one sample, and those that go where each unit keeps one group.

        total, can (be cut). None where they are not counted.
        """
        if "macs" not in self.least:
            return None
        total = self.original["macs"]
        return {"total": total, "can": total - self.least["macs"]}

    @property
    def headline(self) -> str:
        """How much of the network can be cut, how much was, and what holds the rest."""
        return headline(self.channels, self.macs, self.exclusions)

    @property
    def warning(self) -> str | None:
        """What to look at where less than half of the channels or MACs can be cut."""
        return warning(self.channels, self.macs)

    # -- asked and reached -------------------------------------------------------

    @property
    def asked(self) -> dict[str, float]:
        """Fractions of the costs that might remain."""
        return self.solution.asked

    @property
    def original(self) -> dict[str, int]:
        """Costs before: MACs of one sample, parameters, what else the model knows."""
        cost = self.solution.problem.cost
        return {name: cost.total(name) for name in cost.forms}

    @property
    def predicted(self) -> dict[str, int]:
        """Costs after, as the cost model has them."""
        return self.solution.costs

    @property
    def pruned(self) -> dict[str, int]:
        """Costs after: measured where they can be, else as the cost model has them."""
        return self.predicted | self.measured

    @property
    def next_cost(self) -> dict[str, int] | None:
        """Costs of the next larger plan, which was above what was asked."""
        return self.solution.made.next_cost

    @property
    def reached(self) -> dict[str, float]:
        """Fractions of the original costs that remain."""
        return {
            name: self.pruned[name] / total for name, total in self.original.items()
        }

    @property
    def reasons(self) -> list[str]:
        """Why each reached cost is not exactly the asked one, in sentences."""
        further = None
        if self.next_cost is not None:
            further = {
                name: self.next_cost[name] / total
                for name, total in self.original.items()
            }
        return reasons(self.asked, self.reached, further)

    # -- how ---------------------------------------------------------------------

    @property
    def method(self) -> str:
        """How channels were chosen: by a solver, or with the numbers of them."""
        made = self.solution.made
        return self.solution.allocation if made.kept else self.solution.method

    @property
    def allocation(self) -> str:
        """How the numbers of channels were chosen."""
        return "given" if self.given else self.solution.allocation

    @property
    def split(self) -> dict[str, Any] | None:
        """What is known about the whole plan; None where its numbers were given.

        objective (the loss of the very sets in the plan), bound and gap (no split is
        better on the value curves; None without a proof), sets_bound (no sets of so
        many channels are better; None without bounds of all units), limit (what ended
        the search for the split), price and multipliers.
        """
        return None if self.given else self.solution.figures()

    @property
    def out_of_time(self) -> bool:
        """Whether an optimising allocation ended by its time limit."""
        return self.split is not None and self.split.get("limit") == "time"

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain lists, dicts, strings and numbers."""
        return {
            "headline": self.headline,
            "warning": self.warning,
            "channels": self.channels,
            "macs": self.macs,
            "asked": self.asked,
            "original": self.original,
            "pruned": self.pruned,
            "predicted": self.predicted,
            "next_cost": self.next_cost,
            "units": [asdict(unit) for unit in self.units],
            "exclusions": list(self.exclusions),
            "untraced": list(self.untraced),
            "method": self.method,
            "allocation": self.allocation,
            "max_difference": self.max_difference,
            "output_scale": self.output_scale,
            "relative_difference": self.relative_difference,
            "refit": None if self.refit is None else self.refit.to_dict(),
            "notes": list(self.notes),
            "split": self.split,
            "seconds": self.seconds,
            "request": self.request.to_dict(),
            "reached": self.reached,
            "reasons": self.reasons,
        }

    def to_frame(self) -> pd.DataFrame:
        """Return one row for each unit, those left whole at the end."""
        import pandas as pd

        rows = [asdict(unit) for unit in self.units]
        rows += [
            {
                "unit": exclusion["unit"],
                "size": exclusion["size"],
                "kept": exclusion["size"],
                "status": "excluded",
                "reason": f"{exclusion['layer']}: {exclusion['reason']}",
            }
            for exclusion in self.exclusions
        ]
        frame = pd.DataFrame(rows)
        if not frame.empty:
            frame["fraction"] = frame["kept"] / frame["size"]
            frame = frame.set_index("unit")
        return frame

    def summary(self) -> str:
        """Return the report as text, one line for each unit."""
        lines = [self.headline]
        if self.warning:
            lines.append(f"WARNING: {self.warning}")
        lines.append(f"pruned by {self.allocation} allocation and {self.method}")
        for name, total in self.original.items():
            asked = f" (asked {self.asked[name]:g})" if name in self.asked else ""
            lines.append(
                f"  {name:7s}{total:>15,} -> {self.pruned[name]:>15,}"
                f"  {self.reached[name]:7.2%}{asked}"
            )
        lines += [f"  {reason}" for reason in self.reasons]
        if self.split is not None:
            proof = "no bound"
            if self.split["bound"] is not None:
                proof = f"bound {self.split['bound']:.6g}, gap {self.split['gap']:.3%}"
            lines.append(
                f"  split: objective {self.split['objective']:.6g}, {proof}"
                + (", stopped by its time limit" if self.out_of_time else "")
            )
        if self.max_difference is not None:
            lines.append(
                f"  pruned = masked to {self.relative_difference:.2g} of each channel "
                f"of the outputs ({self.max_difference:.2g} of {self.output_scale:.3g})"
            )
        if self.refit is not None:
            lines.append(f"  {str(self.refit).splitlines()[0]}")
        width = max((len(unit.unit) for unit in self.units), default=4)
        lines.append(f"  {'unit':{width}s}  kept   of  objective")
        for unit in self.units:
            lines.append(
                f"  {unit.unit:{width}s} {unit.kept:5d} {unit.size:4d}"
                f"  {unit.objective_before:.4g} -> {unit.objective:.4g}"
                f"  {unit.status}"
            )
        if self.exclusions:
            lines.append("  left whole:")
            lines += [
                f"    {e['unit']} ({e['size']}): {e['layer']}: {e['reason']}"
                for e in self.exclusions
            ]
        if self.untraced:
            lines.append(f"  not reached by the trace: {', '.join(self.untraced)}")
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)

    __str__ = summary


def reasons(
    asked: Mapping[str, float],
    reached: Mapping[str, float],
    further: Mapping[str, float] | None,
) -> list[str]:
    """Say why each reached cost is not exactly the asked one, in sentences.

    Parameters
    ----------
    asked, reached : mapping of str to float
        Fractions of the costs before.
    further : mapping of str to float, optional
        Those of the next larger plan.
    """
    out = []
    for name, share in asked.items():
        if further is None or reached[name] > share:
            limit, now = _side_by_side(share, reached[name])
            out.append(
                f"{name}: {now} is above the {limit} asked."
                if reached[name] > share
                else f"{name}: {now} of {limit} asked; no larger plan was tried."
            )
            continue
        limit, now, more = _side_by_side(share, reached[name], further[name])
        why = ", too much" if further[name] > share else "; another budget forbids it"
        out.append(
            f"{name}: {now} of {limit} asked; the next larger plan takes {more}{why}."
        )
    return out


def unit_reports(
    solution: NetworkSolution, units: Iterable[PruningUnit]
) -> tuple[UnitReport, ...]:
    """Return what became of each unit of a network.

    Parameters
    ----------
    solution : NetworkSolution
    units : iterable of PruningUnit
        With the places where the network has these channels.
    """
    reports, objectives = [], solution.redundancy
    for unit in units:
        name, layer = unit.name, solution.curves[unit.name].problem
        found = solution.solutions.get(name)
        reports.append(
            UnitReport(
                unit=name,
                size=layer.n,
                kept=solution.counts[name],
                sense=layer.sense.value,
                objective_before=layer.evaluate(range(layer.n)),
                objective=objectives[name],
                bound=None if found is None else found.bound,
                status=solution.status_of(name),
                layers=len({site.layer for site in unit.ports}),
            )
        )
    return tuple(reports)


def _side_by_side(asked: float, *values: float) -> list[str]:
    """Write fractions with four digits, or as many as show which side each is on."""
    texts: list[str] = []
    for digits in range(4, 17):
        short = f"{asked:g}"
        limit = short if float(short) == asked else f"{asked:.{digits}f}"
        texts = [limit, *(f"{value:.{digits}f}" for value in values)]
        shown = [np.sign(float(text) - float(limit)) for text in texts[1:]]
        if shown == [np.sign(value - asked) for value in values]:
            break
    return texts
