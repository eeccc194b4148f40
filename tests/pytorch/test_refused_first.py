"""Whatever is wrong with an argument is said before the network is run once."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sirfp_opt import (
    InfeasibleError,
    InvalidProblemError,
    LayerConstraints,
    Limits,
    SirfpError,
)
from sirfp_opt._rules import rules_of
from sirfp_opt.network import Budget, CostForm, CostModel, NetworkProblem, solve_network
from sirfp_opt.network.allocation import Lagrangian, Optimal, Threshold, Worth
from sirfp_opt.network.latency import fit_latency
from sirfp_opt.pytorch import (
    Extraction,
    PruneRequest,
    ReferenceOptions,
    couple,
    extract,
    prune,
    read_cost,
)
from sirfp_opt.pytorch.keywords import SHORT, PruneSettings
from tests.pytorch.networks import Residual, randomized

IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


class Counted(nn.Module):
    """A network that counts how often it is run."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = randomized(Residual)
        self.passes = 0

    def forward(self, x: torch.Tensor) -> Any:
        """Count, and run."""
        self.passes += 1
        return self.inner(x)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "must say how much remains"),
    ({"macs": 0.5, "keep": 0.5}, "must say how much remains"),
    ({"macs": 0.0}, "`macs` must be a positive number"),
    ({"macs": 1.5}, "a whole number above"),
    ({"macs": np.inf}, "`macs` must be"),
    ({"budget": 0.5}, "`budget` must be a Budget"),
    ({"budget": {"macs": 0.5}, "macs": 0.4}, "State it once"),
    ({"budget": {"energy": 0.5}}, "a cost that is known"),
    ({"latency": 0.5}, "fit_latency"),
    ({"keep": {"inner.stem.0": 1.5}}, r"`keep\['inner.stem.0'\]` must be"),
    ({"keep": {"inner.stom.0": 3}}, r"The nearest are \['inner.stem"),
    ({"macs": 0.5, "method": "gredy"}, "Did you mean 'greedy'"),
    ({"macs": 0.5, "method": 3}, "must be a name or a solver"),
    ({"macs": 0.5, "options": {"colour": 1}}, "colour"),
    ({"macs": 0.5, "options": 3}, "`options` must be a mapping"),
    ({"macs": 0.5, "allocation": "best"}, "`allocation` must be one of"),
    ({"macs": 0.5, "allocation": 3}, "`allocation` must be a name"),
    ({"macs": 0.5, "certify": "a lot"}, "`certify` must be one of"),
    ({"macs": 0.5, "time_limit": -1}, "must be a number of at least 0"),
    ({"macs": 0.5, "time_limit": "long"}, "must be a number"),
    ({"macs": 0.5, "limits": 3}, "must be a Limits"),
    ({"macs": 0.5, "limits": Limits(iterations=5)}, "`limits` must be among"),
    ({"macs": 0.5, "limits": Limits(time=1), "time_limit": 1}, "State it once"),
    ({"macs": 0.5, "n_jobs": 0}, "`n_jobs` must be"),
    ({"macs": 0.5, "ignore": ["hed.*"]}, "`ignore` must name layers"),
    ({"macs": 0.5, "ignore": "head"}, "`ignore` must hold patterns"),
    ({"macs": 0.5, "constraints": {"x*": LayerConstraints(k=1)}}, "`constraints` must"),
    ({"macs": 0.5, "constraints": {"inner*": 8}}, "must be a LayerConstraints"),
    ({"macs": 0.5, "extraction": {"metrik": "spatial"}}, "Did you mean `metric`"),
    ({"macs": 0.5, "metric": "spectral"}, "`metric` must be"),
    ({"macs": 0.5, "reference": 2}, "`reference` must be"),
    ({"macs": 0.5, "progress": 2}, "`progress` must be"),
    ({"macs": 0.5, "forward": 2}, "`forward` must be callable"),
    ({"macs": 0.5, "graphs": 2}, "`graphs` must be ExtractedGraphs"),
    ({"macs": 0.5, "cost": 2}, "`cost` must be CostModel"),
    ({"macs": 0.5, "callback": print}, "It is `progress` now"),
    ({"macs": 0.5, "alocation": "optimal"}, "Did you mean `allocation`"),
    ({"request": 3}, "`request` must be a PruneRequest"),
    ({"request": {"format": "other"}}, "must be a request of format"),
    *(
        ({"macs": 0.5, name: value}, f"`{name}` must be")
        for name, rule in rules_of(PruneRequest).items()
        for value in rule.bad
    ),
    *(
        ({"macs": 0.5, "extraction": {name: value}}, f"`{name}` must be")
        for name, rule in rules_of(Extraction).items()
        for value in rule.bad
    ),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG, ids=lambda x: str(x)[:40])
def test_wrong_arguments_cost_no_forward_pass(
    arguments: dict[str, Any], said: str
) -> None:
    """Each is refused by its name, with the network as it was, and never run."""
    model = Counted()
    with pytest.raises(SirfpError, match=said):
        prune(model, IMAGES, **arguments)
    assert model.passes == 0


def test_a_right_request_does_run() -> None:
    """The counter counts: otherwise the test above could not fail."""
    model = Counted()
    prune(model, IMAGES, macs=0.6)
    assert model.passes > 0


def test_graphs_measured_otherwise_are_refused() -> None:
    """`extraction` beside `graphs` must say what they are, or nothing."""
    model = Counted()
    graphs = extract(model, IMAGES, metric="spatial")
    model.passes = 0
    with pytest.raises(InvalidProblemError, match="`extraction` must be what `graphs`"):
        prune(model, IMAGES, macs=0.6, graphs=graphs, metric="cosine")
    assert model.passes == 0
    same = prune(model, IMAGES, macs=0.6, graphs=graphs, metric="spatial")
    assert same.plan == prune(model, IMAGES, macs=0.6, graphs=graphs).plan


@pytest.mark.parametrize("width", [7, 9])
def test_graphs_and_coupling_of_another_network_are_refused(width: int) -> None:
    """They are named, whether a layer is missing or has another width."""

    def net(width: int, *more: nn.Module) -> nn.Module:
        layers = nn.Conv2d(3, width, 3), nn.ReLU(), nn.Conv2d(width, 4, 3), *more
        return nn.Sequential(*layers, nn.Conv2d(4, 2, 1))

    other = net(8, nn.ReLU()) if width == 9 else net(8)
    graphs = extract(other, IMAGES)
    for model in (net(width), net(width, nn.ReLU())):
        with pytest.raises(InvalidProblemError, match="`graphs` must be of this"):
            prune(model, IMAGES, macs=0.6, graphs=graphs)
        with pytest.raises(InvalidProblemError, match="`coupling` must be of this"):
            extract(model, IMAGES, coupling=graphs.coupling)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for cls in (Lagrangian, Optimal, Threshold, Worth)
        for name, rule in rules_of(cls).items()
        for value in rule.bad
    ],
    ids=lambda x: str(x)[:20],
)
def test_parameters_of_allocations_obey_their_rules(name: str, value: Any) -> None:
    """Each declared rule is enforced by the classes that have the parameter."""
    tried = 0
    for cls in (Lagrangian, Optimal, Threshold, Worth):
        if value in rules_of(cls).get(name, rules_of(PruneRequest)["seed"]).bad:
            if name not in {field.name for field in fields(cls)}:
                continue
            tried += 1
            with pytest.raises(InvalidProblemError, match=f"`{name}` must be"):
                cls(**{name: value})
    assert tried


def network() -> NetworkProblem:
    """Return a network of one layer."""
    from sirfp_opt import ChannelGraph

    form = CostForm(0.0, np.ones(1), np.zeros((1, 1)))
    return NetworkProblem(
        {"a": ChannelGraph.from_redundancy(np.eye(4))},
        CostModel(("a",), np.array([4]), {"macs": form}),
        {"macs": 0.5},
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"problem": 3}, "`problem` must be a NetworkProblem"),
        ({"method": "gredy"}, "greedy"),
        ({"allocation": "best"}, "`allocation` must be one of"),
        ({"certify": "a lot"}, "`certify` must be"),
        ({"curves": {}}, "`curves` must be"),
        ({"n_jobs": 0}, "`n_jobs` must be"),
        ({"time_limit": -1.0}, "must be a number of at least 0"),
        ({"limits": Limits(iterations=3)}, "`limits` must be among"),
        ({"seed": -1}, "`seed` must be"),
        ({"progress": 3}, "`progress` must be"),
        ({"colour": 3}, "colour"),
    ],
)
def test_solve_network_refuses_before_any_curve_is_built(
    arguments: dict[str, Any], said: str
) -> None:
    """As `prune` does: by name, and at once."""
    problem = network()
    call: dict[str, Any] = {"problem": problem, "method": "greedy"} | arguments
    with pytest.raises(SirfpError, match=said):
        solve_network(**call)
    assert "curves" not in problem.__dict__


def test_a_request_goes_to_json_and_back() -> None:
    """All of its parts, allocations and solvers with parameters included."""
    from sirfp_opt_solvers.tabu import Tabu

    whole = PruneRequest(
        budget=Budget(macs=0.4, params=1000),
        method="tabu",
        options={"population": 4},
        allocation=Optimal(Worth("balanced", weights={"a": 2.0}), gap=0.0),
        constraints={"inner.*": LayerConstraints(multiple_of=4, tied=[[0, 1]])},
        ignore=("head*",),
        limits=Limits(time=1.0),
        certify="eigenvalue",
        extraction=Extraction("spatial", decay=0.9),
    )
    assert PruneRequest.from_json(whole.to_json()) == whole
    reference = prune(
        Counted(), IMAGES, macs=0.9, reference=ReferenceOptions(training=False)
    ).report.request
    assert PruneRequest.from_json(reference.to_json()) == reference
    named = PruneRequest(keep=0.5, method=Tabu(population=6))
    read = PruneRequest.from_dict(json.loads(named.to_json()))
    assert (read.method, read.options["population"]) == ("tabu", 6)


@pytest.mark.parametrize(
    "settings",
    [
        {"keep": {"one": np.int64(2), "two": np.float32(0.5)}, "seed": np.int64(3)},
        {"budget": {"macs": np.float32(0.5)}, "allocation": Optimal(gap=np.float64(0))},
        {"budget": {"macs": np.int64(9000)}, "multiple_of": np.int64(2)},
        {"keep": 0.5, "method": "tabu", "options": {"population": np.int64(4)}},
    ],
    ids=str,
)
def test_numbers_of_numpy_go_to_json_as_numbers(settings: dict[str, Any]) -> None:
    """What a check lets through does not fail once all the work is done."""
    request = PruneRequest(**settings)
    read = PruneRequest.from_json(request.to_json())
    assert read == request
    assert read.to_dict() == request.to_dict()


def test_keywords_are_the_fields_and_the_short_ones() -> None:
    """What may be passed to `prune` is what a request is made of."""
    names = {field.name for field in fields(PruneRequest)}
    assert set(PruneSettings.__annotations__) == names | set(SHORT)


def test_a_request_may_be_changed_by_keywords() -> None:
    """Keywords take the place of what a request says; one goal that of another."""
    model = randomized(Residual)
    base = PruneRequest(keep=0.5, min_keep=0.2)
    result = prune(model, IMAGES, base, macs=0.6)
    assert result.report.request.keep is None
    assert result.report.request.min_keep == 0.2
    assert result.plan.info["request"] == result.report.request.to_dict()
    assert result.plan == prune(model, IMAGES, macs=0.6, min_keep=0.2).plan


def test_constraints_by_pattern_and_absolute_budgets() -> None:
    """Multiples for some units, a number for one; parameters as a number."""
    model = randomized(Residual)
    total = sum(p.numel() for p in model.parameters())
    result = prune(
        model,
        IMAGES,
        params=total // 2,
        constraints={
            "stem.0": LayerConstraints(k=6),
            "blocks.*": LayerConstraints(multiple_of=4),
        },
        certify=True,
    )
    assert result.report.pruned["params"] <= total // 2
    counts = result.plan.counts
    assert counts.pop("stem.0") == 6
    for name, k in counts.items():
        assert k % 4 == 0 or k == result.plan.sizes[name]
    # Whole-network bounds: of the split, and of the sets.
    split = result.report.split
    assert split is not None
    assert split["bound"] <= split["objective"]
    assert split["sets_bound"] <= split["objective"] + 1e-12


def test_a_fitted_latency_is_a_budget() -> None:
    """Costs beside MACs and parameters come with a cost model of the same units."""
    model = randomized(Residual)
    units = couple(model, IMAGES).units
    cost = read_cost(model, units, IMAGES[:1])
    sizes = {unit.name: unit.size for unit in units}
    rows = [
        (counts, 1e-3 + 1e-9 * cost.predict(counts)["macs"])
        for counts in (sizes, {n: k // 2 for n, k in sizes.items()}, {})
    ]
    fit = fit_latency(cost, rows)
    result = prune(model, IMAGES, latency=0.9, macs=0.9, cost=fit.cost)
    assert set(result.report.asked) == {"latency", "macs"}
    assert result.report.reached["latency"] <= 0.9
    with pytest.raises(InfeasibleError, match="`latency` must be at least"):
        prune(model, IMAGES, latency=0.1, cost=fit.cost)
    form = CostForm(0, np.ones(1), np.zeros((1, 1)))
    other = CostModel(("x",), np.array([3]), {"latency": form})
    with pytest.raises(InvalidProblemError, match="over the network's units"):
        prune(model, IMAGES, latency=0.9, cost=other)


def test_patterns_that_match_nothing_are_refused_by_couple_and_extract() -> None:
    """As in `prune`: with the nearest names, and no pass."""
    model = Counted()
    for function in (couple, extract):
        with pytest.raises(InvalidProblemError, match=r"The nearest are \['inner.stem"):
            function(model, IMAGES, ignore=["inner.stom*"])
    assert model.passes == 0
