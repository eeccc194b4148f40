"""Problems with structure, for proofs: ties, copies, whole weights, distances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt import ChannelGraph, LayerConstraints, PruningProblem

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["clusters", "coin_flips", "distances", "structured"]


def _problem(weights: np.ndarray, k: int, sense: str, name: str) -> PruningProblem:
    symmetric = (weights + weights.T) / 2
    graph = ChannelGraph(symmetric, sense=sense, name=name)
    return PruningProblem(graph, LayerConstraints(k))


def coin_flips(n: int, density: float, seed: int) -> np.ndarray:
    """Return the adjacency matrix of G(n, density)."""
    flips = np.triu(np.random.default_rng(seed).random((n, n)) < density, 1)
    return np.asarray(flips + flips.T, dtype=float)


def distances(n: int, dimensions: int = 10) -> np.ndarray:
    """Return Euclidean distances between n random points of a cube."""
    points = 10 * np.random.default_rng(n).random((n, dimensions))
    square = (points**2).sum(axis=1)
    apart = square[:, None] + square - 2 * points @ points.T
    return np.asarray(np.sqrt(np.maximum(apart, 0.0)))


def _redundancy(maps: np.ndarray) -> np.ndarray:
    return np.asarray(maps @ maps.T)


def clusters(n: int) -> Iterator[PruningProblem]:
    """Yield the densest subgraphs of G(n, ¼ to ¾) with n/4 and n/2 vertices."""
    for density in (0.25, 0.5, 0.75):
        for share in (0.25, 0.5):
            k = int(share * n)
            name = f"k-cluster G({n}, {density}), k={k}"
            yield _problem(coin_flips(n, density, n), k, "maximize", name)


def structured(largest: int) -> Iterator[PruningProblem]:
    """Yield problems of up to so many items, kind by kind."""
    for problem in _all():
        if problem.graph.n <= largest:
            yield problem


def _all() -> Iterator[PruningProblem]:
    yield _problem(np.ones((40, 40)), 10, "maximize", "all equal, n=40")
    groups = np.kron(np.eye(6), np.ones((4, 4)))
    yield _problem(groups, 12, "minimize", "6 groups of 4 equal channels")
    grid = np.array([[i, j] for i in range(5) for j in range(5)], dtype=float)
    apart = np.linalg.norm(grid[:, None] - grid[None], axis=2)
    yield _problem(apart, 8, "maximize", "distances on a 5x5 grid")
    rng = np.random.default_rng(0)
    dead = np.vstack((rng.random((28, 60)) ** 4, np.zeros((20, 60))))
    yield _problem(_redundancy(dead), 24, "minimize", "20 dead channels of 48")
    for n in (48, 256):
        maps = np.random.default_rng(n).random((n // 2, 3 * n // 2)) ** 4
        twice = np.repeat(maps, 2, axis=0)
        yield _problem(
            _redundancy(twice), n // 2, "minimize", f"{n // 2} channels twice"
        )
    for n in (40, 80, 100):
        yield from clusters(n)
    for n in (500, 1000, 2000):
        yield _problem(distances(n), n // 2, "maximize", f"distances, n={n}")
