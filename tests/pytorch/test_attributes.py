"""What modules count their channels in says the new number after a cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sirfp_opt.network.plan import PruningPlan
from sirfp_opt.pytorch import apply_plan, couple
from tests.pytorch.cuts import random_plan
from tests.pytorch.test_coupling import IMAGES, difference

WIDTH, HEADS = 24, 4


class _Projected(nn.Module):
    """Three projections, and what they make of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (
            nn.Linear(WIDTH, WIDTH) for _ in range(4)
        )

    def attend(self, x: Tensor, heads: int, width: int) -> Tensor:
        """Return what the heads read, (N, L, heads, width)."""
        q, k, v = (
            layer(x).view(*x.shape[:2], heads, width).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        return y.transpose(1, 2)


class LikeBert(_Projected):
    """The names of transformers' BERT, ViT, Swin and SegFormer."""

    def __init__(self) -> None:
        super().__init__()
        self.num_attention_heads, self.attention_head_size = HEADS, WIDTH // HEADS
        self.all_head_size = self.num_attention_heads * self.attention_head_size

    def forward(self, x: Tensor) -> Any:
        """Attend."""
        y = self.attend(x, self.num_attention_heads, self.attention_head_size)
        return self.out(y.reshape(*x.shape[:2], self.all_head_size))


class LikeClip(_Projected):
    """The names of transformers' CLIP, BART and DETR."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_dim, self.num_heads = WIDTH, HEADS
        self.head_dim = WIDTH // HEADS

    def forward(self, x: Tensor) -> Any:
        """Attend."""
        y = self.attend(x, self.num_heads, self.head_dim)
        return self.out(y.reshape(*x.shape[:2], self.embed_dim))


class LikeTimm(_Projected):
    """The names of timm's attention."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.attn_dim = HEADS, WIDTH // HEADS, WIDTH

    def forward(self, x: Tensor) -> Any:
        """Attend."""
        y = self.attend(x, self.num_heads, self.head_dim)
        return self.out(y.reshape(*x.shape[:2], self.attn_dim))


class LikeGpt(_Projected):
    """The names of GPT-2's attention: one list of sizes to split by."""

    def __init__(self) -> None:
        super().__init__()
        del self.query, self.key, self.value
        self.c_attn = nn.Linear(WIDTH, 3 * WIDTH)
        self.n_head, self.split_size = HEADS, WIDTH

    def forward(self, x: Tensor) -> Any:
        """Attend."""
        parts = self.c_attn(x).split(self.split_size, 2)
        q, k, v = (
            t.view(*x.shape[:2], self.n_head, t.shape[-1] // self.n_head) for t in parts
        )
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        y = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return self.out(y.flatten(2))


class Scaled(nn.Module):
    """timm's layer scale, which keeps a shape: (channels,)."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.scale = nn.Parameter(torch.rand(WIDTH) + 0.5)
        self.shape = (1, WIDTH)

    def forward(self, x: Tensor) -> Any:
        """Scale."""
        return self.out(self.mix(x).relu() * self.scale.view(self.shape))


class Block(nn.Module):
    """Tokens of pictures, one layer on them, and a head."""

    def __init__(self, layer: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.patch, self.layer = nn.Conv2d(3, WIDTH, 4, 4), layer()
        self.hidden_size, self.head = WIDTH, nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Any:
        """Go, with a residual stream of a stated width."""
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = x.reshape(len(x), -1, self.hidden_size)
        return self.head(x + self.layer(x))


COUNTS: dict[str, tuple[Callable[[], nn.Module], str, dict[str, str]]] = {
    "bert": (
        LikeBert,
        "layer.query",
        {
            "num_attention_heads": "heads",
            "all_head_size": "channels",
            "attention_head_size": "width",
        },
    ),
    "clip": (
        LikeClip,
        "layer.query",
        {"num_heads": "heads", "embed_dim": "channels", "head_dim": "width"},
    ),
    "timm": (
        LikeTimm,
        "layer.query",
        {"num_heads": "heads", "attn_dim": "channels", "head_dim": "width"},
    ),
    "gpt": (
        LikeGpt,
        "layer.c_attn",
        {"n_head": "heads", "split_size": "channels"},
    ),
    "scale": (Scaled, "layer.mix", {"shape": "shape"}),
}
"""name -> (layer, the unit in it, its attributes and what they count)"""


@pytest.mark.parametrize("name", COUNTS)
def test_the_new_number_is_said(name: str) -> None:
    """Every attribute that the forward reads is right, and the network exact."""
    make, within, counts = COUNTS[name]
    torch.manual_seed(0)
    model, images = Block(make).double().eval(), IMAGES.double()
    found = list(couple(model, images).units)
    units = {unit.name: unit for unit in found}
    assert set(units) == {"patch", within}
    rng = np.random.default_rng(0)
    for _ in range(2):
        plan = PruningPlan(found, random_plan(found, rng))
        assert difference(model, plan, images) <= 1e-10
        pruned: Any = apply_plan(model, plan)
        assert pruned.hidden_size == plan.counts["patch"]
        left = plan.counts[within]
        said = {
            "channels": left,
            "heads": left // units[within].step,
            "width": units[within].step,
            "shape": (1, left),
        }
        for attribute, what in counts.items():
            assert getattr(pruned.layer, attribute) == said[what]


class _BiasTable(nn.Module):
    """Biases of heads by position, made when asked for: it is never called itself."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.num_heads = HEADS
        self.bias_shape = (tokens, tokens, HEADS)
        self.made = nn.Linear(2, HEADS)
        self.register_buffer("places", torch.rand(tokens * tokens, 2))

    def get_bias(self) -> Tensor:
        """Return the biases, (heads, L, L)."""
        flat: Tensor = self.made(self.places).view(-1, self.num_heads)
        return flat.view(self.bias_shape).permute(2, 0, 1)


class _Biased(nn.Module):
    """Attention over as many tokens as it has heads, with such a table."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 10, 2, 2)
        self.num_heads = HEADS
        self.qkv, self.out = nn.Linear(10, 3 * WIDTH), nn.Linear(WIDTH, 10)
        self.rel_pos = _BiasTable(HEADS)
        self.head = nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Classify."""
        x = self.stem(x).flatten(2).mT
        n, length, _ = x.shape
        parts = self.qkv(x).view(n, length, 3, self.num_heads, WIDTH // HEADS)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=self.rel_pos.get_bias()
        )
        y = self.out(y.transpose(1, 2).flatten(2))
        out: Tensor = self.head((x + y).mean(1))
        return out


def test_a_module_that_is_asked_for_a_table_counts_its_heads() -> None:
    """It runs no forward, and its counts shrink: whole heads go, exactly.

    Of a shape with as many tokens as heads, the last number is that of the heads.
    """
    torch.manual_seed(0)
    model = _Biased().eval()
    x = torch.rand(1, 3, 4, 4)
    coupling = couple(model, x)
    unit = next(one for one in coupling.units if one.name.startswith("qkv"))
    counted = {(a.module, a.name, a.index) for a in unit.attributes}
    assert counted == {
        ("", "num_heads", None),
        ("rel_pos", "num_heads", None),
        ("rel_pos", "bias_shape", 2),
    }
    kept = random_plan(coupling.units, np.random.default_rng(0))
    plan = PruningPlan(coupling.units, kept)
    assert len(plan[unit.name]) < unit.size
    assert difference(model, plan, x) < 1e-6
