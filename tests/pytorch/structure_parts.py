"""What small networks of one structure are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


class Run(nn.Module):
    """Layers by name, and a function of them and the input."""

    def __init__(self, function: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, nn.Module):
                self.add_module(name, part)
            elif isinstance(part, Tensor):
                self.register_parameter(name, nn.Parameter(part))
            else:
                setattr(self, name, part)

    def forward(self, x: Tensor) -> Any:
        """Call it."""
        return self.function(self, x)


@dataclass(frozen=True)
class Structure:
    """A network, its input, and how much of it has to go."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...] = (2, 3, 16, 16)
    least: float = 0.3

    def build(self) -> nn.Module:
        """Return the network in float64, its numbers random, in evaluation mode."""
        torch.manual_seed(0)
        net = self.make().double().eval()
        generator = torch.Generator().manual_seed(0)
        for b in net.buffers():
            if b.is_floating_point():
                b.data = torch.rand(b.shape, generator=generator, dtype=b.dtype) + 0.5
        for p in net.parameters():
            if p.dim() < 2 or p.squeeze().dim() < 2:
                p.data = torch.rand(p.shape, generator=generator, dtype=p.dtype) + 0.3
        return net

    def input(self) -> Tensor:
        """Return random numbers of its shape."""
        generator = torch.Generator().manual_seed(1)
        return torch.randn(*self.shape, generator=generator, dtype=torch.float64)


def conv(i: int, o: int, k: int = 1, **more: Any) -> nn.Conv2d:
    """Return a convolution that keeps the map's size."""
    return nn.Conv2d(i, o, k, padding=k // 2, **more)


def tokens(x: Tensor) -> Tensor:
    """Return maps as tokens."""
    return x.flatten(2).transpose(1, 2)


def split_heads(t: Tensor, heads: int) -> Tensor:
    """Return (N, heads, L, d)."""
    return t.view(t.shape[0], t.shape[1], heads, -1).transpose(1, 2)
