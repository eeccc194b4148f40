"""Local search: what it returns is a local optimum."""

from __future__ import annotations

import numpy as np
import pytest

from sirfp_opt import ChannelGraph, LayerConstraints, PruningProblem, solve

from .heuristic_cases import redundancy


def _gains_of_all_moves(problem: PruningProblem, selected: np.ndarray) -> list[float]:
    """Return what every feasible add, drop and swap of channels gains, re-priced."""
    n, sign = problem.graph.n, problem.sense.sign
    inside, base = set(selected.tolist()), problem.evaluate(selected)
    counts = problem.constraints.counts(n)
    outside = [c for c in range(n) if c not in inside]
    sets = [inside - {a} | {b} for a in inside for b in outside]
    sets += [inside - {a} for a in inside] + [inside | {b} for b in outside]
    return [
        sign * (problem.evaluate(sorted(s)) - base) for s in sets if len(s) in counts
    ]


@pytest.mark.parametrize("polish", [True, False])
def test_no_move_improves_the_answer(polish: bool) -> None:
    """1-swap optimal; where k is a range, no add or drop gains either."""
    graph = redundancy(24, seed=1)
    weighted = ChannelGraph.from_redundancy(
        graph.weights, vertex_weights=np.full(24, -0.2 * graph.weights.sum() / 24)
    )
    for problem in (
        PruningProblem(graph, LayerConstraints(8)),
        PruningProblem(weighted, LayerConstraints(k_min=3, k_max=20)),
    ):
        if polish:
            found = solve(problem, method="greedy", polish=True)
        else:
            found = solve(problem, method="local_search", descents=2)
        assert max(_gains_of_all_moves(problem, found.selected)) <= 1e-6


def test_more_descents_find_more() -> None:
    """Restarts help: fifty descents beat one on random weights."""
    rng = np.random.default_rng(0)
    weights = rng.random((120, 120))
    graph = ChannelGraph.from_diversity(weights + weights.T)
    one = solve(graph, 12, "local_search", descents=1)
    fifty = solve(graph, 12, "local_search", descents=50)
    assert fifty.objective > one.objective


def test_mixed_sizes_are_searched_by_adds_drops_and_swaps() -> None:
    """Tied groups of unequal size: a swap of two singles for a pair is two moves."""
    weights = np.zeros((5, 5))
    weights[:2, :2] = 9.0  # the tied pair belongs together
    graph = ChannelGraph.from_diversity(weights)
    rules = LayerConstraints(k_min=1, k_max=2, tied=[(0, 1)])
    assert solve(graph, constraints=rules, method="local_search").selected.tolist() == [
        0,
        1,
    ]
