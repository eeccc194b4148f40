"""Small networks, each for one structure that people build, and what must be cut.

By name: what makes the network, the shape of its input, and the least share of its
parameters that a cut of random halves has to remove (0: left whole is right).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.pytorch.structure_parts import Run, Structure, conv
from tests.pytorch.token_structures import (
    LayerNorm2d,
    convnext,
    gated,
    merging,
    queried,
    torch_attention,
    transformer,
    windowed,
)


def chain(*between: nn.Module, width: int = 12) -> nn.Module:
    """Return convolutions with something between them."""
    return nn.Sequential(
        conv(3, width, 3), *between, conv(width, 16, 3), nn.ReLU(), conv(16, 2)
    )


def shuffled(how: str) -> nn.Module:
    """Return pixels or channels shuffled."""
    if how == "pixels":
        return nn.Sequential(
            conv(3, 32, 3), nn.PixelShuffle(2), nn.ReLU(), conv(8, 12, 3), conv(12, 2)
        )
    if how == "unshuffled":
        return nn.Sequential(
            conv(3, 8, 3), nn.PixelUnshuffle(2), nn.ReLU(), conv(32, 12, 3), conv(12, 2)
        )
    if how == "channels":
        return nn.Sequential(
            conv(3, 12, 3), nn.ChannelShuffle(3), nn.ReLU(), conv(12, 8, 3), conv(8, 2)
        )

    def go(m: Any, x: Tensor) -> Tensor:  # ShuffleNetV2's unit
        a, b = m.stem(x).chunk(2, 1)
        x = torch.cat([a, m.branch(b)], 1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return m.head(x)  # type: ignore[no-any-return]

    branch = nn.Sequential(conv(8, 8), nn.BatchNorm2d(8), nn.ReLU(), conv(8, 8, 3))
    return Run(go, stem=conv(3, 16, 3), branch=branch, head=conv(16, 2))


def pooled_mask() -> nn.Module:
    """Return a mask head: queries times pixels, summed over channels."""

    def go(m: Any, x: Tensor) -> Tensor:
        pixels = m.pixels(x)
        queries = m.mlp(m.queries)
        return torch.einsum("qc,nchw->nqhw", queries, pixels)

    return Run(
        go,
        pixels=nn.Sequential(conv(3, 12, 3), nn.ReLU(), conv(12, 10)),
        queries=torch.randn(4, 14),
        mlp=nn.Sequential(nn.Linear(14, 16), nn.ReLU(), nn.Linear(16, 10)),
    )


def non_local() -> nn.Module:
    """Return a non-local block."""

    def go(m: Any, x: Tensor) -> Tensor:
        x = m.stem(x)
        q, k, v = (f(x).flatten(2) for f in (m.q, m.k, m.v))
        y = v @ (q.transpose(1, 2) @ k).softmax(-1).transpose(1, 2)
        return m.head(x + m.out(y.view(len(x), -1, *x.shape[2:])))  # type: ignore[no-any-return]

    parts = {n: conv(12, 6) for n in "qkv"}
    return Run(go, stem=conv(3, 12, 3), out=conv(6, 12), head=conv(12, 2), **parts)


def sums() -> nn.Module:
    """Return a gate by the dot product of two maps (PIDNet's)."""

    def go(m: Any, x: Tensor) -> Tensor:
        a, b = m.a(x), m.b(x)
        gate = (m.f(a) * m.g(b)).sum(1, keepdim=True).sigmoid()
        return m.head(gate * a + (1 - gate) * b)  # type: ignore[no-any-return]

    parts = {n: conv(10, 6) for n in "fg"}
    return Run(go, a=conv(3, 10, 3), b=conv(3, 10, 3), head=conv(10, 2), **parts)


def with_input(how: str) -> nn.Module:
    """Return a network that adds its input, or concatenates it."""

    def go(m: Any, x: Tensor) -> Tensor:
        y = F.relu(m.a(x))
        if how == "add":
            return m.head(F.relu(m.c(m.b(y) + x)))  # type: ignore[no-any-return]
        return m.wide(torch.cat([m.c2(y), x], 1))  # type: ignore[no-any-return]

    return Run(
        go,
        a=conv(3, 12, 3),
        b=conv(12, 3, 3),
        c=conv(3, 10, 3),
        head=conv(10, 2),
        c2=conv(12, 9, 3),
        wide=conv(12, 2),
    )


def decoded() -> nn.Module:
    """Return linear -> maps -> transposed convolutions, a depthwise multiplier."""

    def go(m: Any, x: Tensor) -> Tensor:
        z = F.relu(m.code(x.flatten(1)))
        y = m.up(m.wide(z).view(len(x), 8, 4, 4))
        return m.head(F.relu(m.dw(y)))  # type: ignore[no-any-return]

    return Run(
        go,
        code=nn.Linear(192, 20),
        wide=nn.Linear(20, 128),
        up=nn.ConvTranspose2d(8, 10, 2, 2),
        dw=conv(10, 20, 3, groups=10),
        head=conv(20, 2),
    )


def dense() -> nn.Module:
    """Return a dense block: each layer reads all before it."""

    def go(m: Any, x: Tensor) -> Tensor:
        maps = [m.stem(x)]
        for norm, layer in zip(m.norms, m.layers, strict=True):
            maps.append(layer(F.relu(norm(torch.cat(maps, 1)))))
        return m.head(torch.cat(maps, 1))  # type: ignore[no-any-return]

    widths = [8, 14, 20]
    return Run(
        go,
        stem=conv(3, 8, 3),
        norms=nn.ModuleList(nn.BatchNorm2d(w) for w in widths),
        layers=nn.ModuleList(conv(w, 6, 3) for w in widths),
        head=conv(26, 2),
    )


def res2net(how: str) -> nn.Module:
    """Return splits that go through layers one after the other."""

    def go(m: Any, x: Tensor) -> Tensor:
        x = F.relu(m.stem(x))
        if how == "c2f":
            parts = list(x.chunk(2, 1))
            parts += [m.layers[0](parts[-1])]
            parts += [m.layers[1](parts[-1])]
            return m.head(F.relu(m.mix(torch.cat(parts, 1))))  # type: ignore[no-any-return]
        a, b, c, d = torch.split(x, 6, 1)
        b = F.relu(m.layers[0](b))
        c = F.relu(m.layers[1](c + b))
        return m.head(F.relu(m.mix(torch.cat([a, b, c, d], 1))))  # type: ignore[no-any-return]

    wide = 12 if how == "c2f" else 24
    each = 6
    return Run(
        go,
        stem=conv(3, wide, 3),
        layers=nn.ModuleList(conv(each, each, 3) for _ in range(2)),
        mix=conv(24, 16),
        head=conv(16, 2),
    )


def one_d(how: str) -> nn.Module:
    """Return 1-D and 3-D maps, whose length is as large as their width."""

    def go(m: Any, x: Tensor) -> Tensor:
        x = F.relu(m.b(F.relu(m.a(x))))
        if how == "mean":
            return m.l(x.mean(-1))  # type: ignore[no-any-return]
        if how == "strided":
            return m.o(x[..., ::2])  # type: ignore[no-any-return]
        if how == "halves":
            return m.o(sum(x.chunk(2, -1)))  # type: ignore[no-any-return]
        return m.o(x.softmax(-1) * x)  # type: ignore[no-any-return]

    return Run(
        go,
        a=nn.Conv1d(3, 8, 3, padding=1),
        b=nn.Conv1d(8, 8, 3, padding=1),
        o=nn.Conv1d(8, 2, 1),
        l=nn.Linear(8, 2),
    )


def excited() -> nn.Module:
    """Return squeeze and excitation, with a hard sigmoid."""

    def go(m: Any, x: Tensor) -> Tensor:
        x = F.relu(m.stem(x))
        gate = F.hardsigmoid(m.up(F.relu(m.down(x.mean((2, 3), keepdim=True)))))
        return m.head(x * gate)  # type: ignore[no-any-return]

    return Run(
        go, stem=conv(3, 16, 3), down=conv(16, 8), up=conv(8, 16), head=conv(16, 2)
    )


class Frozen(nn.Module):
    """A frozen batch norm, as torchvision has it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Scale and shift."""
        w, b, mean, var = (t.view(1, -1, 1, 1) for t in self.buffers())
        scale = w * (var + 1e-5).rsqrt()
        return x * scale + (b - mean * scale)


def checkpointed(*, reentrant: bool) -> nn.Module:
    """Return a part that is run again in the backward pass."""

    def go(m: Any, x: Tensor) -> Tensor:
        x = checkpoint(lambda y: torch.relu(m.b(y)), m.a(x), use_reentrant=reentrant)
        return m.o(m.c(x))  # type: ignore[no-any-return]

    return Run(
        go, a=conv(3, 12, 3), b=conv(12, 12, 3), c=conv(12, 10, 3), o=conv(10, 2)
    )


def unseen() -> nn.Module:
    """Return an encoder under no_grad."""

    def go(m: Any, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = m.encoder(x)
        return m.head(x)  # type: ignore[no-any-return]

    return Run(go, encoder=chain(nn.ReLU()), head=conv(2, 2))


class Auxiliary(nn.Module):
    """A head that runs in training mode only, beside batch norms and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Sequential(conv(3, 12, 3), nn.BatchNorm2d(12), nn.ReLU())
        self.b = nn.Sequential(conv(12, 10, 3), nn.Dropout(0.2), nn.ReLU())
        self.aux = nn.Sequential(conv(12, 8, 3), nn.BatchNorm2d(8), conv(8, 2))
        self.o = conv(10, 2)

    def forward(self, x: Tensor) -> Any:
        """Return one map, or two while it is trained."""
        x = self.a(x)
        y = self.o(self.b(x))
        return (y, self.aux(x)) if self.training else y


def affine() -> nn.Module:
    """Return (C, 1, 1) scales, offsets and a constant for each channel."""

    def go(m: Any, x: Tensor) -> Tensor:
        x = m.a(x) * m.scale + m.offset
        return m.o(F.softplus(x * 2 + 0.5))  # type: ignore[no-any-return]

    return Run(
        go,
        a=conv(3, 12, 3),
        scale=torch.ones(12, 1, 1),
        offset=torch.ones(1, 12, 1, 1),
        o=conv(12, 2),
    )


def inplace() -> nn.Module:
    """Return nnU-Net's block with a skip: in-place activations behind norms."""

    def block(i: int, o: int) -> nn.Module:
        norm = nn.InstanceNorm2d(o, affine=True)
        return nn.Sequential(conv(i, o, 3), norm, nn.LeakyReLU(0.01, inplace=True))

    def go(m: Any, x: Tensor) -> Tensor:
        x = m.a(x)
        return m.o(torch.cat([x, m.b(x)], 1))  # type: ignore[no-any-return]

    return Run(go, a=block(3, 10), b=block(10, 8), o=conv(18, 2))


STRUCTURES: dict[str, Structure] = {
    "sigmoid": Structure(lambda: chain(nn.Sigmoid())),
    "softplus": Structure(lambda: chain(nn.Softplus())),
    "hard sigmoid": Structure(lambda: chain(nn.Hardsigmoid())),
    "constant padding": Structure(lambda: chain(nn.ConstantPad2d(1, 1.0))),
    "prelu of one": Structure(lambda: chain(nn.PReLU())),
    "prelu of all": Structure(lambda: chain(nn.PReLU(12))),
    "frozen batch norm": Structure(lambda: chain(Frozen(12))),
    "affine by tensors": Structure(affine),
    "auxiliary head": Structure(Auxiliary, least=0.6),
    "instance norm": Structure(lambda: chain(nn.InstanceNorm2d(12), nn.ReLU())),
    "instance norm, statistics": Structure(
        lambda: chain(nn.InstanceNorm2d(12, affine=True, track_running_stats=True))
    ),
    "in place": Structure(inplace),
    "group norm": Structure(lambda: chain(nn.GroupNorm(3, 12), nn.ReLU())),
    "group norm of one": Structure(lambda: chain(nn.GroupNorm(1, 12), nn.ReLU())),
    "layer norm 2d": Structure(lambda: chain(LayerNorm2d(12), nn.ReLU())),
    "grouped": Structure(lambda: chain(conv(12, 12, 3, groups=3), nn.ReLU())),
    "squeeze and excitation": Structure(excited),
    "pixel shuffle": Structure(lambda: shuffled("pixels")),
    "pixel unshuffle": Structure(lambda: shuffled("unshuffled")),
    "channel shuffle": Structure(lambda: shuffled("channels")),
    "shuffle unit": Structure(lambda: shuffled("unit")),
    "learned queries": Structure(queried, least=0.56),
    "mask head": Structure(pooled_mask),
    "non-local": Structure(non_local),
    "dot of two maps": Structure(sums),
    "input added": Structure(lambda: with_input("add"), least=0.2),
    "input concatenated": Structure(lambda: with_input("cat")),
    "decoder": Structure(decoded, (2, 3, 8, 8)),
    "dense block": Structure(dense),
    "res2net": Structure(lambda: res2net("res2net"), least=0.2),
    "c2f": Structure(lambda: res2net("c2f")),
    "1-d, mean": Structure(lambda: one_d("mean"), (2, 3, 32)),
    "1-d, strided": Structure(lambda: one_d("strided"), (2, 3, 8)),
    "1-d, halves": Structure(lambda: one_d("halves"), (2, 3, 16)),
    "1-d, softmax": Structure(lambda: one_d("softmax"), (2, 3, 8)),
    "3-d": Structure(
        lambda: nn.Sequential(
            nn.Conv3d(3, 8, 3, padding=1), nn.BatchNorm3d(8), nn.Conv3d(8, 2, 1)
        ),
        (1, 3, 8, 8, 8),
    ),
    "checkpoint": Structure(lambda: checkpointed(reentrant=False)),
    "checkpoint, reentrant": Structure(lambda: checkpointed(reentrant=True)),
    "encoder under no_grad": Structure(unseen),
    "convnext": Structure(lambda: convnext(grn=False)),
    "convnext v2": Structure(lambda: convnext(grn=True)),
    "windows": Structure(windowed),
    "patch merging": Structure(merging),
    "torch attention": Structure(torch_attention),
    "swiglu": Structure(lambda: gated("swiglu")),
    "glu": Structure(lambda: gated("glu")),
    "chunk": Structure(lambda: gated("chunk")),
    "split": Structure(lambda: gated("split")),
    "vit, timm": Structure(lambda: transformer("timm")),
    "vit, bias": Structure(lambda: transformer("timm with bias")),
    "vit, fused": Structure(lambda: transformer("fused")),
    "vit, interleaved": Structure(lambda: transformer("interleaved")),
    "vit, separate": Structure(lambda: transformer("separate")),
    "vit, einsum": Structure(lambda: transformer("einsum")),
    "vit, multi-query": Structure(lambda: transformer("multi-query")),
    "vit, widths of the stream": Structure(lambda: transformer("by the stream")),
    "vit, reduced sequence": Structure(lambda: transformer("reduced")),
    "vit, a scale a head": Structure(lambda: transformer("a scale a head"), least=0.68),
    "vit, rotary": Structure(lambda: transformer("rotary"), least=0.68),
    "vit, rms": Structure(lambda: transformer("separate", nn.RMSNorm)),
}
