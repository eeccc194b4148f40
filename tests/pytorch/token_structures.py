"""Small networks on tokens: attention in all its ways, norms, gates, windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.pytorch.structure_parts import Run, conv, split_heads, tokens


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
        elif how in ("by the stream", "reduced"):
            self.kv = nn.Linear(width, 2 * width)
            if how == "reduced":
                self.reduce = nn.Conv2d(width, width, 2, 2)
        elif not hasattr(self, "qkv"):
            self.k, self.v = nn.Linear(width, width), nn.Linear(width, width)
        if how == "a scale a head":
            self.scales = nn.Parameter(torch.randn(heads, 1, 1))
        if how == "rotary":
            self.register_buffer("turns", torch.rand(self.head_dim // 2))
        if how == "timm with bias":
            self.bias = nn.Parameter(torch.randn(heads, 16, 16))
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Attend."""
        n, length, width = x.shape
        h, d = self.num_heads, self.head_dim
        if self.how in ("by the stream", "reduced"):
            return self._by_the_stream(x, width)
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
        if self.how == "a scale a head":
            q = q * self.scales
        if self.how == "rotary":
            angle = torch.arange(length, dtype=x.dtype)[:, None] * self.get_buffer(
                "turns"
            )
            c, s = (f(torch.cat([angle, angle], -1)) for f in (torch.cos, torch.sin))
            q, k = (
                t * c + torch.cat([-t[..., d // 2 :], t[..., : d // 2]], -1) * s
                for t in (q, k)
            )
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

    def _by_the_stream(self, x: Tensor, c: int) -> Tensor:
        """Attend with heads whose width is the stream's, shared out."""
        n, length, _ = x.shape
        h, z = self.num_heads, x
        if self.how == "reduced":
            z = x.transpose(1, 2).reshape(n, c, 4, 4)
            z = self.reduce(z).reshape(n, c, -1).transpose(1, 2)
        q = self.q(x).reshape(n, length, h, c // h).transpose(1, 2)
        kv = self.kv(z).reshape(n, -1, 2, h, c // h)
        k, v = kv.permute(2, 0, 3, 1, 4).unbind(0)
        y = (q * (c // h) ** -0.5 @ k.transpose(-2, -1)).softmax(-1) @ v
        out: Tensor = self.proj(y.transpose(1, 2).reshape(n, length, c))
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


def queried() -> nn.Module:
    """Return learned queries that ask the tokens: a stream that begins as zeros."""

    def go(m: Any, x: Tensor) -> Tensor:
        memory = tokens(m.patch(x))
        place = m.queries.weight[None].repeat(len(x), 1, 1)
        stream = torch.zeros_like(place)
        asked = m.q(stream + place) @ m.k(memory).transpose(1, 2)
        stream = stream + m.proj(asked.softmax(-1) @ m.v(memory))
        return m.head(m.norm(stream))  # type: ignore[no-any-return]

    return Run(
        go,
        patch=nn.Conv2d(3, 16, 4, 4),
        queries=nn.Embedding(5, 12),
        q=nn.Linear(12, 10),
        k=nn.Linear(16, 10),
        v=nn.Linear(16, 14),
        proj=nn.Linear(14, 12),
        norm=nn.LayerNorm(12),
        head=nn.Linear(12, 3),
    )
