"""Value curves of refit problems, and networks that are split on them."""

from __future__ import annotations

import numpy as np
import pytest

from sirfp_opt import (
    InfeasibleError,
    InvalidProblemError,
    LayerConstraints,
    NetworkProblem,
    solve,
    solve_network,
)
from sirfp_opt.network import Affine, CostForm, CostModel, Worth, value_curve
from tests.solvers.refit_problems import random_layer


def test_the_path_is_the_greedy_solver_at_every_count() -> None:
    """One pass gives the sets and values of n runs of method="greedy"."""
    layer = random_layer(17, readers=2, seed=1)
    curve = value_curve(layer)
    assert curve.counts.tolist() == list(range(1, 18))
    assert curve.steepest == 0.0
    assert curve.whole == curve.value(17) == pytest.approx(1.0, abs=1e-12)
    for k in range(1, 18):
        greedy = solve(layer, k, "greedy")
        assert curve.value(k) == pytest.approx(greedy.objective, abs=1e-11)
        assert curve.selected(k).tolist() == greedy.selected.tolist()
        assert curve.value(k) == pytest.approx(layer.value_of(curve.selected(k)))


def test_constraints_hold_along_the_path() -> None:
    """Every set is feasible, whether the layer or the call states the constraints."""
    rules = LayerConstraints(
        k_min=4, must_keep=[1], must_drop=[5], tied=[[2, 3], [6, 7]]
    )
    layer = random_layer(12, seed=2)
    for curve in (value_curve(layer, rules), value_curve(layer.constrained(rules))):
        assert curve.counts.size > 4
        for k in curve.counts.tolist():
            chosen = curve.layer(k).check(curve.selected(k))
            assert curve.problem.evaluate(chosen) == pytest.approx(curve.value(k))
        assert curve.available == 11
    fours = LayerConstraints(tied=[list(range(i, i + 4)) for i in (0, 4, 8)])
    with pytest.raises(InfeasibleError, match="groups of sizes"):
        value_curve(layer, fours, counts=[3])


def test_solving_a_point_is_never_worse_than_the_curve() -> None:
    """A better set found at one count is taken over, with its bound."""
    curve = value_curve(random_layer(12, readers=3, seed=3))
    found = curve.solve(5, "brute_force")
    assert found.objective >= curve.value(5)
    refined = curve.including([found])
    assert refined.value(5) == found.objective
    assert refined.bound(5) == found.bound


def _network(worth: Worth, macs: float = 0.5) -> NetworkProblem:
    layers = {
        u: random_layer(n, readers=2, seed=n) for u, n in {"a": 8, "b": 16}.items()
    }
    form = CostForm.from_products(
        ["a", "b"], [(9.0, Affine(0, {"a": 1}), Affine(0, {"b": 1}))]
    )
    cost = CostModel(("a", "b"), np.array([8, 16]), {"macs": form})
    return NetworkProblem(layers, cost, {"macs": macs}, worth=worth)


@pytest.mark.parametrize("objective", ["product", "balanced", "sum"])
def test_a_network_is_split_on_what_comes_through(objective: str) -> None:
    """The split is the best of all splits, on the layers' shares of the signal."""
    problem = _network(Worth(objective))
    solution = solve_network(problem, "greedy")
    assert solution.reached["macs"] <= 0.5
    assert solution.gap is not None
    assert solution.gap <= 1e-4
    curves = problem.curves
    best = np.inf
    for a in range(1, 9):
        for b in range(1, 17):
            if a * b <= 64:
                shares = np.array([curves["a"].value(a), curves["b"].value(b)])
                loss = {
                    "product": -np.log(shares).sum(),
                    "balanced": (np.log(shares) ** 2).sum(),
                    "sum": (1 - shares).sum(),
                }[objective]
                best = min(best, float(loss))
    assert solution.objective == pytest.approx(best, abs=1e-6)
    for name, layer in problem.layers.items():
        kept = solution.selected[name]
        assert layer.n >= len(kept) == solution.counts[name]


def test_scores_are_refused_where_there_are_none() -> None:
    """The paper's threshold needs redundancies."""
    with pytest.raises(InvalidProblemError, match="'threshold' must meet graphs"):
        solve_network(_network(Worth("product")), "greedy", allocation="threshold")
