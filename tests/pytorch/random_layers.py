"""The less plain layers of random networks, each (N, C, H, W) -> (N, C', H, W)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from tests.pytorch.structure_parts import Run, conv, split_heads, tokens
from tests.pytorch.structures import Frozen
from tests.pytorch.token_structures import GRN, LayerNorm2d

__all__ = ["SPECIAL", "Draw", "special"]


class Draw(Protocol):
    """What picks one of several ways."""

    def choice(self, values: Sequence[Any]) -> Any:
        """Return one of the values."""
        ...


def _channels_last(layer: nn.Module) -> nn.Module:
    return Run(
        lambda m, x: m.layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), layer=layer
    )


def _attention(c: int, how: str) -> nn.Module:
    """Return attention over positions with a residual, in one of several ways."""

    def go(m: Any, x: Tensor) -> Tensor:
        t = tokens(x)
        if how == "fused":
            n, length, _ = t.shape
            parts = m.qkv(t).reshape(n, length, 3, m.num_heads, -1)
            q, k, v = parts.permute(2, 0, 3, 1, 4)
        else:
            q, k, v = (split_heads(f(t), m.num_heads) for f in (m.q, m.k, m.v))
        if how == "rotated":
            angle = torch.arange(q.shape[2]).to(q)[:, None].mul(0.1)
            q, k = (
                z * angle.cos() + torch.cat([-z[..., 1:], z[..., :1]], -1) * angle.sin()
                for z in (q, k)
            )
        if how == "normed":
            q, k = m.norm(q), F.normalize(k, dim=-1)
        y = F.scaled_dot_product_attention(q, k, v)
        y = m.out(y.transpose(1, 2).flatten(2)).transpose(1, 2)
        maps: Tensor = y.view(len(x), -1, *x.shape[2:])
        return x + maps

    parts: dict[str, nn.Module]
    if how == "fused":
        parts = {"qkv": nn.Linear(c, 3 * c)}
    else:
        parts = {name: nn.Linear(c, c) for name in "qkv"}
    if how == "normed":
        parts["norm"] = nn.LayerNorm(c // 2)
    return Run(go, num_heads=2, out=nn.Linear(c, c), **parts)


def _gated(c: int, o: int, how: str) -> nn.Module:
    """Return a convolution of twice the width, one half of which gates the other."""

    def go(m: Any, x: Tensor) -> Tensor:
        if how == "glu":
            return F.glu(m.both(x), 1)
        a, b = m.both(x).split([o, o], 1) if how == "split" else m.both(x).chunk(2, 1)
        made: Tensor = F.silu(a) * b
        return made

    return Run(go, both=conv(c, 2 * o))


def _einsum_gate(c: int) -> nn.Module:
    """Return a gate by the dot product of two maps.

    Of channels in pairs: torch.einsum over a single one is no product, which no cost
    model of ours foresees.
    """

    def go(m: Any, x: Tensor) -> Tensor:
        gate = torch.einsum("nchw,nchw->nhw", m.f(x), m.g(x)).sigmoid()
        made: Tensor = x * gate[:, None]
        return made

    return Run(go, f=conv(c, 6, groups=2), g=conv(c, 6, groups=2))


def _res2net(c: int) -> nn.Module:
    """Return halves of which one goes through a layer, and then both do."""

    def go(m: Any, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        return torch.cat([a, F.relu(m.inner(b))], 1)

    return Run(go, inner=conv(c // 2, c // 2, 3))


def _twice(c: int) -> nn.Module:
    """Return a layer that is called twice."""
    return Run(lambda m, x: m.layer(F.relu(m.layer(x))), layer=conv(c, c, 3))


def _unseen(c: int, o: int) -> nn.Module:
    """Return a layer that runs under no_grad."""

    def go(m: Any, x: Tensor) -> Tensor:
        with torch.no_grad():
            return F.relu(m.layer(x))

    return Run(go, layer=conv(c, o, 3))


def _again(c: int, o: int) -> nn.Module:
    """Return a layer that a checkpoint runs."""
    return Run(
        lambda m, x: checkpoint(lambda y: F.relu(m.layer(y)), x, use_reentrant=False),
        layer=conv(c, o, 3),
    )


def _norm(c: int, how: str) -> nn.Module:
    match how:
        case "instance":
            return nn.InstanceNorm2d(c)
        case "instance, affine":
            return nn.InstanceNorm2d(c, affine=True, track_running_stats=True)
        case "rms":
            return _channels_last(nn.RMSNorm(c))
        case "grn":
            return _channels_last(GRN(c))
        case "frozen":
            return Frozen(c)
        case _:
            return LayerNorm2d(c)


def _activation(c: int, how: str) -> nn.Module:
    match how:
        case "in place":
            return nn.Sequential(nn.BatchNorm2d(c), nn.LeakyReLU(0.1, inplace=True))
        case "one slope":
            return nn.PReLU()
        case "softplus":
            return nn.Softplus()
        case "layer scale":
            scale, offset = torch.rand(c, 1, 1) + 0.5, torch.rand(1, c, 1, 1)
            return Run(lambda m, x: x * m.scale + m.offset, scale=scale, offset=offset)
        case _:
            return nn.Hardsigmoid()


SPECIAL: dict[str, tuple[str, ...]] = {
    "attention": ("separate", "fused", "rotated", "normed"),
    "gated": ("glu", "split", "chunk"),
    "special norm": (
        "instance", "instance, affine", "rms", "grn", "frozen", "layer norm 2d",
    ),
    "activation": (
        "in place", "one slope", "softplus", "layer scale", "hard sigmoid",
    ),
    "normed weight": ("weight norm", "spectral norm"),
    "wrapped": ("no_grad", "checkpoint"),
    "joined": ("einsum", "res2net", "twice"),
    "padded": ("",),
    "multiplier": ("",),
    "pixel shuffle": ("",),
    "pixel unshuffle": ("",),
}  # fmt: skip
"""name -> the ways of it, of which one is drawn"""


def special(kind: str, c: int, o: int, rng: Draw) -> nn.Module:
    """Return the layer of a kind from `c` channels, to `o` where it has a width."""
    how = str(rng.choice(SPECIAL[kind]))
    makes: dict[str, Callable[[], nn.Module]] = {
        "attention": lambda: _attention(c, how),
        "gated": lambda: _gated(c, o, how),
        "special norm": lambda: _norm(c, how),
        "activation": lambda: _activation(c, how),
        "normed weight": lambda: (
            parametrizations.weight_norm(conv(c, o, 3))
            if how == "weight norm"
            else parametrizations.spectral_norm(conv(c, o, 3))
        ),
        "wrapped": lambda: _unseen(c, o) if how == "no_grad" else _again(c, o),
        "joined": lambda: {
            "einsum": _einsum_gate,
            "res2net": _res2net,
            "twice": _twice,
        }[how](c),
        "padded": lambda: nn.Sequential(nn.ConstantPad2d(1, 0.5), nn.Conv2d(c, o, 3)),
        "multiplier": lambda: conv(c, 2 * c, 3, groups=c),
        "pixel shuffle": lambda: nn.PixelShuffle(2),
        "pixel unshuffle": lambda: nn.PixelUnshuffle(2),
    }
    return makes[kind]()
