"""Small networks drawn at random from the layers and joins that occur in practice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from tests.pytorch.random_layers import SPECIAL, special

WIDTHS = (4, 6, 8, 12)
KINDS = {
    "convolution": 4,
    "norm": 5,
    "depthwise": 2,
    "grouped": 2,
    "linear": 1,
    "group norm": 4,
    "layer norm": 0.5,
    "sigmoid": 0.5,
    "gelu": 1,
    "prelu": 1,
    "gate": 1,
    "transposed": 3,
    "pool": 1,
    "upsample": 1,
    "shuffle": 0.5,
    "chunk": 0.5,
    "add": 4,
    "concatenate": 3,
    "input": 1,
    "attention": 1,
    "gated": 1,
    "special norm": 1.5,
    "activation": 1.5,
    "normed weight": 0.5,
    "wrapped": 0.5,
    "joined": 1,
    "padded": 0.5,
    "multiplier": 0.5,
    "pixel shuffle": 0.5,
    "pixel unshuffle": 0.5,
}
"""How often each kind is drawn, relatively."""

WEIGHTED = [kind for kind, odds in KINDS.items() for _ in range(round(2 * odds))]


WIDE = {
    "convolution", "norm", "grouped", "linear", "transposed", "gated",
    "normed weight", "wrapped", "padded",
}  # fmt: skip
"""Kinds whose width is drawn."""

RATIO = {"chunk": 0.5, "multiplier": 2, "pixel shuffle": 0.25, "pixel unshuffle": 4}
"""Widths of others, by that of what they are given."""


class Drawn:
    """The three methods of a random generator that networks need, by hypothesis.

    So a network that fails is made smaller until its steps are the fewest that fail.
    """

    def __init__(self, data: st.DataObject) -> None:
        self._draw = data.draw

    def integers(self, low: int, high: int) -> int:
        """Draw a number from low to high - 1."""
        return self._draw(st.integers(low, high - 1))

    def choice(self, values: Sequence[Any]) -> Any:
        """Draw one of the values."""
        return self._draw(st.sampled_from(list(values)))

    def random(self) -> float:
        """Draw a number from 0 to 1."""
        return self._draw(st.floats(0.0, 1.0))


class ChannelsLast(nn.Module):
    """Apply a layer that has its channels last to maps that have them first."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H, W)."""
        out: Tensor = self.layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return out


class Gate(nn.Module):
    """Squeeze-and-excitation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, 4, 1),
            nn.ReLU(),
            nn.Conv2d(4, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Weigh each channel by a number from all of them."""
        out: Tensor = x * self.inner(x)
        return out


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function."""
        return self.function(x)


def _shuffle(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


@dataclass(frozen=True)
class Step:
    """One map made of one or two earlier ones, by a layer or a join."""

    kind: str
    sources: tuple[int, ...]
    layer: nn.Module | None
    channels: int
    stride: int  # in quarters of a pixel


class RandomNetwork(nn.Module):
    """A random graph of layers; its open ends are its outputs."""

    def __init__(self, rng: Drawn) -> None:
        super().__init__()
        self.steps = [Step("input", (), None, 3, 4)]
        for _ in range(int(rng.integers(6, 16))):
            self._grow(rng)
        used = {source for step in self.steps for source in step.sources}
        self.ends = [i for i in range(1, len(self.steps)) if i not in used]
        self.layers = nn.ModuleList(s.layer or nn.Identity() for s in self.steps)
        self.heads = nn.ModuleList(
            nn.Conv2d(self.steps[i].channels, 2, 1) for i in self.ends
        )
        self.classifier: nn.Module | None = None
        if rng.random() < 0.3 and self.ends:
            self.classifier = nn.Linear(self.steps[self.ends[0]].channels * 4, 3)

    def _grow(self, rng: Drawn) -> None:
        kind = str(rng.choice(WEIGHTED))
        a = int(rng.integers(max(0, len(self.steps) - 4), len(self.steps)))
        c, stride = self.steps[a].channels, self.steps[a].stride
        o = int(rng.choice(WIDTHS))
        if kind in ("add", "concatenate"):
            partners = [
                i
                for i, step in enumerate(self.steps)
                if step.stride == stride
                and (step.channels == c if kind == "add" else step.channels + c <= 32)
                and (i != a or kind == "concatenate")
            ]
            if partners:
                b = int(rng.choice(partners))
                width = c if kind == "add" else c + self.steps[b].channels
                self.steps.append(Step(kind, (a, b), None, width, stride))
            return
        if kind == "input":  # its channels meet the network's own
            if stride == 4:
                self.steps.append(Step(kind, (a,), nn.Conv2d(c, 3, 1), 3, 4))
                self.steps.append(Step("add", (len(self.steps) - 1, 0), None, 3, 4))
            return
        groups = [g for g in (2, 3, 4) if c % g == 0 and o % g == 0]
        possible = {
            "grouped": bool(groups),
            "group norm": c % 2 == 0,
            "shuffle": c % 2 == 0,
            "chunk": c % 2 == 0,
            "joined": c % 2 == 0,
            "attention": c % 4 == 0,
            "multiplier": c <= 12,
            "pixel shuffle": c % 4 == 0 and stride > 2,
            "pixel unshuffle": c <= 8 and stride < 16,
            "pool": stride < 16,
            "upsample": stride > 2,
            "transposed": stride > 2,
        }
        if not possible.get(kind, True):
            return
        if kind in ("pool", "pixel unshuffle"):
            stride *= 2
        elif kind in ("upsample", "transposed", "pixel shuffle"):
            stride //= 2
        width = o if kind in WIDE else round(c * RATIO.get(kind, 1))
        layer = _layer(kind, c, o, groups, rng)
        self.steps.append(Step(kind, (a,), layer, width, stride))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Run every step, and a head on each open end."""
        maps = [x]
        for step, layer in zip(self.steps[1:], list(self.layers)[1:], strict=True):
            sources = [maps[i] for i in step.sources]
            if step.kind == "add":
                maps.append(sources[0] + sources[1])
            elif step.kind == "concatenate":
                maps.append(torch.cat(sources, 1))
            else:
                maps.append(layer(sources[0]))
        out = [head(maps[i]) for head, i in zip(self.heads, self.ends, strict=True)]
        if self.classifier is not None:
            pooled = F.adaptive_avg_pool2d(maps[self.ends[0]], 2)
            out.append(self.classifier(pooled.flatten(1)))
        return out


def _layer(kind: str, c: int, o: int, groups: list[int], rng: Drawn) -> nn.Module:
    if kind in SPECIAL:
        return special(kind, c, o, rng)
    match kind:
        case "convolution":
            return nn.Conv2d(c, o, int(rng.choice([1, 3])), padding="same")
        case "norm":
            conv = nn.Conv2d(c, o, 3, padding=1, bias=False)
            return nn.Sequential(conv, nn.BatchNorm2d(o), nn.ReLU())
        case "depthwise":
            conv = nn.Conv2d(c, c, 3, padding=1, groups=c)
            return nn.Sequential(conv, nn.BatchNorm2d(c), nn.Hardswish())
        case "grouped":
            return nn.Conv2d(c, o, 3, padding=1, groups=int(rng.choice(groups)))
        case "linear":
            return ChannelsLast(nn.Linear(c, o))
        case "group norm":
            return nn.GroupNorm(
                int(rng.choice([g for g in (1, 2, 4) if c % g == 0])), c
            )
        case "layer norm":
            return ChannelsLast(nn.LayerNorm(c))
        case "sigmoid":
            return nn.Sigmoid()
        case "gelu":
            return nn.GELU()
        case "prelu":
            return nn.PReLU(c)
        case "gate":
            return Gate(c)
        case "transposed":
            return nn.ConvTranspose2d(c, o, 2, stride=2)
        case "pool":
            return nn.MaxPool2d(2)
        case "upsample":
            return nn.Upsample(scale_factor=2, mode="bilinear")
        case "shuffle":
            return Apply(_shuffle)
        case _:
            return Apply(lambda x: x.chunk(2, 1)[1])
