"""PruningProblem: one layer's graph and constraints, and the judge of its solutions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sirfp_opt._validate import IntArray, as_channels, brief, in_range
from sirfp_opt.canonical import CanonicalProblem, canonicalize
from sirfp_opt.constraints import LayerConstraints
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.graph import ChannelGraph
from sirfp_opt.sense import Sense

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sirfp_opt.solution import Solution

__all__ = ["PruningProblem", "as_problem"]


@dataclass(frozen=True, eq=False)
class PruningProblem:
    """Keep an allowed set of channels of least redundancy (or most diversity).

    Parameters
    ----------
    graph : ChannelGraph
    constraints : LayerConstraints
        Must say how many channels are kept.

    Raises
    ------
    InvalidProblemError
        If the constraints do not fit the graph: an index out of range, k > n, more
        channels forced in than may be kept.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import ChannelGraph, LayerConstraints, PruningProblem
    >>> graph = ChannelGraph.from_diversity(np.ones((4, 4)))
    >>> problem = PruningProblem(graph, LayerConstraints(3))
    >>> problem.evaluate([0, 1, 3])
    3.0
    """

    graph: ChannelGraph
    constraints: LayerConstraints

    def __post_init__(self) -> None:
        for field, kind in (("graph", ChannelGraph), ("constraints", LayerConstraints)):
            if not isinstance(getattr(self, field), kind):
                raise InvalidProblemError(
                    f"`{field}` must be a {kind.__name__}, got "
                    f"{brief(getattr(self, field))}. Pass {kind.__name__}(...)."
                )
        n, rules = self.graph.n, self.constraints
        if not rules.has_count:
            raise InvalidProblemError(
                "`k` must be given, got None. Pass the number of channels to keep, or "
                "constraints with k, k_min or k_max."
            )
        low, name = (rules.k, "k") if rules.k is not None else (rules.k_min, "k_min")
        if low is not None and low > n:
            raise InvalidProblemError(
                f"`{name}` must be at most the number of channels {n}, got {low}. "
                "A layer cannot keep more channels than it has."
            )
        in_range(rules.must_keep, n, "must_keep")
        in_range(rules.must_drop, n, "must_drop")
        for group in rules.tied:
            in_range(group, n, "tied")
        counts = rules.counts(n)
        if not counts:
            raise InvalidProblemError(
                f"`multiple_of` must have a multiple between k_min={rules.k_min} and "
                f"k_max={rules.k_max} (n={n}), got {rules.multiple_of}. "
                "Widen the range."
            )
        if len(rules.must_keep) > counts[-1]:
            raise InvalidProblemError(
                f"`must_keep` must hold at most k={counts[-1]} channels, got "
                f"{len(rules.must_keep)}. Raise k or free some of them."
            )
        if n - len(rules.must_drop) < counts[0]:
            raise InvalidProblemError(
                f"`must_drop` must leave at least k={counts[0]} of {n} channels, got "
                f"{len(rules.must_drop)} dropped. Lower k or drop fewer."
            )

    @cached_property
    def canonical(self) -> CanonicalProblem:
        """The form that solvers work on (made on first use).

        Raises
        ------
        InfeasibleError
            If making it shows that nothing is feasible.
        """
        return canonicalize(self.graph, self.constraints)

    @property
    def sense(self) -> Sense:
        """Which way the objective runs."""
        return self.graph.sense

    @property
    def features(self) -> frozenset[str]:
        """What a solver must support to be let near this problem.

        A subset of {"vertex_weights", "missing_edges", "must_keep", "must_drop",
        "tied", "k_range", "multiple_of"}.
        """
        rules = self.constraints
        present = {
            "vertex_weights": bool(self.graph.vertex_weights.any()),
            "missing_edges": self.graph.adjacency is not None,
            "must_keep": bool(rules.must_keep),
            "must_drop": bool(rules.must_drop),
            "tied": bool(rules.tied),
            "k_range": len(rules.counts(self.graph.n)) > 1,
            "multiple_of": rules.multiple_of > 1,
        }
        return frozenset(name for name, here in present.items() if here)

    def evaluate(self, selected: Iterable[int] | Solution) -> float:
        """Return Σ_{i<j in S} w_ij + Σ_{i in S} v_i in float64.

        Parameters
        ----------
        selected : iterable of int, or Solution
            Distinct channels of the graph, feasible or not.

        Raises
        ------
        InvalidProblemError
            If an entry is no channel, or comes twice.
        """
        return self.graph.value_of(self._as_channels(selected))

    def check(
        self, selected: Iterable[int] | Solution, *, name: str = "selected"
    ) -> IntArray:
        """Return `selected` as a sorted array if it is feasible, raise if not.

        Parameters
        ----------
        selected : iterable of int, or Solution
        name : str
            What to call the argument in the error.

        Returns
        -------
        ndarray of int64, ascending

        Raises
        ------
        InvalidProblemError
            Names the constraint that is broken and by what.
        """
        chosen = self._as_channels(selected, name)
        rules, inside = self.constraints, set(chosen.tolist())
        counts = rules.counts(self.graph.n)
        if chosen.size not in counts:
            raise InvalidProblemError(
                f"`{name}` must hold an allowed number of channels ({counts[0]} to "
                f"{counts[-1]}, a multiple of {rules.multiple_of}), got {chosen.size}. "
                "Add or remove channels."
            )
        lost = [c for c in rules.must_keep if c not in inside]
        if lost:
            raise InvalidProblemError(
                f"`{name}` must hold every channel of must_keep, got none of "
                f"{lost[:5]}. Add them."
            )
        barred = [c for c in rules.must_drop if c in inside]
        if barred:
            raise InvalidProblemError(
                f"`{name}` must hold no channel of must_drop, got {barred[:5]}. "
                "Remove them."
            )
        for group in rules.tied:
            if 0 < len(inside.intersection(group)) < len(group):
                raise InvalidProblemError(
                    f"`{name}` must hold all or none of the tied channels "
                    f"{list(group)[:6]}, got {sorted(inside.intersection(group))[:6]}. "
                    "Add or remove the rest."
                )
        if self.graph.adjacency is not None:
            missing = ~self.graph.adjacency[np.ix_(chosen, chosen)]
            if missing.any():
                i, j = chosen[np.argwhere(missing)[0]]
                raise InvalidProblemError(
                    f"`{name}` must be a clique, got channels {i} and {j}, whose edge "
                    "is missing. Remove one of them."
                )
        return chosen

    def _as_channels(
        self, selected: Iterable[int] | Solution, name: str = "selected"
    ) -> IntArray:
        """Return distinct channels of this graph, ascending."""
        # A Solution stands for its set, also where it is that of another problem.
        selected = getattr(selected, "selected", selected)
        if isinstance(selected, np.ndarray) and selected.dtype.kind in "iu":
            if selected.ndim != 1:
                raise InvalidProblemError(
                    f"`{name}` must be a vector of channel numbers, got shape "
                    f"{selected.shape}. Pass .ravel() if the whole array is meant."
                )
            listed = selected.tolist()
        else:
            listed = as_channels(selected, name)
        in_range(listed, self.graph.n, name)
        chosen = np.asarray(sorted(set(listed)), dtype=np.int64)
        if chosen.size != len(listed):
            raise InvalidProblemError(
                f"`{name}` must name each channel once, got "
                f"{len(listed) - chosen.size} repeats. Remove them."
            )
        return chosen


def as_problem(
    graph: Any,
    k: int | tuple[int, int] | None = None,
    *,
    sense: Sense | str | None = None,
    constraints: LayerConstraints | None = None,
) -> PruningProblem:
    """Read anything that `solve` takes as its first arguments.

    Parameters
    ----------
    graph : ChannelGraph, PruningProblem, ndarray, networkx.Graph or pandas.DataFrame
        A bare matrix, a networkx.Graph (missing edge = incompatible) or a DataFrame
        is maximised unless `sense` says otherwise.
    k : int or (int, int), optional
        How many channels to keep, exactly or within a range.
    sense : Sense or str, optional
    constraints : LayerConstraints, optional

    Raises
    ------
    InvalidProblemError
        If the arguments contradict each other or do not make a problem.
    """
    if isinstance(graph, PruningProblem):
        if k is not None or constraints is not None:
            raise InvalidProblemError(
                "`k` and `constraints` must be left out beside a PruningProblem, which "
                "holds both. Pass problem.graph to state them anew."
            )
        problem = graph
        channel_graph = graph.graph
    else:
        channel_graph = _as_graph(graph, sense)
        rules = LayerConstraints() if constraints is None else constraints
        if not isinstance(rules, LayerConstraints):
            raise InvalidProblemError(
                f"`constraints` must be a LayerConstraints, got "
                f"{type(rules).__name__}. Pass LayerConstraints(...)."
            )
        if k is not None:
            stated = rules.with_count(k)
            if rules.has_count and stated != rules:
                raise InvalidProblemError(
                    f"`k` must agree with the constraints, got k={k!r} beside "
                    f"{rules!r}. State the number once."
                )
            rules = stated
        problem = PruningProblem(channel_graph, rules)
    if sense is not None and Sense.of(sense) is not channel_graph.sense:
        raise InvalidProblemError(
            f"`sense` must agree with the graph's own {channel_graph.sense.value!r}, "
            f"got {sense!r}. Leave it out, or build the graph the other way."
        )
    return problem


def _as_graph(graph: Any, sense: Sense | str | None) -> ChannelGraph:
    """Wrap the foreign kinds of graph, told apart without importing their package."""
    if isinstance(graph, ChannelGraph):
        return graph
    direction = Sense.MAXIMIZE if sense is None else Sense.of(sense)
    if hasattr(graph, "is_multigraph") and hasattr(graph, "adj"):
        return ChannelGraph.from_networkx(graph, sense=direction)
    if hasattr(graph, "iloc") and hasattr(graph, "columns"):
        return ChannelGraph.from_pandas(graph, sense=direction)
    return ChannelGraph(weights=graph, sense=direction)
