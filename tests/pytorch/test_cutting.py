"""Surgery by index tables: one slice a dimension, whatever the layer."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm
from torch.nn.utils import prune as masks

from sirfp_opt import InvalidProblemError, UnsupportedError
from sirfp_opt.network.plan import Attribute, PruningPlan, PruningUnit, Site
from sirfp_opt.pytorch import (
    Refit,
    apply_plan,
    load_pruned,
    mask,
    refit,
    save_pruned,
)
from sirfp_opt.pytorch.cutting.baking import duplicate

IMAGES = torch.randn(
    2, 3, 9, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64
)


def plan_of(
    sites: list[Site], kept: list[int], size: int, *attributes: Attribute
) -> PruningPlan:
    """Return a plan of one unit."""
    unit = PruningUnit("unit", size, tuple(sites), attributes=attributes)
    return PruningPlan([unit], {"unit": kept})


def seeded(net: nn.Module) -> nn.Module:
    """Return it in float64 and evaluation mode, all its numbers random."""
    generator = torch.Generator().manual_seed(0)
    net = net.double().eval()
    for p in net.parameters():
        p.data = torch.randn(p.shape, generator=generator, dtype=p.dtype)
    for name, b in net.named_buffers():
        if b.is_floating_point():
            b.data = torch.rand(b.shape, generator=generator, dtype=b.dtype) + 0.5
            b.data = -b.data if name.endswith("mean") else b.data
    return net


def twin_by_hooks(net: nn.Module, reader: str, gone: Any, dim: int = 1) -> nn.Module:
    """Return a twin of another kind: what `reader` reads is zero at `gone`."""
    twin = duplicate(net)
    twin.get_submodule(reader).register_forward_pre_hook(
        lambda module, args: (args[0].index_fill(dim, torch.as_tensor(gone), 0.0),)
    )
    return twin


def assert_same(one: nn.Module, other: nn.Module, images: Tensor = IMAGES) -> None:
    """Check equality to the last digits of float64."""
    with torch.no_grad():
        found, expected = one(images), other(images)
    assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()


def conv_sites(name: str, size: int, *, transposed: bool = False) -> list[Site]:
    """Return what a convolution makes its channels with."""
    made = Site(f"{name}.weight", 1 if transposed else 0, size)
    return [made, Site(f"{name}.bias", 0, size)]


def norm_sites(name: str, size: int) -> list[Site]:
    """Return all tensors of a batch norm."""
    names = ("weight", "bias", "running_mean", "running_var")
    return [Site(f"{name}.{n}", 0, size) for n in names]


MOVES: dict[str, Callable[[], nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "hard sigmoid": nn.Hardsigmoid,
    "padding with ones": lambda: nn.ConstantPad2d(1, 1.0),
    "prelu of one": nn.PReLU,
}


@pytest.mark.parametrize("kind", MOVES)
def test_what_moves_zero_is_masked_where_it_is_read(kind: str) -> None:
    """Between a maker and its reader zero may become anything: nobody reads it."""
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), MOVES[kind](), nn.Conv2d(8, 2, 3)]
    net = seeded(nn.Sequential(*layers))
    sites = [*conv_sites("0", 8), *norm_sites("1", 8), Site("3.weight", 1, 8, "in")]
    plan = plan_of(sites, [1, 4, 6], 8)
    pruned = apply_plan(net, plan)
    assert_same(pruned, mask(net, plan))
    assert_same(pruned, twin_by_hooks(net, "3", [0, 2, 3, 5, 7]))
    assert pruned[1].num_features == 3  # type: ignore[index]


class Frozen(nn.Module):
    """A frozen batch norm, layer scale and an offset: bare tensors of all shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 2, 1)
        self.gamma = nn.Parameter(torch.ones(6, 1, 1))
        self.place = nn.Parameter(torch.ones(1, 6, 9, 9))
        self.register_buffer("scale", torch.ones(6))
        self.register_buffer("running_var", torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        """Scale by each of them."""
        buffers: dict[str, Tensor] = dict(self.named_buffers())
        scale = buffers["scale"] / (buffers["running_var"] + 1e-5).sqrt()
        x = self.gamma * (self.one(x) * scale.view(1, -1, 1, 1)) + self.place
        out: Tensor = self.two(x)
        return out


def test_bare_parameters_and_buffers_are_cut() -> None:
    """They are sites like any other; buffers stay buffers, marks stay."""
    net: Any = seeded(Frozen())
    net.gamma.requires_grad_(False)
    net.gamma.no_decay = True
    bare = [Site("gamma", 0, 6), Site("place", 1, 6), Site("scale", 0, 6)]
    sites = [*conv_sites("one", 6), *bare, Site("running_var", 0, 6)]
    plan = plan_of([*sites, Site("two.weight", 1, 6, "in")], [0, 2, 5], 6)
    pruned: Any = apply_plan(net, plan)
    assert_same(pruned, mask(net, plan))
    assert_same(pruned, twin_by_hooks(net, "two", [1, 3, 4]))
    assert pruned.gamma.shape == (3, 1, 1)
    assert not pruned.gamma.requires_grad
    assert pruned.gamma.no_decay
    assert set(dict(pruned.named_buffers())) == {"scale", "running_var"}


@pytest.mark.parametrize("how", ["whole groups", "one of each"])
@pytest.mark.parametrize("transposed", [False, True])
def test_grouped_convolutions(how: str, transposed: bool) -> None:
    """Whole groups go, or equally many channels of each group, on both sides."""
    kind: Any = nn.ConvTranspose2d if transposed else nn.Conv2d
    net = seeded(
        nn.Sequential(nn.Conv2d(3, 8, 3), kind(8, 12, 3, groups=4), nn.Conv2d(12, 2, 1))
    )
    reads, makes = ("1.weight", 0), ("1.weight", 1)
    if not transposed:
        reads, makes = makes, reads
    if how == "whole groups":
        inner, outer = np.arange(8).reshape(4, 2), np.arange(12).reshape(4, 3)
        kept, groups = [0, 3], 2
    else:  # channel c of the unit: the c-th of each group; the third output stays
        inner, outer = np.arange(8).reshape(4, 2).T, np.arange(12).reshape(4, 3).T[:2]
        kept, groups = [1], 4
    size = len(inner)
    sites = [Site.of_table(f"0.{n}", 0, 8, inner) for n in ("weight", "bias")]
    sites += [
        Site.of_table(*reads, 8, inner, "in"),
        Site.of_table(*makes, 12, outer),
        Site.of_table("1.bias", 0, 12, outer),
        Site.of_table("2.weight", 1, 12, outer, "in"),
    ]
    plan = plan_of(sites, kept, size)
    pruned: Any = apply_plan(net, plan)
    assert pruned[1].groups == groups
    assert (pruned[1].in_channels, pruned[1].out_channels) == (
        4,
        6 if how == "whole groups" else 8,
    )
    assert_same(pruned, mask(net, plan))
    twin = twin_by_hooks(net, "2", np.delete(outer, kept, 0).ravel().tolist())
    assert_same(pruned, twin_by_hooks(twin, "1", np.delete(inner, kept, 0).ravel()))


def test_a_depthwise_multiplier() -> None:
    """A group's only input goes with its filters, whether the plan names it or not."""
    net = seeded(
        nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.Conv2d(4, 8, 3, groups=4), nn.Conv2d(8, 2, 1)
        )
    )
    pairs = np.arange(8).reshape(4, 2)
    sites = [
        *conv_sites("0", 4),
        Site.of_table("1.weight", 0, 8, pairs),
        Site.of_table("1.bias", 0, 8, pairs),
        Site.of_table("2.weight", 1, 8, pairs, "in"),
    ]
    for more in ([], [Site("1.weight", 1, 4, "in")]):
        plan = plan_of([*sites, *more], [1, 2], 4)
        pruned: Any = apply_plan(net, plan)
        assert (pruned[1].groups, pruned[1].in_channels) == (2, 2)
        assert_same(pruned, mask(net, plan))
        assert_same(pruned, twin_by_hooks(net, "2", [0, 1, 6, 7]))


def test_groups_torn_apart_are_refused() -> None:
    """Unequal numbers in groups: refused, and the network is as it was."""
    net = seeded(nn.Sequential(nn.Conv2d(4, 8, 1, groups=2), nn.Conv2d(8, 2, 1)))
    before = copy.deepcopy(net.state_dict())
    plan = plan_of([*conv_sites("0", 8), Site("1.weight", 1, 8, "in")], [0, 1, 7], 8)
    with pytest.raises(InvalidProblemError, match="whole groups"):
        apply_plan(net, plan, inplace=True)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert net[0].out_channels == 8  # type: ignore[index]


def old(norm: Any) -> Callable[[nn.Module], nn.Module]:
    """Apply one of the old functions without its warning."""

    def act(layer: nn.Module) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made: nn.Module = norm(layer)
        return made

    return act


COMPUTED: dict[str, Callable[[nn.Module], nn.Module]] = {
    "old weight norm": old(weight_norm),
    "old spectral norm": old(spectral_norm),
    "weight norm": parametrizations.weight_norm,
    "spectral norm": parametrizations.spectral_norm,
}


def test_the_mean_of_what_went_goes_into_the_bias_on_request() -> None:
    """It is what a refit with a large penalty leaves of itself, as the guide says."""
    layers = [nn.Conv2d(3, 8, 3), nn.Sigmoid(), nn.Conv2d(8, 4, 1), nn.Conv2d(4, 2, 1)]
    net: Any = seeded(nn.Sequential(*layers))
    plan = plan_of([*conv_sites("0", 8), Site("2.weight", 1, 8, "in")], [1, 4, 6], 8)
    how = Refit("merge", ridge=1e12, held_out=0.0, positions=None, batch_norms="kept")
    cut: Any = apply_plan(net, plan)
    filled: Any = refit(net, plan, IMAGES, how).model
    assert torch.allclose(filled[2].weight, cut[2].weight)
    gone = [0, 2, 3, 5, 7]
    means = net[1](net[0](IMAGES)).mean((0, 2, 3))[gone]
    expected = cut[2].bias + net[2].weight[:, gone, 0, 0] @ means
    assert torch.allclose(filled[2].bias, expected)


@pytest.mark.parametrize("ran", [False, True])
@pytest.mark.parametrize("kind", COMPUTED)
def test_computed_weights_become_plain(kind: str, ran: bool) -> None:
    """Baked at their present values, in the pruned network and in the twin only."""
    norm = COMPUTED[kind]
    net = nn.Sequential(norm(nn.Conv2d(3, 8, 3)), nn.ReLU(), norm(nn.Conv2d(8, 2, 3)))
    net = net.double().eval()
    if ran:
        net(IMAGES)  # with gradients: the old hooks leave tensors with a history
    keys = list(net.state_dict())
    plan = plan_of([*conv_sites("0", 8), Site("2.weight", 1, 8, "in")], [0, 3, 7], 8)
    pruned, twin = apply_plan(net, plan), mask(net, plan)
    assert_same(pruned, twin)
    assert_same(pruned, twin_by_hooks(net, "2", [1, 2, 4, 5, 6]))
    assert list(net.state_dict()) == keys
    assert sorted(pruned.state_dict()) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    assert all(p.requires_grad for p in pruned.parameters())


def test_masks_of_torch_prune_are_cut_along(tmp_path: Any) -> None:
    """A sparse layer stays sparse where it is left, and its mask goes with it."""
    net = seeded(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3)))
    for layer in (net[0], net[2]):  # type: ignore[index]
        masks.random_unstructured(layer, "weight", amount=0.5)  # type: ignore[no-untyped-call]
    plan = plan_of([*conv_sites("0", 8), Site("2.weight", 1, 8, "in")], [0, 3, 7], 8)
    pruned: Any = apply_plan(net, plan)
    assert pruned[0].weight_mask.shape == pruned[0].weight_orig.shape == (3, 3, 3, 3)
    assert_same(pruned, mask(net, plan))
    zeros = (pruned[0].weight == 0).float().mean()
    assert 0.3 < zeros < 0.7
    masks.remove(pruned[0], "weight")  # type: ignore[no-untyped-call]
    assert_same(pruned, mask(net, plan))


def test_tied_parameters_stay_tied() -> None:
    """Two layers with one weight have one smaller weight afterwards."""
    net: Any = seeded(
        nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.Linear(6, 2))
    )
    net[2].weight = net[0].weight
    sites = [Site("0.weight", 1, 6, "in"), Site("0.weight", 0, 6)]
    sites += [Site("0.bias", 0, 6), Site("2.bias", 0, 6), Site("3.weight", 1, 6, "in")]
    pruned: Any = apply_plan(net, plan_of(sites, [1, 2, 5], 6))
    assert pruned[0].weight is pruned[2].weight
    assert pruned[2].in_features == pruned[2].out_features == 3
    assert pruned(torch.rand(4, 3, dtype=torch.float64)).shape == (4, 2)


class Split(nn.Module):
    """Sizes in attributes: a number, and a list of them."""

    def __init__(self) -> None:
        super().__init__()
        self.made, self.read = nn.Conv2d(3, 10, 1), nn.Conv2d(10, 2, 1)
        self.sizes, self.width = [4, 6], 10

    def forward(self, x: Tensor) -> Tensor:
        """Split, and put together again."""
        one, two = self.made(x).split(self.sizes, 1)
        x = torch.cat([one, two.sigmoid()], 1).view(len(x), self.width, 9, 9)
        out: Tensor = self.read(x)
        return out


def test_attributes_follow() -> None:
    """Counts of several units in one attribute, entries of a list, whole numbers."""
    net: Any = seeded(Split())
    units, kept = [], {}
    for name, offset, size, keep in (("a", 0, 4, [0, 3]), ("b", 4, 6, [1, 2, 5])):
        sites = [Site(f"made.{w}", 0, 10, offset=offset) for w in ("weight", "bias")]
        sites += [Site("read.weight", 1, 10, "in", offset)]
        counted = (
            Attribute("", "sizes", size, index=int(name == "b")),
            Attribute("", "width", 10, size),
        )
        units.append(PruningUnit(name, size, tuple(sites), attributes=counted))
        kept[name] = keep
    plan = PruningPlan(units, kept)
    assert PruningPlan.from_json(plan.to_json()) == plan
    pruned: Any = apply_plan(net, plan)
    assert pruned.sizes == [2, 3]
    assert pruned.width == 5
    assert_same(pruned, mask(net, plan))
    odd = [
        PruningUnit("a", 4, units[0].sites, attributes=(Attribute("", "width", 10),))
    ]
    with pytest.raises(InvalidProblemError, match="whole number"):
        apply_plan(net, PruningPlan(odd, {"a": [0, 1, 2]}))
    with pytest.raises(InvalidProblemError, match="applied once"):
        apply_plan(pruned, plan)


def test_the_twin_stays_one_while_it_is_trained() -> None:
    """After steps on the twin and on the pruned network both are still the same."""
    net = seeded(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ELU(), nn.Conv2d(8, 2, 3)))
    plan = plan_of([*conv_sites("0", 8), Site("2.weight", 1, 8, "in")], [1, 4, 6], 8)
    both = [apply_plan(net, plan), copy.deepcopy(mask(net, plan))]
    for one in both:
        optimizer = torch.optim.SGD(one.parameters(), 1e-3, 0.9, weight_decay=1e-2)
        for _ in range(3):
            optimizer.zero_grad()
            (one(IMAGES).square().mean() + one(IMAGES.flip(0)).abs().mean()).backward()
            optimizer.step()
    assert_same(both[0], both[1])
    assert (both[0](IMAGES) - apply_plan(net, plan)(IMAGES)).abs().max() > 1e-3


WRAPPED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "parallel": (nn.DataParallel, ".module"),
    "compiled": (lambda net: torch.compile(net, backend="eager"), "_orig_mod"),
    "scripted": (
        lambda net: torch.jit.trace(net, IMAGES),  # type: ignore[no-untyped-call]
        "before torch.jit",
    ),
    "meta": (lambda net: copy.deepcopy(net).to("meta"), "meta device"),
    "lazy": (lambda net: nn.Sequential(net[0], nn.LazyLinear(3)), "run lazy"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("kind", WRAPPED)
def test_wrapped_networks_are_refused_with_the_way_out(kind: str) -> None:
    """DataParallel, torch.compile, TorchScript, the meta device, lazy layers."""
    net = seeded(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 3)))
    plan = plan_of([*conv_sites("0", 8), Site("1.weight", 1, 8, "in")], [1, 4, 6], 8)
    wrap, words = WRAPPED[kind]
    for act in (apply_plan, mask):
        with pytest.raises(UnsupportedError, match=words):
            act(wrap(net), plan)


def test_layouts_and_devices_stay() -> None:
    """Channels-last weights stay so; dtype, frozen weights and modes, too."""
    net: Any = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)).bfloat16()
    net = net.to(memory_format=torch.channels_last).train()
    net[1].weight.requires_grad_(False)
    plan = plan_of([*conv_sites("0", 8), Site("1.weight", 1, 8, "in")], [1, 4, 6], 8)
    pruned: Any = apply_plan(net, plan)
    assert pruned.training
    assert pruned[1].weight.is_contiguous(memory_format=torch.channels_last)
    assert pruned[1].weight.dtype == torch.bfloat16
    assert [p.requires_grad for p in pruned.parameters()] == [True, True, False, True]


FIRST_FORMAT = {
    "format": "sirfp-opt/plan/1",
    "info": {"asked": {"macs": 0.5}},
    "units": [
        {
            "name": "0",
            "size": 8,
            "kept": [0, 1, 2, 5],
            "tied": [],
            "sites": [
                {"layer": "0", "side": "out", "channels": 8, "offset": 0, "repeat": 1},
                {"layer": "1", "side": "out", "channels": 8, "offset": 0, "repeat": 1},
                {"layer": "3", "side": "in", "channels": 8, "offset": 0, "repeat": 1},
            ],
            "heads": {"module": "", "attributes": ["num_heads"]},
        }
    ],
}


class Old(nn.Sequential):
    """A network for which a plan was stored by the first version."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 1)
        )
        self.num_heads: Any = 4


def test_plans_of_the_first_format_are_read(tmp_path: Any) -> None:
    """A text as version 1 wrote it: cut, masked, saved in format 2, loaded."""
    plan = PruningPlan.from_json(json.dumps(FIRST_FORMAT))
    net: Any = seeded(Old())
    pruned: Any = apply_plan(net, plan)
    assert (pruned[0].out_channels, pruned[1].num_features) == (4, 4)
    assert pruned.num_heads == 2
    assert_same(pruned, mask(net, plan))
    again = PruningPlan.from_json(plan.to_json())
    assert again == plan
    assert json.loads(plan.to_json())["format"] == "sirfp-opt/plan/2"
    save_pruned(tmp_path / "old.pt", pruned, plan)
    loaded = load_pruned(tmp_path / "old.pt", Old().double().eval())
    assert_same(loaded, pruned)


def edited(edit: Callable[[Any], Any], text: Any = None) -> str:
    """Return a plan's text with something changed."""
    data = json.loads(text or json.dumps(FIRST_FORMAT))
    edit(data)
    return json.dumps(data)


HOSTILE = {
    "tied of strings": edited(lambda p: p["units"][0].update(tied=["ab"])),
    "tied of unequal length": edited(
        lambda p: p["units"][0].update(tied=[[0, 1], [2]])
    ),
    "info a list": edited(lambda p: p.update(info=[1])),
    "no JSON": "{nope",
    "nested deep": '{"a":' * 100000,
    "a list": "[1]",
    "units a number": edited(lambda p: p.update(units=3)),
    "a huge unit": edited(lambda p: p["units"][0].update(size=10**15)),
    "no name": edited(lambda p: p["units"][0].pop("name")),
    "a foreign key": edited(lambda p: p["units"][0]["sites"][0].update(evil=1)),
    "an attribute": edited(
        lambda p: p["units"][0].update(heads={"module": "3", "attributes": ["groups"]})
    ),
    "a mode": edited(
        lambda p: p["units"][0].update(heads={"module": "", "attributes": ["training"]})
    ),
    "a secret": edited(
        lambda p: p["units"][0].update(heads={"module": "", "attributes": ["__x__"]})
    ),
    "no such layer": edited(lambda p: p["units"][0]["sites"][0].update(layer="9")),
    "another size": edited(lambda p: p["units"][0]["sites"][1].update(channels=9)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_damaged_texts_are_refused_before_a_cut(name: str) -> None:
    """One kind of error, with a way out; the network is as it was."""
    net: Any = seeded(Old())
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(InvalidProblemError, match=r"must .*\. "):
        apply_plan(net, PruningPlan.from_json(HOSTILE[name]), inplace=True)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert not net.training
    assert net[3].groups == 1


def test_a_site_lost_from_a_text_is_noticed() -> None:
    """Format 2 has a check sum of its units; what is kept may be edited."""
    text = PruningPlan.from_json(json.dumps(FIRST_FORMAT)).to_json()
    with pytest.raises(InvalidProblemError, match="check sum"):
        PruningPlan.from_json(edited(lambda p: p["units"][0]["sites"].pop(), text))
    fewer = edited(lambda p: p["units"][0].update(kept=[2, 3]), text)
    assert PruningPlan.from_json(fewer)["0"].tolist() == [2, 3]
