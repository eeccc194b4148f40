"""From graphs, costs and a request to a network's problem: no network needed here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from numbers import Integral, Real
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt._validate import as_int
from sirfp_opt.constraints import LayerConstraints
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.network.allocation import worth_of
from sirfp_opt.network.allocation.uniform import counts_at
from sirfp_opt.network.budget import Budget
from sirfp_opt.network.cost import CostForm
from sirfp_opt.network.problem import NetworkProblem
from sirfp_opt.network.unit import MemberGraph
from sirfp_opt.network.worth import Worth
from sirfp_opt.pytorch.keywords import must_match

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sirfp_opt.network.cost import CostModel
    from sirfp_opt.network.plan import PruningUnit
    from sirfp_opt.pytorch.extraction.graphs import ExtractedGraphs
    from sirfp_opt.pytorch.request import PruneRequest

__all__ = ["constraints_of", "network_problem", "with_forms"]

BLOCK = 8
"""Channels that kernels for CPUs compute together."""

WIDE = 32
"""Channels from which on a unit keeps whole blocks, unless something else is asked."""


def network_problem(
    graphs: ExtractedGraphs,
    cost: CostModel,
    request: PruneRequest,
    *,
    spared: Sequence[PruningUnit] = (),
) -> NetworkProblem:
    """State a network's problem: how many channels of each unit, and which.

    Parameters
    ----------
    graphs : ExtractedGraphs
    cost : CostModel
    request : PruneRequest
    spared : sequence of PruningUnit
        Units that were found and stay whole all the same, since a cut of them was not
        verified: what the request asks of them is left aside.

    Raises
    ------
    InvalidProblemError
        If `keep` names no unit of the network, or a number that it cannot keep.
    """
    problem = _stated(graphs, cost, request, spared)
    if request.multiple_of is None and not problem.keeps_budget(problem.least):
        return _stated(graphs, cost, replace(request, multiple_of=1), spared)
    return problem


def _stated(
    graphs: ExtractedGraphs,
    cost: CostModel,
    request: PruneRequest,
    spared: Sequence[PruningUnit],
) -> NetworkProblem:
    units = graphs.coupling.units
    refitted = bool(graphs.reads) and request.knows_refit
    problem = NetworkProblem(
        layers={
            unit.name: graphs.problem(unit.name) if refitted else graphs[unit.name]
            for unit in units
        },
        cost=cost,
        budget=request.budget
        or Budget(others=dict.fromkeys(list(cost.forms)[:1], 1.0)),
        constraints=constraints_of(units, request, spared=spared),
        min_keep=request.min_keep,
        worth=worth_of(request.split) or Worth(),
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
    keep = request.keep
    if isinstance(keep, Mapping):
        names = {unit.name for unit in spared}
        keep = {name: value for name, value in keep.items() if name not in names}
        _must_be_units(keep, graphs)
    counts = _kept_counts(problem, units, keep)
    return replace(
        problem,
        budget=Budget(),
        constraints={
            name: replace(rules, k=counts[name], multiple_of=1)
            for name, rules in problem.constraints.items()
        },
    )


def constraints_of(
    units: Sequence[PruningUnit],
    request: PruneRequest,
    *,
    spared: Sequence[PruningUnit] = (),
) -> dict[str, LayerConstraints]:
    """Return each unit's constraints: what ties its channels, and what was asked.

    A pattern may match units that are `spared` alone, which stay whole.

    Raises
    ------
    InvalidProblemError
        If a pattern matches no unit.
    """
    names = {
        unit.name: {unit.name, *(p.layer for p in unit.ports if p.side == "out")}
        for unit in (*units, *spared)
    }
    must_match(
        request.constraints, {n for some in names.values() for n in some}, "constraints"
    )
    found = {}
    for unit in units:
        own = LayerConstraints(tied=unit.tied, multiple_of=_step_of(unit, request))
        for pattern, rules in request.constraints.items():
            if any(fnmatchcase(name, pattern) for name in names[unit.name]):
                step = 1 if rules.k is not None else request.multiple_of or 1
                own = replace(
                    rules,
                    tied=(*unit.tied, *rules.tied),
                    multiple_of=rules.multiple_of if rules.multiple_of > 1 else step,
                )
                break
        found[unit.name] = own
    return found


def _step_of(unit: PruningUnit, request: PruneRequest) -> int:
    """Return what a unit's number of channels is a multiple of, without constraints.

    Unless a request says it: of 8 in units of at least 32 channels, and any number in
    smaller ones, which would have too few to choose from, and where channels go in
    groups that do not make up blocks.
    """
    if request.multiple_of is not None:
        return request.multiple_of
    wide = unit.size >= WIDE and BLOCK % unit.step == 0
    return BLOCK if wide and request.keep is None else 1


def with_forms(cost: CostModel, extra: CostModel | None) -> CostModel:
    """Return a network's cost model with the further costs of another one.

    Parameters
    ----------
    cost : CostModel
        MACs and parameters, as they were read off the network.
    extra : CostModel, optional
        Over the same units, or more, which stay whole.

    Raises
    ------
    InvalidProblemError
        If a unit is missing in `extra`, or of another size.
    """
    if extra is None:
        return cost
    sizes = dict(zip(extra.units, extra.sizes.tolist(), strict=True))
    for name, size in zip(cost.units, cost.sizes.tolist(), strict=True):
        if sizes.get(name) != size:
            raise InvalidProblemError(
                f"`cost` must be over the network's units, got {sizes.get(name)} "
                f"channels of {name!r}, which has {size}. Start from read_cost."
            )
    place = [extra.units.index(name) for name in cost.units]
    whole = [i for i in range(len(extra.units)) if i not in place]
    forms = dict(cost.forms)
    for name, form in extra.forms.items():
        if name in forms:
            continue
        # Units that are no longer pruned are constants now.
        k = np.zeros(len(extra.units))
        k[whole] = extra.sizes[whole]
        linear = form.gradient(k)[place]
        quadratic = form.quadratic[np.ix_(place, place)]
        forms[name] = CostForm(form(k), linear, quadratic)
    return replace(cost, forms=forms)


def _must_be_units(keep: Mapping[str, int | float], graphs: ExtractedGraphs) -> None:
    """Refuse numbers for what is no unit, and say why it stays whole if that is so."""
    units = [unit.name for unit in graphs.coupling.units]
    unknown = sorted(set(keep) - set(units))
    if not unknown:
        return
    whole = {
        exclusion.unit: f", which stays whole ({exclusion})"
        for exclusion in graphs.coupling.exclusions
    }
    told = "; ".join(f"{name!r}{whole.get(name, '')}" for name in unknown[:5])
    raise InvalidProblemError(
        f"`keep` must name prunable units, got {told}. They are {units[:10]}."
    )


def _kept_counts(
    problem: NetworkProblem,
    units: Sequence[PruningUnit],
    keep: float | Mapping[str, int | float],
) -> dict[str, int]:
    """Return the number of channels that `keep` gives each unit."""
    views = {view.name: view for view in problem.views()}
    if not isinstance(keep, Mapping):
        return counts_at(views.values(), float(keep))
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
