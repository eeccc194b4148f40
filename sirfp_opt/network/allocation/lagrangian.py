"""The split by prices on the budgets: quick, with a bound."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sirfp_opt._validate import IntArray, as_int
from sirfp_opt.constraints import LayerConstraints
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.network.allocation.base import Allocation, check_reachable
from sirfp_opt.network.allocation.uniform import Uniform
from sirfp_opt.network.curves import ValueCurves
from sirfp_opt.network.normalization import normalized
from sirfp_opt.network.splitting.branching import SplitSearch
from sirfp_opt.network.splitting.problem import Split, SplitProblem
from sirfp_opt.network.worth import Worth

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sirfp_opt.network.allocation.base import Budget, Layer
    from sirfp_opt.network.cost import CostModel
    from sirfp_opt.network.curves import ValueCurve

__all__ = ["Lagrangian", "layer_curves", "split_problem"]


@dataclass(frozen=True)
class Lagrangian:
    """Price the budgets, minimise the rest exactly, repair what breaks a budget.

    Minimises Σ_l loss_l(k_l) subject to const + Σ a_u k_u + Σ b_uv k_u k_v <= limit for
    each budget, with the losses of `Worth`. At prices p >= 0 on the budgets, the
    minimum of loss + Σ p (cost / limit - 1) over all k is a lower bound; it is found
    exactly, products included, by eliminating one unit after the other (see
    `Relaxation`). The prices that make the bound largest come from cutting planes
    (M. L. Fisher, Management Science 27, 1981, doi:10.1287/mnsc.27.1.1). Each of
    their minimisers is lowered into the budgets, filled up and improved by exchanges.

    Parameters
    ----------
    worth : Worth
        What is minimised.
    levels : int
        Counts of a unit are put into at most so many intervals; more give a tighter
        bound, in time and memory that grow with their cube.
    rounds : int
        The relaxation also tells which counts no better split can have; they are
        dropped, and the bound is computed anew on the rest, at most so many times.
    gap : float
        Stop once the relative gap is at most this.
    time_limit : float, optional
        Seconds for the search, value curves not counted.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import ChannelGraph
    >>> from sirfp_opt.network.allocation import Budget, Lagrangian, Layer
    >>> from sirfp_opt.network.cost import Affine, CostForm, CostModel
    >>> layers = [Layer("a", ChannelGraph.from_redundancy(np.full((8, 8), 0.2))),
    ...           Layer("b", ChannelGraph.from_redundancy(np.full((8, 8), 0.6)))]
    >>> one = Affine(0, {"a": 1, "b": 1}), Affine(1)
    >>> cost = CostModel(["a", "b"], [8, 8],
    ...                  {"params": CostForm.from_products(["a", "b"], [(1.0, *one)])})
    >>> Lagrangian().allocate(layers, cost, Budget(params=0.75)).counts
    {'a': 6, 'b': 6}
    """

    worth: Worth = field(default_factory=Worth)
    levels: int = 48
    rounds: int = 6
    gap: float = 1e-2
    time_limit: float | None = 30.0

    def __post_init__(self) -> None:
        as_int(self.levels, "levels", least=1)
        as_int(self.rounds, "rounds", least=1)
        check_limits(self.gap, self.time_limit)

    def allocate(
        self, layers: Sequence[Layer], cost: CostModel, budget: Budget
    ) -> Allocation:
        """Return the split found, with ``objective``, ``bound`` and ``gap`` as info.

        Raises
        ------
        InfeasibleError
            If the least plan is above a budget.
        """
        return allocate_by(self, layers, cost, budget)

    def split(self, problem: SplitProblem, starts: Iterable[IntArray] = ()) -> Split:
        """Solve the bare problem; never worse than a feasible one of `starts`."""
        deadline = deadline_after(self.time_limit)
        search = SplitSearch(problem, deadline=deadline, gap=self.gap)
        search.start(starts)
        search.run(most_levels=self.levels, rounds=self.rounds)
        return search.split()


def check_limits(gap: float, time_limit: float | None) -> None:
    """Raise unless `gap` and `time_limit` are numbers that can end a search."""
    for name, value, way_out in (
        ("gap", gap, "0 asks for a proof"),
        ("time_limit", time_limit, "None sets no limit"),
    ):
        if value is not None and not value >= 0:
            raise InvalidProblemError(
                f"`{name}` must be a number of at least 0, got {value!r}. {way_out}."
            )


def deadline_after(time_limit: float | None) -> float:
    """Return the value of ``time.perf_counter()`` at which the time is over."""
    return time.perf_counter() + (np.inf if time_limit is None else time_limit)


def allocate_by(
    allocator: Any, layers: Sequence[Layer], cost: CostModel, budget: Budget
) -> Allocation:
    """Build curves and problem, call the allocator's ``split``, name the result."""
    least = {layer.name: layer.least for layer in layers}
    check_reachable(layers, cost, budget, least)
    worth: Worth = allocator.worth
    curves, factors = layer_curves(layers, worth.normalize)
    losses = worth.losses(curves, factors)
    problem = split_problem(cost, budget.limits(cost), curves, losses.by_layer)
    uniform = cost.as_counts(Uniform().allocate(layers, cost, budget).counts)
    split = allocator.split(problem, [uniform])
    return Allocation(
        counts={name: int(k) for name, k in zip(cost.units, split.k, strict=True)},
        next_cost=next_costs(problem, split.k, cost),
        info={
            "objective": split.objective,
            "bound": split.bound,
            "gap": split.gap,
            "limit": split.limit,
            "price": losses.price,
            "multipliers": dict(
                zip(budget.limits(cost), split.multipliers.tolist(), strict=True)
            ),
        },
    )


def layer_curves(
    layers: Sequence[Layer], normalize: str
) -> tuple[ValueCurves, dict[str, float]]:
    """Return the layers' value curves, and the factors that put them on one scale."""
    wanted, factors = {}, {}
    for layer in layers:
        graph, factor = normalized(layer.graph, normalize)
        alive = layer.size - len(layer.dropped)
        dropped = layer.dropped if alive >= layer.least else ()
        counts = layer.counts[layer.counts <= layer.size - len(dropped)].tolist()
        rules = LayerConstraints(tied=layer.tied, must_drop=dropped)
        wanted[layer.name] = (graph, rules, counts)
        factors[layer.name] = factor
    return ValueCurves(wanted), factors


def split_problem(
    cost: CostModel,
    limits: Mapping[str, int],
    curves: Mapping[str, ValueCurve],
    losses: Mapping[str, Any],
) -> SplitProblem:
    """Return the problem over all units of a cost model.

    A unit without a curve stays whole.
    """
    counts, values = [], []
    for name, size in zip(cost.units, cost.sizes, strict=True):
        known = name in curves
        counts.append(curves[name].counts if known else np.array([size]))
        values.append(losses[name] if known else np.zeros(1))
    return SplitProblem(
        units=cost.units,
        counts=tuple(counts),
        losses=tuple(values),
        forms=tuple(cost.forms[name] for name in limits),
        limits=np.array(list(limits.values()), dtype=np.float64),
    )


def next_costs(
    problem: SplitProblem, k: IntArray, cost: CostModel
) -> dict[str, int] | None:
    """Return the costs of the cheapest split one step above k; None at the top."""
    found = None
    for u, place in enumerate(problem.places(k)):
        if place + 1 < problem.counts[u].size:
            trial = k.copy()
            trial[u] = problem.counts[u][place + 1]
            over = float((problem.costs(trial) / problem.limits).max())
            if found is None or over < found[0]:
                found = over, cost.predict(trial)
    return None if found is None else found[1]
