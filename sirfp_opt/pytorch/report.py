"""What pruning did, in numbers and in words."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PruneReport", "UnitReport"]


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
        Of all channels, and of those kept, in the graph's scale.
    bound : float or None
        Proven bound on the objective of so many channels, where there is one.
    status : str
        How the set was found: "optimal", "feasible", "all" (nothing removed) or
        "threshold" (the allocation chose it).
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


@dataclass(frozen=True)
class PruneReport:
    """Asked and reached costs, each unit, and what was left whole and why.

    Attributes
    ----------
    asked : dict of str to float
        Fractions of "macs" and "params" that might remain.
    original, pruned : dict of str to int
        Costs before and after, as measured: MACs of one sample, parameters.
    predicted : dict of str to int
        Costs after, as the cost model has them; equal to `pruned`.
    next_cost : dict of str to int, or None
        Costs of the next larger plan, which was above what was asked.
    units : tuple of UnitReport
        The pruning units.
    exclusions : tuple of dict
        unit, size, layer, reason of what was left whole.
    untraced : tuple of str
        Layers that no output depends on; left whole.
    method, allocation : str
        How channels were chosen, and how their numbers were.
    max_difference : float or None
        Largest |pruned - masked| of the outputs on the example; None if not verified.
    output_scale : float or None
        Largest |masked| there.
    notes : tuple of str
        Anything else worth knowing.
    split : dict or None
        Of an optimising allocation: objective, bound and gap of its split, and the
        limit that ended it.
    seconds : dict of str to float
        Wall-clock time of each stage.
    """

    asked: dict[str, float]
    original: dict[str, int]
    pruned: dict[str, int]
    predicted: dict[str, int]
    next_cost: dict[str, int] | None
    units: tuple[UnitReport, ...]
    exclusions: tuple[dict[str, Any], ...]
    untraced: tuple[str, ...]
    method: str
    allocation: str
    max_difference: float | None
    output_scale: float | None
    notes: tuple[str, ...] = ()
    split: dict[str, Any] | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def reached(self) -> dict[str, float]:
        """Fractions of the original costs that remain."""
        return {
            name: self.pruned[name] / total for name, total in self.original.items()
        }

    @property
    def reasons(self) -> list[str]:
        """Why each reached cost is not exactly the asked one, in sentences."""
        out = []
        for name, asked in self.asked.items():
            reached = self.reached[name]
            if self.next_cost is None or reached > asked:
                limit, now = _side_by_side(asked, reached)
                out.append(
                    f"{name}: {now} is above the {limit} asked."
                    if reached > asked
                    else f"{name}: {now} of {limit} asked; no larger plan was tried."
                )
                continue
            further = self.next_cost[name] / self.original[name]
            limit, now, more = _side_by_side(asked, reached, further)
            why = ", too much" if further > asked else "; another budget forbids it"
            out.append(
                f"{name}: {now} of {limit} asked; the next larger plan takes "
                f"{more}{why}."
            )
        return out

    @property
    def out_of_time(self) -> bool:
        """Whether an optimising allocation ended by its time limit."""
        return self.split is not None and self.split.get("limit") == "time"

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain lists, dicts, strings and numbers."""
        data = asdict(self)
        data["reached"] = self.reached
        data["reasons"] = self.reasons
        for name in ("units", "exclusions", "untraced", "notes"):
            data[name] = list(data[name])
        return data

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
        lines = [f"pruned by {self.allocation} allocation and {self.method}"]
        for name, total in self.original.items():
            asked = f" (asked {self.asked[name]:g})" if name in self.asked else ""
            lines.append(
                f"  {name:7s}{total:>15,} -> {self.pruned[name]:>15,}"
                f"  {self.reached[name]:7.2%}{asked}"
            )
        lines += [f"  {reason}" for reason in self.reasons]
        if self.split is not None:
            lines.append(
                f"  split: objective {self.split['objective']:.6g}, bound "
                f"{self.split['bound']:.6g}, gap {self.split['gap']:.3%}"
                + (", stopped by its time limit" if self.out_of_time else "")
            )
        if self.max_difference is not None:
            lines.append(
                f"  pruned = masked to {self.max_difference:.2g} "
                f"(outputs up to {self.output_scale:.3g})"
            )
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
