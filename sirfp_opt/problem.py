"""PruningProblem: one layer's graph and constraints; and what `solve` can read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sirfp_opt._validate import brief
from sirfp_opt.canonical import CanonicalProblem, canonicalize
from sirfp_opt.constraints import LayerConstraints, share_of
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.graph import ChannelGraph
from sirfp_opt.objective import Objective
from sirfp_opt.reconstruction import ReconstructionProblem
from sirfp_opt.sense import Sense
from sirfp_opt.set_problem import SetProblem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sirfp_opt._validate import IntArray
    from sirfp_opt.solution import Solution

__all__ = ["READER_GROUP", "PruningProblem", "as_graph", "as_problem"]

READER_GROUP = "sirfp_opt.readers"
"""Entry points of what reads a path: ``read(path, sense=...)``, as `io` has it."""


_KINDS = (("graph", ChannelGraph), ("constraints", LayerConstraints))


@dataclass(frozen=True, eq=False)
class PruningProblem(SetProblem):
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

    objective: ClassVar[Objective] = Objective.CLIQUE
    graph: ChannelGraph
    constraints: LayerConstraints

    def __post_init__(self) -> None:
        for field, kind in _KINDS:
            if not isinstance(getattr(self, field), kind):
                raise InvalidProblemError(
                    f"`{field}` must be a {kind.__name__}, got "
                    f"{brief(getattr(self, field))}. Pass {kind.__name__}(...)."
                )
        if not self.constraints.has_count:
            raise InvalidProblemError(
                "`k` must be given, got None. Pass the number of channels to keep, or "
                "constraints with k, k_min or k_max."
            )
        self._require_fit()

    @property
    def n(self) -> int:
        """Number of channels."""
        return self.graph.n

    @property
    def title(self) -> str:
        """The graph's name."""
        return self.graph.name

    @property
    def channel_labels(self) -> tuple[str, ...] | None:
        """The graph's labels."""
        return self.graph.labels

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
        found = super().features
        if self.graph.has_vertex_weights:
            found |= {"vertex_weights"}
        if self.graph.adjacency is not None:
            found |= {"missing_edges"}
        return found

    def constrained(self, constraints: LayerConstraints) -> PruningProblem:
        """Return the same graph under other constraints."""
        return PruningProblem(self.graph, constraints)

    def price_of(self, channels: IntArray) -> float:
        """Return Σ_{i<j in S} w_ij + Σ_{i in S} v_i in float64."""
        return self.graph.value_of(channels)

    def check(
        self, selected: Iterable[int] | Solution, *, name: str = "selected"
    ) -> IntArray:
        """Return `selected` as a sorted array if it is feasible, raise if not.

        As `SetProblem.check`; with missing edges the set must be a clique, too.
        """
        chosen = super().check(selected, name=name)
        if self.graph.adjacency is not None:
            missing = ~self.graph.adjacency[np.ix_(chosen, chosen)]
            if missing.any():
                i, j = chosen[np.argwhere(missing)[0]]
                raise InvalidProblemError(
                    f"`{name}` must be a clique, got channels {i} and {j}, whose edge "
                    "is missing. Remove one of them."
                )
        return chosen


def as_problem(
    graph: Any,
    k: int | float | tuple[int, int] | None = None,
    *,
    sense: Sense | str | None = None,
    constraints: LayerConstraints | None = None,
) -> SetProblem:
    """Read anything that `solve` takes as its first arguments.

    Parameters
    ----------
    graph : ChannelGraph, PruningProblem, ReconstructionProblem, path or foreign
        A bare matrix, a networkx.Graph (missing edge = incompatible) or a DataFrame
        is maximised unless `sense` says otherwise.
    k : int, float or (int, int), optional
        How many channels to keep: exactly, as a share in (0, 1], or within a range.
    sense : Sense or str, optional
    constraints : LayerConstraints, optional

    Raises
    ------
    InvalidProblemError
        If the arguments contradict each other or do not make a problem.
    """
    if not (constraints is None or isinstance(constraints, LayerConstraints)):
        raise InvalidProblemError(
            f"`constraints` must be a LayerConstraints, got "
            f"{type(constraints).__name__}. Pass LayerConstraints(...)."
        )
    problem: SetProblem
    if isinstance(graph, ChannelGraph):
        problem = PruningProblem(graph, _with_k(constraints, k, graph.n))
    elif isinstance(graph, PruningProblem):
        if k is not None or constraints is not None:
            raise InvalidProblemError(
                "`k` and `constraints` must be left out beside a PruningProblem, which "
                "holds both. Pass problem.graph to state them anew."
            )
        problem = graph
    elif isinstance(graph, ReconstructionProblem):
        problem = _counted(graph, k, constraints)
    else:
        if isinstance(graph, (str, os.PathLike)):
            graph, stated = _from_file(graph, sense)
            if k is None and not (constraints and constraints.has_count):
                k = stated
        channel_graph = as_graph(graph, sense)
        rules = _with_k(constraints, k, channel_graph.n)
        problem = PruningProblem(channel_graph, rules)
    if sense is not None and Sense.of(sense) is not problem.sense:
        raise InvalidProblemError(
            f"`sense` must agree with the graph's own {problem.sense.value!r}, "
            f"got {sense!r}. Leave it out, or build the graph the other way."
        )
    return problem


def _counted(
    layer: ReconstructionProblem,
    k: int | float | tuple[int, int] | None,
    constraints: LayerConstraints | None,
) -> ReconstructionProblem:
    """Return the layer with a number of channels to keep, which it may lack."""
    own = layer.constraints
    if constraints is not None and own not in (LayerConstraints(), constraints):
        raise InvalidProblemError(
            f"`constraints` must be stated once, got {constraints!r} beside the "
            f"problem's own {own!r}. Take problem.constrained(...)."
        )
    rules = own if constraints is None else constraints
    rules = _with_k(rules, k, layer.n)
    if not rules.has_count:
        raise InvalidProblemError(
            "`k` must be given, got None. Pass the number of channels to keep, or "
            "constraints with k, k_min or k_max."
        )
    return layer if rules == own else layer.constrained(rules)


def _with_k(
    rules: LayerConstraints | None, k: int | float | tuple[int, int] | None, n: int
) -> LayerConstraints:
    """Return the constraints with the number of channels that k states."""
    if rules is None:
        if type(k) is int:
            return _exactly(k)
        rules = LayerConstraints()
    if k is None:
        return rules
    if isinstance(k, float):
        k = share_of(k, n, rules.multiple_of)
    stated = rules.with_count(k)
    if rules.has_count and stated != rules:
        raise InvalidProblemError(
            f"`k` must agree with the constraints, got k={k!r} beside "
            f"{rules!r}. State the number once."
        )
    return stated


@lru_cache(maxsize=256)
def _exactly(k: int) -> LayerConstraints:
    """Return the constraints that ask for k channels and no more: values, so shared."""
    return LayerConstraints(k)


def _from_file(
    path: str | os.PathLike[str], sense: Sense | str | None
) -> tuple[ChannelGraph, int | None]:
    """Return the one graph of a file, and k where the format states it."""
    if not os.path.exists(path):
        raise InvalidProblemError(
            f"`graph` must be a real matrix, a graph or the path of a file, got "
            f"{brief(path)}, which is no file. Check the path."
        )
    # The core knows no formats: who reads files comes in by a door, as solvers do.
    points = entry_points(group=READER_GROUP)
    if not points:
        raise InvalidProblemError(
            f"`graph` must be a real matrix or a graph where nothing reads files, got "
            f"{brief(path)}, and no entry point in the group {READER_GROUP!r}. "
            "Reinstall sirfp-opt."
        )
    found = next(iter(points)).load()(path, sense=sense)
    if len(found.graphs) != 1:
        raise InvalidProblemError(
            f"`graph` must name a file of one graph, got {path} with "
            f"{len(found.graphs)}. Pass sirfp_opt.io.read(path)[name]."
        )
    stated = None if found.problem is None else found.problem.constraints.k
    return next(iter(found.graphs.values())), stated


def as_graph(graph: Any, sense: Sense | str | None = None) -> ChannelGraph:
    """Wrap the foreign kinds of graph, told apart without importing their package."""
    if isinstance(graph, ChannelGraph):
        return graph
    direction = Sense.MAXIMIZE if sense is None else Sense.of(sense)
    if type(graph) is np.ndarray:
        return ChannelGraph(weights=graph, sense=direction)
    if hasattr(graph, "is_multigraph") and hasattr(graph, "adj"):
        return ChannelGraph.from_networkx(graph, sense=direction)
    if hasattr(graph, "iloc") and hasattr(graph, "columns"):
        return ChannelGraph.from_pandas(graph, sense=direction)
    return ChannelGraph(weights=graph, sense=direction)
