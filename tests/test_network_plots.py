"""Pictures of budgets show the numbers they were given."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt

from sirfp_opt import ChannelGraph, InvalidProblemError
from sirfp_opt.network import NetworkProblem, solve_network
from sirfp_opt.network.cost import Affine, CostForm, CostModel
from sirfp_opt.network.frontier import sweep
from sirfp_opt.plotting import plot_frontier, plot_kept

mpl.use("agg")


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def problem() -> NetworkProblem:
    """Two layers in a row."""
    rng = np.random.default_rng(0)
    graphs = {}
    for name, n in (("a", 12), ("b", 20)):
        maps = rng.random((n, 30))
        graphs[name] = ChannelGraph.from_redundancy(maps @ maps.T)
    a, b = Affine(0, {"a": 1}), Affine(0, {"b": 1})
    form = CostForm.from_products(["a", "b"], [(9.0, Affine(3), a), (9.0, a, b)])
    cost = CostModel(("a", "b"), np.array([12, 20]), {"macs": form})
    return NetworkProblem(graphs, cost, {"macs": 0.5})


def test_frontier_draws_every_point(problem: NetworkProblem) -> None:
    """One line for each allocation, at the costs reached; bounds are shaded."""
    front = sweep(problem, [0.3, 0.6, 0.9], ["uniform", "optimal"])
    axes = plot_frontier(front)
    assert [line.get_label() for line in axes.get_lines()] == ["uniform", "optimal"]
    x, y = axes.get_lines()[1].get_data()
    best = sorted(front.of("optimal"), key=lambda p: p.reached["macs"])
    assert np.array(x).tolist() == pytest.approx(
        [100 * p.reached["macs"] for p in best]
    )
    assert np.array(y).tolist() == pytest.approx([p.objective for p in best])
    assert len(axes.collections) == 1
    assert plot_frontier(front, value="redundancy", ax=axes) is axes
    for wrong in ({"cost": "energy"}, {"value": "loss"}):
        with pytest.raises(InvalidProblemError, match="must be one of"):
            plot_frontier(front, **wrong)  # type: ignore[arg-type]


def test_kept_shares_of_several_solutions(problem: NetworkProblem) -> None:
    """One marker for each layer and solution, at its share."""
    solutions = {
        name: solve_network(problem, "greedy", allocation=name)
        for name in ("uniform", "optimal")
    }
    axes = plot_kept(solutions)
    shares = axes.get_lines()[1].get_ydata()
    counts = solutions["optimal"].counts
    assert np.array(shares).tolist() == pytest.approx(
        [100 * counts["a"] / 12, 100 * counts["b"] / 20]
    )
    assert plot_kept({"plan": solutions["uniform"].plan()}, ax=axes) is axes
    with pytest.raises(InvalidProblemError, match="of one network"):
        plot_kept({})
