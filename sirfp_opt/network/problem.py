"""The whole network as one problem: a budget, split over layers, then their cliques."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sirfp_opt._validate import as_int
from sirfp_opt.constraints import LayerConstraints
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.graph import ChannelGraph
from sirfp_opt.network.allocation import Budget, Layer, Worth
from sirfp_opt.network.allocation.base import check_reachable
from sirfp_opt.network.allocation.lagrangian import split_problem
from sirfp_opt.network.curves import ValueCurves
from sirfp_opt.network.normalization import normalized

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sirfp_opt.network.cost import CostModel
    from sirfp_opt.network.splitting.problem import SplitProblem

__all__ = ["NetworkProblem"]


@dataclass(frozen=True, eq=False)
class NetworkProblem:
    """Choose how many channels each layer keeps, and which, within budgets.

    Parameters
    ----------
    layers : mapping of str to ChannelGraph
        One graph for each pruning unit; units of `cost` that are not named stay whole.
    cost : CostModel
        What kept channels cost; its forms name the budgets.
    budget : mapping of str to float
        Upper limits, several at once if wanted: up to 1 a fraction of the cost before
        pruning, above 1 an absolute number, for instance
        ``{"macs": 0.4, "params": 5_000_000}``.
    constraints : mapping of str to LayerConstraints, optional
        By layer: k (fixed), k_min, k_max, multiple_of, must_keep, must_drop, tied.
    min_keep : float
        Least fraction of the channels of a layer without a k or k_min of its own.
    multiple_of : int
        For layers without constraints. All of a layer's channels may be kept even
        where their number is no multiple.
    worth : Worth
        The objective of the split: product or sum, normalisation, price, weights.
    map_sizes : mapping of str to float
        Positions of each layer's maps, for ``Worth(normalize="map_size")``.

    Raises
    ------
    InvalidProblemError
        If names or sizes do not fit together, or a budget is no positive number.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import ChannelGraph
    >>> from sirfp_opt.network.cost import Affine, CostForm, CostModel
    >>> from sirfp_opt.network import NetworkProblem, solve_network
    >>> rng = np.random.default_rng(0)
    >>> maps = [rng.random((n, 50)) for n in (8, 16)]
    >>> layers = {u: ChannelGraph.from_redundancy(x @ x.T) for u, x in zip("ab", maps)}
    >>> macs = CostForm.from_products(
    ...     ["a", "b"], [(9.0, Affine(0, {"a": 1}), Affine(0, {"b": 1}))])
    >>> cost = CostModel(["a", "b"], [8, 16], {"macs": macs})
    >>> solution = solve_network(NetworkProblem(layers, cost, {"macs": 0.5}))
    >>> solution.reached["macs"] <= 0.5, solution.gap <= 1e-4
    (True, True)
    """

    layers: Mapping[str, ChannelGraph]
    cost: CostModel
    budget: Mapping[str, float]
    constraints: Mapping[str, LayerConstraints] = field(default_factory=dict)
    min_keep: float = 0.0
    multiple_of: int = 1
    worth: Worth = field(default_factory=Worth)
    map_sizes: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("layers", "budget", "constraints", "map_sizes"):
            object.__setattr__(self, name, dict(getattr(self, name)))
        sizes = dict(zip(self.cost.units, self.cost.sizes.tolist(), strict=True))
        for name, graph in self.layers.items():
            if not isinstance(graph, ChannelGraph):
                raise InvalidProblemError(
                    f"`layers[{name!r}]` must be a ChannelGraph, got "
                    f"{type(graph).__name__}. Use ChannelGraph.from_redundancy."
                )
            if sizes.get(name) != graph.n:
                raise InvalidProblemError(
                    f"`layers[{name!r}]` must have as many channels as the cost model "
                    f"says, {sizes.get(name)}, got {graph.n}. Name layers after the "
                    "cost model's units."
                )
        for name in ("constraints", "map_sizes"):
            strange = sorted(set(getattr(self, name)) - set(self.layers))
            if strange:
                raise InvalidProblemError(
                    f"`{name}` must name layers, got {strange[:5]}. "
                    f"The layers are {list(self.layers)[:10]}."
                )
        if not 0.0 <= self.min_keep <= 1.0:
            raise InvalidProblemError(
                f"`min_keep` must lie in [0, 1], got {self.min_keep!r}. "
                "Pass the least fraction of each layer that stays."
            )
        as_int(self.multiple_of, "multiple_of", least=1)
        _check_budget(self.budget, self.cost)
        for name in self.layers:
            self.allowed(name)  # raises where constraints contradict each other

    @cached_property
    def limits(self) -> dict[str, int]:
        """The budgets in units of each cost, rounded down."""
        return {
            name: math.floor(value)
            if value > 1
            else Budget(others={name: value}).limits(self.cost)[name]
            for name, value in self.budget.items()
        }

    @property
    def fractions(self) -> Budget:
        """The budgets as fractions, for allocations that read them so."""
        # Half a unit above the limit: rounded down, it is the limit again.
        return Budget(
            others={
                name: min(1.0, (limit + 0.5) / self.cost.total(name))
                for name, limit in self.limits.items()
            }
        )

    def rules(self, name: str) -> LayerConstraints:
        """Return a layer's constraints, those of all layers worked in."""
        return self.constraints.get(
            name, LayerConstraints(multiple_of=self.multiple_of)
        )

    def allowed(self, name: str) -> tuple[int, ...]:
        """Return the numbers of channels that a layer may keep, ascending."""
        n, rules = self.layers[name].n, self.rules(name)
        counts = rules.counts(n)
        if rules.k is None:
            if rules.k_min is None:
                least = max(1, int(n * self.min_keep + 1e-9))
                counts = tuple(k for k in counts if k >= least)
            if rules.k_max is None or rules.k_max >= n:
                counts = tuple(sorted({*counts, n}))
            kept, dropped = len(rules.must_keep), len(rules.must_drop)
            counts = tuple(k for k in counts if kept <= k <= n - dropped)
        if not counts:
            raise InvalidProblemError(
                f"`constraints[{name!r}]` must leave a number of channels between 1 "
                f"and {n}, got {rules!r}. Widen the range."
            )
        return counts

    @cached_property
    def as_layers(self) -> tuple[Layer, ...]:
        """The layers as an allocation sees them."""
        return tuple(
            Layer(
                name=name,
                graph=graph,
                tied=_classes(self.rules(name).tied, graph.n),
                minimum=self.allowed(name)[0],
                maximum=self.allowed(name)[-1],
                multiple_of=_step(self.allowed(name)),
            )
            for name, graph in self.layers.items()
        )

    @property
    def least(self) -> dict[str, int]:
        """The smallest allowed number of channels of each layer."""
        return {name: self.allowed(name)[0] for name in self.layers}

    def check_reachable(self) -> None:
        """Raise, with the least reachable value and what blocks, if a budget is not.

        Raises
        ------
        InfeasibleError
        """
        check_reachable(self.as_layers, self.cost, self.fractions, self.least)

    @cached_property
    def _scaled(self) -> dict[str, tuple[ChannelGraph, float]]:
        return {
            name: normalized(
                graph, self.worth.normalize, map_size=self.map_sizes.get(name)
            )
            for name, graph in self.layers.items()
        }

    @property
    def factors(self) -> dict[str, float]:
        """By layer, what puts its objective on the common scale."""
        return {name: factor for name, (_, factor) in self._scaled.items()}

    @cached_property
    def curves(self) -> ValueCurves:
        """The layers' value curves, each built when first needed, and then kept."""
        return ValueCurves(
            {
                name: (graph, self.rules(name), self.allowed(name))
                for name, (graph, _) in self._scaled.items()
            }
        )

    def split_problem(self, curves: Mapping[str, Any] | None = None) -> SplitProblem:
        """Return the problem of the counts alone, on the value curves.

        Raises
        ------
        InfeasibleError
            If a budget cannot be reached with the sets that the curves know.
        """
        curves = self.curves if curves is None else curves
        losses = self.worth.losses(curves, self.factors)
        problem = split_problem(self.cost, self.limits, curves, losses.by_layer)
        least = dict(zip(problem.units, problem.least.tolist(), strict=True))
        check_reachable(self.as_layers, self.cost, self.fractions, least)
        return problem

    def with_budget(self, budget: Mapping[str, float]) -> NetworkProblem:
        """Return the same problem under other budgets; value curves are shared."""
        other = replace(self, budget=budget)
        for name in ("_scaled", "curves"):
            if name in self.__dict__:
                other.__dict__[name] = self.__dict__[name]
        return other


def _step(counts: tuple[int, ...]) -> int:
    """Return the step between allowed counts; the last one may be out of step."""
    return counts[1] - counts[0] if len(counts) > 2 else 1


def _classes(tied: tuple[tuple[int, ...], ...], n: int) -> tuple[tuple[int, ...], ...]:
    """Return tied groups where they are classes of one size that cover all channels."""
    sizes = {len(group) for group in tied}
    whole = len(sizes) == 1 and sum(map(len, tied)) == n
    return tied if whole else ()


def _check_budget(budget: Mapping[str, float], cost: CostModel) -> None:
    if not budget:
        raise InvalidProblemError(
            "`budget` must name at least one cost, got none. "
            f"The cost model knows {sorted(cost.forms)}."
        )
    for name, value in budget.items():
        if name not in cost.forms:
            raise InvalidProblemError(
                f"`budget` must name costs of the model, got {name!r}. "
                f"It knows {sorted(cost.forms)}."
            )
        if isinstance(value, bool) or not (np.isreal(value) and 0 < value < np.inf):
            raise InvalidProblemError(
                f"`budget[{name!r}]` must be a positive number, got {value!r}. Pass a "
                "fraction up to 1, or an absolute limit above 1."
            )
