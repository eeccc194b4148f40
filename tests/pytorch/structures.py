"""Small networks, each for one structure that people build, and what must be cut.

By name: what makes the network, the shape of its input, and the least share of its
parameters that a cut of random halves has to remove (0: left whole is right).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


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


def chain(*between: nn.Module, width: int = 12) -> nn.Module:
    """Return convolutions with something between them."""
    return nn.Sequential(
        conv(3, width, 3), *between, conv(width, 16, 3), nn.ReLU(), conv(16, 2)
    )


def tokens(x: Tensor) -> Tensor:
    """Return maps as tokens."""
    return x.flatten(2).transpose(1, 2)


def split_heads(t: Tensor, heads: int) -> Tensor:
    """Return (N, heads, L, d)."""
    return t.view(t.shape[0], t.shape[1], heads, -1).transpose(1, 2)


class Attention(nn.Module):
    """Self attention in one of the ways in which people write it."""

    def __init__(self, how: str, width: int = 24, heads: int = 4) -> None:
        super().__init__()
        self.how, self.num_heads = how, heads
        self.head_dim = width // heads
        self.scale = self.head_dim**-0.5
        if how in ("timm", "timm with bias", "fused", "interleaved"):
            self.qkv = nn.Linear(width, 3 * width)
        else:
            self.q = nn.Linear(width, width)
        if how == "multi-query":
            self.kv = nn.Linear(width, 2 * self.head_dim)
        elif not hasattr(self, "qkv"):
            self.k, self.v = nn.Linear(width, width), nn.Linear(width, width)
        if how == "timm with bias":
            self.bias = nn.Parameter(torch.randn(heads, 16, 16))
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Attend."""
        n, length, _ = x.shape
        h, d = self.num_heads, self.head_dim
        if self.how in ("timm", "timm with bias", "fused"):
            qkv = self.qkv(x).reshape(n, length, 3, h, d).permute(2, 0, 3, 1, 4)
            q, k, v = qkv.unbind(0)
        elif self.how == "interleaved":
            qkv = self.qkv(x).view(n, length, h, 3 * d).transpose(1, 2)
            q, k, v = qkv.chunk(3, -1)
        elif self.how == "multi-query":
            q = self.q(x).view(n, length, h, d).transpose(1, 2)
            k, v = self.kv(x)[:, None].chunk(2, -1)
        else:
            q, k, v = (split_heads(f(x), h) for f in (self.q, self.k, self.v))
        if self.how == "fused":
            y = F.scaled_dot_product_attention(q, k, v)
        elif self.how == "einsum":
            scores = torch.einsum("nhid,nhjd->nhij", q, k) * self.scale
            y = torch.einsum("nhij,nhjd->nhid", scores.softmax(-1), v)
        else:
            scores = (q * self.scale) @ k.transpose(-2, -1)
            if self.how == "timm with bias":
                scores = scores + self.bias
            y = scores.softmax(-1) @ v
        out: Tensor = self.proj(y.transpose(1, 2).reshape(n, length, -1))
        return out


def transformer(how: str, norm: Callable[[int], nn.Module] = nn.LayerNorm) -> nn.Module:
    """Return a small one: patches, positions, a class token, two blocks, a head."""

    def go(m: Any, x: Tensor) -> Tensor:
        x = tokens(m.patch(x))
        x = torch.cat([m.cls.expand(len(x), -1, -1), x[:, 1:]], 1) + m.place
        for i in range(2):
            x = x + m.att[i](m.one[i](x))
            x = x + m.mlp[i](m.two[i](x))
        return m.head(m.norm(x)[:, 0])  # type: ignore[no-any-return]

    def mlp() -> nn.Module:
        return nn.Sequential(nn.Linear(24, 40), nn.GELU(), nn.Linear(40, 24))

    return Run(
        go,
        patch=nn.Conv2d(3, 24, 4, 4),
        cls=torch.randn(1, 1, 24),
        place=torch.randn(1, 16, 24),
        att=nn.ModuleList(Attention(how) for _ in range(2)),
        mlp=nn.ModuleList(mlp() for _ in range(2)),
        one=nn.ModuleList(norm(24) for _ in range(2)),
        two=nn.ModuleList(norm(24) for _ in range(2)),
        norm=norm(24),
        head=nn.Linear(24, 5),
    )


class LayerNorm2d(nn.LayerNorm):
    """Over dimension 1."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class GRN(nn.Module):
    """Global response norm, channels last."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, width))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise."""
        g = torch.norm(x, p=2, dim=(1, 2), keepdim=True)
        out: Tensor = self.gamma * (x * (g / (g.mean(-1, keepdim=True) + 1e-6)))
        return out + self.beta + x


def convnext(*, grn: bool) -> nn.Module:
    """Return two ConvNeXt blocks, with layer scale or a global response norm."""

    def go(m: Any, x: Tensor) -> Tensor:
        x = m.norm(m.stem(x))
        for i in range(2):
            y = m.dw[i](x).permute(0, 2, 3, 1)
            y = F.gelu(m.one[i](m.ln[i](y)))
            y = m.two[i](m.grn[i](y) if grn else y)
            x = x + (y if grn else y * m.gamma).permute(0, 3, 1, 2)
        return m.head(x)  # type: ignore[no-any-return]

    return Run(
        go,
        stem=nn.Conv2d(3, 16, 4, 4),
        norm=LayerNorm2d(16),
        dw=nn.ModuleList(conv(16, 16, 7, groups=16) for _ in range(2)),
        ln=nn.ModuleList(nn.LayerNorm(16) for _ in range(2)),
        one=nn.ModuleList(nn.Linear(16, 48) for _ in range(2)),
        two=nn.ModuleList(nn.Linear(48, 16) for _ in range(2)),
        grn=nn.ModuleList(GRN(48) for _ in range(2)),
        gamma=torch.ones(16),
        head=conv(16, 3),
    )


def gated(how: str) -> nn.Module:
    """Return a gated MLP on tokens."""

    def go(m: Any, x: Tensor) -> Tensor:
        x = tokens(m.patch(x))
        if how == "swiglu":
            x = m.down(F.silu(m.gate(x)) * m.up(x))
        elif how == "glu":
            x = m.down(F.glu(m.both(x), -1))
        elif how == "chunk":
            a, b = m.both(x).chunk(2, -1)
            x = m.down(a.sigmoid() * b)
        else:
            a, b = m.both(x).split([20, 20], -1)
            x = m.down(a * F.gelu(b))
        return m.head(x)  # type: ignore[no-any-return]

    return Run(
        go,
        patch=nn.Conv2d(3, 12, 4, 4),
        gate=nn.Linear(12, 20),
        up=nn.Linear(12, 20),
        both=nn.Linear(12, 40),
        down=nn.Linear(20, 14),
        head=nn.Linear(14, 3),
    )


def windowed() -> nn.Module:
    """Return Swin's attention: windows, a shift, a table of relative positions."""

    def go(m: Any, x: Tensor) -> Tensor:
        x = m.patch(x).permute(0, 2, 3, 1)
        y = torch.roll(m.norm(x), (-1, -1), (1, 2))
        n, h, w, c = y.shape
        y = (
            y.view(n, h // 2, 2, w // 2, 2, c)
            .permute(0, 1, 3, 2, 4, 5)
            .reshape(-1, 4, c)
        )
        qkv = m.qkv(y).reshape(len(y), 4, 3, m.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        q = q * q.shape[-1] ** -0.5 if m.heads < 0 else q * m.scale
        bias = m.table[m.index.flatten()].view(4, 4, -1).permute(2, 0, 1)
        y = ((q @ k.transpose(-2, -1)) + bias[None]).softmax(-1) @ v
        y = m.proj(y.transpose(1, 2).reshape(len(y), 4, -1))
        y = y.view(n, h // 2, w // 2, 2, 2, -1).permute(0, 1, 3, 2, 4, 5)
        y = torch.roll(y.reshape(n, h, w, -1), (1, 1), (1, 2))
        return m.head(x + y)  # type: ignore[no-any-return]

    net = Run(
        go,
        patch=nn.Conv2d(3, 24, 4, 4),
        norm=nn.LayerNorm(24),
        qkv=nn.Linear(24, 72),
        proj=nn.Linear(24, 24),
        table=torch.randn(9, 4),
        heads=4,
        scale=6**-0.5,
        head=nn.Linear(24, 3),
    )
    net.register_buffer("index", torch.arange(16).view(4, 4) % 9)
    return net


def merging() -> nn.Module:
    """Return Swin's patch merging: every second pixel, concatenated, normalised."""

    def go(m: Any, x: Tensor) -> Tensor:
        x = m.patch(x).permute(0, 2, 3, 1)
        parts = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        x = m.down(m.norm(torch.cat(parts, -1)))
        return m.head(F.gelu(x))  # type: ignore[no-any-return]

    return Run(
        go,
        patch=nn.Conv2d(3, 8, 4, 4),
        norm=nn.LayerNorm(32),
        down=nn.Linear(32, 16),
        head=nn.Linear(16, 3),
    )


def torch_attention() -> nn.Module:
    """Return nn.MultiheadAttention on a stream with layer norms."""

    def go(m: Any, x: Tensor) -> Tensor:
        x = tokens(m.patch(x)) + m.place
        y = m.norm(x)
        x = x + m.att(y, y, y, need_weights=False)[0]
        return m.head(x + m.mlp(m.two(x)))  # type: ignore[no-any-return]

    return Run(
        go,
        patch=nn.Conv2d(3, 24, 4, 4),
        place=torch.randn(1, 16, 24),
        norm=nn.LayerNorm(24),
        two=nn.LayerNorm(24),
        att=nn.MultiheadAttention(24, 4, batch_first=True),
        mlp=nn.Sequential(nn.Linear(24, 40), nn.ReLU(), nn.Linear(40, 24)),
        head=nn.Linear(24, 3),
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
    "vit, rms": Structure(lambda: transformer("separate", nn.RMSNorm)),
}
