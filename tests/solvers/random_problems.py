"""Small random problems of every kind, which enumeration can judge."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sirfp_opt import ChannelGraph, LayerConstraints, PruningProblem, Sense


def random_weights(rng: np.random.Generator, n: int) -> np.ndarray:
    """Draw a symmetric matrix: a usual kind, or one that numerical code dislikes."""
    maps = rng.normal(size=(n, 5))
    line = rng.normal(size=n)
    kinds: list[Callable[[], np.ndarray]] = [
        lambda: maps @ maps.T,  # positive semidefinite
        lambda: np.abs(maps @ maps.T) * 10.0 ** rng.integers(-8, 8),  # in general not
        lambda: np.rint(3 * rng.normal(size=(n, n))),  # ties
        lambda: np.zeros((n, n)),
        lambda: np.full((n, n), rng.normal() * 10.0 ** rng.integers(-150, 150)),
        lambda: rng.normal(size=(n, n)) * 10.0 ** rng.uniform(-12, 12, size=(n, n)),
        lambda: np.outer(line, line) * 10.0 ** rng.integers(-100, 100),  # rank one
        lambda: 1e9 + rng.normal(size=(n, n)),  # nearly constant
        lambda: maps[rng.integers(0, 3, n)] @ maps[:3, :].T[:, rng.integers(0, 3, n)],
    ]
    # Half of the problems are of the first three kinds.
    kind = int(rng.integers(3)) if rng.random() < 0.5 else int(rng.integers(len(kinds)))
    weights = np.triu(kinds[kind](), 1)
    return np.asarray(weights + weights.T)


def random_problem(rng: np.random.Generator) -> PruningProblem:
    """Draw a problem of up to 11 channels: any sense, weights and constraints."""
    n = int(rng.integers(4, 12))
    weights = random_weights(rng, n)
    missing = np.triu(rng.random((n, n)) < 0.15, 1) & (rng.random() < 0.3)
    own = rng.normal(size=n) * np.abs(weights).max() * (rng.random() < 0.5)
    graph = ChannelGraph(
        weights,
        sense=list(Sense)[int(rng.integers(2))],
        adjacency=~(missing | missing.T),
        vertex_weights=own,
    )
    k = int(rng.integers(1, n))
    tied = [rng.choice(n, 2, replace=False).tolist()] if rng.random() < 0.3 else []
    if rng.random() < 0.6:
        return PruningProblem(graph, LayerConstraints(k, tied=tied))
    return PruningProblem(graph, LayerConstraints(k_min=1, k_max=k, tied=tied))


def twin_problem(rng: np.random.Generator) -> PruningProblem:
    """Draw a problem of up to 11 channels with copies among them.

    Copies are equal, proportional, or off by up to 1e-7; whole or real weights, of any
    magnitude; copies may be in conflict with each other, and with others.
    """
    kinds = int(rng.integers(2, 6))
    n = int(rng.integers(max(4, kinds), 12))
    kind = np.concatenate((np.arange(kinds), rng.integers(0, kinds, n - kinds)))
    kind = rng.permutation(kind)
    base = rng.normal(size=(kinds, kinds))
    if rng.random() < 0.4:
        base = np.rint(2 * base) * rng.choice([1.0, 0.1, 3.0, 1 / 7])
    elif rng.random() < 0.5:
        base = np.abs(base)
    size = rng.choice([1.0, 1.0, 0.5, 2.0, 3.0], n) if rng.random() < 0.4 else 1.0
    size = np.broadcast_to(size, n)
    weights = (base + base.T)[np.ix_(kind, kind)] * np.outer(size, size)
    weights *= 1 + rng.choice([0.0, 1e-16, 1e-12, 1e-7]) * rng.normal(size=(n, n))
    if rng.random() < 0.3:
        weights *= 10.0 ** rng.integers(-300, 300)
    weights = np.triu(weights, 1)
    weights += weights.T
    own = np.zeros(n)
    if rng.random() < 0.3:
        own = rng.normal(size=kinds)[kind] * np.abs(weights).max()
    missing = np.zeros((n, n), dtype=bool)
    if rng.random() < 0.4:
        between = np.triu(rng.random((kinds, kinds)) < 0.25, 0)
        missing = (between | between.T)[np.ix_(kind, kind)]
        np.fill_diagonal(missing, False)
    graph = ChannelGraph(
        weights,
        sense=list(Sense)[int(rng.integers(2))],
        adjacency=~missing,
        vertex_weights=own,
    )
    k = int(rng.integers(1, n))
    tied = [rng.choice(n, 2, replace=False).tolist()] if rng.random() < 0.2 else []
    if rng.random() < 0.7:
        return PruningProblem(graph, LayerConstraints(k, tied=tied))
    return PruningProblem(graph, LayerConstraints(k_min=1, k_max=k, tied=tied))
