"""Small random problems of every kind, and the judge of what is said about them."""

from __future__ import annotations

import json
import math
import warnings
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sirfp_opt import (
    ChannelGraph,
    InfeasibleError,
    InvalidProblemError,
    LayerConstraints,
    NoSolutionError,
    PruningProblem,
    Solution,
    UnsupportedError,
    available_solvers,
    bound,
    solve,
)
from sirfp_opt.bounds import EFFORTS
from sirfp_opt.registry import create_solver

METHODS = available_solvers().names
MAGNITUDES = (1.0, 1.0, 1e-7, 1e9, 1e-40, 1e60, 1e-200, 1e150, 1e-300, 3e-308, 1e290)
SUBNORMAL = 5e-324


def draw_problem(seed: int, most: int = 8) -> PruningProblem | None:
    """Return a problem of 2 to `most` channels, None where the core refuses it."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, most + 1))
    graph = ChannelGraph(
        _weights(n, rng),
        sense=("minimize", "maximize")[seed % 2],
        vertex_weights=_vertex_weights(n, rng),
        adjacency=_adjacency(n, rng),
    )
    # Whatever was drawn is scaled at once, so that vertices and edges still compare.
    magnitude = MAGNITUDES[int(rng.integers(len(MAGNITUDES)))]
    if rng.random() < 0.1:
        magnitude = SUBNORMAL
        graph = _rounded(graph)
    graph = ChannelGraph(
        graph.weights * magnitude,
        sense=graph.sense,
        vertex_weights=graph.vertex_weights * magnitude,
        adjacency=graph.adjacency,
    )
    try:
        return PruningProblem(graph, _rules(n, rng))
    except InvalidProblemError:
        return None


def _rounded(graph: ChannelGraph) -> ChannelGraph:
    return ChannelGraph(
        np.rint(4 * graph.weights),
        sense=graph.sense,
        vertex_weights=np.rint(4 * graph.vertex_weights),
        adjacency=graph.adjacency,
    )


def _weights(n: int, rng: np.random.Generator) -> NDArray[Any]:
    kind = int(rng.integers(9))
    maps = rng.random((n, 12)) ** 3
    drawn: NDArray[Any] = rng.normal(size=(n, n))
    if kind == 0:
        return maps @ maps.T
    if kind == 1:
        drawn = np.rint(4 * drawn)
    elif kind == 2:
        drawn = np.rint(4 * drawn) / 10
    elif kind == 3:
        drawn = np.full((n, n), float(rng.integers(-2, 3)))
    elif kind == 4:
        drawn = 10.0 ** rng.integers(-12, 12, (n, n)) * drawn
    elif kind == 5:  # every channel twice
        half = rng.normal(size=(n, n))
        at = np.arange(n) // 2
        drawn = half[np.ix_(at, at)]
    elif kind == 6:  # some channels dead
        drawn[: n // 2] = drawn[:, : n // 2] = 0.0
    elif kind == 7:
        drawn = -np.abs(drawn)
    upper = np.triu(drawn, 1)
    return np.asarray(upper + upper.T)


def _vertex_weights(n: int, rng: np.random.Generator) -> NDArray[Any] | None:
    if rng.random() < 0.5:
        return None
    drawn: NDArray[Any] = rng.normal(size=n)
    return np.rint(drawn) if rng.random() < 0.5 else drawn


def _adjacency(n: int, rng: np.random.Generator) -> NDArray[np.bool_] | None:
    if rng.random() < 0.6:
        return None
    missing = np.triu(rng.random((n, n)) < rng.choice([0.1, 0.3, 0.7]), 1)
    joined: NDArray[np.bool_] = ~(missing | missing.T)
    return joined


def _rules(n: int, rng: np.random.Generator) -> LayerConstraints:
    channels = rng.permutation(n).tolist()
    few = int(rng.integers(0, 1 + n // 3))
    groups = [channels[:2], channels[2:5]] if rng.random() < 0.3 else []
    kept = channels[-few:] if few and rng.random() < 0.4 else []
    dropped = channels[few : 2 * few] if rng.random() < 0.4 else []
    dropped = [c for c in dropped if c not in kept]
    step = int(rng.choice([1, 1, 1, 2, 3]))
    if rng.random() < 0.5:
        k = max(step, int(rng.integers(1, n + 1)) // step * step)
        return LayerConstraints(
            k, multiple_of=step, must_keep=kept, must_drop=dropped, tied=groups
        )
    low = int(rng.integers(1, n + 1))
    return LayerConstraints(
        k_min=low,
        k_max=int(rng.integers(low, n + 1)),
        multiple_of=step,
        must_keep=kept,
        must_drop=dropped,
        tied=groups,
    )


class Judge:
    """Knows every feasible set of a problem, from its own loops, and its exact worth.

    Shares no line with the package: sums are `math.fsum` over the graph as given.
    """

    def __init__(self, problem: PruningProblem) -> None:
        self.problem = problem
        graph, rules = problem.graph, problem.constraints
        self.worth: dict[tuple[int, ...], float] = {}
        for size in rules.counts(graph.n):
            for chosen in combinations(range(graph.n), size):
                if self._allowed(set(chosen)):
                    self.worth[chosen] = self._price(chosen)
        sign = problem.sense.sign
        self.sign = sign
        self.best = (
            sign * max(sign * worth for worth in self.worth.values())
            if self.worth
            else None
        )
        total = math.fsum(np.abs(graph.weights).ravel().tolist())
        total += math.fsum(np.abs(graph.vertex_weights).tolist())
        self.rounding = 1e-14 * total

    def _allowed(self, inside: set[int]) -> bool:
        graph, rules = self.problem.graph, self.problem.constraints
        joined = graph.adjacency
        return (
            inside.issuperset(rules.must_keep)
            and inside.isdisjoint(rules.must_drop)
            and all(len(inside & set(g)) in (0, len(g)) for g in rules.tied)
            and (
                joined is None or all(joined[i, j] for i, j in combinations(inside, 2))
            )
        )

    def _price(self, chosen: tuple[int, ...]) -> float:
        graph = self.problem.graph
        parts = [float(graph.weights[i, j]) for i, j in combinations(chosen, 2)]
        parts += [float(graph.vertex_weights[i]) for i in chosen]
        return math.fsum(parts)

    def fault_of_method(self, method: str, **arguments: Any) -> str:
        """Run a method; return what it says that is wrong, nothing if all is well."""
        _, solver = create_solver(method)
        supported = self.problem.features <= solver.info.supports
        try:
            found = solve(self.problem, method=method, **arguments)
        except UnsupportedError as error:
            return f"refuses what it supports: {error}" if supported else ""
        except InfeasibleError as error:
            return "" if self.best is None else f"says infeasible: {error}"
        except NoSolutionError:
            return "finds nothing" if solver.info.exact and self.best else ""
        except Exception as error:
            return f"raises {type(error).__name__}: {error}"
        return self._fault_of(found, exact=solver.info.exact)

    def _fault_of(self, found: Solution, *, exact: bool) -> str:
        chosen = tuple(found.selected.tolist())
        if self.best is None or chosen not in self.worth:
            return f"infeasible set {chosen}"
        if abs(found.objective - self.worth[chosen]) > self.rounding:
            return f"objective {found.objective!r} of a set of {self.worth[chosen]!r}"
        near = self.rounding + 1e-6 * max(abs(self.best), abs(found.objective))
        if found.status == "optimal" and abs(found.objective - self.best) > near:
            return f"optimal {found.objective!r}, but the best is {self.best!r}"
        if exact and found.status != "optimal":
            return f"unproved: {found!r}"
        if found.bound is not None and self._is_below(found.bound):
            return f"bound {found.bound!r}, but the best is {self.best!r}"
        told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
        again = Solution.from_dict(told, self.problem)
        same = again.objective == found.objective and again.bound == found.bound
        return "" if same and again.status == found.status else "lost in JSON"

    def _is_below(self, value: float) -> bool:
        assert self.best is not None
        return self.sign * value < self.sign * self.best - self.rounding

    def fault_of_bound(self, effort: str) -> str:
        """Ask for a bound; return what is wrong with it, nothing if all is well."""
        try:
            found = bound(self.problem, effort=effort)
        except InfeasibleError as error:
            return "" if self.best is None else f"says infeasible: {error}"
        except Exception as error:
            return f"raises {type(error).__name__}: {error}"
        if self.best is None:
            return ""
        bad = {level: v for level, v in found.levels.items() if self._is_below(v)}
        return f"{bad}, but the best is {self.best!r}" if bad else ""


def faults(seed: int, methods: int = 1) -> list[str]:
    """Return what is wrong in what some methods and bounds say about one problem.

    Parameters
    ----------
    seed : int
        Of the problem; it also chooses whom to ask.
    methods : int
        How many methods to run.
    """
    problem = draw_problem(seed)
    if problem is None:
        return []
    judge = Judge(problem)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for turn in range(methods):
            method = METHODS[(seed // 2 + 3 * turn) % len(METHODS)]
            certify = (False, True, *EFFORTS)[(seed + turn) % 6]
            fault = judge.fault_of_method(method, certify=certify, seed=seed)
            if fault:
                found.append(f"seed {seed}, {method} (certify={certify}): {fault}")
        effort = EFFORTS[seed % len(EFFORTS)]
        fault = judge.fault_of_bound(effort)
        if fault:
            found.append(f"seed {seed}, bound {effort}: {fault}")
    return found
