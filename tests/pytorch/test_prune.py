"""`prune`: within budget, exact, explained, repeatable, and never on the original."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sirfp_opt import (
    InfeasibleError,
    InvalidProblemError,
    LayerConstraints,
    UnsupportedError,
)
from sirfp_opt.network.allocation import Threshold
from sirfp_opt.network.plan import PruningPlan
from sirfp_opt.pytorch import (
    PruneRequest,
    ReferenceOptions,
    apply_plan,
    couple,
    extract,
    mask,
    prune,
    prune_,
)
from sirfp_opt.pytorch.batches import frozen_outputs
from sirfp_opt.pytorch.report import reasons
from tests.pytorch.cuts import largest_difference
from tests.pytorch.networks import SOUND, Net, Residual, conv_bn, randomized
from tests.pytorch.test_extract import assert_untouched, fingerprint

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", SOUND)
@pytest.mark.parametrize("allocation", ["threshold", "uniform"])
def test_budget_met_from_below_and_original_untouched(
    name: str, allocation: str
) -> None:
    """Measured MACs are within the budget, the model is as it was, report adds up."""
    model = randomized(SOUND[name]).train()
    before = fingerprint(model)
    result = prune(model, [IMAGES], macs=0.75, allocation=allocation)
    assert_untouched(model, before)
    report = result.report
    assert report.reached["macs"] <= 0.75
    assert report.pruned == report.predicted
    assert report.next_cost is None or (
        report.next_cost["macs"] > 0.75 * report.original["macs"]
    )
    assert report.max_difference is not None
    assert report.max_difference <= 1e-5
    assert sum(u.kept for u in report.units) == sum(result.plan.counts.values())
    assert all(module.training for module in result.model.modules())


def test_two_budgets_at_once() -> None:
    """Both MACs and parameters stay within what was asked, and one says it binds."""
    result = prune(randomized(Residual), IMAGES, macs=0.6, params=0.4)
    assert result.report.reached["macs"] <= 0.6
    assert result.report.reached["params"] <= 0.4
    assert any("too much" in reason for reason in result.report.reasons)


@pytest.mark.parametrize(
    ("asked", "reached", "further", "said"),
    [
        (0.5, 49_847, 50_012, "0.4985 of 0.5 asked; the next|takes 0.5001"),
        (
            0.5,
            49_847,
            50_001,
            "0.49847 of 0.5 asked; the next|takes 0.50001",
        ),
        (
            0.5,
            50_000,
            50_001,
            "0.50000 of 0.5 asked; the next|takes 0.50001",
        ),
        (1 / 3, 33_333, 33_334, "0.333330 of 0.333333 asked"),
        (0.5, 50_001, None, "0.50001 is above the 0.5 asked."),
    ],
)
def test_reasons_are_true_as_they_are_written(
    asked: float, reached: int, further: int | None, said: str
) -> None:
    """As many digits as tell what is above the budget from what is within."""
    parts = {"macs": asked}, {"macs": reached / 100_000}
    more = None if further is None else {"macs": further / 100_000}
    (reason,) = reasons(*parts, more)
    assert reason.startswith(f"macs: {said}".replace("|", " larger plan ")), reason
    assert reason.endswith("too much.") == (further is not None)


@pytest.mark.parametrize("allocation", ["threshold", "uniform"])
def test_unreachable_budget_says_what_is_reachable(allocation: str) -> None:
    """The error gives the least value, which then works, and the blocking units."""
    model = randomized(SOUND["unet"])
    with pytest.raises(InfeasibleError, match="least reachable") as caught:
        prune(model, IMAGES, macs=0.01, min_keep=0.5, allocation=allocation)
    message = str(caught.value)
    assert "join2.0 (6 of 12 channels kept)" in message
    least = float(message.split("at least ")[1].split(",")[0])
    result = prune(model, IMAGES, macs=least, min_keep=0.5, allocation=allocation)
    assert result.report.reached["macs"] <= least
    with pytest.raises(InfeasibleError):
        prune(model, IMAGES, macs=least - 0.002, min_keep=0.5, allocation=allocation)


def test_prune_in_place_does_what_prune_does() -> None:
    """`prune_` cuts the model itself, to the same network."""
    model = randomized(SOUND["deeplab"])
    result = prune(model, IMAGES, macs=0.5)
    twin = copy.deepcopy(model)
    same = prune_(twin, IMAGES, macs=0.5)
    assert same.model is twin
    assert same.plan == result.plan
    gap, _ = largest_difference(
        frozen_outputs(twin, IMAGES), frozen_outputs(result.model, IMAGES)
    )
    assert gap == 0


def test_prune_in_place_leaves_the_model_when_it_fails() -> None:
    """A budget out of reach does not harm the model."""
    model = randomized(Residual)
    before = fingerprint(model)
    with pytest.raises(InfeasibleError):
        prune_(model, IMAGES, macs=0.0001)
    assert_untouched(model, before)


def test_plan_replays_on_a_fresh_model(tmp_path: Path) -> None:
    """JSON there and back, applied to a fresh model: the same pruned network."""
    model = randomized(SOUND["dense"])
    result = prune(model, IMAGES, macs=0.6, refit=None)
    path = tmp_path / "plan.json"
    text = result.plan.to_json(path)
    loaded = PruningPlan.from_json(path)
    assert loaded == result.plan
    assert PruningPlan.from_json(text) == result.plan
    fresh = SOUND["dense"]()
    fresh.load_state_dict(model.state_dict())
    gap, _ = largest_difference(
        frozen_outputs(apply_plan(fresh, loaded), IMAGES),
        frozen_outputs(result.model, IMAGES),
    )
    assert gap == 0


def test_a_plan_that_does_not_fit_is_refused_whole() -> None:
    """Wrong widths and missing layers raise before any cut."""
    plan = prune(randomized(Residual), IMAGES, macs=0.6).plan
    once = apply_plan(randomized(Residual), plan)
    before = fingerprint(once)
    with pytest.raises(InvalidProblemError, match="applied once"):
        apply_plan(once, plan, inplace=True)
    assert_untouched(once, before)
    with pytest.raises(InvalidProblemError, match="lacks"):
        mask(nn.Sequential(nn.Conv2d(3, 4, 1)), plan)


def test_dtype_flags_and_modes_survive() -> None:
    """Dtype, requires_grad and training mode of each layer are kept."""
    model = randomized(Residual).double()
    model.get_submodule("blocks.1").train()
    model.get_submodule(["stem.0", "weight"][0]).requires_grad_(False)
    result = prune(model, IMAGES.double(), macs=0.6)
    for (name, old), (other, new) in zip(
        model.named_parameters(), result.model.named_parameters(), strict=True
    ):
        assert name == other
        assert (old.dtype, old.device, old.requires_grad) == (
            new.dtype, new.device, new.requires_grad
        )  # fmt: skip
    modes = {name: m.training for name, m in model.named_modules()}
    assert {name: m.training for name, m in result.model.named_modules()} == modes


def test_the_pruned_network_trains() -> None:
    """A step of an optimizer built after pruning changes every parameter."""
    model = prune(randomized(Residual), IMAGES, macs=0.5).model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = [p.detach().clone() for p in model.parameters()]
    model(IMAGES).square().sum().backward()
    optimizer.step()
    after = list(model.parameters())
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_given_numbers_of_channels() -> None:
    """`keep` as a fraction, and by unit as number or fraction."""
    model = randomized(Residual)
    half = prune(model, IMAGES, keep=0.5)
    assert half.plan.counts == {k: n // 2 for k, n in half.plan.sizes.items()}
    some = prune(model, IMAGES, keep={"stem.0": 3, "blocks.1.two": 0.25})
    assert some.plan.counts["stem.0"] == 3
    assert some.plan.counts["blocks.1.two"] == 3
    assert some.plan.counts["blocks.0.one.0"] == 6
    statuses = {unit.unit: unit.status for unit in some.report.units}
    assert statuses["stem.0"] == "feasible"
    assert statuses["blocks.0.one.0"] == "whole"


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({}, "how much remains"),
        ({"macs": 0.5, "keep": 0.5}, "how much remains"),
        ({"macs": 0.0}, "macs"),
        ({"macs": 1.5}, "whole number above"),
        ({"params": "half"}, "params"),
        ({"macs": True}, "macs"),
        ({"keep": 2.0}, "keep"),
        ({"keep": "half"}, "keep"),
        ({"keep": {"nowhere": 2}}, "`keep` must name layers"),
        ({"keep": {"stem.0": 9}}, "1 to 8"),
        ({"keep": {"stem.0": 0.0}}, r"number in \(0, 1\]"),
        ({"macs": 0.5, "allocation": "greedy"}, "allocation"),
        ({"macs": 0.5, "min_keep": 2.0}, "min_keep"),
        ({"macs": 0.5, "multiple_of": 0}, "multiple_of"),
        ({"macs": 0.5, "method": "gredy"}, "greedy"),
        ({"macs": 0.5, "options": {"colour": 1}}, "colour"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], match: str) -> None:
    """Each is refused with a message that names it."""
    with pytest.raises(
        (InvalidProblemError, UnsupportedError, ValueError), match=match
    ):
        prune(randomized(Residual), IMAGES, **arguments)


def test_nothing_to_prune() -> None:
    """A network without a prunable unit is an error with the reasons."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Softmax(1), nn.Conv2d(4, 2, 1))
    with pytest.raises(UnsupportedError, match="Softmax normalises"):
        prune(model, IMAGES, macs=0.5)


def test_multiple_of_and_ties() -> None:
    """Counts are multiples as asked, and tied channels stay together."""
    result = prune(randomized(SOUND["deeplab"]), IMAGES, macs=0.6, multiple_of=4)
    for unit in result.report.units:
        assert unit.kept % 4 == 0 or unit.kept == unit.size
    tied = prune(randomized(SOUND["resnext"]), IMAGES, macs=0.6)
    assert tied.plan.counts["reduce.0"] % 3 == 0
    assert tied.plan.counts["reduce.0"] < 12


def test_extracted_graphs_are_reused() -> None:
    """With `graphs` nothing is measured again; `ignore` still counts."""
    model = randomized(Residual)
    graphs = extract(model, IMAGES, metric="refit")
    result = prune(model, IMAGES, macs=0.6, graphs=graphs)
    assert "extract" not in result.report.seconds
    assert result.plan == prune(model, IMAGES, macs=0.6).plan
    whole = prune(model, IMAGES, macs=0.8, graphs=graphs, ignore=["blocks.1.*"])
    assert "blocks.1.two" not in whole.plan
    assert any("request" in e["reason"] for e in whole.report.exclusions)


def test_dead_channels_go_first() -> None:
    """Channels that are always zero cost nothing to keep; they go all the same."""
    model = randomized(SOUND["plain"])
    norm = model.get_submodule("0.1")
    assert isinstance(norm, nn.BatchNorm2d)
    with torch.no_grad():
        norm.weight[[1, 4]] = 0
        norm.bias[[1, 4]] = 0
    result = prune(model, IMAGES, keep={"0.0": 10})
    assert set(range(12)) - set(result.plan["0.0"].tolist()) == {1, 4}
    spatial = {"metric": "spatial"}
    kept = prune(
        model, IMAGES, keep={"0.0": 2}, drop_dead=False, extraction=spatial
    ).plan["0.0"]
    assert {1, 4} & set(kept.tolist())


def test_solver_options_reach_the_solver() -> None:
    """Another method gives sets at least as good as the greedy's, with bounds."""
    model = randomized(Residual)
    greedy = prune(model, IMAGES, macs=0.6)
    exact = prune(model, IMAGES, macs=0.6, method="brute_force")
    assert greedy.plan.counts == exact.plan.counts
    for one, other in zip(greedy.report.units, exact.report.units, strict=True):
        assert one.sense == "maximize"
        assert other.objective >= one.objective - 1e-12
        if other.kept < other.size:
            assert other.status == "optimal"
            assert other.bound == pytest.approx(other.objective)


def test_progress_is_told() -> None:
    """The callback hears each stage from 0 to its total."""
    heard: list[tuple[str, int, int]] = []
    prune(
        randomized(Residual),
        IMAGES,
        macs=0.6,
        progress=lambda *event: heard.append(event),
    )
    stages = list(dict.fromkeys(stage for stage, _, _ in heard))
    assert stages == [
        "couple", "extract", "count", "curves", "measure", "split", "sets", "cut",
        "verify", "refit: gather", "refit: solve", "refit: batch norms",
    ]  # fmt: skip
    for stage in stages:
        last = [event for event in heard if event[0] == stage][-1]
        assert last[1] == last[2]


def test_report_as_dict_frame_and_text() -> None:
    """The report is JSON, a DataFrame with a row for each unit, and readable."""
    report = prune(randomized(SOUND["group_norm"]), IMAGES, macs=0.8).report
    data = json.loads(json.dumps(report.to_dict()))
    assert data["reached"]["macs"] <= 0.8
    frame = report.to_frame()
    assert set(frame.index) == {"0", "3.0", "4"}
    assert "output" in str(frame.loc["4", "reason"])
    text = str(report)
    assert "asked 0.8" in text
    assert "left whole" in text
    assert "its channels are the network's output" in text


def test_verification_excludes_a_unit_that_slips_through() -> None:
    """A cut that changes the output is found at the end, undone and reported."""

    class Moody(nn.Module):
        """Adds a half at a width that no trial cuts to."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + (0.5 if x.shape[1] == 3 else 0.0)

    model = nn.Sequential(
        conv_bn(3, 8), Moody(), conv_bn(8, 8), nn.Conv2d(8, 4, 1)
    ).eval()
    names = [unit.name for unit in couple(model, IMAGES, seed=0).units]
    assert names == ["0.0", "2.0"]  # the trials happened to cut to other widths
    result = prune(model, IMAGES, keep=0.4, seed=0)
    reasons = {e["unit"]: e["reason"] for e in result.report.exclusions}
    assert "not the masked one" in reasons["0.0"]
    assert result.plan.counts == {"2.0": 3}
    blind = prune(model, IMAGES, keep=0.4, seed=0, verify=False)
    assert blind.report.max_difference is None
    assert blind.plan.counts == {"0.0": 3, "2.0": 3}


def test_costs_that_are_not_the_layers_are_refused() -> None:
    """A product that grows with the third power of channels is no silent overshoot."""

    def body(net: Any, x: torch.Tensor) -> torch.Tensor:
        y = net.stem(x)
        square = torch.ones(y.shape[1], y.shape[1])  # holds no channel
        scores: torch.Tensor = net.head(y) + 0.0 * (square @ square).sum()
        return scores

    model = Net(body, stem=conv_bn(3, 8), head=nn.Conv2d(8, 4, 1)).eval()
    with pytest.raises(UnsupportedError, match="predicted"):
        prune(model, IMAGES, keep=0.5)


def test_reference_mode_has_every_quirk() -> None:
    """Union of the members' sets, steps of 0.02, sets by threshold, raw values."""
    model = randomized(SOUND["deeplab"]).train()
    torch.manual_seed(0)  # batch statistics and dropout: measured while training
    result = prune(model, [IMAGES], macs=0.7, reference=True)
    assert result.report.method == "threshold"
    options = ReferenceOptions()
    torch.manual_seed(0)
    graphs = extract(model, [IMAGES], **options.extraction)
    for unit, parts in result.graphs.redundancy.items():
        for layer, matrix in parts.items():
            np.testing.assert_array_equal(matrix, graphs.redundancy[unit][layer])
    rule = options.threshold
    assert rule == Threshold(
        normalize="none", diagonal=True, edge_weights={"backbone*": 0.4}, union=True,
        search="step", first=0.5, step=0.02, sets=True,
    )  # fmt: skip
    layers = result.solution.problem.views()
    percent, limit = 0.5, 0.7 * result.cost.total("macs")
    while True:
        masks = rule.cut(layers, percent)
        counts = {name: int(kept.sum()) for name, kept in masks.items()}
        if result.cost.predict(counts)["macs"] <= limit:
            break
        percent += 0.02
    for unit, kept in masks.items():
        np.testing.assert_array_equal(result.plan[unit], np.flatnonzero(kept))
    # The unit keeps what any of its layers would keep alone.
    for scored in layers:
        alone = [
            rule.scores(scored)[i][1] > rule.thresholds(layers, percent)[pool]
            for i, member in enumerate(scored.members)
            for pool in [0 if member.name.startswith("backbone") else 1]
        ]
        if all(some.any() for some in alone):
            np.testing.assert_array_equal(masks[scored.name], np.any(alone, axis=0))


def test_no_random_number_is_drawn() -> None:
    """Pruning leaves torch's global generator where it was."""
    model = randomized(SOUND["deeplab"])
    state = torch.random.get_rng_state()
    prune(model, IMAGES, macs=0.6)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_same_seed_same_plan() -> None:
    """Two runs with the same arguments give the same plan."""
    model = randomized(SOUND["unet"])
    first = prune(model, IMAGES, macs=0.5, seed=3)
    second = prune(model, IMAGES, macs=0.5, seed=3)
    assert first.plan == second.plan


WIDE = nn.Sequential(
    nn.Conv2d(3, 48, 1),
    nn.ReLU(),
    nn.Conv2d(48, 12, 1),
    nn.ReLU(),
    nn.Conv2d(12, 36, 1),
    nn.ReLU(),
    nn.Conv2d(36, 2, 1),
)


def test_wide_units_keep_blocks_of_eight_by_default() -> None:
    """From 32 channels on, multiples of 8 where there are any; smaller units are free.

    A number that is asked for, constraints of a unit and the reference mode lift it.
    """
    model = randomized(lambda: copy.deepcopy(WIDE))
    batch = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    graphs = extract(model, batch, metric="refit")

    def counts(**request: Any) -> dict[str, int]:
        asked: dict[str, Any] = {"macs": 0.55, "allocation": "balanced", **request}
        return prune(model, batch, graphs=graphs, **asked).plan.counts

    assert counts()["0"] % 8 == 0
    free = [counts(macs=share, multiple_of=1)["0"] for share in (0.5, 0.55, 0.6)]
    ruled = counts(constraints={"0": LayerConstraints(k_min=41, k_max=43)})
    assert any(count % 8 for count in free)
    assert 41 <= ruled["0"] <= 43
    assert counts(macs=None, keep={"0": 21}) == {"0": 21, "2": 12, "4": 36}
    assert PruneRequest.from_dict({"macs": 0.5, "reference": True}).multiple_of == 1


def test_blocks_never_make_a_budget_infeasible() -> None:
    """Where the least multiples of 8 are too many, any number may be kept."""
    model = randomized(lambda: copy.deepcopy(WIDE))
    batch = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    least = prune(model, batch, macs=0.03, allocation="balanced")
    assert least.plan.counts["0"] < 8
    assert least.report.reached["macs"] <= 0.03
    with pytest.raises(InfeasibleError):
        prune(model, batch, macs=0.03, allocation="balanced", multiple_of=8)
