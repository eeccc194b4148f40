"""Norms that lost channels divide by their former number: as if zeros were there."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sirfp_opt.network.plan import PruningPlan, PruningUnit, Site
from sirfp_opt.pytorch import apply_plan
from sirfp_opt.pytorch.cutting.norms import former_of, norm_of

KEPT = [0, 2, 3, 7]
CHANNELS = 8


class ChannelsFirst(nn.LayerNorm):
    """LayerNorm2d of torchvision and timm."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise over dimension 1."""
        x = input.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class OwnLayerNorm(nn.Module):
    """As in ConvNeXt's code: no child of PyTorch's norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.eps = 1e-6
        self.normalized_shape = (width,)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise over dimension 1."""
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + self.eps)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class OwnGroupNorm(nn.GroupNorm):
    """As timm's GroupNorm1: a pass of its own, to the same end."""

    def __init__(self, width: int, groups: int = 1) -> None:
        super().__init__(groups, width, eps=1e-4)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise over groups of channels."""
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


class OwnRMSNorm(nn.Module):
    """As in Llama's code."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.variance_epsilon = 1e-5

    def forward(self, x: Tensor) -> Tensor:
        """Normalise over the last dimension."""
        variance = x.pow(2).mean(-1, keepdim=True)
        x = x * torch.rsqrt(variance + self.variance_epsilon)
        return self.weight * x


class GRN(nn.Module):
    """ConvNeXt V2's global response norm, channels last."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, width))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """Scale channels by their share of the norm."""
        response = torch.norm(x, p=2, dim=(1, 2), keepdim=True)
        share = response / (response.mean(dim=-1, keepdim=True) + 1e-6)
        out: Tensor = self.gamma * (x * share) + self.beta + x
        return out


NORMS: dict[str, tuple[Any, int]] = {
    "layer": (lambda: nn.LayerNorm(CHANNELS), -1),
    "layer, no bias": (lambda: nn.LayerNorm(CHANNELS, bias=False), -1),
    "layer, plain": (lambda: nn.LayerNorm(CHANNELS, elementwise_affine=False), -1),
    "layer over maps": (lambda: nn.LayerNorm((CHANNELS, 3, 5)), 1),
    "layer, channels first": (lambda: ChannelsFirst(CHANNELS, eps=1e-6), 1),
    "layer, own class": (lambda: OwnLayerNorm(CHANNELS), 1),
    "rms": (lambda: nn.RMSNorm(CHANNELS), -1),
    "rms, eps": (lambda: nn.RMSNorm(CHANNELS, eps=1e-3), -1),
    "rms, plain": (lambda: nn.RMSNorm(CHANNELS, elementwise_affine=False), -1),
    "rms, own class": (lambda: OwnRMSNorm(CHANNELS), -1),
    "group of all": (lambda: nn.GroupNorm(1, CHANNELS), 1),
    "groups, half of each": (lambda: nn.GroupNorm(2, CHANNELS), 1),
    "groups, whole ones": (lambda: nn.GroupNorm(4, CHANNELS), 1),
    "group, plain": (lambda: nn.GroupNorm(1, CHANNELS, affine=False), 1),
    "group, own class": (lambda: OwnGroupNorm(CHANNELS), 1),
    "groups, own class": (lambda: OwnGroupNorm(CHANNELS, 2), 1),
    "response": (lambda: GRN(CHANNELS), -1),
}


def kept_of(name: str) -> list[int]:
    """Return channels that stay: two of each half, or two groups of two."""
    return [2, 3, 6, 7] if name == "groups, whole ones" else [0, 2, 5, 7]


def normed(name: str) -> nn.Module:
    """Return the norm, its parameters random."""
    module: nn.Module = NORMS[name][0]().double().eval()
    generator = torch.Generator().manual_seed(1)
    for p in module.parameters():
        p.data = torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return nn.Sequential(module)


def maps(axis: int) -> Tensor:
    """Return maps with their channels at `axis`; small ones, at which eps counts."""
    generator = torch.Generator().manual_seed(2)
    shape = (2, CHANNELS, 3, 5) if axis == 1 else (2, 3, 5, CHANNELS)
    maps = torch.randn(*shape, generator=generator, dtype=torch.float64) + 0.3
    return torch.cat([maps, maps * 1e-3])


def plan_of(net: nn.Module, name: str, norms: Any = "former") -> PruningPlan:
    """Cut the norm, whatever tensors it has."""
    sites = [
        Site(key, list(p.shape).index(CHANNELS), CHANNELS)
        for key, p in net.named_parameters()
    ]
    if name == "layer over maps":
        sites = [Site(key, 0, CHANNELS) for key, _ in net.named_parameters()]
    if not sites:
        count = "num_channels" if "group" in name else "normalized_shape"
        sites = [Site(f"0.{count}", 0, CHANNELS)]
    units = [PruningUnit("0", CHANNELS, tuple(sites))]
    return PruningPlan(units, {"0": kept_of(name)}, norms=norms)


@pytest.mark.parametrize("name", NORMS)
def test_as_if_zeros_were_there(name: str) -> None:
    """The cut norm of kept channels = the whole norm of maps with zeros, restricted."""
    net, axis = normed(name), NORMS[name][1]
    kept = torch.tensor(kept_of(name))
    x = maps(axis)
    zeroed = torch.zeros_like(x)
    zeroed.index_copy_(axis, kept, x.index_select(axis, kept))
    cut = apply_plan(net, plan_of(net, name))
    expected = net(zeroed).index_select(axis, kept)
    found = cut(x.index_select(axis, kept))
    assert (found - expected).abs().max() <= 1e-13 * expected.abs().max()
    assert list(cut.state_dict()) == list(net.state_dict())
    assert {p.shape.numel() for p in cut.parameters()} <= {4, 60}
    for twin in (copy.deepcopy(cut), pickle.loads(pickle.dumps(cut))):
        assert torch.equal(twin(x.index_select(axis, kept)), found)
    if name != "groups, whole ones":
        assert former_of(cut[0]) is not None  # type: ignore[index]
        assert "former" in repr(cut)


@pytest.mark.parametrize("name", NORMS)
def test_ordinary_norms_on_request(name: str) -> None:
    """With norms="own" the kept channels are normalised among themselves."""
    net, axis = normed(name), NORMS[name][1]
    kept = torch.tensor(kept_of(name))
    cut = apply_plan(net, plan_of(net, name, "own"))
    assert former_of(cut[0]) is None  # type: ignore[index]
    x = maps(axis).index_select(axis, kept)
    sound = cut(x)
    assert sound.shape == x.shape
    assert sound.isfinite().all()
    exact = apply_plan(net, plan_of(net, name))(x)
    same = name == "groups, whole ones"
    assert torch.allclose(sound, exact, rtol=1e-9) is same


def test_cut_twice() -> None:
    """A norm that was cut before goes on dividing by what it had at first."""
    net = normed("layer")
    once = apply_plan(net, plan_of(net, "layer"))
    sites = (Site("0.weight", 0, 4), Site("0.bias", 0, 4))
    plan = PruningPlan([PruningUnit("0", 4, sites)], {"0": [1, 2]})
    twice = apply_plan(once, plan)
    x = maps(-1)
    both = [kept_of("layer")[i] for i in (1, 2)]
    zeroed = torch.zeros_like(x)
    zeroed[..., both] = x[..., both]
    expected = net(zeroed)[..., both]
    assert (twice(x[..., both]) - expected).abs().max() < 1e-13


def test_half_precision_sums_in_float32() -> None:
    """As PyTorch's own norms do: the result is rounded once."""
    net = normed("layer")
    cut = apply_plan(net, plan_of(net, "layer"))
    x = maps(-1)[..., : len(KEPT)].float()
    half = copy.deepcopy(cut).bfloat16()(x.bfloat16())
    assert half.dtype == torch.bfloat16
    exact = copy.deepcopy(cut).bfloat16().float()(x.bfloat16().float())
    assert (half.float() - exact).abs().max() <= 2**-6 * exact.abs().max()


class Doubled(nn.LayerNorm):
    """No norm that is known: twice of one."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise, and double."""
        return 2 * super().forward(input)


class Shifted(nn.GroupNorm):
    """No norm that is known: one of other numbers."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise, and add."""
        return super().forward(input) + 1


@pytest.mark.parametrize(
    "module",
    [
        Doubled(8),
        Shifted(1, 8),
        nn.BatchNorm2d(8),
        nn.Linear(8, 8),
        nn.InstanceNorm2d(8),
    ],
)
def test_what_is_no_such_norm(module: nn.Module) -> None:
    """A class of another formula, though of a norm's name, is not taken for one."""
    assert norm_of(module) is None


@pytest.mark.parametrize("axis", [1, -1])
def test_norms_are_exported(axis: int) -> None:
    """`torch.export` takes them, one behind the other, and gives the same numbers."""
    names = [name for name, (_, where) in NORMS.items() if where == axis]
    cut = [
        apply_plan(normed(name), plan_of(normed(name), name))
        for name in names
        if name != "layer over maps"
    ]
    net = nn.Sequential(*cut).eval()
    shape = (2, 4, 3, 5) if axis == 1 else (2, 3, 5, 4)
    x = torch.randn(
        *shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )
    program = torch.export.export(net, (x,), strict=False)
    assert torch.equal(program.module()(x), net(x))
