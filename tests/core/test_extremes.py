"""Weights of every magnitude, grids of values, and problems without a choice."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sirfp_opt import (
    ChannelGraph,
    InfeasibleError,
    LayerConstraints,
    PruningProblem,
    Search,
    SolverError,
    bound,
    solve,
)
from sirfp_opt.bounds import EFFORTS
from sirfp_opt.testing import enumerate_optimum

METHODS = ("greedy", "local_search", "tabu", "anneal", "exact", "cpsat", "milp")
FACTORS = (5e-324, 1e-320, 3e-308, 1e-290, 1e-200, 1e-60, 1e60, 1e200, 1e300)


def _whole_numbers(seed: int, n: int = 6) -> NDArray[Any]:
    drawn = np.random.default_rng(seed).integers(-9, 10, (n, n)).astype(float)
    upper: NDArray[Any] = np.triu(drawn, 1)
    whole: NDArray[Any] = upper + upper.T
    return whole


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("method", METHODS)
def test_weights_of_any_magnitude(method: str, factor: float) -> None:
    """From 5e-324 to 1e300 the answer is that of ordinary weights, and as proved."""
    weights = _whole_numbers(1)
    found = solve(weights * factor, 3, method, certify=True)
    ordinary = solve(weights, 3, method, certify=True)
    assert found.objective == pytest.approx(ordinary.objective * factor, rel=1e-12)
    assert found.status == ordinary.status
    if method in ("exact", "cpsat", "milp"):
        assert found.status == "optimal"
        best = enumerate_optimum(found.problem) if found.problem else None
        assert found.objective == pytest.approx(best, rel=1e-14, abs=0)


@pytest.mark.parametrize("sense", ["min", "max"])
@pytest.mark.parametrize("factor", [1e-318, 1e-300, 1e250])
def test_extreme_weights_with_every_constraint(factor: float, sense: str) -> None:
    """Forced, tied and barred channels and missing edges change nothing of that."""
    missing = np.ones((8, 8), dtype=bool)
    missing[0, 5] = missing[5, 0] = False
    graph = ChannelGraph(
        _whole_numbers(3, 8) * factor,
        sense=sense,
        vertex_weights=np.arange(8) * factor,
        adjacency=missing,
    )
    rules = LayerConstraints(k_min=2, k_max=6, must_keep=[1], tied=[(2, 3)])
    problem = PruningProblem(graph, rules)
    best = enumerate_optimum(problem)
    for method in ("exact", "cpsat", "milp", "brute_force"):
        found = solve(problem, method=method)
        assert found.objective == pytest.approx(best, rel=1e-14, abs=0)
        assert found.status == "optimal"
    assert best is not None
    upper, worth = bound(problem).value, problem.sense.sign * best
    assert problem.sense.sign * upper >= worth - 1e-14 * abs(worth)


def test_weights_far_apart_are_not_lost() -> None:
    """Beside 1e300 a weight of 1e-300 is below rounding, and nothing overflows."""
    weights = np.array([[0, 1e300, 1e-300], [1e300, 0, -1e300], [1e-300, -1e300, 0]])
    assert solve(weights, 2, "exact").selected.tolist() == [0, 1]
    assert solve(weights, 2, "exact", sense="min").selected.tolist() == [1, 2]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    unit=st.sampled_from([1.0, 3.0, 0.1, 0.01, 0.5, 1e-7, 7e12]),
    bound_at=st.floats(-200, 200),
)
def test_a_bound_on_the_grid_is_still_a_bound(
    seed: int, unit: float, bound_at: float
) -> None:
    """Lowering a bound to the next value of the grid passes over no set's value."""
    rng = np.random.default_rng(seed)
    weights = _whole_numbers(seed) * unit
    graph = ChannelGraph(weights, vertex_weights=rng.integers(-5, 6, 6) * unit)
    canonical = PruningProblem(graph, LayerConstraints(3, must_keep=[2])).canonical
    lowered = canonical.on_grid(bound_at * unit)
    assert lowered <= bound_at * unit
    for items in combinations(range(canonical.m), 2):
        value = canonical.evaluate(items)
        if value <= bound_at * unit:
            assert value <= lowered + canonical.rounding_error


def test_whole_weights_round_bounds_to_whole_numbers() -> None:
    """A bound 15 % above 6 proves 6 where weights are even, not where they are real."""
    drawn = np.random.default_rng(0).random((4, 4)) + 2.0
    for weights, proved in ((np.full((4, 4), 2.0), True), (drawn + drawn.T, False)):
        problem = PruningProblem(ChannelGraph(weights), LayerConstraints(3))
        search = Search(problem)
        search.offer([0, 1, 2])
        search.tighten_canonical(1.15 * search.best_value)
        assert (search.gap == 0) is proved


def _zero_best(kind: str) -> PruningProblem:
    """Return a problem whose best objective is 0, though bounds start below it."""
    n = 8
    joined = np.ones((n, n), dtype=bool)
    weights: NDArray[Any]
    if kind == "real":
        # Three dead channels; the one negative pair does not go with any of them.
        drawn = np.random.default_rng(0).random((n, n)) + 1.0
        weights = drawn + drawn.T
        weights[:3] = weights[:, :3] = 0.0
        weights[3, 4] = weights[4, 3] = -0.7
        joined[3, :3] = joined[:3, 3] = False
    else:
        unit = 1.0 if kind == "whole" else 0.1
        weights = unit * np.random.default_rng(1).integers(-1, 3, (n, n))
        weights = np.triu(weights, 1) + np.triu(weights, 1).T
        graph = ChannelGraph(weights, sense="min")
        best = enumerate_optimum(PruningProblem(graph, LayerConstraints(3)))
        assert best is not None
        # Three vertex weights of -best, and three times the edges: 3 best - 3 best.
        gains = np.full(n, -best)
        graph = ChannelGraph(3 * weights, sense="min", vertex_weights=gains)
        return PruningProblem(graph, LayerConstraints(3))
    graph = ChannelGraph(weights, sense="min", adjacency=joined)
    return PruningProblem(graph, LayerConstraints(3))


@pytest.mark.parametrize("method", ["milp", "cpsat", "exact", "brute_force"])
@pytest.mark.parametrize("kind", ["whole", "decimal", "real"])
def test_an_optimum_of_zero_is_proved(method: str, kind: str) -> None:
    """Relative gaps are of no use at 0; the proof must be exact, and it is."""
    problem = _zero_best(kind)
    best = enumerate_optimum(problem)
    assert best == pytest.approx(0.0, abs=1e-15)
    found = solve(problem, method=method)
    assert found.objective == pytest.approx(0.0, abs=1e-15)
    assert found.status == "optimal"


@pytest.mark.parametrize(
    "rules",
    [
        LayerConstraints(2, must_keep=[0, 1], must_drop=[2]),
        LayerConstraints(2, must_keep=[0, 1]),
        LayerConstraints(3),
        LayerConstraints(k_min=2, must_keep=[0, 1], must_drop=[2]),
        LayerConstraints(k_min=1, k_max=3, must_keep=[0, 1, 2]),
        LayerConstraints(3, tied=[(0, 1, 2)]),
    ],
)
def test_where_nothing_is_left_to_choose(rules: LayerConstraints) -> None:
    """Every effort and every method answers, with a proof, as for any other problem."""
    weights = np.array([[0, 0.1, 0.7], [0.1, 0, 0.3], [0.7, 0.3, 0]])
    problem = PruningProblem(ChannelGraph(weights), rules)
    best = enumerate_optimum(problem)
    assert best is not None
    for effort in EFFORTS:
        assert bound(problem, effort=effort).gap(best) <= 1e-6
    for method in ("greedy", "tabu", "exact", "milp"):
        assert solve(problem, method=method, certify=True).status == "optimal"


def test_whole_or_nothing_beside_other_counts() -> None:
    """A range that ends at all channels, which a missing edge rules out."""
    joined = np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]], dtype=bool)
    graph = ChannelGraph(np.ones((3, 3)), adjacency=joined)
    problem = PruningProblem(graph, LayerConstraints(k_min=2, k_max=3))
    for effort in EFFORTS:
        assert bound(problem, effort=effort).value >= 1.0
    assert math.isclose(bound(problem).value, 1.0)
    with pytest.raises(InfeasibleError):
        bound(PruningProblem(graph, LayerConstraints(3)), effort="eigenvalue")


def test_a_solver_that_denies_what_it_holds_is_refused() -> None:
    """InfeasibleError beside a feasible set is a solver's error, not an answer."""
    from dataclasses import dataclass
    from typing import ClassVar

    from sirfp_opt import SolverInfo

    @dataclass(frozen=True)
    class Denier:
        info: ClassVar[SolverInfo] = SolverInfo(summary="denies", exact=True)

        def solve(self, search: Search) -> None:
            search.offer_items([0])
            raise InfeasibleError("there is none")

    with pytest.raises(SolverError, match="must not contradict itself"):
        solve(np.ones((3, 3)), 1, Denier())
