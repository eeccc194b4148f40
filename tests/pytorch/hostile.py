"""Small networks made to be cut wrongly: what looks like channels, and what mixes them.

By name: the network, and of each unit that may be cut the groups that it goes by;
everything else must stay whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.pytorch.structure_parts import Run, Structure, conv, split_heads, tokens

__all__ = ["HOSTILE"]

Body = Callable[[Any, Tensor], Any]


def _between(body: Callable[[Any, Tensor], Tensor], after: int = 12) -> Structure:
    """Return a layer `a` of twelve channels, something done to them, a layer after."""

    def make() -> nn.Module:
        def go(m: Any, x: Tensor) -> Any:
            return m.o(F.relu(body(m, m.a(x))))

        net = Run(go, a=conv(3, 12, 3), o=conv(after, 2, 3))
        net.register_buffer("order", torch.arange(12).roll(5).flip(0))
        net.register_buffer("evens", torch.arange(12) % 2 == 0)
        return net

    return Structure(make, (2, 3, 8, 8))


def _of(go: Body, shape: tuple[int, ...] = (2, 3, 8, 8), **parts: Any) -> Structure:
    def make() -> nn.Module:
        made = {
            name: part() if callable(part) else part for name, part in parts.items()
        }
        return Run(go, **made)

    return Structure(make, shape)


def _shuffled(x: Tensor) -> Tensor:
    n, _, h, w = x.shape
    return x.reshape(n, 3, -1, h, w).transpose(1, 2).flatten(1, 2)


def _read_as_complex(m: Any, y: Tensor) -> Tensor:
    rows = y.permute(0, 2, 3, 1)
    z = torch.view_as_complex(rows.reshape(*rows.shape[:-1], -1, 2).contiguous())
    return torch.view_as_real(z * z.conj() * z).flatten(-2).permute(0, 3, 1, 2)


def _codebook(m: Any, y: Tensor) -> Tensor:
    """Return the nearest of some constants, by an index that no label follows."""
    far = torch.cdist(tokens(y), torch.eye(12, dtype=y.dtype))
    return y * far.argmin(-1).view(len(y), 1, *y.shape[2:])


def _weighed_by_values(m: Any, y: Tensor) -> Tensor:
    """Return channels weighed by numbers that left the tensors on their way."""
    return y * torch.tensor(y.mean((2, 3)).tolist(), dtype=y.dtype)[:, :, None, None]


def _attention(how: str, **more: Any) -> Structure:
    """Return attention of four heads in a way that hides them."""

    def go(m: Any, x: Tensor) -> Any:
        t = tokens(m.a(x))
        q, k, v = (split_heads(f(t), m.num_heads) for f in (m.q, m.k, m.v))
        if how == "rotated":
            q, k = (
                z * m.cos + torch.cat([-z[..., 3:], z[..., :3]], -1) * m.sin
                for z in (q, k)
            )
        elif how == "rotated by its width":
            angle = torch.arange(q.shape[2]).to(q)[:, None] / (1 + torch.arange(6))
            q, k = (z * angle.cos() + z.flip(-1) * angle.sin() for z in (q, k))
        elif how == "normed":
            q, k = m.qn(q), m.kn(k)
        elif how == "cosine":
            q, k = F.normalize(q, dim=-1) * m.scale, F.normalize(k, dim=-1)
        if how == "mask of numbers":
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=m.bias)
        elif how == "padding":
            mask = (torch.arange(16) < 12).expand(len(x), m.num_heads, 16, 16)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask.contiguous())
        elif how == "channels":
            y = (q.transpose(-1, -2) @ k).softmax(-1) @ v.transpose(-1, -2)
            y = y.transpose(-1, -2)
        elif how == "normed afterwards":
            y = m.qn(F.scaled_dot_product_attention(q, k, v, is_causal=True))
        else:
            y = F.scaled_dot_product_attention(q, k, v)
        return m.o(y.transpose(1, 2).flatten(2))

    parts = {name: lambda: nn.Linear(12, 24) for name in "qkv"}
    return _of(
        go,
        (2, 3, 4, 4),
        num_heads=4,
        a=lambda: conv(3, 12, 3),
        o=lambda: nn.Linear(24, 2),
        **parts,
        **more,
    )


def _padding() -> nn.Module:
    return nn.TransformerEncoder(
        nn.TransformerEncoderLayer(12, 3, 20, 0.0, batch_first=True), 1
    )


def _experts(m: Any, x: Tensor) -> Any:
    """Send rows to experts, one of which the first row does not take; add them up."""
    h = m.a(x)
    chosen = (x[:, 0] > 0).long()
    y = h.new_zeros(len(x), m.up[0].out_features)
    for i in range(2):
        rows = (chosen == i).nonzero()[:, 0]
        y = y.index_add(0, rows, m.up[i](F.relu(m.down[i](h[rows]))))
    return m.o(y)


def _lists(i: int, o: int) -> Callable[[], nn.Module]:
    return lambda: nn.ModuleList(nn.Linear(i, o) for _ in range(2))


ALL = {"a": 12}

HOSTILE: dict[str, tuple[Structure, dict[str, int]]] = {
    # What moves channels: by run-time sizes they may go, by fixed places they stay.
    "flip": (_between(lambda m, y: y.flip(1)), ALL),
    "roll": (_between(lambda m, y: y.roll(3, 1)), {}),
    "order in a buffer": (_between(lambda m, y: y[:, m.order]), {}),
    "selected by a buffer": (_between(lambda m, y: y.index_select(1, m.order)), {}),
    "half of a mask": (_between(lambda m, y: y[:, m.evens], 6), {}),
    "even before odd": (
        _between(lambda m, y: torch.cat([y[:, ::2], y[:, 1::2]], 1)), {"a": 2},
    ),
    "pairs beside each other": (
        _between(lambda m, y: y.repeat_interleave(2, 1) * y.repeat(1, 2, 1, 1), 24), {},
    ),
    "halves that overlap": (_between(lambda m, y: y[:, :8] * y[:, 4:], 8), {}),
    "each and its opposite": (_between(lambda m, y: torch.cat([y, -y], 1), 24), ALL),
    "grouped after a shuffle": (
        _of(
            lambda m, x: m.o(m.g(_shuffled(m.a(x)))),
            a=lambda: conv(3, 12, 3), g=lambda: conv(12, 12, 3, groups=3),
            o=lambda: conv(12, 2),
        ),
        {"g": 4},
    ),
    "a few more channels": (
        _between(lambda m, y: F.pad(y, (0, 0, 0, 0, 0, 4)), 16), ALL,
    ),
    # What reads several channels at once.
    **{
        name: (_between(body), {})
        for name, body in {
            "cumsum": lambda m, y: y.cumsum(1),
            "softmax": lambda m, y: y.softmax(1),
            "sort": lambda m, y: y.sort(1)[0],
            "topk": lambda m, y: y * y.topk(3, 1)[0][:, 2:],
            "argmax": lambda m, y: y * y.argmax(1, keepdim=True),
            "median": lambda m, y: y - y.median(1, keepdim=True)[0],
            "largest of all": lambda m, y: y / y.abs().max(),
            "fft of channels": lambda m, y: torch.fft.fft(y, dim=1).abs(),
            "width as a factor": lambda m, y: y / y.shape[1],
            "positions by the width": lambda m, y: y + torch.arange(
                y.shape[1]).to(y).sin().view(-1, 1, 1),
            "smoothed over channels": lambda m, y: F.avg_pool3d(
                y[:, None], (3, 1, 1), stride=1, padding=(1, 0, 0))[:, 0],
            "nearest of constants": _codebook,
            "weighed by numbers": _weighed_by_values,
            "by where, from a mask": lambda m, y: torch.where(
                m.evens.view(-1, 1, 1), y, -y),
            "through numpy": lambda m, y: torch.from_numpy(y.numpy().copy()),
        }.items()
    },
    # What only looks as if it did.
    **{
        name: (_between(body), ALL)
        for name, body in {
            "unit length": lambda m, y: F.normalize(y, dim=1),
            "fft of pixels": lambda m, y: torch.fft.irfft2(
                torch.fft.rfft2(y).mul(0.5)),
            "where": lambda m, y: torch.where(y > 0.3, y, torch.full_like(y, 2.0)),
            "mask": lambda m, y: y.masked_fill(y > 0.5, 0.7),
            "out=": lambda m, y: torch.add(y, 1.0, out=torch.empty_like(y)),
        }.items()
    },
    "pairs as complex numbers": (_between(_read_as_complex), {"a": 6}),
    "largest of halves": (
        _between(lambda m, y: torch.max(*y.chunk(2, 1)), 6), {"a": 6},
    ),
    # Weights that are not only weights.
    "called with two halves": (
        _of(
            lambda m, x: m.o(m.s(m.a(x)[:, :6]) + m.s(m.a(x)[:, 6:]).relu()),
            a=lambda: conv(3, 12, 3), s=lambda: conv(6, 8, 3), o=lambda: conv(8, 2),
        ),
        {"s": 8},
    ),
    "tied table": (
        _of(
            lambda m, x: F.linear(
                m.l2(F.gelu(m.l1(m.e(x.long().abs() % 11)))), m.e.weight
            ),
            (2, 7),
            e=lambda: nn.Embedding(11, 12), l1=lambda: nn.Linear(12, 20),
            l2=lambda: nn.Linear(20, 12),
        ),
        {"e[0:12]": 12, "l1": 20},
    ),
    "slices of a weight": (
        _of(
            lambda m, x: m.o(
                F.linear(m.p(x), m.w.weight[:, :10])
                + F.linear(m.q(x), m.w.weight[:, 10:])
            ),
            (5, 9),
            p=lambda: nn.Linear(9, 10), q=lambda: nn.Linear(9, 6),
            w=lambda: nn.Linear(16, 20), o=lambda: nn.Linear(20, 2),
        ),
        {"q": 6, "w": 20},
    ),
    "its own transpose": (
        _of(
            lambda m, x: F.relu(F.linear(x, m.w.weight)) @ m.w.weight,
            (5, 9), w=lambda: nn.Linear(9, 12, bias=False),
        ),
        {"w": 12},
    ),
    "bare matrices": (
        _of(lambda m, x: F.relu(x @ m.w) @ m.v, (5, 9),
            w=lambda: torch.randn(9, 12), v=lambda: torch.randn(12, 4)),
        {},
    ),
    # Rows that are added up, sparse and nested.
    "experts": (
        _of(
            _experts, (12, 9), a=lambda: nn.Linear(9, 12), down=_lists(12, 10),
            up=_lists(10, 8), o=lambda: nn.Linear(8, 2),
        ),
        {"down.0": 10},
    ),
    "messages": (
        _of(
            lambda m, x: m.o(
                (y := m.a(x)).new_zeros(3, y.shape[1]).index_add(
                    0, torch.arange(7) % 3, y)
            ),
            (7, 6), a=lambda: nn.Linear(6, 12), o=lambda: nn.Linear(12, 2),
        ),
        ALL,
    ),
    "sparse": (
        _of(
            lambda m, x: m.o(torch.sparse.mm(torch.eye(7).to(x).to_sparse(), m.a(x))),
            (7, 6), a=lambda: nn.Linear(6, 12), o=lambda: nn.Linear(12, 2),
        ),
        ALL,
    ),
    "nested": (
        _of(
            lambda m, x: m.o(
                torch.nested.as_nested_tensor([m.a(x[0, :5]), m.a(x[1, :7])])
                .to_padded_tensor(0.0)
            ),
            (2, 9, 6), a=lambda: nn.Linear(6, 12), o=lambda: nn.Linear(12, 2),
        ),
        {},
    ),
    # Heads behind what all of them share.
    "rotated heads": (
        _attention(
            "rotated", cos=lambda: torch.randn(16, 6), sin=lambda: torch.randn(16, 6)
        ),
        {"a": 12, "q": 4},
    ),
    "heads rotated by their width": (
        _attention("rotated by its width"), {"a": 12, "q": 4},
    ),
    "normed heads": (
        _attention("normed", qn=lambda: nn.LayerNorm(6), kn=lambda: nn.RMSNorm(6)),
        {"a": 12, "q": 4},
    ),
    "heads normed afterwards": (
        _attention("normed afterwards", qn=lambda: nn.LayerNorm(6)), {"a": 12, "q": 4},
    ),
    "cosines with a scale": (
        _attention("cosine", scale=lambda: torch.ones(4, 1, 1)), {"a": 12, "q": 4},
    ),
    "a mask of numbers": (
        _attention("mask of numbers", bias=lambda: torch.randn(1, 4, 16, 16)),
        {"a": 12, "q": 4},
    ),
    "a mask for each head": (_attention("padding"), {"a": 12, "q": 4}),
    "attention of channels": (_attention("channels"), {"a": 12}),
    "encoder with padding": (
        _of(
            lambda m, x: m.o(m.e(
                tokens(m.a(x)),
                src_key_padding_mask=(torch.arange(16) > 12).expand(len(x), 16),
            )),
            (2, 3, 4, 4),
            a=lambda: conv(3, 12, 3), e=_padding, o=lambda: nn.Linear(12, 2),
        ),
        {"a": 12, "e.layers.0.self_attn": 3, "e.layers.0.linear1": 20},
    ),
}  # fmt: skip
