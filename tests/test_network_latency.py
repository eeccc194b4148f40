"""A measured latency becomes one more budget."""

from __future__ import annotations

import numpy as np
import pytest

from sirfp_opt import ChannelGraph, InvalidProblemError
from sirfp_opt.network import NetworkProblem, solve_network
from sirfp_opt.network.cost import Affine, CostForm, CostModel
from sirfp_opt.network.latency import fit_latency


def two_layers() -> CostModel:
    """Return the cost of two convolutions in a row."""
    a, b = Affine(0, {"a": 1}), Affine(0, {"b": 1})
    products = [(900.0, Affine(3), a), (900.0, a, b), (100.0, b, Affine(10))]
    form = CostForm.from_products(["a", "b"], products)
    return CostModel(("a", "b"), np.array([16, 32]), {"macs": form})


def test_a_latency_of_the_model_s_form_is_recovered_and_kept() -> None:
    """Times that follow the form are fitted; the budget then holds in seconds."""
    cost = two_layers()

    def seconds(a: int, b: int) -> float:
        return 2e-4 + 1e-6 * a + 3e-6 * b + 4e-9 * 900 * a * b

    plans = [(a, b) for a in (2, 8, 16) for b in (4, 16, 32)]
    fit = fit_latency(cost, [({"a": a, "b": b}, seconds(a, b)) for a, b in plans])
    assert fit.error < 1e-6
    assert fit.cost.predict({"a": 5, "b": 9})["latency"] * 1e-9 == pytest.approx(
        seconds(5, 9), rel=1e-4
    )
    rng = np.random.default_rng(0)
    graphs = {}
    for name, n in (("a", 16), ("b", 32)):
        maps = rng.random((n, 40))
        graphs[name] = ChannelGraph.from_redundancy(maps @ maps.T)
    problem = NetworkProblem(graphs, fit.cost, {"macs": 0.6, "latency": 0.55})
    solution = solve_network(problem, "greedy")
    kept = solution.counts
    assert seconds(kept["a"], kept["b"]) <= 0.5501 * seconds(16, 32)
    assert solution.reached["macs"] <= 0.6


def test_wrong_measurements_are_refused() -> None:
    """Times must be positive and more than one; the form must be known."""
    cost = two_layers()
    with pytest.raises(InvalidProblemError, match="two or more positive"):
        fit_latency(cost, [({}, 1.0)])
    with pytest.raises(InvalidProblemError, match="two or more positive"):
        fit_latency(cost, [({}, 1.0), ({}, -1.0)])
    with pytest.raises(InvalidProblemError, match="`like` must be one of"):
        fit_latency(cost, [({}, 1.0), ({}, 2.0)], like="params")
