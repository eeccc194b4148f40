"""`bound` and `certify`: always valid, never worse with more effort, in time."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from sirfp_opt import (
    ChannelGraph,
    InfeasibleError,
    InvalidProblemError,
    Limits,
    Sense,
    bound,
    solve,
)
from sirfp_opt.bounds import EFFORTS
from tests.solvers.random_problems import random_problem

LAYERS = Path(__file__).parents[2] / "examples" / "data" / "layers.npz"


def layer(name: str) -> ChannelGraph:
    """Return a layer of a trained network."""
    with np.load(LAYERS) as arrays:
        return ChannelGraph.from_redundancy(arrays[name])


@pytest.mark.parametrize("seed", range(10))
def test_no_set_is_better_than_any_level(seed: int) -> None:
    """25 random problems each, both senses, any constraints, against enumeration."""
    rng = np.random.default_rng(1000 + seed)
    for _ in range(25):
        problem = random_problem(rng)
        try:
            best = solve(problem, method="brute_force").objective
        except InfeasibleError:
            continue
        found = bound(problem, effort=EFFORTS[-1])
        sign = problem.sense.sign
        slack = problem.canonical.objective_rounding
        values = [sign * found.levels[e] for e in EFFORTS if e in found.levels]
        assert all(value >= sign * best - slack for value in values)
        assert values == sorted(values, reverse=True)
        assert found.value == sign * values[-1]


def test_more_effort_is_worth_it_on_a_layer() -> None:
    """On a trained layer each level is tighter, and the last within 1 %."""
    graph = layer("low")
    k = graph.n // 2
    best = solve(graph, k, method="exact")
    found = bound(graph, k)
    assert list(found.levels) == list(EFFORTS[:-1])
    gaps = [found.gap(best), found.gap(best.objective)]
    assert gaps[0] == gaps[1] < 0.01
    ladder = list(found.levels.values())
    assert all(a < b for a, b in itertools.pairwise(ladder))
    assert bound(graph, k, effort="eigenvalue").levels == dict(
        list(found.levels.items())[:2]
    )
    tightest = bound(graph, k, effort=EFFORTS[-1])
    assert found.value < tightest.value <= best.objective
    assert found.sense is Sense.MINIMIZE
    assert found.to_dict()["method"] == found.method == EFFORTS[-2]


@pytest.mark.parametrize("method", ["greedy", "tabu", "anneal", "random"])
def test_every_heuristic_can_carry_a_certificate(method: str) -> None:
    """`certify` gives the bound that `bound` gives, and a name limits the effort."""
    graph = layer("stem1")
    limits = Limits(iterations=50) if method != "greedy" else None
    sure = solve(graph, 8, method=method, limits=limits, certify=True)
    quick = solve(graph, 8, method=method, limits=limits, certify="eigenvalue")
    assert sure.bound is not None
    assert quick.bound is not None
    best = solve(graph, 8, method="exact").objective
    assert quick.bound < sure.bound <= best <= sure.objective
    assert quick.selected.tolist() == sure.selected.tolist()


def test_a_range_of_counts_is_bounded_as_a_whole() -> None:
    """The bound over k = 3..9 holds for each k, and for the best of them."""
    rng = np.random.default_rng(3)
    weights = rng.normal(size=(14, 14))
    graph = ChannelGraph(weights + weights.T, sense="maximize")
    whole = bound(graph, (3, 9)).value
    assert whole >= solve(graph, (3, 9), method="brute_force").objective
    assert whole <= max(bound(graph, k).value for k in range(3, 10)) * (1 + 1e-9)


def test_a_time_limit_leaves_a_valid_bound() -> None:
    """Without any time there is still the combinatorial bound."""
    graph = layer("low")
    hurried = bound(graph, 12, time_limit=0.0)
    assert hurried.method == "combinatorial"
    assert hurried.value <= solve(graph, 12, method="exact").objective


def test_wrong_efforts_are_refused() -> None:
    """The levels there are are named."""
    graph = layer("stem1")
    with pytest.raises(InvalidProblemError, match="`effort` must be one of"):
        bound(graph, 8, effort="high")
    with pytest.raises(InvalidProblemError, match="`certify` must be one of"):
        solve(graph, 8, method="greedy", certify="sdp")
