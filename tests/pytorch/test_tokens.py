"""Tokens, heads and streams have graphs under every metric, and are pruned by them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sirfp_opt.pytorch import Extractor, couple, prune
from tests.pytorch.structure_parts import Run, tokens
from tests.pytorch.structures import STRUCTURES

METRICS = ("reconstruction", "refit", "spatial", "cosine", "pooled", "filter")


@pytest.mark.parametrize("name", ["torch attention", "vit, timm", "windows"])
def test_every_unit_has_a_graph(name: str) -> None:
    """Stream, heads and widths alike, under every metric."""
    structure = STRUCTURES[name]
    net, x = structure.build().float(), structure.input().float()
    coupling = couple(net, x)
    for metric in METRICS:
        extractor = Extractor(net, coupling=coupling, metric=metric)
        with extractor, torch.no_grad():
            net(x)
        graphs = extractor.graphs()
        assert set(graphs) == {unit.name for unit in coupling.units}
        for unit in coupling.units:
            weights = graphs[unit.name].weights
            assert weights.shape == (unit.size, unit.size)
            assert np.abs(weights).max() > 0


def test_heads_go_as_blocks() -> None:
    """The whole way, within budget: heads are tied channels of their problem."""
    structure = STRUCTURES["vit, timm"]
    net, x = structure.build().float(), structure.input().float()
    result = prune(net, x, macs=0.5, metric="spatial")
    assert result.report.reached["macs"] <= 0.5
    assert result.report.max_difference is not None
    assert result.report.max_difference < 1e-5
    heads = [unit for unit in result.plan.units if unit.step == 6]
    assert len(heads) == 2
    for unit in heads:
        kept = result.plan[unit.name]
        assert (kept.reshape(-1, 6) // 6 == kept[::6, None] // 6).all()


def attention_by_hand(m: Any, x: Tensor) -> Tensor:
    """Attend with linear layers of one's own."""
    x = tokens(m.patch(x))
    q, k, v = (f(x).view(*x.shape[:2], -1, 6).transpose(1, 2) for f in (m.q, m.k, m.v))
    y = nn.functional.scaled_dot_product_attention(q, k, v)
    out: Tensor = m.head(m.proj(y.transpose(1, 2).flatten(2)))
    return out


def attention_of_torch(m: Any, x: Tensor) -> Tensor:
    """Attend by `nn.MultiheadAttention`, tokens first or pictures first."""
    x = tokens(m.patch(x))
    x = x if m.att.batch_first else x.transpose(0, 1)
    x = m.att(x, x, x)[0]
    x = x if m.att.batch_first else x.transpose(0, 1)
    out: Tensor = m.head(x)
    return out


@pytest.mark.parametrize("metric", ["reconstruction", "filter"])
@pytest.mark.parametrize("first", [True, False])
def test_heads_of_torch_are_seen_as_by_linear_layers(first: bool, metric: str) -> None:
    """What its projection reads, though the module never calls it, is measured."""
    torch.manual_seed(0)
    width = 24
    parts = {n: nn.Linear(width, width) for n in ("q", "k", "v", "proj")}
    shared: dict[str, Any] = {
        "patch": nn.Conv2d(3, width, 4, 4),
        "head": nn.Linear(width, 3),
    }
    mine = Run(attention_by_hand, **parts, **shared).eval()
    att = nn.MultiheadAttention(width, 4, batch_first=first)
    with torch.no_grad():
        stacked = torch.cat([parts[n].weight for n in "qkv"])
        att.in_proj_weight.copy_(stacked)
        att.in_proj_bias.copy_(torch.cat([parts[n].bias for n in "qkv"]))
        att.out_proj.weight.copy_(parts["proj"].weight)
        att.out_proj.bias.copy_(parts["proj"].bias)
    theirs = Run(attention_of_torch, att=att, **shared).eval()
    x = torch.randn(3, 3, 16, 16)
    assert (mine(x) - theirs(x)).abs().max() < 1e-5
    found = []
    for net, reader in ((mine, "proj"), (theirs, "att.out_proj")):
        extractor = Extractor(net, example=x, metric=metric)
        with extractor, torch.no_grad():
            net(x)
        heads = [
            unit.name
            for unit in extractor.coupling.units
            if any((s.layer, s.side) == (reader, "in") for s in unit.sites)
        ]
        found.append(extractor.graphs()[heads[0]])
    one, other = (graph.weights for graph in found)
    if metric == "filter":  # there queries and keys count as makers, too
        assert one.shape == other.shape
        values = parts["v"].weight.detach().double()
        values = values / values.norm(dim=1, keepdim=True)
        expected = (values @ values.T).numpy()
        np.fill_diagonal(expected, 0)
        assert np.abs(np.abs(other) - np.abs(expected)).max() < 1e-6
    else:
        assert np.abs(one - other).max() <= 1e-4 * np.abs(one).max()


def test_readers_that_run_in_training_only_do_not_keep_their_unit() -> None:
    """They are cut along; what is measured is what the batches come by."""
    structure = STRUCTURES["auxiliary head"]
    net, x = structure.build().float(), structure.input().float()
    result = prune(net, x, macs=0.4)
    assert {"a.0", "b.0"} <= set(result.graphs)
    found = result.model.train()(x)
    assert [out.shape for out in found] == [(2, 2, 16, 16)] * 2
