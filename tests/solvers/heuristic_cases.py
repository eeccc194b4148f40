"""Small seeded problems with every kind of constraint, for brute force to judge."""

from __future__ import annotations

from functools import cache

import numpy as np

from sirfp_opt import (
    ChannelGraph,
    InfeasibleError,
    LayerConstraints,
    PruningProblem,
    SirfpError,
    Solution,
    solve,
)


def random_problem(seed: int) -> PruningProblem | None:
    """Draw a problem of 4 to 12 channels; None if the draw contradicts itself."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(4, 13))
    weights = rng.normal(size=(n, n))
    weights = weights + weights.T
    if rng.random() < 0.3:
        weights = np.round(weights)  # many ties
    vertex_weights = 3 * rng.normal(size=n) if rng.random() < 0.5 else None
    adjacency = None
    if rng.random() < 0.4:
        adjacency = np.triu(rng.random((n, n)) < rng.uniform(0.5, 0.95), 1)
        adjacency = adjacency | adjacency.T
    order = rng.permutation(n).tolist()
    tied = [(), (order[:2], order[2:4]), (order[:3],)][int(rng.integers(3))]
    sense = "minimize" if rng.random() < 0.5 else "maximize"
    rules = {
        "tied": tied,
        "must_keep": order[-1:] if rng.random() < 0.2 else [],
        "must_drop": order[-2:-1] if rng.random() < 0.2 else [],
    }
    if rng.random() < 0.4:
        rules["k"] = int(rng.integers(1, n))
    else:
        low, high = sorted(rng.integers(1, n + 1, size=2).tolist())
        rules |= {"k_min": low, "k_max": high}
        rules["multiple_of"] = int(rng.integers(1, 4))
    try:
        graph = ChannelGraph(
            weights=weights,
            sense=sense,
            vertex_weights=vertex_weights,
            adjacency=adjacency,
        )
        return PruningProblem(graph, LayerConstraints(**rules))
    except SirfpError:
        return None


@cache
def judged_problems(count: int) -> list[tuple[PruningProblem, Solution]]:
    """Return `count` feasible problems with their optima."""
    found: list[tuple[PruningProblem, Solution]] = []
    seed = 0
    while len(found) < count:
        problem, seed = random_problem(seed), seed + 1
        if problem is None:
            continue
        try:
            found.append((problem, solve(problem, method="brute_force")))
        except InfeasibleError:
            continue
    return found


def redundancy(n: int, seed: int = 0) -> ChannelGraph:
    """Return a graph like a layer's: |Gram| of low-rank features, to be minimised."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, max(4, n // 4))) * rng.gamma(3.0, size=(n, 1))
    return ChannelGraph.from_redundancy(np.abs(features @ features.T))
