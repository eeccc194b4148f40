"""The figures of a report, counted again from the pruned network and the matrices."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sirfp_opt.network import Worth
from sirfp_opt.network.allocation import Optimal
from sirfp_opt.pytorch import PruneResult, prune

SIZES = {"0": 7, "2": 6}
SIDE = 10
PRICE = 5.0
BUDGET = 0.45


def network() -> nn.Sequential:
    """Return two layers of seven and six channels, read by a third."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 7, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(7, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 2, 1),
    ).eval()


def macs(a: int, b: int) -> int:
    """Return the MACs of a picture if so many channels are kept."""
    return SIDE * SIDE * (9 * 3 * a + 9 * a * b + 2 * b)


def kept_filters(whole: Any, pruned: Any, inputs: list[int]) -> list[int]:
    """Return which filters of a layer have gone into the pruned one."""
    rows = whole.weight.detach()[:, inputs]
    return [
        next(i for i, row in enumerate(rows) if torch.equal(row, one))
        for one in pruned.weight.detach()
    ]


def redundancies(result: PruneResult, scaled: bool) -> dict[str, Any]:
    """Return, by layer, the redundancy of a set, counted pair by pair."""
    values = {}
    for name in SIZES:
        graph = result.graphs[name]
        own = graph.self_redundancy if scaled else np.ones(graph.n)
        matrix = graph.weights / np.sqrt(np.outer(own, own))

        def value(chosen: Any, matrix: Any = matrix) -> float:
            pairs = itertools.combinations(sorted(chosen), 2)
            return math.fsum(float(matrix[i, j]) for i, j in pairs)

        values[name] = value
    return values


def shares(result: PruneResult, _: bool) -> dict[str, Any]:
    """Return, by layer, the share of its reader's signal that a set lets through."""
    values = {}
    for name in SIZES:
        problem = result.graphs.problem(name)
        (covariance,), (product,) = problem.covariances, problem.products
        ridge = problem.ridge * covariance.trace() / problem.n
        ridged = covariance + ridge * np.eye(problem.n)
        signal = np.trace(product @ ridged)

        def value(
            chosen: Any,
            ridged: Any = ridged,
            product: Any = product,
            signal: float = signal,
        ) -> float:
            kept = sorted(chosen)
            rebuilt = np.linalg.solve(ridged[np.ix_(kept, kept)], ridged[kept])
            left = ridged - ridged[:, kept] @ rebuilt
            return float(1 - np.trace(product @ left) / signal)

        values[name] = value
    return values


KINDS = {
    "trace": ({"metric": "spatial", "normalize": "none"}, "trace", redundancies),
    "cosine": ({"metric": "spatial", "normalize": "none"}, "cosine", redundancies),
    "refit": ({"metric": "refit"}, "none", shares),
}


@pytest.fixture(scope="module", params=KINDS)
def case(request: pytest.FixtureRequest) -> tuple[PruneResult, str, dict[str, Any]]:
    """Return a pruned network, what puts layers on one scale, and what sets are worth.

    The sets are the greedy's, with bounds.
    """
    extraction, normalize, worth = KINDS[request.param]
    result = prune(
        network(),
        torch.rand(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)),
        macs=BUDGET,
        allocation=Optimal(worth=Worth("product", normalize, PRICE)),
        extraction=extraction,
        refit="merge" if request.param == "refit" else None,
        certify=True,
    )
    return result, normalize, worth(result, normalize == "cosine")


def test_costs_and_sets_are_those_of_the_network_returned(
    case: tuple[PruneResult, str, dict[str, Any]],
) -> None:
    """MACs counted by hand from its shapes, parameters one by one, filters compared."""
    result, *_ = case
    first, second = (result.model.get_submodule(name) for name in SIZES)
    assert isinstance(first, nn.Conv2d)
    assert isinstance(second, nn.Conv2d)
    assert result.report.pruned == {
        "macs": macs(first.out_channels, second.out_channels),
        "params": sum(p.numel() for p in result.model.parameters()),
    }
    assert result.report.original["macs"] == macs(7, 6)
    assert result.report.reached["macs"] <= BUDGET
    whole = network()
    assert kept_filters(whole[0], first, [0, 1, 2]) == result.plan["0"].tolist()
    if result.report.refit is None:  # else its weights are others
        inputs = result.plan["0"].tolist()
        assert kept_filters(whole[2], second, inputs) == result.plan["2"].tolist()


def test_objective_bound_and_status_of_each_unit(
    case: tuple[PruneResult, str, dict[str, Any]],
) -> None:
    """Of the very set in the plan; the bound is one for every set of that size."""
    result, _, values = case
    for unit in result.report.units:
        value, kept = values[unit.unit], result.plan[unit.unit].tolist()
        assert len(kept) == unit.kept
        assert unit.objective == pytest.approx(value(kept), rel=1e-9, abs=1e-12)
        assert unit.objective_before == pytest.approx(value(range(unit.size)))
        best = max if unit.sense == "maximize" else min
        sets = itertools.combinations(range(unit.size), unit.kept)
        truth = best(map(value, sets))
        sign = 1 if unit.sense == "maximize" else -1
        assert (unit.bound is None) == (unit.status == "whole")
        if unit.bound is not None:
            assert sign * unit.bound >= sign * truth - 1e-9
        if unit.status == "optimal":
            assert unit.objective == pytest.approx(truth, rel=1e-6)


def test_objective_bound_and_gap_of_the_split(
    case: tuple[PruneResult, str, dict[str, Any]],
) -> None:
    """The loss of the sets delivered; no split of the known sets loses less."""
    result, normalize, values = case
    curves = result.solution.curves

    def worth(name: str, chosen: Any) -> float:
        sign = 1 if result.report.units[0].sense == "maximize" else -1
        own = result.graphs[name].self_redundancy
        factor = 1 / own.sum() if normalize == "trace" else 1.0
        return float(PRICE * len(chosen) + sign * factor * values[name](chosen))

    def loss(name: str, chosen: Any) -> float:
        return -math.log(worth(name, chosen) / worth(name, range(SIZES[name])))

    split = result.report.split
    assert split is not None
    expected = sum(loss(name, result.plan[name].tolist()) for name in SIZES)
    assert split["objective"] == pytest.approx(expected, rel=1e-9)
    truth = min(
        loss("0", curves["0"].selected(a)) + loss("2", curves["2"].selected(b))
        for a, b in itertools.product(curves["0"].counts, curves["2"].counts)
        if macs(a, b) <= BUDGET * macs(7, 6)
    )
    assert split["bound"] <= truth + 1e-12
    assert split["objective"] >= truth - 1e-12
    largest = max(abs(split["objective"]), abs(split["bound"]))
    apart = abs(split["objective"] - split["bound"])
    assert split["gap"] == pytest.approx(apart / largest)
    best = sum(
        min(loss(name, s) for s in itertools.combinations(range(n), counts))
        for name, n in SIZES.items()
        for counts in [result.plan.counts[name]]
    )
    assert split["sets_bound"] <= best + 1e-9


def test_the_page_explains_every_word_that_it_prints(
    case: tuple[PruneResult, str, dict[str, Any]], tmp_path: Path
) -> None:
    """Each way in which a set can come about is told under the table of units."""
    result, *_ = case
    result.to_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    statuses = {unit.status for unit in result.report.units}
    for status in statuses | {"optimal", "feasible", "whole", "allocation"}:
        assert f"<em>{status}</em>" in page
