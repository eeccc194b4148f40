"""NetworkSolution: what `solve_network` returns, priced by the core alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sirfp_opt.network.plan import PruningPlan, PruningUnit
from sirfp_opt.sense import relative_gap

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from sirfp_opt._validate import IntArray
    from sirfp_opt.network.allocation import Allocation
    from sirfp_opt.network.curves import ValueCurves
    from sirfp_opt.network.problem import NetworkProblem
    from sirfp_opt.solution import Solution

__all__ = ["NetworkSolution"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class NetworkSolution:
    """Counts and sets for all layers, within the budgets, with what is proved.

    Attributes
    ----------
    problem : NetworkProblem
    made : Allocation
        The split: counts, bound and prices on `split_curves`.
    curves : ValueCurves
        The value curves, with the very sets of this solution at their counts.
    split_curves : ValueCurves
        The curves that the split was made on, before the layers were solved.
    price : float
        What a channel without redundancy was worth.
    solutions : dict of str to Solution
        Of the layers that were solved; those kept whole, or chosen by the allocation,
        are not.
    allocation, method : str
    seconds : dict of str to float
        Wall-clock time of "curves", "split" and "sets".
    """

    problem: NetworkProblem
    made: Allocation
    curves: ValueCurves
    split_curves: ValueCurves
    price: float
    solutions: dict[str, Solution]
    allocation: str
    method: str
    seconds: dict[str, float] = field(default_factory=dict)

    @cached_property
    def counts(self) -> dict[str, int]:
        """Channels kept, by unit of the cost model; those without a graph are whole."""
        cost = self.problem.cost
        whole = zip(cost.units, cost.sizes.tolist(), strict=True)
        return {name: self.made.counts.get(name, n) for name, n in whole}

    # -- what was found ----------------------------------------------------------

    @cached_property
    def selected(self) -> dict[str, IntArray]:
        """The channels kept of each layer, ascending."""
        return {name: self.curves[name].selected(self.counts[name]) for name in self}

    def __iter__(self) -> Any:
        return iter(self.problem.layers)

    def __getitem__(self, name: str) -> IntArray:
        return self.selected[name]

    def __len__(self) -> int:
        return len(self.problem.layers)

    @cached_property
    def losses(self) -> dict[str, float]:
        """What each layer loses against keeping it whole, in the objective's units."""
        return {name: self._loss(name, self.redundancy[name]) for name in self}

    def _loss(self, name: str, value: float) -> float:
        """Return a layer's loss if its set had this objective."""
        worth, factor = self.problem.worth, self.problem.factors[name]
        point = replace(
            self.curves[name],
            counts=np.array([self.counts[name]]),
            values=np.array([value]),
        )
        return float(worth.loss(name, point, factor, self.price)[0])

    @property
    def objective(self) -> float:
        """Loss of the sets found, summed over the layers; 0 for the whole network."""
        return math.fsum(self.losses.values())

    @cached_property
    def bound(self) -> float | None:
        """No split has a smaller loss on the curves; None without a proof.

        The curves give each count the best set known, those found here included: what
        the layers' solvers improved on the way has been taken off the split's bound.
        """
        if not math.isfinite(self.made.bound):
            return None
        losses = self.problem.worth.losses(self.split_curves, self.problem.factors)
        better, rounding = [], 0.0
        for name in self:
            table, counts = losses.by_layer[name], self.split_curves[name].counts
            before = float(table[np.searchsorted(counts, self.counts[name])])
            better.append(max(0.0, before - self.losses[name]))
            # Some sums of terms of this size: far less rounding than this.
            rounding += 1e-13 * float(np.abs(table).max())
        bound = self.made.bound - math.fsum(better)
        return self.objective if bound > self.objective - rounding else bound

    @property
    def gap(self) -> float | None:
        """|objective - bound| / max(|objective|, |bound|); None without a bound."""
        return None if self.bound is None else relative_gap(self.objective, self.bound)

    @cached_property
    def sets_bound(self) -> float | None:
        """No sets at all of these counts have a smaller loss; None without proofs.

        From the layers' own bounds: solve with ``certify=True``, or by an exact method.
        """
        losses = []
        for name in self:
            bound = self.curves[name].bound(self.counts[name])
            if self.counts[name] == self.curves[name].available:
                bound = self.redundancy[name]  # there is but one set
            if not math.isfinite(bound):
                return None
            losses.append(self._loss(name, bound))
        return math.fsum(losses)

    def status_of(self, name: str) -> str:
        """Return how a layer's set came about.

        "whole" (nothing removed), "allocation" (chosen with the split), or the status
        of its solution: "optimal" or "feasible".
        """
        if name in self.solutions:
            return self.solutions[name].status.value
        whole = self.counts[name] == self.problem.layers[name].n
        return "whole" if whole else "allocation"

    @property
    def redundancy(self) -> dict[str, float]:
        """Objective of each layer's set, in its graph's own sense and units."""
        return {name: self.curves[name].value(self.counts[name]) for name in self}

    # -- asked and reached -------------------------------------------------------

    @cached_property
    def costs(self) -> dict[str, int]:
        """Every cost of the network as pruned."""
        return self.problem.cost.predict(self.counts)

    @property
    def asked(self) -> dict[str, float]:
        """The budgets as they were asked for, in fractions of each cost."""
        return self.problem.asked.asked(self.problem.cost)

    @property
    def reached(self) -> dict[str, float]:
        """Every cost as a fraction of the whole network's."""
        total = self.problem.cost.total
        return {name: cost / total(name) for name, cost in self.costs.items()}

    @cached_property
    def binds(self) -> dict[str, str]:
        """By layer, what keeps it from growing by one step.

        "whole" (nothing is left to keep), "most" (its constraints), the names of the
        budgets that the step would break, or "worth" if it would fit and gain nothing.
        """
        return {name: self._binding(name) for name in self}

    def _binding(self, name: str) -> str:
        allowed, count = self.problem.allowed(name), self.counts[name]
        if count == self.problem.layers[name].n:
            return "whole"
        larger = [k for k in allowed if k > count]
        if not larger:
            return "most"
        after = self.problem.cost.predict(self.counts | {name: larger[0]})
        over = [b for b, limit in self.problem.limits.items() if after[b] > limit]
        return "+".join(over) or "worth"

    def figures(self) -> dict[str, Any]:
        """Return what is known about the whole, for plans and reports.

        objective, bound, gap, sets_bound, limit (what ended the search for the split),
        price (of a channel without redundancy) and multipliers (of the budgets).
        """
        return {
            "objective": self.objective,
            "bound": self.bound,
            "gap": self.gap,
            "sets_bound": self.sets_bound,
            "limit": self.made.limit,
            "price": self.price,
            "multipliers": self.made.multipliers,
        }

    # -- out ---------------------------------------------------------------------

    def plan(self, units: Sequence[PruningUnit] | None = None) -> PruningPlan:
        """Return the sets as a `PruningPlan`, which goes to JSON and to a network.

        Parameters
        ----------
        units : sequence of PruningUnit, optional
            With the places where a network has these channels; by default bare ones,
            which name the channels and can cut nothing.
        """
        if units is None:
            units = [
                PruningUnit(name, graph.n, (), self.problem.rules(name).tied)
                for name, graph in self.problem.layers.items()
            ]
        cost = self.problem.cost
        info = {
            "asked": self.asked,
            "original": {name: cost.total(name) for name in cost.forms},
            "predicted": self.costs,
            "reached": self.reached,
            "allocation": self.allocation,
            "method": self.method,
            **self.figures(),
        }
        kept = {name: chosen.tolist() for name, chosen in self.selected.items()}
        return PruningPlan(units, kept, info=info)

    def to_frame(self) -> pd.DataFrame:
        """Return one row for each layer, in the problem's order.

        Columns: size, kept, fraction, least, most, redundancy_before, redundancy,
        bound (of the redundancy of so many channels), gap, status, loss, binds.
        """
        import pandas as pd

        rows = []
        for name, graph in self.problem.layers.items():
            solution, curve = self.solutions.get(name), self.curves[name]
            allowed, count = self.problem.allowed(name), self.counts[name]
            rows.append(
                {
                    "layer": name,
                    "size": graph.n,
                    "kept": count,
                    "fraction": count / graph.n,
                    "least": allowed[0],
                    "most": allowed[-1],
                    "redundancy_before": curve.whole,
                    "redundancy": curve.value(count),
                    "bound": None if solution is None else solution.bound,
                    "gap": None if solution is None else solution.gap,
                    "status": self.status_of(name),
                    "loss": self.losses[name],
                    "binds": self.binds[name],
                }
            )
        return pd.DataFrame(rows).set_index("layer")

    def __repr__(self) -> str:
        kept = sum(self.counts[name] for name in self)
        total = sum(graph.n for graph in self.problem.layers.values())
        gap = "no bound" if self.gap is None else f"gap={self.gap:.3%}"
        reached = ", ".join(f"{name} {self.reached[name]:.2%}" for name in self.asked)
        return (
            f"NetworkSolution({len(self)} layers, {kept} of {total} channels, "
            f"{reached}, objective={self.objective:.6g}, {gap})"
        )

    def summary(self) -> str:
        """Return asked and reached, objective and bound, and a line for each layer."""
        lines = [f"split by {self.allocation}, layers solved by {self.method}"]
        for name, asked in self.asked.items():
            whole, left = self.problem.cost.total(name), self.costs[name]
            lines.append(
                f"  {name:8s}{whole:>18,} -> {left:>16,}  {left / whole:8.3%} "
                f"of {asked:.3%} asked"
            )
        bound = "none" if self.bound is None else f"{self.bound:.6g}"
        gap = "unknown" if self.gap is None else f"{self.gap:.4%}"
        lines.append(
            f"  objective {self.objective:.6g}  bound {bound}  gap {gap}  "
            f"(loss of worth, {self.problem.worth.objective} over layers)"
        )
        if self.sets_bound is not None:
            apart = relative_gap(self.objective, self.sets_bound)
            lines.append(
                f"  sets proved within {apart:.4%} of the least loss at these counts"
            )
        width = max((len(name) for name in self), default=5)
        lines.append(f"  {'layer':{width}s}   kept    of  redundancy  binds")
        for name, graph in self.problem.layers.items():
            before, after = self.curves[name].whole, self.redundancy[name]
            lines.append(
                f"  {name:{width}s}  {self.counts[name]:5d} {graph.n:5d}  "
                f"{before:.4g} -> {after:.4g}  {self.binds[name]}"
            )
        return "\n".join(lines)

    __str__ = summary
