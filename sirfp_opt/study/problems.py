"""From what a user calls "problems" to named problems with a fingerprint."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sirfp_opt._validate import brief
from sirfp_opt.constraints import LayerConstraints, share_of
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.graph import ChannelGraph
from sirfp_opt.problem import PruningProblem, as_graph

__all__ = ["Count", "Instance", "as_instances"]

Count = int | float | tuple[int, int]


@dataclass(frozen=True)
class Instance:
    """A problem with its name in the study and a fingerprint of its content."""

    name: str
    problem: PruningProblem
    fingerprint: str

    @property
    def k(self) -> int | None:
        """The number of channels to keep, None if several numbers are allowed."""
        counts = self.problem.constraints.counts(self.problem.graph.n)
        return counts[0] if len(counts) == 1 else None


def as_instances(
    problems: Any, k: Count | Iterable[Count] | None = None
) -> list[Instance]:
    """Return every problem at every k, once; see `compare` for what is understood.

    Raises
    ------
    InvalidProblemError
        If there is none, or one is not understood.
    """
    named = _unique(list(_spread("", problems)))
    if not named:
        raise InvalidProblemError(
            f"`problems` must hold at least one problem, got {problems!r}. "
            "Pass graphs, files, folders or a mapping of names to them."
        )
    counts = _as_counts(k)
    found: dict[str, Instance] = {}
    again: list[str] = []
    for name, graph in named:
        problems_of_graph = list(_at_each_count(graph, counts))
        content = _digest(problems_of_graph[0].graph)
        for problem in problems_of_graph:
            whole = content.copy()
            whole.update(_rules_of(problem).encode())
            instance = Instance(name, problem, whole.hexdigest()[:32])
            first = found.setdefault(instance.fingerprint, instance)
            if first is not instance:
                again.append(f"{name!r} (k={instance.k}) is {first.name!r}")
    if again:
        warnings.warn(
            f"{len(again)} problems are the same as one before and count once: "
            f"{', '.join(again[:5])}{', ...' if len(again) > 5 else ''}.",
            UserWarning,
            stacklevel=3,
        )
    return list(found.values())


def _rules_of(problem: PruningProblem) -> str:
    """Return what the constraints say, however they say it."""
    rules, n = problem.constraints, problem.graph.n
    return repr((rules.counts(n), rules.must_keep, rules.must_drop, rules.tied))


def _spread(name: str, spec: Any) -> Iterator[tuple[str, Any]]:
    """Yield (name, single graph or problem) for everything `spec` stands for."""
    if isinstance(spec, (ChannelGraph, PruningProblem)):
        graph = spec if isinstance(spec, ChannelGraph) else spec.graph
        yield name or graph.name or f"n{graph.n}", spec
    elif isinstance(spec, (str, Path)):
        yield from _from_path(name, Path(spec))
    elif isinstance(spec, Mapping):
        for key, value in spec.items():
            yield from _spread(f"{name}/{key}" if name else str(key), value)
    elif isinstance(layers := getattr(spec, "layers", None), Iterable):
        yield from _spread(name, layers)
    elif isinstance(inner := getattr(spec, "graph", None), ChannelGraph):
        yield from _spread(name or str(getattr(spec, "name", "")), inner)
    elif (
        isinstance(spec, Iterable)
        and not hasattr(spec, "shape")
        and not hasattr(spec, "adj")
    ):
        for value in spec:
            yield from _spread(name, value)
    else:  # a bare matrix, a DataFrame, a networkx.Graph; anything else is refused
        graph = as_graph(spec)
        yield name or graph.name or f"n{graph.n}", graph


def _from_path(name: str, path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the graphs of a file, or of those files of a folder that hold graphs."""
    from sirfp_opt.io.files import SUFFIXES, read_contents

    if path.is_dir():
        for file in sorted(path.iterdir()):
            if file.suffix.lower() in SUFFIXES:
                yield from _from_path(
                    f"{name}/{file.stem}" if name else file.stem, file
                )
        return
    contents = read_contents(path)
    if contents.problem is not None:  # the format states k, too
        yield name or path.stem, contents.problem
    elif len(contents.graphs) == 1:
        (graph,) = contents.graphs.values()
        yield name or path.stem, graph
    else:
        yield from _spread(name, contents.graphs)


def _unique(named: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Tell problems of one name apart by a number."""
    seen: dict[str, int] = {}
    result = []
    for name, graph in named:
        seen[name] = seen.get(name, 0) + 1
        result.append((f"{name}#{seen[name]}" if seen[name] > 1 else name, graph))
    return result


def _as_counts(k: Count | Iterable[Count] | None) -> list[Count | None]:
    if k is None:
        return [None]
    if isinstance(k, (int, float, tuple)):
        counts = [k]
    elif isinstance(k, (list, range)) or getattr(k, "ndim", 0) == 1:
        counts = list(k)
    else:
        raise InvalidProblemError(
            f"`k` must be a number, a share, a range or a list of these, got "
            f"{brief(k)}. Pass for instance [0.25, 0.5]."
        )
    if not counts:
        raise InvalidProblemError(
            "`k` must hold at least one number of channels, got none. "
            "Pass for instance [0.25, 0.5]."
        )
    return [*counts]


def _at_each_count(
    graph: ChannelGraph | PruningProblem, counts: list[Count | None]
) -> Iterator[PruningProblem]:
    if isinstance(graph, PruningProblem):
        base, rules = graph.graph, graph.constraints
    else:
        base, rules = graph, LayerConstraints()
    for count in counts:
        if count is None:
            yield PruningProblem(base, rules)
            continue
        if isinstance(count, float):
            count = share_of(count, base.n, rules.multiple_of)
        yield PruningProblem(base, rules.with_count(count))


def _digest(graph: ChannelGraph) -> Any:
    digest = hashlib.sha256(f"{graph.n} {graph.sense.value}".encode())
    for array in (graph.weights, graph.vertex_weights, graph.self_redundancy):
        digest.update(array.data)
    if graph.adjacency is not None:
        digest.update(graph.adjacency.data)
    return digest
