"""Ties, whole weights, extreme magnitudes: `exact` ends at its own proof, rightly."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sirfp_opt import (
    ChannelGraph,
    LayerConstraints,
    Limits,
    PruningProblem,
    Solution,
    bound,
    solve,
)
from sirfp_opt.grain import common_step
from sirfp_opt.solution import OPTIMALITY_TOLERANCE
from sirfp_opt_solvers._proof.grain import Margin

GRID = np.array([[i, j] for i in range(5) for j in range(5)], dtype=float)


def _coin_flips(n: int, seed: int) -> np.ndarray:
    flips = np.triu(np.random.default_rng(seed).integers(0, 2, (n, n)), 1)
    return np.asarray(flips + flips.T, dtype=float)


TIED = {
    "all equal": (np.ones((64, 64)), 16, "max"),
    "groups of duplicates": (np.kron(np.eye(6), np.ones((4, 4))), 12, "min"),
    "one-hot correlation": (np.corrcoef(np.eye(16) - 1 / 16), 8, "min"),
    "distances on a grid": (
        np.linalg.norm(GRID[:, None] - GRID[None], axis=2),
        8,
        "max",
    ),
    "zeros and ones": (_coin_flips(30, 0), 10, "max"),
    "tenths": (_coin_flips(30, 1) / 10, 10, "min"),
}


@pytest.mark.parametrize("name", TIED)
def test_it_ends_at_its_own_proof(name: str) -> None:
    """Within a node of where incumbent and bound meet, it is over."""
    weights, k, sense = TIED[name]
    solution = solve(weights, k, "exact", sense=sense, limits=Limits(iterations=60))
    assert solution.status.value == "optimal"
    assert solution.limit is None
    closed = [
        e.iteration
        for e in solution.trace
        if e.gap is not None and e.gap <= OPTIMALITY_TOLERANCE
    ]
    assert closed[-1] <= closed[0] + 1 < 60


@pytest.mark.parametrize("scale", [1.0, 0.1, 1e-3, 1 / 7, 2.0**-40, 1e200])
def test_a_common_step_is_found_at_any_scale(scale: float) -> None:
    """Multiples of 3 have the step 3, whatever the unit, within rounding."""
    numbers = 3.0 * np.random.default_rng(0).integers(-50, 50, (40, 40))
    step, off = common_step(numbers * scale)
    assert step == pytest.approx(3.0 * scale, rel=1e-12)
    assert off <= 1e-12 * scale * np.abs(numbers).sum()


def test_numbers_at_random_have_no_common_step() -> None:
    """No step is claimed where there is none; one odd number among many breaks it."""
    rng = np.random.default_rng(0)
    assert common_step(rng.random((50, 50)))[0] == 0.0
    numbers = 6.0 * rng.integers(-9, 9, 5000)
    numbers[3001] = 4.0
    assert common_step(numbers) == (2.0, 0.0)
    numbers[3001] = math.pi
    assert common_step(numbers)[0] == 0.0


def test_a_margin_never_hides_a_better_set() -> None:
    """With whole weights sets differ by a step or not at all; else by rounding."""
    weights = _coin_flips(12, 2) * 0.3
    canonical = PruningProblem(
        ChannelGraph.from_diversity(weights), LayerConstraints(4)
    ).canonical
    margin = Margin.of(canonical)
    assert 0.29 < margin.ahead < 0.3
    assert margin.loose <= canonical.rounding_error
    rough = Margin.of(
        PruningProblem(
            ChannelGraph.from_diversity(weights + 1e-9 * _coin_flips(12, 3)),
            LayerConstraints(4),
        ).canonical
    )
    assert rough.ahead == rough.loose <= canonical.rounding_error


@pytest.mark.parametrize("scale", [5e-324, 3e-308, 1e-300, 1e-150, 1e150, 1e300])
def test_weights_of_any_magnitude_are_proved(scale: float) -> None:
    """From the smallest number there is to 1e300: enumeration's optimum, and a proof.

    Bounds of every level hold, too: none is off by the last bit of a subnormal.
    """
    whole = np.random.default_rng(1).integers(-9, 10, (8, 8)).astype(float)
    whole = np.triu(whole, 1) + np.triu(whole, 1).T
    truth = solve(whole, 4, "brute_force").objective
    found = solve(whole * scale, 4, "exact")
    assert found.status.value == "optimal"
    assert found.objective == pytest.approx(truth * scale, rel=1e-12)
    assert bound(whole * scale, 4).value >= found.objective


def _both(constraints: LayerConstraints) -> list[Solution]:
    weights = np.array([[0, 0.1, 0.7], [0.1, 0, 0.3], [0.7, 0.3, 0]])
    return [
        solve(weights, constraints=constraints, method=method, certify=True)
        for method in ("greedy", "tabu")
    ]


@pytest.mark.parametrize(
    "constraints",
    [
        LayerConstraints(2, must_keep=[0, 1], must_drop=[2]),
        LayerConstraints(2, must_keep=[0, 1]),
        LayerConstraints(3),
        LayerConstraints(k_min=2, k_max=3, must_keep=[0, 1, 2]),
    ],
)
def test_nothing_left_to_choose_is_certified(constraints: LayerConstraints) -> None:
    """Where one set is left it is its own bound, at every level."""
    for solution in _both(constraints):
        assert solution.status.value == "optimal"
        assert solution.bound == solution.objective
    weights = np.array([[0, 0.1, 0.7], [0.1, 0, 0.3], [0.7, 0.3, 0]])
    assert bound(weights, constraints=constraints).value == pytest.approx(
        solution.objective
    )
