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


HAZARDS: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "layer norm": (lambda: _chain(_ChannelsFirstNorm()), "0.0", "normalises"),
    "layer norm module": (
        lambda: _chain(nn.LayerNorm([8, 16, 16])),
        "0.0",
        "LayerNorm",
    ),
    "channel softmax": (lambda: _chain(nn.Softmax(dim=1)), "0.0", "normalises"),
    "sigmoid": (lambda: _chain(nn.Sigmoid()), "0.0", "zeros"),
    "pixel shuffle": (lambda: _chain(nn.PixelShuffle(2), after=2), "0.0", "positions"),
    "depthwise multiplier": (
        lambda: _chain(_conv(8, 16, groups=8), after=16),
        "0.0",
        "multiplier",
    ),
    "bare parameter": (lambda: _chain(_Scale(8)), "0.0", "bare parameter"),
    "weight norm": (_weight_norm, "0", "computed from other parameters"),
    "shared parameter": (_shared_parameter, "2", "shares a parameter"),
    "grouped transposed": (
        lambda: _chain(nn.ConvTranspose2d(8, 8, 2, stride=2, groups=4)),
        "0.0",
        "transposed",
    ),
    "channel shuffle": (
        lambda: Net(
            lambda net, x: net.head(net.after(_shuffle(net.stem(x)))),
            stem=conv_bn(3, 8), after=conv_bn(8, 8), head=_conv(8, 4, 1),
        ),
        "stem.0",
        "",
    ),
    "channel shuffle of four": (
        lambda: Net(
            lambda net, x: net.head(net.after(_shuffle(net.stem(x)))),
            stem=conv_bn(3, 4), after=conv_bn(4, 8), head=_conv(8, 4, 1),
        ),
        "stem.0",
        "",
    ),
    "hard-coded split": (
        lambda: Net(
            lambda net, x: net.head(
                net.after(torch.split(net.stem(x), [3, 5], dim=1)[1])
            ),
            stem=conv_bn(3, 8), after=conv_bn(5, 8), head=_conv(8, 4, 1),
        ),
        "stem.0",
        "splits",
    ),
    "chunk": (
        lambda: Net(
            lambda net, x: net.head(
                net.after(torch.mul(*net.stem(x).chunk(2, dim=1)))
            ),
            stem=conv_bn(3, 8), after=conv_bn(4, 8), head=_conv(8, 4, 1),
        ),
        "stem.0",
        "splits",
    ),
    "channel slice": (
        lambda: Net(
            lambda net, x: net.head(net.after(net.stem(x)[:, 2:6])),
            stem=conv_bn(3, 8), after=conv_bn(4, 8), head=_conv(8, 4, 1),
        ),
        "stem.0",
        "slices",
    ),
    "hard-coded view": (
        lambda: Net(
            lambda net, x: net.head(
                net.after(net.stem(x).reshape(x.shape[0], 8, -1).unflatten(2, (16, 16)))
            ),
            stem=conv_bn(3, 8), after=conv_bn(8, 8), head=_conv(8, 4, 1),
        ),
        "stem.0",
        "fails",
    ),
    "residual with the input": (
        lambda: Net(
            lambda net, x: net.head(net.after(net.stem(x) + x)),
            stem=_conv(3, 3), after=conv_bn(3, 8), head=_conv(8, 4, 1),
        ),
        "stem",
        "network's input",
    ),
    "constant added": (
        lambda: Net(
            lambda net, x: net.head(net.after(net.stem(x) + torch.ones(8, 1, 1))),
            stem=conv_bn(3, 8), after=conv_bn(8, 8), head=_conv(8, 4, 1),
        ),
        "stem.0",
        "zeros",
    ),
    "attention": (
        lambda: Net(
            _attention, stem=conv_bn(3, 8), query=_conv(8, 8, 1), key=_conv(8, 8, 1),
            value=_conv(8, 8, 1), head=_conv(8, 4, 1),
        ),
        "stem.0",
        "activations",
    ),
    "spatial gate": (
        lambda: Net(
            _spatial_gate, stem=conv_bn(3, 8), gate=_conv(2, 1, 7), head=_conv(8, 4, 1)
        ),
        "stem.0",
        "channels",
    ),
    "partly coupled": (
        lambda: Net(
            _partly_coupled, one=_conv(3, 3), two=_conv(3, 5), both=_conv(3, 8),
            after=conv_bn(8, 8), head=_conv(8, 4, 1),
        ),
        "one",
        "only a part",
    ),
    "functional convolution": (
        lambda: Net(
            lambda net, x: net.head(
                F.conv2d(net.stem(x), next(net.after.parameters()), padding=1)
            ),
            stem=conv_bn(3, 8), after=_conv(8, 8), head=_conv(8, 4, 1),
        ),
        "stem.0",
        "functional",
    ),
    "grouped after concatenation": (
        lambda: Net(
            lambda net, x: net.head(
                net.after(torch.cat([net.one(x), net.two(x)], 1))
            ),
            one=conv_bn(3, 4), two=conv_bn(3, 4), after=conv_bn(8, 8, groups=4),
            head=_conv(8, 4, 1),
        ),
        "one.0",
        "grouped",
    ),
}  # fmt: skip
"""name -> (network, unit that must be excluded, words of the reason)"""
