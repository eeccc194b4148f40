"""Networks of which some channels cannot be cut, and the layer that must stay whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.pytorch.networks import Net, conv_bn


def _conv(inputs: int, outputs: int, kernel: int = 3, **kwargs: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **kwargs)


class _Scale(nn.Module):
    """Multiplies by a parameter of its own, one for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(channels, 1, 1) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class _ChannelsFirstNorm(nn.Module):
    """A layer norm over the channels at each position, through functions."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.permute(0, 2, 3, 1)
        return F.layer_norm(y, y.shape[-1:]).permute(0, 3, 1, 2)


def _shuffle(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def _attention(net: Any, x: Tensor) -> Tensor:
    x = net.stem(x)
    q, k, v = (f(x).flatten(2) for f in (net.query, net.key, net.value))
    weights = torch.bmm(q.transpose(1, 2), k).softmax(-1)
    y = torch.bmm(v, weights.transpose(1, 2)).view_as(x)
    scores: Tensor = net.head(x + y)
    return scores


def _spatial_gate(net: Any, x: Tensor) -> Tensor:
    x = net.stem(x)
    pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
    scores: Tensor = net.head(x * torch.sigmoid(net.gate(pooled)))
    return scores


def _shared_parameter() -> nn.Module:
    net = nn.Sequential(_conv(3, 8), nn.ReLU(), _conv(8, 8), nn.ReLU(), _conv(8, 8))
    net.append(nn.ReLU()).append(_conv(8, 4, 1))
    net[4].weight = net[2].weight
    return net


def _weight_norm() -> nn.Module:
    first = nn.utils.parametrizations.weight_norm(_conv(3, 8))
    return nn.Sequential(first, nn.ReLU(), conv_bn(8, 8), _conv(8, 4, 1))


def _partly_coupled(net: Any, x: Tensor) -> Tensor:
    y = torch.cat([net.one(x), net.two(x)], 1) + net.both(x)
    scores: Tensor = net.head(net.after(F.relu(y)))
    return scores


def _chain(middle: nn.Module, width: int = 8, after: int = 8) -> nn.Module:
    return nn.Sequential(conv_bn(3, width), middle, conv_bn(after, 8), _conv(8, 4, 1))


def _one(stem: int, body: Callable[[Any, Tensor], Tensor], after: int = 8) -> nn.Module:
    """Return a stem, something done to its maps, a layer after that, a head."""
    return Net(
        lambda net, x: net.head(net.after(body(net, net.stem(x)))),
        stem=conv_bn(3, stem), after=conv_bn(after, 8), head=_conv(8, 4, 1),
    )  # fmt: skip


HAZARDS: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "functional layer norm": (
        lambda: _chain(_ChannelsFirstNorm()), "0.0", "normalises across channels",
    ),
    "channel softmax": (lambda: _chain(nn.Softmax(dim=1)), "0.0", "Softmax normalises"),
    "channel cumsum": (
        lambda: _one(8, lambda net, y: y.cumsum(1)), "stem.0", "cumsum mixes",
    ),
    "largest channel": (
        lambda: _one(8, lambda net, y: y * y.amax(1, keepdim=True)), "stem.0",
        "reduces over the channels",
    ),
    "unknown operation": (
        lambda: _one(8, lambda net, y: y * torch.linalg.det(y)[:, :, None, None]),
        "stem.0", "followed through",
    ),
    "hard-coded split": (
        lambda: _one(8, lambda net, y: torch.split(y, [3, 5], dim=1)[1], 5),
        "stem.0[3:8]", "the cut network fails",
    ),
    "channel slice": (
        lambda: _one(8, lambda net, y: y[:, 2:6], 4), "stem.0[2:6]", "cut network",
    ),
    "hard-coded view": (
        lambda: _one(
            8, lambda net, y: y.reshape(y.shape[0], 8, -1).view(-1, 8, 16, 16)
        ),
        "stem.0", "fails",
    ),
    "residual with the input": (
        lambda: Net(
            lambda net, x: net.head(net.after(net.stem(x) + x)),
            stem=_conv(3, 3), after=conv_bn(3, 8), head=_conv(8, 4, 1),
        ),
        "stem", "network's input",
    ),
    "constant added": (
        lambda: _one(8, lambda net, y: y + torch.arange(8.0).view(8, 1, 1)), "stem.0",
        "meet a constant",
    ),
    "spatial gate": (
        lambda: Net(
            _spatial_gate, stem=conv_bn(3, 8), gate=_conv(2, 1, 7), head=_conv(8, 4, 1)
        ),
        "stem.0", "reduces over the channels",
    ),
    "channels mixed by place": (
        lambda: _one(8, lambda net, y: y[:, [1, 0, 2, 3, 4, 5, 6, 7]]), "stem.0", "",
    ),
}  # fmt: skip
"""name -> (network, unit that must be excluded, words of the reason)"""


CUTTABLE: dict[str, tuple[Callable[[], nn.Module], str, int, int]] = {
    "layer norm of maps": (lambda: _chain(nn.LayerNorm([8, 16, 16])), "0.0", 8, 1),
    "group norm of one group": (lambda: _chain(nn.GroupNorm(1, 8)), "0.0", 8, 1),
    "sigmoid": (lambda: _chain(nn.Sigmoid()), "0.0", 8, 1),
    "softplus in place": (
        lambda: _one(8, lambda net, y: F.softplus(y.relu_())), "stem.0", 8, 1,
    ),
    "padding by ones": (lambda: _chain(nn.ConstantPad2d(1, 1.0)), "0.0", 8, 1),
    "one slope for all": (lambda: _chain(nn.PReLU()), "0.0", 8, 1),
    "pixel shuffle": (lambda: _chain(nn.PixelShuffle(2), after=2), "0.0", 2, 1),
    "pixel unshuffle": (lambda: _chain(nn.PixelUnshuffle(2), after=32), "0.0", 8, 1),
    "depthwise multiplier": (
        lambda: _chain(_conv(8, 16, groups=8), after=16), "0.0", 8, 1,
    ),
    "layer scale": (lambda: _chain(_Scale(8)), "0.0", 8, 1),
    "instance norm": (lambda: _chain(nn.InstanceNorm2d(8)), "0.0", 8, 1),
    "instance norm with statistics": (
        lambda: _chain(nn.InstanceNorm2d(8, affine=True, track_running_stats=True)),
        "0.0", 8, 1,
    ),
    "weight norm": (_weight_norm, "0", 8, 1),
    "shared parameter": (_shared_parameter, "0", 8, 1),
    "grouped transposed": (
        lambda: _chain(nn.ConvTranspose2d(8, 8, 2, stride=2, groups=4)), "0.0", 8, 4,
    ),
    "channel shuffle": (lambda: _one(8, lambda net, y: _shuffle(y)), "stem.0", 8, 2),
    "channel shuffle of four": (
        lambda: _one(4, lambda net, y: _shuffle(y), 4), "stem.0", 4, 2,
    ),
    "chunk": (
        lambda: _one(8, lambda net, y: torch.mul(*y.chunk(2, dim=1)), 4),
        "stem.0", 4, 1,
    ),
    "halves that part": (
        lambda: _one(8, lambda net, y: torch.cat([y.chunk(2, 1)[1], y], 1), 12),
        "stem.0", 4, 1,
    ),
    "attention": (
        lambda: Net(
            _attention, stem=conv_bn(3, 8), query=_conv(8, 8, 1), key=_conv(8, 8, 1),
            value=_conv(8, 8, 1), head=_conv(8, 4, 1),
        ),
        "query", 8, 1,
    ),
    "sum over channels": (
        lambda: Net(
            lambda net, x: net.head((net.one(x) * net.two(x)).sum(1, keepdim=True)),
            one=_conv(3, 8), two=_conv(3, 8), head=_conv(1, 4, 1),
        ),
        "one", 8, 1,
    ),
    "masks by einsum": (
        lambda: Net(
            lambda net, x: torch.einsum(
                "qc,nchw->nqhw", net.queries.weight, net.pixels(x)
            ),
            queries=nn.Embedding(5, 8), pixels=_conv(3, 8),
        ),
        "pixels", 8, 1,
    ),
    "partly coupled": (
        lambda: Net(
            _partly_coupled, one=_conv(3, 3), two=_conv(3, 5), both=_conv(3, 8),
            after=conv_bn(8, 8), head=_conv(8, 4, 1),
        ),
        "one", 3, 1,
    ),
    "input beside": (
        lambda: Net(
            lambda net, x: net.head(net.after(torch.cat([net.stem(x), x], 1))),
            stem=conv_bn(3, 8), after=conv_bn(11, 8), head=_conv(8, 4, 1),
        ),
        "stem.0", 8, 1,
    ),
    "functional convolution": (
        lambda: Net(
            lambda net, x: net.head(
                F.conv2d(net.stem(x), next(net.after.parameters()), padding=1)
            ),
            stem=conv_bn(3, 8), after=_conv(8, 8), head=_conv(8, 4, 1),
        ),
        "stem.0", 8, 1,
    ),
    "grouped after concatenation": (
        lambda: Net(
            lambda net, x: net.head(
                net.after(torch.cat([net.one(x), net.two(x)], 1))
            ),
            one=conv_bn(3, 4), two=conv_bn(3, 4), after=conv_bn(8, 8, groups=4),
            head=_conv(8, 4, 1),
        ),
        "one.0", 4, 2,
    ),
    "maps from a vector": (
        lambda: Net(
            lambda net, x: net.head(
                net.up(net.vector(x.mean((2, 3))).view(x.shape[0], -1, 4, 4))
            ),
            vector=nn.Linear(3, 8 * 16), up=nn.ConvTranspose2d(8, 6, 2, stride=2),
            head=_conv(6, 4, 1),
        ),
        "vector", 8, 1,
    ),
    "one dimension, halves of the length": (
        lambda: Net(
            lambda net, x: net.head(sum(net.stem(x.flatten(2)).chunk(2, -1))),
            stem=nn.Conv1d(3, 8, 3, padding=1), head=nn.Conv1d(8, 4, 1),
        ),
        "stem", 8, 1,
    ),
    "three dimensions": (
        lambda: Net(
            lambda net, x: net.head(F.relu(net.stem(x.view(*x.shape[:3], 4, 4)))),
            stem=nn.Conv3d(3, 8, 3, padding=1), head=nn.Conv3d(8, 4, 1),
        ),
        "stem", 8, 1,
    ),
    "encoder without gradients": (
        lambda: Net(
            lambda net, x: net.head(F.relu(torch.no_grad()(net.stem)(x))),
            stem=_conv(3, 8), head=_conv(8, 4, 1),
        ),
        "stem", 8, 1,
    ),
}  # fmt: skip
"""name -> (network, unit that must be found, its channels, those that go at a time)"""
