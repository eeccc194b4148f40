"""Whole attention heads as the channels of a unit, and what follows from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sirfp_opt import InvalidProblemError
from sirfp_opt.network.plan import PruningPlan
from sirfp_opt.pytorch import (
    apply_plan,
    count_macs,
    count_params,
    couple,
    prune,
    read_cost,
)
from tests.pytorch.cuts import random_plan
from tests.pytorch.networks import EfficientAttention, SegFormer, randomized
from tests.pytorch.test_coupling import IMAGES, difference

QUERIES = ("blocks.0.attention.query", "blocks.1.attention.query")


@pytest.mark.parametrize("style", ["matmul", "einsum", "sdpa"])
def test_heads_are_cut_whole(style: str) -> None:
    """However the products are written: ties are heads, and exact, at the cost told."""
    model = randomized(lambda: SegFormer(style))
    coupling = couple(model, IMAGES)
    first, second = (coupling.unit(name) for name in QUERIES)
    assert first.tied == ((0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11))
    assert (second.size, second.step) == (20, 5)
    assert {(s.layer.split(".")[-1], s.side) for s in first.sites} == {
        ("query", "out"), ("key", "out"), ("value", "out"), ("out", "in")
    }  # fmt: skip
    cost = read_cost(model, coupling.units, IMAGES)
    rng = np.random.default_rng(0)
    for _ in range(3):
        plan = PruningPlan(coupling.units, random_plan(coupling.units, rng))
        assert difference(model, plan, IMAGES) <= 1e-5
        pruned = apply_plan(model, plan)
        assert cost.predict(plan.counts) == {
            "macs": count_macs(pruned, IMAGES[:1]),
            "params": count_params(pruned),
        }


def test_the_code_around_the_heads_is_told() -> None:
    """Attributes that count heads, or all of their channels, shrink with them."""
    model = randomized(SegFormer)
    unit = couple(model, IMAGES).unit(QUERIES[0])
    assert unit.heads is not None
    assert unit.heads == "blocks.0.attention"
    counted = {(one.module, one.name) for one in unit.attributes}
    assert counted == {(unit.heads, "num_heads"), (unit.heads, "all_head_size")}
    plan = PruningPlan([unit], {unit.name: [0, 1, 2, 3, 8, 9, 10, 11]})
    again = PruningPlan.from_json(plan.to_json())
    assert again == plan
    attention = apply_plan(model, again).get_submodule("blocks.0.attention")
    assert isinstance(attention, EfficientAttention)
    assert (attention.num_heads, attention.all_head_size) == (2, 8)
    assert attention.head_dim == 4
    original = model.get_submodule("blocks.0.attention")
    assert original.num_heads == 3
    del original.num_heads
    with pytest.raises(InvalidProblemError, match="num_heads"):
        apply_plan(model, plan)


def test_prune_chooses_heads() -> None:
    """The whole way: extraction, choice and verification take heads for channels."""
    result = prune(randomized(SegFormer), [IMAGES], keep={QUERIES[1]: 10})
    kept = result.plan[QUERIES[1]].reshape(2, 5)
    assert (kept % 5 == np.arange(5)).all()
    assert (np.ptp(kept, axis=1) == 4).all()


class _Attention(nn.Module):
    """Attention of `heads` heads, with one habit that keeps them from being cut."""

    def __init__(self, habit: str, heads: int = 3) -> None:
        super().__init__()
        self.habit, self.heads, self.head_dim = habit, heads, 12 // heads
        self.stem = nn.Conv2d(3, 12, 4, stride=4)
        self.query, self.key, self.value = (nn.Linear(12, 12) for _ in range(3))
        self.table = nn.Parameter(torch.randn(1, heads, 1, 1))
        self.mix = nn.Linear(heads, heads)
        self.fused = nn.Linear(12, 36)
        self.module = nn.MultiheadAttention(12, heads, batch_first=True)
        self.out = nn.Linear(12, 12)
        self.head = nn.Linear(12, 3)

    def split(self, x: torch.Tensor) -> torch.Tensor:
        """Return the heads of (N, 16, 12) as (N, heads, 16, channels)."""
        if self.habit == "interleaved":
            return x.view(*x.shape[:2], -1, self.heads).permute(0, 3, 1, 2)
        return x.view(*x.shape[:2], -1, self.head_dim).transpose(1, 2)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.stem(x).flatten(2).transpose(1, 2)
        if self.habit == "module":
            return self.head(self.out(self.module(x, x, x, need_weights=False)[0]))
        layers = (self.query, self.key, self.value)
        if self.habit == "fused":
            q, k, v = (self.split(part) for part in self.fused(x).chunk(3, -1))
        else:
            q, k, v = (self.split(layer(x)) for layer in layers)
        if self.habit == "shared":
            v = k
        weights = q @ k.transpose(-1, -2)
        if self.habit == "bias":
            weights = weights + self.table
        weights = weights.softmax(-1)
        if self.habit == "talking":
            weights = self.mix(weights.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        y = weights @ v
        interleaved = self.habit == "interleaved"
        y = y.permute(0, 2, 3, 1) if interleaved else y.transpose(1, 2)
        return self.head(
            self.out(y.reshape(len(x), 16, 12 if self.habit == "fixed" else -1))
        )


HABITS: dict[str, dict[str, tuple[int, int]]] = {
    "none": {"query": (12, 4)},
    "interleaved": {"query": (12, 4)},
    "shared": {"query": (12, 4)},
    "fused": {"fused": (12, 4)},
    # A table has one number a head: the heads themselves are the channels.
    "bias": {"query": (3, 1)},
    # Heads that are mixed are read by a linear layer, and made anew.
    "talking": {"query": (3, 1), "value": (3, 1)},
    "module": {"module": (12, 4), "module.out_proj": (12, 1)},
    # One attribute counts queries and values alike: they go together.
    "one head": {"query": (12, 1)},
    "fixed": {},
}
"""habit -> unit: (channels, those that go at a time)"""


@pytest.mark.parametrize("habit", HABITS)
def test_heads_by_habit(habit: str) -> None:
    """Whatever the layout, whole heads are cut, exactly and at the cost told."""
    heads = 1 if habit == "one head" else 3
    model = randomized(lambda: _Attention(habit, heads=heads)).double()
    images = IMAGES.double()
    coupling = couple(model, images)
    assert {u.name: (u.size, u.step) for u in coupling.units} == {
        "stem": (12, 1), **HABITS[habit], "out": (12, 1)
    }  # fmt: skip
    cost = read_cost(model, coupling.units, images)
    rng = np.random.default_rng(0)
    for _ in range(2):
        plan = PruningPlan(coupling.units, random_plan(coupling.units, rng))
        assert difference(model, plan, images) <= 1e-10
        assert cost.predict(plan.counts) == {
            "macs": count_macs(apply_plan(model, plan), images[:1]),
            "params": count_params(apply_plan(model, plan)),
        }


class _AsWide(nn.Module):
    """Attention that lays its heads out in a width of its own, and in the stream's."""

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.num_heads, self.head_dim = 24, 4, 6
        self.q, self.kv, self.proj = (nn.Linear(24, n) for n in (24, 48, 24))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attend, as PVTv2 does."""
        b, n, c = x.shape
        q = self.q(x).view(b, n, self.dim)
        q = q.reshape(b, n, self.num_heads, -1).transpose(1, 2)
        kv = self.kv(x).reshape(b, -1, 2, self.num_heads, self.head_dim)
        k, v = kv.permute(2, 0, 3, 1, 4).unbind(0)
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        out: torch.Tensor = self.proj(y.transpose(1, 2).reshape(b, n, c))
        return out


class _Stream(nn.Module):
    """Two such blocks on one stream."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.head = nn.Conv2d(3, 24, 4, 4), nn.Linear(24, 3)
        self.blocks = nn.ModuleList(_AsWide() for _ in range(2))

    def forward(self, x: torch.Tensor) -> Any:
        x = self.patch(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


def test_several_blocks_of_heads_go_with_one_stream() -> None:
    """A stream that one block's heads take along is what the next one's go by."""
    model, images = randomized(_Stream).double(), IMAGES.double()
    coupling = couple(model, images)
    assert {(u.name, u.size, u.step) for u in coupling.units} == {("patch", 24, 6)}
    plan = PruningPlan(coupling.units, {"patch": [*range(6), *range(12, 18)]})
    assert difference(model, plan, images) <= 1e-10
    block: Any = apply_plan(model, plan).get_submodule("blocks.1")
    assert (block.dim, block.num_heads, block.head_dim) == (12, 2, 6)


def test_heads_that_cannot_be_cut() -> None:
    """A fixed number in the code is found before surgery, with the reason."""
    coupling = couple(randomized(lambda: _Attention("fixed")), IMAGES)
    reasons = {e.unit: e.reason for e in coupling.exclusions}
    assert "the cut network fails" in reasons["query"]
