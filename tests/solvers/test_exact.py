"""The exact solver: what it claims is true, and it proves whole layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sirfp_opt import (
    ChannelGraph,
    InfeasibleError,
    InvalidProblemError,
    Limits,
    solve,
)
from sirfp_opt_solvers.exact import Exact
from tests.solvers.random_problems import random_problem

LAYERS = Path(__file__).parents[2] / "examples" / "data" / "layers.npz"


@pytest.mark.parametrize("seed", range(10))
def test_it_agrees_with_enumeration(seed: int) -> None:
    """50 random problems each: same optimum, a proof, or infeasible for both."""
    rng = np.random.default_rng(seed)
    for _ in range(50):
        problem = random_problem(rng)
        try:
            truth = solve(problem, method="brute_force").objective
        except InfeasibleError:
            with pytest.raises(InfeasibleError):
                solve(problem, method="exact")
            continue
        found = solve(problem, method="exact")
        scale = float(np.abs(problem.graph.weights).sum())
        assert found.objective == pytest.approx(truth, rel=1e-9, abs=1e-12 * scale)
        assert found.status.value == "optimal"


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("layer", ["stem1", "low", "block1"])
def test_it_proves_layers_of_a_trained_network(layer: str, share: float) -> None:
    """Layers of 32 to 64 channels, where linear models stall."""
    with np.load(LAYERS) as arrays:
        graph = ChannelGraph.from_redundancy(arrays[layer])
    k = int(graph.n * share)
    proved = solve(graph, k, method="exact")
    assert proved.status.value == "optimal"
    assert proved.objective <= solve(graph, k, method="greedy").objective


def test_bounds_only_rise_and_never_pass_the_incumbent() -> None:
    """Every row of the trace is a bracket of the optimum, and they narrow."""
    with np.load(LAYERS) as arrays:
        graph = ChannelGraph.from_redundancy(arrays["low"])
    solution = solve(graph, graph.n // 4, method="exact")
    rows = [
        e for e in solution.trace if e.bound is not None and e.incumbent is not None
    ]
    bounds = [e.bound for e in rows if e.bound is not None]
    assert bounds == sorted(bounds)
    assert all(
        e.bound <= solution.objective <= e.incumbent  # type: ignore[operator]
        for e in rows
    )


def test_an_iteration_limit_leaves_an_honest_gap() -> None:
    """Stopped at its first node it still has a set and a bound below the optimum."""
    rng = np.random.default_rng(5)
    weights = rng.random((120, 120))
    graph = ChannelGraph(weights + weights.T, sense="minimize")
    limits = Limits(iterations=1)
    stopped = solve(graph, 30, method="exact", limits=limits)
    again = solve(graph, 30, method="exact", limits=limits)
    assert stopped.limit == "iterations"
    assert stopped.trace[-1].iteration == 1
    assert stopped.bound is not None
    assert stopped.bound < stopped.objective
    assert again.selected.tolist() == stopped.selected.tolist()
    assert again.bound == stopped.bound


def test_parameters_are_checked() -> None:
    """Out of range is refused when the solver is made."""
    with pytest.raises(InvalidProblemError, match="`barrier`"):
        Exact(barrier=0.0)
    with pytest.raises(InvalidProblemError, match="`budget`"):
        Exact(budget=0)
