"""From graphs, costs and a request to a network's problem: no network needed here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from sirfp_opt._validate import as_int
from sirfp_opt.constraints import LayerConstraints
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.network.allocation import (
    Allocator,
    Threshold,
    create_allocator,
    worth_of,
)
from sirfp_opt.network.allocation.uniform import counts_at
from sirfp_opt.network.budget import Budget
from sirfp_opt.network.problem import NetworkProblem
from sirfp_opt.network.unit import MemberGraph
from sirfp_opt.network.worth import Worth

if TYPE_CHECKING:
    from sirfp_opt.network.cost import CostModel
    from sirfp_opt.network.plan import PruningUnit
    from sirfp_opt.pytorch.extraction.graphs import ExtractedGraphs

__all__ = ["Callback", "Request", "network_problem"]

Callback = Callable[[str, int, int], None]
"""Progress: ``callback(stage, done, total)``."""


@dataclass(frozen=True)
class Request:
    """What `prune` was asked for; see there."""

    macs: float | None = None
    params: float | None = None
    keep: float | Mapping[str, int | float] | None = None
    method: Any = "greedy"
    allocation: str | Allocator = "balanced"
    min_keep: float = 0.1
    multiple_of: int = 1
    drop_dead: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    time_limit: float | None = None
    seed: int = 0
    certify: bool | str = False
    n_jobs: int = 1

    def __post_init__(self) -> None:
        budget = self.budget
        if bool(budget) == (self.keep is not None):
            raise InvalidProblemError(
                "`macs`, `params` or `keep` must say how much remains, got "
                f"{'both kinds' if budget else 'none of them'}. "
                "Pass for instance macs=0.4."
            )
        fraction = self.keep is not None and not isinstance(self.keep, Mapping)
        if fraction and not (isinstance(self.keep, Real) and 0.0 < self.keep <= 1.0):
            raise InvalidProblemError(
                f"`keep` must lie in (0, 1], got {self.keep!r}. Pass the fraction of "
                "each unit that stays, or a mapping from unit to number."
            )
        if not 0.0 <= self.min_keep <= 1.0:
            raise InvalidProblemError(
                f"`min_keep` must lie in [0, 1], got {self.min_keep!r}. "
                "Pass the least fraction of each unit that stays."
            )
        as_int(self.multiple_of, "multiple_of", least=1)
        create_allocator(self.allocation)  # raises on an unknown name

    @property
    def budget(self) -> Budget:
        """The fractions of the costs that may remain."""
        return Budget(self.macs, self.params)


def network_problem(
    graphs: ExtractedGraphs, cost: CostModel, request: Request
) -> NetworkProblem:
    """State a network's problem: how many channels of each unit, and which.

    Parameters
    ----------
    graphs : ExtractedGraphs
    cost : CostModel
    request : Request

    Raises
    ------
    InvalidProblemError
        If `keep` names no unit of the network, or a number that it cannot keep.
    """
    units = graphs.coupling.units
    # A threshold ranks single channels, which a refit problem has no scores for.
    scored = isinstance(create_allocator(request.allocation), Threshold)
    refitted = bool(graphs.reads) and not scored
    problem = NetworkProblem(
        layers={
            unit.name: graphs.problem(unit.name) if refitted else graphs[unit.name]
            for unit in units
        },
        cost=cost,
        budget=request.budget
        or Budget(others=dict.fromkeys(list(cost.forms)[:1], 1.0)),
        constraints={
            unit.name: LayerConstraints(tied=unit.tied, multiple_of=request.multiple_of)
            for unit in units
        },
        min_keep=request.min_keep,
        worth=worth_of(request.allocation) or Worth(),
        dead=graphs.dead_channels() if request.drop_dead else {},
        edges={
            unit.name: edge
            for unit in units
            if (edge := graphs.mean_importance(unit.name)) is not None
        },
        members={
            unit.name: tuple(
                MemberGraph(layer, matrix, graphs.importance[unit.name].get(layer))
                for layer, matrix in graphs.redundancy[unit.name].items()
            )
            for unit in units
        },
    )
    if request.keep is None:
        return problem
    counts = _kept_counts(problem, units, request.keep)
    return replace(
        problem,
        budget=Budget(),
        constraints={
            name: replace(rules, k=counts[name], multiple_of=1)
            for name, rules in problem.constraints.items()
        },
    )


def _kept_counts(
    problem: NetworkProblem,
    units: tuple[PruningUnit, ...],
    keep: float | Mapping[str, int | float],
) -> dict[str, int]:
    """Return the number of channels that `keep` gives each unit."""
    views = {view.name: view for view in problem.views()}
    if not isinstance(keep, Mapping):
        return counts_at(views.values(), float(keep))
    unknown = sorted(set(keep) - set(views))
    if unknown:
        raise InvalidProblemError(
            f"`keep` must name prunable units, got {unknown[:5]}. "
            f"They are {list(views)[:10]}."
        )
    counts = {name: view.size for name, view in views.items()}
    steps = {unit.name: unit.step for unit in units}
    for name, value in keep.items():
        size = views[name].size
        if isinstance(value, Real) and not isinstance(value, Integral):
            inside = 0 < value <= 1
            counts |= counts_at([views[name]], float(value)) if inside else {name: 0}
        else:
            counts[name] = as_int(value, f"keep[{name!r}]", least=1)
        count = counts[name]
        if not 1 <= count <= size or count % steps[name]:
            raise InvalidProblemError(
                f"`keep[{name!r}]` must be 1 to {size} channels in steps of "
                f"{steps[name]}, or a fraction in (0, 1], got {value!r}. "
                "Leave the unit out to keep it whole."
            )
    return counts
