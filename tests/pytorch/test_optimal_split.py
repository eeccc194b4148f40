"""The best split on real networks: predicted costs are measured costs, budgets hold."""

from __future__ import annotations

import math

import pytest
import torch

from sirfp_opt import InfeasibleError
from sirfp_opt.network import NetworkProblem, solve_network
from sirfp_opt.pytorch import (
    apply_plan,
    count_macs,
    count_params,
    couple,
    extract,
    prune,
    read_cost,
)
from tests.pytorch.networks import SOUND, Residual, randomized

IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", SOUND)
@pytest.mark.parametrize("allocation", ["optimal", "lagrangian"])
def test_two_budgets_hold_on_every_kind_of_network(name: str, allocation: str) -> None:
    """MACs and parameters as predicted, at most as asked, with a bound on the split."""
    model = randomized(SOUND[name])
    result = prune(model, [IMAGES], macs=0.7, params=0.7, allocation=allocation)
    report = result.report
    assert report.pruned == report.predicted
    assert report.reached["macs"] <= 0.7
    assert report.reached["params"] <= 0.7
    assert report.split is not None
    assert report.split["bound"] <= report.split["objective"] + 1e-12
    if allocation == "optimal":
        assert report.split["gap"] <= 1e-4
    assert "gap" in report.summary()
    assert report.max_difference is not None
    assert report.max_difference <= 1e-5


def test_a_network_problem_from_a_network_cuts_it() -> None:
    """Graphs and costs read off a network, solved without torch, cut that network."""
    model = randomized(Residual)
    coupling = couple(model, IMAGES)
    graphs = extract(model, [IMAGES], coupling=coupling)
    cost = read_cost(model, coupling.units, IMAGES[:1])
    problem = NetworkProblem(dict(graphs), cost, {"macs": 0.6}, min_keep=0.1)
    solution = solve_network(problem, "greedy")
    small = apply_plan(model, solution.plan(coupling.units))
    measured = count_macs(small, IMAGES[:1]), count_params(small)
    assert measured == (solution.costs["macs"], solution.costs["params"])
    assert solution.reached["macs"] <= 0.6
    by_prune = prune(model, IMAGES, macs=0.6, allocation="optimal", graphs=graphs)
    assert by_prune.plan.counts == solution.counts


def test_unreachable_budgets_raise_and_name_layers() -> None:
    """Before any surgery; the least reachable value can then be asked for."""
    model = randomized(Residual)
    with pytest.raises(InfeasibleError, match="channels kept") as told:
        prune(model, IMAGES, macs=0.01, min_keep=0.5, allocation="optimal")
    least = float(str(told.value).split("at least ")[1].split(",")[0])
    result = prune(model, IMAGES, macs=least, min_keep=0.5, allocation="optimal")
    assert result.report.reached["macs"] <= least


def test_units_solved_in_parallel_with_certificates() -> None:
    """Two jobs give the sets of one, and each unit that was cut has a bound."""
    model = randomized(Residual)
    one, two = (
        prune(model, IMAGES, macs=0.5, allocation="optimal", certify=True, n_jobs=jobs)
        for jobs in (1, 2)
    )
    assert one.plan == two.plan
    for unit in two.report.units:
        if unit.kept < unit.size:
            assert unit.bound is not None
            assert unit.bound >= unit.objective - 1e-9
            assert math.isfinite(unit.bound)
