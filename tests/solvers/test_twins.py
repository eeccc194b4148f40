"""Copies of a channel as one choice: nothing is lost, and `exact` does not stall."""

from __future__ import annotations

import numpy as np
import pytest

from sirfp_opt import (
    ChannelGraph,
    InfeasibleError,
    LayerConstraints,
    Limits,
    PruningProblem,
    solve,
)
from sirfp_opt.solution import OPTIMALITY_TOLERANCE
from sirfp_opt_solvers._proof.twins import merge_twins
from tests.solvers.random_problems import twin_problem


def redundancy(rows: int, copies: int, seed: int = 0) -> np.ndarray:
    """Return the redundancy of channels that occur several times each."""
    maps = np.random.default_rng(seed).random((rows, 3 * rows)) ** 4
    return np.asarray(np.repeat(maps, copies, axis=0) @ maps.repeat(copies, 0).T)


@pytest.mark.parametrize("seed", range(4))
def test_it_agrees_with_enumeration_among_copies(seed: int) -> None:
    """50 problems each with equal, proportional and nearly equal channels."""
    rng = np.random.default_rng(100 + seed)
    merged = 0
    for _ in range(50):
        problem = twin_problem(rng)
        try:
            truth = solve(problem, method="brute_force").objective
        except InfeasibleError:
            with pytest.raises(InfeasibleError):
                solve(problem, method="exact")
            continue
        found = solve(problem, method="exact")
        merged += merge_twins(problem.canonical, 0.0).parts is not None
        slack = problem.canonical.objective_rounding + OPTIMALITY_TOLERANCE * abs(truth)
        assert abs(found.objective - truth) <= slack
        assert found.status.value == "optimal"
    assert merged > 10


@pytest.mark.parametrize("noise", [0.0, 1e-12, 1e-8])
def test_duplicated_channels_do_not_stall_the_tree(noise: float) -> None:
    """24 channels twice: a few nodes, where telling the copies apart takes thousands.

    The copies may differ in their last bits, as copies of single precision do.
    """
    weights = redundancy(24, 2)
    rng = np.random.default_rng(0)
    weights *= 1 + noise * rng.uniform(-1, 1, weights.shape)
    weights = (weights + weights.T) / 2
    graph = ChannelGraph.from_redundancy(weights)
    found = solve(graph, 24, "exact", limits=Limits(iterations=20))
    assert found.status.value == "optimal"
    assert found.limit is None


def test_scaled_copies_are_a_chain_where_weights_have_one_sign() -> None:
    """The smaller copy is the less redundant one, so it goes first."""
    maps = np.random.default_rng(1).random((4, 12))
    maps = np.concatenate((maps, 2 * maps, 3 * maps[:1]))
    canonical = PruningProblem(
        ChannelGraph.from_redundancy(maps @ maps.T), LayerConstraints(4)
    ).canonical
    merged = merge_twins(canonical, 1e-12)
    assert merged.parts is not None
    chains = [part.tolist() for part in merged.parts if part.size > 1]
    assert sorted(chains) == [[0, 4], [0, 4, 8], [1, 5], [2, 6], [3, 7]]


def test_copies_in_conflict_leave_one_of_them() -> None:
    """Of copies that exclude each other one is enough, beside other missing edges."""
    weights = redundancy(4, 2)
    joined = np.ones((8, 8), dtype=bool)
    joined[0, 1] = joined[1, 0] = False  # copies of each other
    joined[2:4, 4:6] = joined[4:6, 2:4] = False  # all copies of two channels
    graph = ChannelGraph.from_redundancy(weights, adjacency=joined)
    canonical = PruningProblem(graph, LayerConstraints(3)).canonical
    merged = merge_twins(canonical, 1e-9)
    assert merged.parts is not None
    assert sorted(part.size for part in merged.parts) == [1, 1, 1, 1, 2, 2, 2]
    assert sum({0, 1} >= set(part.tolist()) for part in merged.parts) == 1
    truth = solve(graph, 3, "brute_force").objective
    assert solve(graph, 3, "exact").objective == pytest.approx(truth, rel=1e-9)


def test_ordinary_layers_are_left_as_they_are() -> None:
    """Without copies nothing is merged: the problem is the very same object."""
    canonical = PruningProblem(
        ChannelGraph.from_redundancy(redundancy(40, 1)), LayerConstraints(10)
    ).canonical
    assert merge_twins(canonical, 1e-6).canonical is canonical
