"""The whole network as one problem: a budget, split over layers, then their cliques."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sirfp_opt._rules import check_fields, number, ruled, whole
from sirfp_opt._validate import as_indices, as_vector, in_range
from sirfp_opt.constraints import LayerConstraints
from sirfp_opt.errors import InfeasibleError, InvalidProblemError
from sirfp_opt.network.budget import Budget
from sirfp_opt.network.cost import CostModel
from sirfp_opt.network.curves import ValueCurves, value_curve
from sirfp_opt.network.feasible import reachable_counts, whole_groups
from sirfp_opt.network.normalization import normalized
from sirfp_opt.network.reachable import check_reachable
from sirfp_opt.network.splitting.problem import SplitProblem
from sirfp_opt.network.unit import MemberGraph, UnitView
from sirfp_opt.network.worth import Worth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sirfp_opt._validate import BoolArray, FloatArray
    from sirfp_opt.graph import ChannelGraph
    from sirfp_opt.network.curves import ValueCurve
    from sirfp_opt.reconstruction import ReconstructionProblem

__all__ = ["NetworkProblem"]


@dataclass(frozen=True, eq=False)
class NetworkProblem:
    """Choose how many channels each layer keeps, and which, within budgets.

    Parameters
    ----------
    layers : mapping of str to ChannelGraph or ReconstructionProblem
        One for each pruning unit; units of `cost` that are not named stay whole.
    cost : CostModel
        What kept channels cost; its forms name the budgets.
    budget : Budget or mapping of str to float
        Upper limits, several at once if wanted: up to 1 a fraction of the cost before
        pruning, above 1 an absolute number, for instance
        ``{"macs": 0.4, "params": 5_000_000}``. May be empty where every layer has a
        fixed number of channels.
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
    dead : mapping of str to sequence of int
        Channels that are worth nothing (always zero). They count as must_drop where
        enough others are left; of a tied group, only all of them together, and none
        of a layer with missing edges.
    edges : mapping of str to ndarray
        Edge term of each channel, for allocations whose scores start from it.
    members : mapping of str to sequence of MemberGraph
        The single layers of a unit, for allocations that score each of them.

    Raises
    ------
    InvalidProblemError
        If names or sizes do not fit together, or a budget is no positive number.
    InfeasibleError
        If tied groups add up to no number that a layer may keep.

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

    layers: Mapping[str, ChannelGraph | ReconstructionProblem]
    cost: CostModel
    budget: Budget | Mapping[str, float] = field(default_factory=Budget)
    constraints: Mapping[str, LayerConstraints] = field(default_factory=dict)
    min_keep: float = ruled(
        number(0.0, 1.0, way="Pass the least fraction of each layer that stays."), 0.0
    )
    multiple_of: int = ruled(whole(1), 1)
    worth: Worth = field(default_factory=Worth)
    map_sizes: Mapping[str, float] = field(default_factory=dict)
    dead: Mapping[str, Sequence[int]] = field(default_factory=dict)
    edges: Mapping[str, FloatArray] = field(default_factory=dict)
    members: Mapping[str, Sequence[MemberGraph]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        store = object.__setattr__
        for name in ("layers", *_BY_LAYER):
            if not isinstance(getattr(self, name), Mapping):
                raise InvalidProblemError(
                    f"`{name}` must map names of layers, got "
                    f"{type(getattr(self, name)).__name__}. Pass a dict."
                )
            store(self, name, dict(getattr(self, name)))
        if not isinstance(self.cost, CostModel):
            raise InvalidProblemError(
                f"`cost` must be a CostModel, got {type(self.cost).__name__}. "
                "Make one of CostForms."
            )
        if not isinstance(self.worth, Worth):
            raise InvalidProblemError(
                f"`worth` must be a Worth, got {self.worth!r}. "
                "Pass for instance Worth('balanced')."
            )
        store(self, "budget", Budget.of(self.budget))
        self.asked.check_names(self.cost)
        check_fields(self)
        self._check_layers()
        several = [name for name in self.layers if len(self.allowed(name)) > 1]
        if several and not self.asked:
            raise InvalidProblemError(
                "`budget` must name at least one cost, got none. "
                f"The cost model knows {sorted(self.cost.forms)}."
            )

    def _check_layers(self) -> None:
        sizes = dict(zip(self.cost.units, self.cost.sizes.tolist(), strict=True))
        for name, layer in self.layers.items():
            if value_curve.dispatch(type(layer)) is value_curve.dispatch(object):
                raise InvalidProblemError(
                    f"`layers[{name!r}]` must be a ChannelGraph or a "
                    f"ReconstructionProblem, got {type(layer).__name__}. Use "
                    "ChannelGraph.from_redundancy."
                )
            if sizes.get(name) != layer.n:
                raise InvalidProblemError(
                    f"`layers[{name!r}]` must have as many channels as the cost model "
                    f"says, {sizes.get(name)}, got {layer.n}. Name layers after the "
                    "cost model's units."
                )
        for name in _BY_LAYER:
            strange = sorted(set(getattr(self, name)) - set(self.layers))
            if strange:
                raise InvalidProblemError(
                    f"`{name}` must name layers, got {strange[:5]}. "
                    f"The layers are {list(self.layers)[:10]}."
                )
        for name, rules in self.constraints.items():
            if not isinstance(rules, LayerConstraints):
                raise InvalidProblemError(
                    f"`constraints[{name!r}]` must be a LayerConstraints, got "
                    f"{type(rules).__name__}. Pass LayerConstraints(...)."
                )
            n = self.layers[name].n
            for part in ("must_keep", "must_drop"):
                in_range(getattr(rules, part), n, f"constraints[{name!r}].{part}")
            in_range((c for g in rules.tied for c in g), n, "tied")
        for name, some in self.dead.items():
            silent = as_indices(some, f"dead[{name!r}]")
            in_range(silent, self.layers[name].n, f"dead[{name!r}]")
            self.dead[name] = silent  # type: ignore[index]  # a dict of our own
        for name, edge in self.edges.items():
            as_vector(edge, self.layers[name].n, f"edges[{name!r}]")
        for name, few in self.members.items():
            for member in few:
                if member.redundancy.shape != (self.layers[name].n,) * 2:
                    raise InvalidProblemError(
                        f"`members[{name!r}]` must have matrices of "
                        f"{self.layers[name].n} channels, got "
                        f"{member.redundancy.shape}. Pass those of the unit's layers."
                    )

    # -- what may be kept --------------------------------------------------------

    @property
    def asked(self) -> Budget:
        """The budgets as they were stated."""
        return Budget.of(self.budget)

    @cached_property
    def limits(self) -> dict[str, int]:
        """The budgets in units of each cost, rounded down."""
        return self.asked.limits(self.cost)

    def keeps_budget(self, counts: Mapping[str, int]) -> bool:
        """Tell whether keeping so many channels of each unit stays within them all."""
        array = self.cost.as_counts(counts)
        return all(
            self.cost.evaluate(name, array) <= limit
            for name, limit in self.limits.items()
        )

    def rules(self, name: str) -> LayerConstraints:
        """Return a layer's constraints, with those of all layers worked in.

        Its dead channels are among must_drop where enough others are left.
        """
        return self._allowed(name)[0]

    def allowed(self, name: str) -> tuple[int, ...]:
        """Return the numbers of channels that a layer may keep, ascending.

        Without missing edges there is a set for each of them; with them there may be
        none, which the layer's value curve knows.
        """
        return self._allowed(name)[1]

    @cached_property
    def _known_rules(self) -> dict[str, tuple[LayerConstraints, tuple[int, ...]]]:
        return {}

    def _allowed(self, name: str) -> tuple[LayerConstraints, tuple[int, ...]]:
        if name not in self._known_rules:
            rules: LayerConstraints = self.constraints.get(
                name, LayerConstraints(multiple_of=self.multiple_of)
            )
            dead = whole_groups(self.dead.get(name, ()), rules)
            if missing_edges(self.layers[name]) is not None:
                dead = ()  # without them there might be no clique left
            counts = self._counts(name, rules)
            if dead:
                dropping = replace(rules, must_drop=(*rules.must_drop, *dead))
                fewer = self._counts(name, dropping)
                # Enough others: the least that has to stay is there without them.
                if fewer and (not counts or fewer[0] == counts[0]):
                    rules, counts = dropping, fewer
            if not counts:
                raise InfeasibleError(
                    f"`constraints[{name!r}]` must leave a number of channels that can "
                    f"be kept, got {rules!r}: tied groups and missing edges add up to "
                    "none. Widen the range, or take groups apart."
                )
            self._known_rules[name] = rules, counts
        return self._known_rules[name]

    def _counts(self, name: str, rules: LayerConstraints) -> tuple[int, ...]:
        layer = self.layers[name]
        n, counts = layer.n, rules.counts(layer.n)
        if rules.k is None:
            if rules.k_min is None:
                counts = tuple(k for k in counts if k >= self._floor(n))
            if rules.k_max is None or rules.k_max >= n:
                counts = tuple(sorted({*counts, n}))
        kept, dropped = len(rules.must_keep), len(rules.must_drop)
        counts = tuple(k for k in counts if kept <= k <= n - dropped)
        if not counts and name not in self.dead:
            raise InvalidProblemError(
                f"`constraints[{name!r}]` must leave a number of channels between 1 "
                f"and {n}, got {rules!r}. Widen the range."
            )
        made_up = set(reachable_counts(n, rules, missing_edges(layer)))
        return tuple(k for k in counts if k in made_up)

    def _floor(self, n: int) -> int:
        """Return how many of n channels `min_keep` asks for."""
        return max(1, int(n * self.min_keep + 1e-9))

    @property
    def least(self) -> dict[str, int]:
        """The smallest allowed number of channels of each layer."""
        return {name: self.allowed(name)[0] for name in self.layers}

    def check_reachable(self, curves: Mapping[str, ValueCurve] | None = None) -> None:
        """Raise, with the least reachable value and what blocks, if a budget is not.

        Parameters
        ----------
        curves : mapping of str to ValueCurve, optional
            Whose counts are there. Without, only curves of layers with missing edges
            are built, where numbers alone do not tell what is a clique.

        Raises
        ------
        InfeasibleError
            If it is proved that no plan at all keeps the budgets.
        NoSolutionError
            If none is known, and more is not proved.
        """
        known, possible = self.least, self.least
        for name, layer in self.layers.items():
            if missing_edges(layer) is not None:
                own = self.curves[name]
                possible[name] = min(own.counts[0], *own.undecided, own.counts[-1])
                known[name] = int(own.counts[0])
            if curves is not None:
                known[name] = int(curves[name].counts[0])
        check_reachable(self, known, possible)

    # -- what it is worth --------------------------------------------------------

    @cached_property
    def _scaled(self) -> dict[str, tuple[Any, float]]:
        return {
            name: normalized(
                layer, self.worth.normalize, map_size=self.map_sizes.get(name)
            )
            for name, layer in self.layers.items()
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
                name: (layer, self.rules(name), self.allowed(name))
                for name, (layer, _) in self._scaled.items()
            }
        )

    def views(
        self, curves: Mapping[str, ValueCurve] | None = None
    ) -> tuple[UnitView, ...]:
        """Return the layers as an allocation sees them.

        Parameters
        ----------
        curves : mapping of str to ValueCurve, optional
            Then the counts are those of which a set is known.
        """
        views = []
        for name, layer in self.layers.items():
            rules, counts = self._allowed(name)
            if curves is not None:
                counts = tuple(curves[name].counts.tolist())
            fixed = rules.k if rules.k is not None else rules.k_min
            views.append(
                UnitView(
                    name=name,
                    graph=layer,
                    counts=counts,
                    minimum=self._floor(layer.n) if fixed is None else fixed,
                    tied=_classes(rules.tied, layer.n),
                    must_keep=rules.must_keep,
                    must_drop=rules.must_drop,
                    edge=self.edges.get(name),
                    members=tuple(self.members.get(name, ())),
                )
            )
        return tuple(views)

    def split_problem(
        self, curves: Mapping[str, ValueCurve] | None = None
    ) -> SplitProblem:
        """Return the problem of the counts alone, on the value curves.

        Raises
        ------
        InfeasibleError, NoSolutionError
            If a budget cannot be reached, or not with the sets that the curves know.
        """
        curves = self.curves if curves is None else curves
        self.check_reachable(curves)
        losses = self.worth.losses(curves, self.factors).by_layer
        counts, values = [], []
        for name, size in zip(self.cost.units, self.cost.sizes, strict=True):
            known = name in self.layers  # a unit without a graph stays whole
            counts.append(curves[name].counts if known else np.array([size]))
            values.append(losses[name] if known else np.zeros(1))
        return SplitProblem(
            units=self.cost.units,
            counts=tuple(counts),
            losses=tuple(values),
            forms=tuple(self.cost.forms[name] for name in self.limits),
            limits=np.array(list(self.limits.values()), dtype=np.float64),
        )

    def with_budget(self, budget: Budget | Mapping[str, float]) -> NetworkProblem:
        """Return the same problem under other budgets; value curves are shared."""
        other = replace(self, budget=Budget.of(budget))
        for name in ("_scaled", "curves"):
            if name in self.__dict__:
                other.__dict__[name] = self.__dict__[name]
        return other


_BY_LAYER = ("constraints", "map_sizes", "dead", "edges", "members")


def missing_edges(layer: Any) -> BoolArray | None:
    """Return a layer's adjacency, if some of its channels may not both be kept."""
    found: BoolArray | None = getattr(layer, "adjacency", None)
    return found


def _classes(tied: tuple[tuple[int, ...], ...], n: int) -> tuple[tuple[int, ...], ...]:
    """Return tied groups where they are classes of one size that cover all channels."""
    sizes = {len(group) for group in tied}
    whole = len(sizes) == 1 and sum(map(len, tied)) == n
    return tied if whole else ()
