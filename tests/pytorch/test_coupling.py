"""Units, ties and exclusions; and that whatever is cut equals what is masked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sirfp_opt import InvalidProblemError
from sirfp_opt.network.plan import PruningPlan
from sirfp_opt.pytorch import apply_plan, count_macs, count_params, couple, mask
from sirfp_opt.pytorch.batches import frozen_outputs
from sirfp_opt.pytorch.comparison import compare
from sirfp_opt.pytorch.cost import read_cost
from tests.pytorch.cuts import largest_difference, random_plan
from tests.pytorch.hazards import CUTTABLE, HAZARDS
from tests.pytorch.networks import SOUND, Net, Residual, conv_bn, randomized

IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def difference(model: nn.Module, plan: PruningPlan, images: torch.Tensor) -> float:
    """Return max |pruned - masked| in units of the largest output."""
    pruned = frozen_outputs(apply_plan(model, plan), images)
    gap, scale = largest_difference(pruned, frozen_outputs(mask(model, plan), images))
    assert scale > 0
    return gap / max(1.0, scale)


@pytest.mark.parametrize("name", SOUND)
def test_pruned_equals_masked(name: str) -> None:
    """Arbitrary sets in all units at once: to 1e-5 in float32, 1e-10 in float64."""
    model = randomized(SOUND[name])
    coupling = couple(model, IMAGES)
    rng = np.random.default_rng(5)
    for _ in range(4):
        plan = PruningPlan(coupling.units, random_plan(coupling.units, rng))
        assert min(plan.counts[u] < plan.sizes[u] for u in plan)
        assert difference(model, plan, IMAGES) <= 1e-5
    assert difference(model.double(), plan, IMAGES.double()) <= 1e-10


@pytest.mark.parametrize("name", SOUND)
def test_predicted_costs_equal_measured_ones(name: str) -> None:
    """MACs and parameters by the model are those of the cut network, to the unit."""
    model = randomized(SOUND[name])
    coupling = couple(model, IMAGES)
    cost = read_cost(model, coupling.units, IMAGES)
    sample = IMAGES[:1]
    assert cost.total("macs") == count_macs(model, sample)
    assert cost.total("params") == count_params(model)
    rng = np.random.default_rng(6)
    for _ in range(3):
        plan = PruningPlan(coupling.units, random_plan(coupling.units, rng))
        pruned = apply_plan(model, plan)
        measured = {
            "macs": count_macs(pruned, sample),
            "params": count_params(pruned),
        }
        assert cost.predict(plan.counts) == measured


UNITS = {
    "plain": ["0.0", "1", "3.0"],
    "residual": [
        "stem.0",
        "blocks.0.one.0",
        "blocks.1.one.0",
        "blocks.1.two",
        "blocks.2.one.0",
    ],
    "unet": ["down1.0", "down2.0", "bottom.0", "up2", "join2.0", "up1", "join1.0"],
    "dense": ["stem.0", "conv1", "conv2"],
    "resnext": ["stem.0", "reduce.0", "grouped.0"],
    "group_norm": ["0", "3.0"],
}


@pytest.mark.parametrize("name", UNITS)
def test_units(name: str) -> None:
    """The units are the ones that the architecture has, under stable names."""
    coupling = couple(randomized(SOUND[name]), IMAGES)
    assert [unit.name for unit in coupling.units] == UNITS[name]


def test_members_of_a_residual_unit() -> None:
    """All batch norms that show a unit's channels are its members."""
    coupling = couple(randomized(Residual), IMAGES)
    layers = [member.layer for member in coupling.members["blocks.1.two"]]
    assert layers == ["blocks.1.norm", "blocks.1.shortcut.1", "blocks.2.norm"]


def test_a_grouped_convolution_ties_channels() -> None:
    """Position j of each of the three groups goes together, on both of its sides."""
    coupling = couple(randomized(SOUND["resnext"]), IMAGES)
    for name in ("reduce.0", "grouped.0"):
        unit = coupling.unit(name)
        assert unit.tied == ((0, 4, 8), (1, 5, 9), (2, 6, 10), (3, 7, 11))
        assert unit.step == 3
        with pytest.raises(InvalidProblemError, match="tied"):
            PruningPlan(coupling.units, {name: [0, 1, 2]})


@pytest.mark.parametrize("left", [1, 2, 3])
def test_a_grouped_convolution_down_to_one_channel_a_group(left: int) -> None:
    """With as many channels as groups it is still no depthwise convolution."""
    model = randomized(SOUND["resnext"])
    coupling = couple(model, IMAGES)
    kept = {
        name: [c for group in coupling.unit(name).tied[:left] for c in group]
        for name in ("reduce.0", "grouped.0")
    }
    for some in (kept, {"grouped.0": kept["grouped.0"]}, {"reduce.0": [0, 4, 8]}):
        plan = PruningPlan(coupling.units, some)
        assert difference(model, plan, IMAGES) <= 1e-5


def test_couplings_that_no_way_fits_stay_whole() -> None:
    """A concatenation added to its own parts; the end of a split may go."""

    def shifted(net: Any, x: torch.Tensor) -> torch.Tensor:
        x = torch.cat([x, net.one(x)], 1)  # 3 + 3
        y = torch.cat([x[:, 3:] + x[:, :3], x], 1)  # 9
        scores: torch.Tensor = net.head(net.after(y + torch.cat([y[:, 6:], x], 1)))
        return scores

    model = Net(
        shifted, one=nn.Conv2d(3, 3, 1), after=conv_bn(9, 8), head=nn.Conv2d(8, 4, 1)
    ).eval()
    coupling = couple(model, IMAGES)
    assert [unit.name for unit in coupling.units] == ["after.0"]
    assert "one" in {exclusion.unit for exclusion in coupling.exclusions}

    model = Net(
        lambda net, x: net.head(net.after(torch.split(net.one(x), 4, 1)[1])),
        one=nn.Conv2d(3, 8, 1),
        after=conv_bn(4, 8),
        head=nn.Conv2d(8, 4, 1),
    ).eval()
    coupling = couple(model, IMAGES)
    assert [unit.name for unit in coupling.units] == ["one[4:8]", "after.0"]


def test_silent_channels_hide_no_mistake() -> None:
    """Shuffled channels go in pairs even where a ReLU makes all of them zero."""
    model = randomized(CUTTABLE["channel shuffle"][0])
    norm = model.get_submodule("stem.1")
    assert isinstance(norm, nn.BatchNorm2d)
    with torch.no_grad():
        norm.bias.fill_(-100.0)
    unit = couple(model, IMAGES).unit("stem.0")
    assert unit.tied == ((0, 4), (1, 5), (2, 6), (3, 7))


@pytest.mark.parametrize("seed", [12, 24, 25, 75])
def test_small_sets_hide_no_mistake(seed: int) -> None:
    """A shuffle of four channels leaves some sets in place; trials try others."""
    model = randomized(CUTTABLE["channel shuffle of four"][0])
    assert couple(model, IMAGES, seed=seed).unit("stem.0").tied == ((0, 2), (1, 3))


@pytest.mark.parametrize("name", HAZARDS)
def test_hazards_are_excluded_with_layer_and_reason(name: str) -> None:
    """What cannot be cut exactly is found before surgery; the rest is exact."""
    make, unit, words = HAZARDS[name]
    model = randomized(make)
    coupling = couple(model, IMAGES)
    found = {exclusion.unit: exclusion for exclusion in coupling.exclusions}
    assert unit in found
    assert words in found[unit].reason
    assert found[unit].layer in dict(model.named_modules())
    if coupling.units:
        kept = random_plan(coupling.units, np.random.default_rng(0))
        plan = PruningPlan(coupling.units, kept)
        assert difference(model, plan, IMAGES) <= 1e-5


@pytest.mark.parametrize("name", CUTTABLE)
def test_what_is_cut_is_exact_and_costs_what_is_told(name: str) -> None:
    """Structures that once stayed whole: the unit, its ties, in float64, to the MAC."""
    make, unit, size, step = CUTTABLE[name]
    model, images = randomized(make).double(), IMAGES.double()
    coupling = couple(model, images)
    found = coupling.unit(unit)
    assert (found.size, found.step) == (size, step)
    cost = read_cost(model, coupling.units, images)
    rng = np.random.default_rng(1)
    for _ in range(2):
        plan = PruningPlan(coupling.units, random_plan(coupling.units, rng))
        pruned, twin = apply_plan(model, plan), mask(model, plan)
        outputs, expected = (frozen_outputs(m, images) for m in (pruned, twin))
        assert compare(outputs, expected).relative <= 1e-9
        assert cost.predict(plan.counts) == {
            "macs": count_macs(pruned, images[:1]),
            "params": count_params(pruned),
        }


def test_group_norm_goes_by_whole_groups() -> None:
    """The other groups keep their statistics."""
    model = randomized(SOUND["group_norm"])
    unit = couple(model, IMAGES).unit("0")
    assert unit.tied == ((0, 1, 2, 3), (4, 5, 6, 7))
    pruned: Any = apply_plan(model, PruningPlan([unit], {"0": [4, 5, 6, 7]}))
    assert (pruned[1].num_groups, pruned[1].num_channels) == (1, 4)


def test_outputs_are_never_cut() -> None:
    """Classifier and auxiliary head keep their classes."""
    coupling = couple(randomized(SOUND["deeplab"]), IMAGES)
    found = {exclusion.unit: exclusion.reason for exclusion in coupling.exclusions}
    assert set(found) == {"classifier", "auxiliary"}
    assert all("output" in reason for reason in found.values())


def test_frozen_layers_are_seen() -> None:
    """Layers without gradients are pruned like the others, and stay frozen."""
    model = randomized(Residual)
    expected = [unit.name for unit in couple(model, IMAGES).units]
    for parameter in model.get_submodule("blocks.0").parameters():
        parameter.requires_grad_(False)
    coupling = couple(model, IMAGES)
    assert [unit.name for unit in coupling.units] == expected
    kept = random_plan(coupling.units, np.random.default_rng(0))
    pruned = apply_plan(model, PruningPlan(coupling.units, kept))
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    assert {name: p.requires_grad for name, p in pruned.named_parameters()} == flags


def test_ignore_leaves_layers_whole() -> None:
    """Patterns name layers; their units are reported as left whole on request."""
    coupling = couple(randomized(Residual), IMAGES, ignore=["blocks.0.*"])
    reasons = {e.unit: e.reason for e in coupling.exclusions}
    assert "request" in reasons["blocks.0.one.0"]
    assert "request" in reasons["stem.0"]  # blocks.0.norm is a part of that unit
    with pytest.raises(InvalidProblemError, match="ignore"):
        couple(randomized(Residual), IMAGES, ignore="stem")


def test_layers_out_of_reach_are_listed() -> None:
    """A head that evaluation does not run is left alone, and named."""

    class WithAuxiliary(Residual):
        def __init__(self) -> None:
            super().__init__()
            self.extra = nn.Conv2d(12, 3, 1)

    coupling = couple(randomized(WithAuxiliary), IMAGES)
    assert coupling.untraced == ("extra",)


@pytest.mark.parametrize("taken", ["a sum", "the side", "a weight"])
def test_code_that_goes_by_values_is_told(taken: str) -> None:
    """A number taken from what was computed is; a size is none, nor is a parameter."""

    class Choosy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            bias = self.get_parameter("bias")
            by: dict[str, Any] = {
                "a sum": x.sum(),
                "the side": len(x),
                "a weight": bias[0],
            }
            return x * 2 if by[taken] > 0 else x

    choosy = Choosy()
    choosy.register_parameter("bias", nn.Parameter(torch.ones(3)))
    model = nn.Sequential(nn.Conv2d(3, 8, 1), choosy, nn.Conv2d(8, 2, 1))
    coupling = couple(model, IMAGES)
    assert [unit.name for unit in coupling.units] == ["0"]
    assert coupling.decided == (("1",) if taken == "a sum" else ())
    assert bool(coupling.notes) is bool(coupling.decided)


def test_a_head_that_runs_for_nothing_is_cut_along() -> None:
    """What it reads may go; what it makes stays whole, though no output shows it."""
    coupling = couple(randomized(SOUND["upernet"]), IMAGES)
    reasons = {e.unit: e.reason for e in coupling.exclusions}
    assert "no output depends" in reasons["auxiliary.1"]
    sites = coupling.unit("stages.1.two").sites
    assert "auxiliary.0.0" in {site.layer for site in sites if site.side == "in"}
    assert coupling.untraced == ()


@pytest.mark.parametrize(("pooled", "wanted"), [(True, 128), (False, 160)])
def test_large_pictures_are_cut_to_a_corner(pooled: bool, wanted: int) -> None:
    """Unless the network takes one size only; the units are those of the whole.

    A smaller one yet, of 64 pixels, is tried for verdicts.
    """
    sides = set()

    def body(net: Any, x: torch.Tensor) -> torch.Tensor:
        sides.add(x.shape[-1])
        y = F.adaptive_avg_pool2d(net.one(x), 2) if pooled else net.one(x)
        scores: torch.Tensor = net.two(y.flatten(1))
        return scores

    one = nn.Conv2d(3, 8, 64, stride=80)
    model = Net(body, one=one, two=nn.Linear(8 * 4, 3)).eval()
    coupling = couple(model, torch.randn(1, 3, 160, 160))
    assert [unit.name for unit in coupling.units] == ["one"]
    assert sides == {64, 128, wanted}


def test_a_chain_of_shuffles() -> None:
    """Whatever ties it finds between halves and shuffles, the cut is exact."""

    def shuffle(x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous()
        return x.view(n, c, h, w)

    def body(net: Any, x: torch.Tensor) -> torch.Tensor:
        y = shuffle(torch.cat([net.one(x), net.two(x)], 1))
        for layer in (net.three, net.four):
            left, right = y.chunk(2, 1)
            y = shuffle(torch.cat([left, layer(right)], 1))
        scores: torch.Tensor = net.head(net.after(y))
        return scores

    model = Net(
        body,
        one=conv_bn(3, 8),
        two=conv_bn(3, 8),
        three=conv_bn(8, 8),
        four=conv_bn(8, 8),
        after=conv_bn(16, 8),
        head=nn.Conv2d(8, 4, 1),
    ).eval()
    coupling = couple(model, IMAGES)
    rng = np.random.default_rng(0)
    assert "after.0" in {unit.name for unit in coupling.units}
    for _ in range(4):
        plan = PruningPlan(coupling.units, random_plan(coupling.units, rng))
        assert difference(model, plan, IMAGES) <= 1e-5


def test_the_trace_leaves_the_model_alone() -> None:
    """Modes, flags, gradients and parameters are those of before."""
    model = randomized(SOUND["deeplab"]).train()
    next(model.parameters()).requires_grad_(False)
    before = {name: p.clone() for name, p in model.named_parameters()}
    couple(model, IMAGES)
    assert all(module.training for module in model.modules())
    assert not next(model.parameters()).requires_grad
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None
    assert all(not module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("make", [SOUND["unet"], SOUND["depthwise_se"]])
def test_the_mask_zeroes_every_member(make: Callable[[], nn.Module]) -> None:
    """In the twin, each layer that makes removed channels gives zeros there."""
    model = randomized(make)
    coupling = couple(model, IMAGES)
    kept = random_plan(coupling.units, np.random.default_rng(2))
    plan = PruningPlan(coupling.units, kept)
    twin = mask(model, plan)
    outputs: dict[str, torch.Tensor] = {}
    for name, module in twin.named_modules():
        module.register_forward_hook(
            lambda m, a, out, name=name: outputs.update({name: out})
        )
    frozen_outputs(twin, IMAGES)
    for (layer, side), positions in plan.removed_positions().items():
        if side == "out":
            assert outputs[layer][:, positions].abs().max() == 0
            assert outputs[layer].abs().max() > 0
    assert [p.shape for p in twin.parameters()] == [p.shape for p in model.parameters()]
