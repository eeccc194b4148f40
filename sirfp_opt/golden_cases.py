"""Small problems with enumerated optima: what the conformance suite is run on."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt.constraints import LayerConstraints
from sirfp_opt.graph import ChannelGraph
from sirfp_opt.problem import PruningProblem
from sirfp_opt.reconstruction import ReconstructionProblem
from sirfp_opt.sense import Sense

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sirfp_opt._validate import FloatArray
    from sirfp_opt.set_problem import SetProblem

__all__ = [
    "GoldenCase",
    "enumerate_optimum",
    "golden_cases",
    "infeasible_cases",
    "refit_cases",
]

# Kinds of constraints under which graphs lack edges.
_INCOMPLETE = {"missing edges", "missing edges, range", "everything"}


@dataclass(frozen=True)
class GoldenCase:
    """A small problem whose optimum was found by plain enumeration.

    Attributes
    ----------
    name : str
        What is special about it.
    problem : SetProblem
    optimum : float or None
        None if no set is feasible.
    """

    name: str
    problem: SetProblem
    optimum: float | None


def enumerate_optimum(problem: SetProblem) -> float | None:
    """Return the best objective by plain enumeration, None if nothing is feasible.

    Shares no line with the solvers or with the canonical form: loops over all sets
    and reads the graph and the constraints as the user wrote them.

    Parameters
    ----------
    problem : SetProblem
        Of at most 16 or so channels.

    Returns
    -------
    float or None
    """
    rules, sign = problem.constraints, problem.sense.sign
    best: float | None = None
    for size in rules.counts(problem.n):
        for chosen in combinations(range(problem.n), size):
            inside = set(chosen)
            if not inside.issuperset(rules.must_keep):
                continue
            if inside.intersection(rules.must_drop):
                continue
            if any(0 < len(inside.intersection(g)) < len(g) for g in rules.tied):
                continue
            value = _price(problem, chosen)
            if value is None:
                continue
            if best is None or sign * value > sign * best:
                best = value
    return best


def _price(problem: SetProblem, chosen: tuple[int, ...]) -> float | None:
    """Return the objective of a set from the problem's own numbers, None if barred."""
    if isinstance(problem, ReconstructionProblem):
        return _refit_price(problem, chosen)
    if not isinstance(problem, PruningProblem):
        raise TypeError(f"no price for a {type(problem).__name__}")
    graph, pairs = problem.graph, list(combinations(chosen, 2))
    if graph.adjacency is not None and not all(graph.adjacency[i, j] for i, j in pairs):
        return None
    value = sum(float(graph.weights[i, j]) for i, j in pairs)
    return value + sum(float(graph.vertex_weights[i]) for i in chosen)


def _refit_price(problem: ReconstructionProblem, chosen: tuple[int, ...]) -> float:
    """Return the share of the signal that a least-squares fit from a set explains.

    The rows of a square root of C are as good as data: the fit is made on them.
    """
    value = 1.0
    for covariance, products in zip(problem.covariances, problem.products, strict=True):
        ridge = problem.ridge * covariance.diagonal().mean()
        ridged = covariance + ridge * np.eye(problem.n)
        # A channel's unit is nobody's business; one for all keeps the roots exact.
        scales = np.sqrt(np.where(ridged.diagonal() > 0, ridged.diagonal(), 1.0))
        unit = np.outer(scales, scales)
        rooted = _root(ridged / unit)
        wanted = rooted @ _root(products * unit).T
        signal = float((wanted**2).sum())
        if signal > 1e-12 * np.linalg.norm(covariance) * np.linalg.norm(products):
            kept = rooted[:, list(chosen)]
            rest = wanted - kept @ np.linalg.lstsq(kept, wanted)[0]
            value -= float((rest**2).sum()) / signal / problem.readers
    return value


def _root(matrix: FloatArray) -> FloatArray:
    """Return A with A'A = matrix."""
    values, vectors = np.linalg.eigh(matrix)
    root: FloatArray = (vectors * np.sqrt(np.maximum(values, 0.0))).T
    return root


def _weight_kinds(n: int, rng: np.random.Generator) -> dict[str, FloatArray]:
    """Return symmetric matrices that have tripped solvers before."""
    maps = rng.random((n, 40)) ** 3
    normal = rng.normal(size=(n, n))
    twins = rng.random((n, n))
    twins[n // 2 :] = twins[: n - n // 2]
    twins[:, n // 2 :] = twins[:, : n - n // 2]
    dead = maps.copy()
    dead[:2] = 0.0
    return {
        "gram of positive maps": maps @ maps.T,
        "mixed signs": normal + normal.T,
        "all negative": -(maps @ maps.T) - 0.1,
        "all zero": np.zeros((n, n)),
        "all equal": np.ones((n, n)),
        "integers": np.rint(5 * (normal + normal.T)),
        "duplicate channels": twins + twins.T,
        "dead channels": dead @ dead.T,
        "tiny as 1/HW": 1e-7 * (maps @ maps.T),
        "huge": 1e9 * (normal + normal.T),
        "one heavy edge": np.pad([[0.0, 1e4], [1e4, 0.0]], (0, n - 2)) + maps @ maps.T,
    }


def _constraint_kinds(n: int) -> dict[str, LayerConstraints]:
    """Return constraints by name."""
    k = n // 2
    return {
        "k": LayerConstraints(k),
        "k=1": LayerConstraints(1),
        "k=n-1": LayerConstraints(n - 1),
        "k=n": LayerConstraints(n),
        "must_keep": LayerConstraints(k, must_keep=[0, n - 1]),
        "must_drop": LayerConstraints(k, must_drop=[1, 2]),
        "keep and drop": LayerConstraints(k, must_keep=[3], must_drop=[0]),
        "tied pairs": LayerConstraints(
            4, tied=[(i, i + 1) for i in range(0, n - 1, 2)]
        ),
        "tied unequal": LayerConstraints(k, tied=[(0, 1, 2), (4, 5)]),
        "k range": LayerConstraints(k_min=2, k_max=n - 2),
        "multiple_of": LayerConstraints(k_min=1, k_max=n, multiple_of=3),
        "missing edges": LayerConstraints(3),
        "missing edges, range": LayerConstraints(k_min=2, k_max=5),
        "everything": LayerConstraints(
            k_min=3, k_max=6, must_keep=[2], must_drop=[6], tied=[(0, 1)]
        ),
    }


def golden_cases(n: int = 8, seed: int = 0) -> Iterator[GoldenCase]:
    """Yield small problems with their optima: weights x constraints x both senses.

    Parameters
    ----------
    n : int
        Channels, 8 to 12.
    seed : int

    Yields
    ------
    GoldenCase
    """
    rng = np.random.default_rng(seed)
    kinds = _weight_kinds(n, rng)
    vertex = rng.normal(size=n)
    missing = np.triu(rng.random((n, n)) < 0.25, 1)
    adjacency = ~(missing | missing.T)
    rules = _constraint_kinds(n)
    pairs = [(w, c) for w in kinds for c in ("k", "k range")]
    pairs += [(w, c) for w in ("mixed signs", "gram of positive maps") for c in rules]
    for weight_kind, rule_kind in dict.fromkeys(pairs):
        incomplete = rule_kind in _INCOMPLETE
        for sense in Sense:
            for with_vertices in (False, True):
                scale = float(np.abs(kinds[weight_kind]).max()) or 1.0
                graph = ChannelGraph(
                    weights=kinds[weight_kind],
                    sense=sense,
                    vertex_weights=vertex * scale if with_vertices else None,
                    adjacency=adjacency if incomplete else None,
                )
                problem = PruningProblem(graph, rules[rule_kind])
                name = f"{sense.value} {weight_kind}, {rule_kind}"
                if with_vertices:
                    name += ", vertex weights"
                yield GoldenCase(name, problem, enumerate_optimum(problem))


def refit_cases(n: int = 8, seed: int = 0) -> Iterator[GoldenCase]:
    """Yield small refit problems with their optima: matrices x constraints.

    Parameters as for `golden_cases`; no edge is missing.
    """
    kinds = _refit_kinds(n, np.random.default_rng(seed))
    rules = _constraint_kinds(n)
    pairs = [(kind, rule) for kind in kinds for rule in ("k", "k range")]
    pairs += [("two readers", r) for r in rules if not r.startswith("missing edges")]
    for kind, rule in dict.fromkeys(pairs):
        covariances, products, ridge = kinds[kind]
        problem = ReconstructionProblem(covariances, products, rules[rule], ridge=ridge)
        name = f"refit {kind}, {rule}"
        yield GoldenCase(name, problem, enumerate_optimum(problem))


def _refit_kinds(
    n: int, rng: np.random.Generator
) -> dict[str, tuple[FloatArray, FloatArray, float]]:
    """Return covariances, products and ridge, each special in one way."""
    maps = rng.normal(size=(2, n, 3 * n))
    maps[:, n // 2 :] += maps[:, : n - n // 2]
    covariances = maps @ maps.transpose(0, 2, 1) / maps.shape[2]
    filters = rng.normal(size=(2, n + 2, n))
    products = filters.transpose(0, 2, 1) @ filters
    few = filters[:, :2]
    dead, twins = covariances.copy(), covariances.copy()
    dead[:, 0], dead[:, :, 0] = 0.0, 0.0
    twins[:, -1], twins[:, :, -1] = twins[:, 0], twins[:, :, 0]
    twins[:, -1, -1] = twins[:, 0, 0]
    scales = 10.0 ** rng.uniform(-3, 3, size=n)
    blind = products.copy()
    blind[1] = 0.0
    return {
        "two readers": (covariances, products, 1e-3),
        "one reader": (covariances[0], products[0], 1e-3),
        "no ridge": (covariances, products, 0.0),
        "two filters": (covariances, few.transpose(0, 2, 1) @ few, 1e-3),
        "dead channel": (dead, products, 1e-3),
        "twin channels": (twins, products, 1e-3),
        "scales apart": (
            covariances * np.outer(scales, scales),
            products / np.outer(scales, scales),
            0.0,
        ),
        "one blind reader": (covariances, blind, 1e-3),
        "uncorrelated": (np.eye(n), np.diag(1.0 + np.arange(n)), 0.0),
        "all equal": (np.eye(n), np.eye(n), 0.0),
        "no signal": (np.eye(n), np.zeros((n, n)), 0.0),
    }


def infeasible_cases(n: int = 8) -> Iterator[GoldenCase]:
    """Yield problems that nothing solves: too few channels fit together."""
    pairs_only = np.zeros((n, n), dtype=bool)
    for i in range(0, n, 2):
        pairs_only[i : i + 2, i : i + 2] = True
    graph = ChannelGraph(weights=np.ones((n, n)), adjacency=pairs_only)
    yield GoldenCase("no clique of 3", PruningProblem(graph, LayerConstraints(3)), None)
