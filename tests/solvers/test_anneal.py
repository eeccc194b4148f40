"""Annealing: temperatures that follow from the data, and a walk that obeys them."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from sirfp_opt import ChannelGraph, LayerConstraints, Limits, PruningProblem, solve
from sirfp_opt_solvers._kernels import annealing
from sirfp_opt_solvers._local.fixed_point import FixedPoint
from sirfp_opt_solvers.anneal import autofit

from .heuristic_cases import redundancy


def test_temperatures_scale_with_the_weights() -> None:
    """Fitted temperatures are in the objective's units, hot above cold."""
    graph = redundancy(60)
    base = autofit(PruningProblem(graph, LayerConstraints(20)).canonical)
    scaled = ChannelGraph.from_redundancy(graph.weights * 1e6)
    larger = autofit(PruningProblem(scaled, LayerConstraints(20)).canonical)
    assert base[0] > base[1] > 0
    assert larger == pytest.approx((base[0] * 1e6, base[1] * 1e6), rel=1e-6)


def test_a_share_of_worsening_swaps_is_accepted_as_asked() -> None:
    """At the fitted temperature the mean of exp(loss / T) is the share asked for."""
    rng = np.random.default_rng(0)
    weights = rng.random((40, 40))
    graph = ChannelGraph.from_diversity(weights + weights.T)
    canonical = PruningProblem(graph, LayerConstraints(10)).canonical
    items = np.sort(canonical.project(solve(graph, 10, "greedy").selected))
    outside = np.setdiff1d(np.arange(40), items)
    gains = canonical.weights[:, items].sum(axis=1)
    deltas = gains[outside][None, :] - gains[items][:, None]
    deltas = deltas - canonical.weights[np.ix_(items, outside)]
    losses = -deltas[deltas < 0]
    initial, final = autofit(canonical, hot=0.2, cold=0.01)
    # All 300 swaps here, 4000 draws from them there.
    assert np.exp(-losses / initial).mean() == pytest.approx(0.2, rel=0.1)
    assert np.exp(-losses / final).mean() == pytest.approx(0.01, rel=0.5)


def test_at_one_temperature_sets_come_as_often_as_boltzmann_says() -> None:
    """The kernel's walk visits a set of value f in a share ~ exp(f / T) of the time."""
    rng = np.random.default_rng(5)
    weights = rng.normal(size=(5, 5))
    graph = ChannelGraph.from_diversity(weights + weights.T)
    problem = PruningProblem(graph, LayerConstraints(2))
    fixed = FixedPoint.of(problem.canonical)
    prices = np.zeros(6, dtype=np.int64)
    gains, order = np.zeros_like(fixed.values), np.arange(5, dtype=np.int32)
    best, state = order.copy(), np.zeros(annealing.N_STATE, dtype=np.int64)
    state[0] = 2
    problem_arrays = (fixed.weights, fixed.sizes, fixed.penalty, prices)
    annealing.set_up(
        fixed.weights, fixed.values, *problem_arrays[1:], gains, order, best, state
    )
    walk, seed = (gains, order, best, state), np.array([1], dtype=np.uint64)
    temperature, goal = 1.5 * fixed.scale, 1 << 60
    seen: Counter[frozenset[int]] = Counter()
    for _ in range(20_000):
        annealing.anneal(
            *problem_arrays,
            *walk,
            seed,
            5,
            temperature,
            1.0,
            False,
            fixed.least,
            goal,
        )
        seen[frozenset(order[:2].tolist())] += 1
    shares = {
        frozenset(pair): math.exp(problem.evaluate(pair) / 1.5)
        for pair in combinations(range(5), 2)
    }
    total = sum(shares.values())
    for pair, share in shares.items():
        assert seen[pair] / 20_000 == pytest.approx(share / total, abs=0.02)


def test_longer_cooling_finds_more() -> None:
    """On random weights a hundred times the moves give a better mean."""
    rng = np.random.default_rng(3)
    weights = rng.random((200, 200))
    graph = ChannelGraph.from_diversity(weights + weights.T)
    means = [
        np.mean(
            [
                solve(
                    graph, 20, "anneal", limits=Limits(iterations=moves), seed=seed
                ).objective
                for seed in range(4)
            ]
        )
        for moves in (5_000, 500_000)
    ]
    assert means[1] > means[0]


def test_a_cooling_ends_with_a_descent() -> None:
    """However hot the walk, no swap improves the set that a cooling ends with."""
    graph = redundancy(60)

    def improvement(selected: NDArray[np.int64]) -> float:
        outside = np.setdiff1d(np.arange(60), selected)
        sums = graph.weights[:, selected].sum(axis=1)
        changes = sums[outside][None, :] - sums[selected][:, None]
        return -float((changes - graph.weights[np.ix_(selected, outside)]).min())

    assert improvement(solve(graph, 15, "greedy").selected) > 0.5
    for seed in range(3):
        found = solve(
            graph,
            15,
            "anneal",
            seed=seed,
            coolings=1,
            moves=400_000,
            initial_temperature=1e9,
            final_temperature=1e9,
        )
        assert improvement(found.selected) <= 1e-6 * found.objective


def test_given_temperatures_are_used() -> None:
    """A walk that stays hot ends elsewhere than one that cools, for all its descent."""
    graph = redundancy(200)
    limits = Limits(iterations=100_000)
    cooled = solve(graph, 20, "anneal", limits=limits)
    hot = solve(
        graph,
        20,
        "anneal",
        limits=limits,
        initial_temperature=1e9,
        final_temperature=1e9,
    )
    assert cooled.objective < hot.objective
    assert hot.options["initial_temperature"] == 1e9
