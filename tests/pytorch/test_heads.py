"""Whole attention heads as the channels of a unit, and what follows from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sirfp_opt import InvalidProblemError
from sirfp_opt.plan import PruningPlan
from sirfp_opt.pytorch import (
    apply_plan,
    count_macs,
    count_params,
    couple,
    prune,
    read_cost,
)
from sirfp_opt.pytorch.probe import random_plan
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
    assert unit.heads.module == "blocks.0.attention"
    assert set(unit.heads.attributes) == {"num_heads", "all_head_size"}
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


class _Fixed(nn.Module):
    """Attention whose last view is written with the full width."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 4, stride=4)
        self.query, self.key, self.value = (nn.Linear(12, 12) for _ in range(3))
        self.out = nn.Linear(12, 12)
        self.head = nn.Linear(12, 3)
        self.heads = heads

    def forward(self, x: torch.Tensor) -> Any:
        x = self.stem(x).flatten(2).transpose(1, 2)
        q, k, v = (
            f(x).view(len(x), 16, self.heads, -1).transpose(1, 2)
            for f in (self.query, self.key, self.value)
        )
        y = (q @ k.transpose(-1, -2)).softmax(-1) @ v
        return self.head(self.out(y.transpose(1, 2).reshape(len(x), 16, 12)))


@pytest.mark.parametrize(
    ("heads", "words"), [(3, "the cut network fails"), (1, "multiplies activations")]
)
def test_heads_that_cannot_be_cut(heads: int, words: str) -> None:
    """A hard-coded width, and a single head, are found before surgery and told."""
    coupling = couple(randomized(lambda: _Fixed(heads)), IMAGES)
    reasons = {e.unit: e.reason for e in coupling.exclusions}
    assert words in reasons["query"]
    assert [unit.name for unit in coupling.units] == ["stem", "out"]
