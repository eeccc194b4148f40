"""The paper's allocation: one cut through all greedy scores of a pool of layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt._rules import check_fields, choice, flag, number, ruled
from sirfp_opt._validate import as_real
from sirfp_opt.errors import InvalidProblemError, NoSolutionError, UnsupportedError
from sirfp_opt.network.allocation.protocol import Allocation, largest_within
from sirfp_opt.network.allocation.scores import greedy_scores
from sirfp_opt.network.unit import MemberGraph, UnitView
from sirfp_opt.reconstruction import ReconstructionProblem
from sirfp_opt.sense import Sense

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sirfp_opt._validate import BoolArray, FloatArray, IntArray
    from sirfp_opt.network.curves import ValueCurve
    from sirfp_opt.network.problem import NetworkProblem

__all__ = ["Threshold"]

LARGE = 1e100


@dataclass(frozen=True)
class _Scored:
    """Scores of one layer's channels, and the pool they are compared in."""

    layer: UnitView
    pool: int
    scores: FloatArray


@dataclass(frozen=True)
class Threshold:
    """Keep the channels whose greedy score is above a threshold for their pool.

    The scores of a pool's N channels are sorted; at percentage p the threshold is
    sorted[int(N p)], and what is strictly above it stays, but no fewer channels of a
    layer than its minimum. All pools share p (SIRFP, arXiv 2412.12672, section 3.4).

    Since greedy scores telescope to minus the redundancy kept, this is the Lagrangian
    relaxation of the best split in which each channel has the same price. Vertex
    weights of a layer's graph count as redundancy of their own (of a graph to be
    maximised, as worth); not with `union`, which scores the layers' matrices.

    Parameters
    ----------
    pools : sequence of str
        Name patterns; a layer is in the pool of the first that matches, the rest is
        one more pool. The paper compares the backbone and the rest apart.
    normalize : {"trace", "none"}
        Scale of each layer's scores. "trace" divides them by Σ_i R_ii, which makes
        layers of any map size and width comparable. The reference: "none".
    diagonal : bool
        Count R_ii in the row sums. The reference does.
    edge_weights : mapping of str to float
        Weight of the edge term where a layer's scores start, by name pattern (the
        first that matches; 0 without any). The reference: 0.4 in the backbone.
    union : bool
        Score each layer of a unit for itself, and keep what any of them keeps. The
        reference does; it prunes hardly anything that is coupled.
    search : {"bisect", "step"}
        "bisect" finds the largest plan within the budget. "step" raises p from
        `first` by `step` until the budget is met, as the reference does, and stops
        well below it.
    first, step : float
        For "step".
    sets : bool
        Let the threshold say which channels stay, not only how many. The reference
        does; where scores start from the edge term, these are other sets.

    Raises
    ------
    InvalidProblemError
        If an option is not one of these.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import ChannelGraph
    >>> from sirfp_opt.network.allocation import Threshold
    >>> from sirfp_opt.network.unit import UnitView
    >>> alike = np.array([[1.0, 0.9, 0.2], [0.9, 1.0, 0.1], [0.2, 0.1, 1.0]])
    >>> unit = UnitView("a", ChannelGraph.from_redundancy(alike), (1, 2, 3))
    >>> Threshold().cut([unit], 0.3)["a"]
    array([False,  True,  True])
    """

    pools: tuple[str, ...] = ("backbone*",)
    normalize: str = ruled(
        choice("trace", "none", way="The reference's is 'none'."), "trace"
    )
    diagonal: bool = ruled(flag(), False)
    edge_weights: Mapping[str, float] = field(default_factory=dict)
    union: bool = ruled(flag(), False)
    search: str = ruled(
        choice("bisect", "step", way="The reference's is 'step'."), "bisect"
    )
    first: float = ruled(
        number(0.0, 1.0, below=True, way="The reference's is 0.5."), 0.5
    )
    step: float = ruled(number(0.0, above=True, way="The reference's is 0.02."), 0.02)
    sets: bool = ruled(flag(), False)

    def __post_init__(self) -> None:
        check_fields(self)
        if isinstance(self.pools, str) or not all(
            isinstance(pattern, str) for pattern in self.pools
        ):
            raise InvalidProblemError(
                f"`pools` must be a sequence of patterns, got {self.pools!r}. "
                "Pass for instance ('backbone*',)."
            )
        if not isinstance(self.edge_weights, Mapping):
            raise InvalidProblemError(
                f"`edge_weights` must map patterns to numbers, got "
                f"{self.edge_weights!r}. Pass for instance {{'backbone*': 0.4}}."
            )
        for pattern, weight in self.edge_weights.items():
            as_real(weight, f"edge_weights[{pattern!r}]")
        object.__setattr__(self, "pools", tuple(self.pools))
        object.__setattr__(self, "edge_weights", dict(self.edge_weights))

    @classmethod
    def reference(cls) -> Threshold:
        """Return the authors' rule with all of its quirks."""
        return cls(
            normalize="none",
            diagonal=True,
            edge_weights={"backbone*": 0.4},
            union=True,
            search="step",
            sets=True,
        )

    def scores(self, unit: UnitView) -> list[tuple[str, FloatArray]]:
        """Return a unit's scores: (name, scores of shape (n,)) for each member.

        There is one entry, under the unit's own name, unless `union` is set.

        Raises
        ------
        InvalidProblemError
            If `union` meets a graph to be maximised, or where readers are refitted.
        """
        graph = unit.graph
        if isinstance(graph, ReconstructionProblem):
            raise InvalidProblemError(
                f"`allocation` 'threshold' must meet graphs, got {unit.name!r}, a "
                "problem with refitted readers, whose channels have no scores. Take "
                "'optimal', 'lagrangian' or 'uniform'."
            )
        if self.union and unit.members:
            if graph.sense is Sense.MAXIMIZE:
                raise InvalidProblemError(
                    f"`union` must meet redundancies, got {unit.name!r}, a graph to "
                    "be maximised. Extract with metric='spatial', or take union=False."
                )
            zeros = np.zeros(unit.size)
            return [(m.name, self._scores_of(m, zeros, unit)) for m in unit.members]
        sign = -graph.sense.sign  # scores take off what is minimised
        matrix = sign * graph.weights + np.diag(graph.self_redundancy)
        whole = MemberGraph(unit.name, matrix, unit.edge)
        return [(unit.name, self._scores_of(whole, sign * graph.vertex_weights, unit))]

    def _scores_of(
        self, member: MemberGraph, values: FloatArray, unit: UnitView
    ) -> FloatArray:
        matrix = np.asarray(member.redundancy, dtype=np.float64)
        trace = matrix.trace()
        if self.normalize == "trace" and trace > 0:
            matrix, values = matrix / trace, values / trace
        patterns = self.edge_weights.items()
        weight = next((w for p, w in patterns if fnmatchcase(member.name, p)), 0.0)
        start = None
        if weight and member.edge is not None:
            start = weight * np.asarray(member.edge, dtype=np.float64)
        return greedy_scores(
            matrix,
            values=values,
            start=start,
            diagonal=self.diagonal,
            classes=unit.tied,
        )

    def _pool(self, name: str) -> int:
        for i, pattern in enumerate(self.pools):
            if fnmatchcase(name, pattern):
                return i
        return len(self.pools)

    def cut(self, units: Iterable[UnitView], percent: float) -> dict[str, BoolArray]:
        """Return which channels stay at percentage p, by unit, as boolean masks."""
        return _Cutter(self._score_all(units)).masks(percent)

    def thresholds(self, units: Iterable[UnitView], percent: float) -> list[float]:
        """Return the threshold of each pool at percentage p; -inf for an empty pool."""
        return _Cutter(self._score_all(units)).thresholds(percent)

    def _score_all(self, units: Iterable[UnitView]) -> list[_Scored]:
        return [
            _Scored(unit, self._pool(name), scores)
            for unit in units
            for name, scores in self.scores(unit)
        ]

    def allocate(
        self,
        problem: NetworkProblem,
        curves: Mapping[str, ValueCurve],
        starts: Sequence[Mapping[str, int]] = (),
    ) -> Allocation:
        """Return what stays at the smallest percentage that meets the budget.

        Raises
        ------
        NoSolutionError
            If the least plan of this rule is above the budget (with `union`, other
            rules may have smaller ones), or, with search="step", no percentage below 1
            meets it (the reference goes on with a broken network).
        UnsupportedError
            If `sets` meets missing edges, of which scores know nothing.
        """
        views = problem.views(curves)
        if self.sets:
            for view in views:
                if view.graph.adjacency is not None:
                    raise UnsupportedError(
                        f"`sets` must meet graphs without missing edges, got "
                        f"{view.name!r}. Take sets=False, and a solver for the sets."
                    )
        cutter = _Cutter(self._score_all(views))
        percents = cutter.percents()

        def counts_of(i: int) -> dict[str, int]:
            return _counts(cutter.masks(percents[i]))

        above: dict[str, int] | None = None
        if self.search == "step":
            percent: float | None = self.first
            while not problem.keeps_budget(_counts(cutter.masks(percent))):
                percent += self.step  # type: ignore[operator]
                if percent >= 1.0:
                    raise NoSolutionError(
                        f"`search` 'step' must meet {problem.limits} before p = 1, got "
                        f"no step of {self.step:g} from {self.first:g} that does. Take "
                        "search='bisect', or another allocation."
                    )
        else:
            best, above = largest_within(problem, len(percents), counts_of)
            if best is None:
                raise NoSolutionError(
                    f"`allocation` 'threshold' must find a plan within "
                    f"{problem.limits}, got none: its least costs "
                    f"{problem.cost.predict(counts_of(0))}. Take 'optimal'."
                )
            percent = percents[best]
        masks = cutter.masks(percent)
        return Allocation(
            _counts(masks),
            kept={v.name: _forced(masks[v.name], v) for v in views}
            if self.sets
            else None,
            next_cost=above,
            info={"percent": percent, "thresholds": cutter.thresholds(percent)},
        )


def _forced(mask: BoolArray, unit: UnitView) -> IntArray:
    """Return the channels of a mask; raise if it breaks what must stay or go.

    Scores alone know nothing of such channels.
    """
    kept = np.flatnonzero(mask)
    stay, go = set(unit.must_keep), set(unit.must_drop)
    if stay.issubset(kept.tolist()) and go.isdisjoint(kept.tolist()):
        return kept
    raise UnsupportedError(
        f"`sets` must meet must_keep and must_drop, got {unit.name!r}, whose threshold "
        "keeps another set. Take sets=False, and a solver for the sets."
    )


def _counts(masks: Mapping[str, BoolArray]) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in masks.items()}


class _Cutter:
    """Cuts scored layers at any percentage."""

    def __init__(self, scored: Sequence[_Scored]) -> None:
        self.scored = scored
        pools = max((s.pool for s in scored), default=-1) + 1
        empty = np.empty(0)
        self.sorted = [
            np.sort(
                np.concatenate([empty, *(s.scores for s in scored if s.pool == pool)])
            )
            for pool in range(pools)
        ]

    def percents(self) -> list[float | None]:
        """Return one percentage for each plan there is, the smallest plan first.

        None at the end stands for no cut at all.
        """
        steps = [np.arange(s.size) / s.size for s in self.sorted if s.size]
        edges = np.unique(np.concatenate([*steps, np.ones(1)]))
        # The middle of each interval: int(N p) there does not hang on rounding.
        middles: list[float | None] = list((edges[:-1] + edges[1:])[::-1] / 2)
        return [*middles, None]

    def thresholds(self, percent: float | None) -> list[float]:
        if percent is None:
            return [float("-inf")] * len(self.sorted)
        return [
            float(s[int(s.size * percent)]) if s.size else float("-inf")
            for s in self.sorted
        ]

    def masks(self, percent: float | None) -> dict[str, BoolArray]:
        thresholds = self.thresholds(percent)
        votes: dict[str, BoolArray] = {}
        ranks: dict[str, FloatArray] = {}
        layers: dict[str, UnitView] = {}
        for scored in self.scored:
            name, threshold = scored.layer.name, thresholds[scored.pool]
            mask = scored.scores > threshold
            margin = scored.scores - max(threshold, -LARGE)
            if mask.sum() < scored.layer.minimum:
                mask = _top(scored.scores, scored.layer, scored.layer.least)
            votes[name] = votes.get(name, np.zeros_like(mask)) | mask
            ranks[name] = np.maximum(ranks.get(name, margin), margin)
            layers[name] = scored.layer
        for name, layer in layers.items():
            allowed = layer.allowed(int(votes[name].sum()))
            if allowed != votes[name].sum():
                votes[name] = _top(ranks[name], layer, allowed)
        return votes


def _top(scores: FloatArray, layer: UnitView, count: int) -> BoolArray:
    """Return a mask of the `count` highest scores that takes tied classes whole."""
    label = np.empty(layer.size, dtype=np.int64)
    for i, channels in enumerate(layer.classes):
        label[list(channels)] = i
    order: IntArray = np.lexsort((label, -scores))
    mask = np.zeros(layer.size, dtype=bool)
    mask[order[:count]] = True
    return mask
