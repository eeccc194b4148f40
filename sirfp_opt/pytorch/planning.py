"""From graphs, costs and a request to a plan: no network needed here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from sirfp_opt._parallel import Clock, run_all
from sirfp_opt._validate import IntArray, as_int
from sirfp_opt.api import solve
from sirfp_opt.constraints import LayerConstraints
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.network.allocation import (
    Allocation,
    Allocator,
    Budget,
    Layer,
    MemberGraph,
    create_allocator,
)
from sirfp_opt.network.allocation.uniform import counts_at
from sirfp_opt.network.plan import PruningPlan, PruningUnit

if TYPE_CHECKING:
    from sirfp_opt.network.cost import CostModel
    from sirfp_opt.pytorch.extraction.graphs import ExtractedGraphs
    from sirfp_opt.solution import Solution

__all__ = ["Draft", "Request", "draft"]

Callback = Callable[[str, int, int], None]
"""Progress: ``callback(stage, done, total)``."""

SPLIT_FACTS = ("objective", "bound", "gap", "limit", "price", "multipliers")
"""What an optimising allocation says about its split."""


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
        if bool(budget.fractions) == (self.keep is not None):
            raise InvalidProblemError(
                "`macs`, `params` or `keep` must say how much remains, got "
                f"{'both kinds' if budget.fractions else 'none of them'}. "
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

    @property
    def allocator(self) -> Allocator:
        """The allocation as an object."""
        return create_allocator(self.allocation)


@dataclass(frozen=True, eq=False)
class Draft:
    """A plan with what led to it."""

    plan: PruningPlan
    allocation: Allocation
    solutions: dict[str, Solution]


def draft(
    graphs: ExtractedGraphs, cost: CostModel, request: Request, clock: Clock
) -> Draft:
    """Decide numbers of channels, then which.

    Raises
    ------
    InfeasibleError
        If the budget cannot be reached.
    """
    layers = layers_of(graphs, request)
    with clock.stage("allocate"):
        if request.keep is None:
            allocation = request.allocator.allocate(layers, cost, request.budget)
        else:
            allocation = Allocation(_kept_counts(layers, request.keep))
    kept: dict[str, IntArray] = dict(allocation.kept or {})
    solutions: dict[str, Solution] = {}
    open_ = [
        layer
        for layer in layers
        if layer.name not in kept and allocation.counts[layer.name] < layer.size
    ]

    def solve_layer(layer: Layer) -> Solution:
        count = allocation.counts[layer.name]
        return solve(
            layer.graph,
            count,
            request.method,
            constraints=LayerConstraints(
                tied=layer.tied, must_drop=_to_drop(layer, count)
            ),
            time_limit=request.time_limit,
            seed=request.seed,
            certify=request.certify,
            **request.options,
        )

    with clock.stage("solve", len(open_)) as tick:
        found = run_all(solve_layer, [(x,) for x in open_], request.n_jobs, tick)
    for layer, solution in zip(open_, found, strict=True):
        solutions[layer.name] = solution
        kept[layer.name] = solution.selected
    info = {
        "asked": request.budget.fractions,
        "method": str(request.method),
        "allocation": str(request.allocation),
        "original": {name: cost.total(name) for name in cost.forms},
        "predicted": cost.predict(allocation.counts),
        "split": {k: v for k, v in allocation.info.items() if k in SPLIT_FACTS},
    }
    plan = PruningPlan(graphs.coupling.units, kept, info=info)
    return Draft(plan, allocation, solutions)


def layers_of(graphs: ExtractedGraphs, request: Request) -> list[Layer]:
    """Return the units as an allocation sees them."""
    return [
        Layer(
            name=unit.name,
            graph=graphs[unit.name],
            edge=graphs.mean_importance(unit.name),
            members=tuple(
                MemberGraph(layer, matrix, graphs.importance[unit.name].get(layer))
                for layer, matrix in graphs.redundancy[unit.name].items()
            ),
            tied=unit.tied,
            minimum=max(1, int(unit.size * request.min_keep)),
            multiple_of=request.multiple_of,
            dropped=_dead_classes(unit, graphs.dead.get(unit.name))
            if request.drop_dead
            else (),
        )
        for unit in graphs.coupling.units
    ]


def _kept_counts(
    layers: list[Layer], keep: float | Mapping[str, int | float]
) -> dict[str, int]:
    if not isinstance(keep, Mapping):
        return counts_at(layers, float(keep))
    by_name = {layer.name: layer for layer in layers}
    unknown = sorted(set(keep) - set(by_name))
    if unknown:
        raise InvalidProblemError(
            f"`keep` must name prunable units, got {unknown[:5]}. "
            f"They are {list(by_name)[:10]}."
        )
    counts = {layer.name: layer.size for layer in layers}
    for name, value in keep.items():
        layer = by_name[name]
        if isinstance(value, Real) and not isinstance(value, Integral):
            counts.update(_kept_counts([layer], value) if 0 < value <= 1 else {name: 0})
        else:
            counts[name] = as_int(value, f"keep[{name!r}]", least=1)
        count = counts[name]
        if not 1 <= count <= layer.size or count % len(layer.classes[0]):
            raise InvalidProblemError(
                f"`keep[{name!r}]` must be 1 to {layer.size} channels in steps of "
                f"{len(layer.classes[0])}, or a fraction in (0, 1], got {value!r}. "
                "Leave the unit out to keep it whole."
            )
    return counts


def _dead_classes(unit: PruningUnit, dead: IntArray | None) -> tuple[int, ...]:
    """Return the dead channels; tied ones only where their whole class is dead."""
    if dead is None:
        return ()
    silent = set(dead.tolist())
    classes = unit.tied or tuple((channel,) for channel in range(unit.size))
    return tuple(c for group in classes if silent.issuperset(group) for c in group)


def _to_drop(layer: Layer, count: int) -> tuple[int, ...]:
    """Return the dead channels, if so many others are left."""
    return layer.dropped if layer.size - len(layer.dropped) >= count else ()
