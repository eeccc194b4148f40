"""Torch-Pruning's own pruners keep the cliques that our solvers choose."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch_pruning as tp
from torch import nn

from sirfp_opt import LayerConstraints, solve
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.network.plan import PruningPlan
from sirfp_opt.pytorch import (
    ExtractedGraphs,
    RedundancyImportance,
    extract,
    mask,
    prune,
)
from sirfp_opt.pytorch.batches import frozen_outputs
from tests.pytorch.cuts import largest_difference
from tests.pytorch.networks import SOUND, Residual, conv_bn, randomized

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def make_pruner(
    model: nn.Module, importance: RedundancyImportance, **arguments: Any
) -> tp.pruner.BasePruner:
    """Return a pruner; its shared dict defaults would leak from one to the next."""
    return tp.pruner.BasePruner(
        model,
        IMAGES,
        importance,
        in_channel_groups={},
        out_channel_groups={},
        **arguments,
    )


def expected(
    graphs: ExtractedGraphs, ratio: float, method: str, **arguments: Any
) -> PruningPlan:
    """Return what `solve` keeps of each unit at the pruner's number of channels."""
    kept = {}
    for unit in graphs.coupling.units:
        classes = unit.size // unit.step
        count = unit.step * int(classes * (1 - ratio))
        constraints = LayerConstraints(tied=unit.tied)
        kept[unit.name] = solve(
            graphs[unit.name], count, method, constraints=constraints, **arguments
        ).selected
    return PruningPlan(graphs.coupling.units, kept)


def left_whole(graphs: ExtractedGraphs, model: nn.Module) -> set[str]:
    """Return the units of which Torch-Pruning's cut would not be ours."""
    return {
        unit.name
        for unit in graphs.coupling.units
        if unit.heads is not None
        or any(
            isinstance(model.get_submodule(site.layer), (nn.GroupNorm, nn.LayerNorm))
            or site.layer.startswith("auxiliary.")  # UPerNet's, run for nothing
            for site in unit.sites
        )
    }


def assert_cut_by(plan: PruningPlan, whole: nn.Module, cut: nn.Module) -> None:
    """Check that a network computes what the plan's masked twin computes."""
    gap, scale = largest_difference(
        frozen_outputs(cut, IMAGES), frozen_outputs(mask(whole, plan), IMAGES)
    )
    assert gap <= 1e-5 * max(1.0, scale)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("name", SOUND)
def test_a_pruner_keeps_the_greedy_sets(name: str, steps: int) -> None:
    """At once or in steps, on every kind of coupling; excluded groups stay whole."""
    model, whole = randomized(SOUND[name]), randomized(SOUND[name])
    graphs = extract(model, IMAGES, metric="spatial")
    pruner = make_pruner(
        model, RedundancyImportance(graphs), pruning_ratio=0.5, iterative_steps=steps
    )
    for step in range(1, steps + 1):
        pruner.step()
        kept = dict(expected(graphs, 0.5 * step / steps, "greedy"))
        for unit in left_whole(graphs, whole):
            del kept[unit]
        assert_cut_by(PruningPlan(graphs.coupling.units, kept), whole, model)
    if len(left_whole(graphs, whole)) < len(graphs):
        assert sum(p.numel() for p in model.parameters()) < sum(
            p.numel() for p in whole.parameters()
        )


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("name", ["residual", "resnext"])
def test_a_pruner_keeps_the_sets_of_any_method(name: str, steps: int) -> None:
    """Here random ones, which greedy would not choose, after the last step."""
    model, whole = randomized(SOUND[name]), randomized(SOUND[name])
    graphs = extract(model, IMAGES, metric="spatial")
    how: dict[str, Any] = {"samples": 1, "seed": 5}
    importance = RedundancyImportance(graphs, method="random", ratio=0.6, **how)
    pruner = make_pruner(model, importance, pruning_ratio=0.6, iterative_steps=steps)
    for _ in range(steps):
        pruner.step()
    plan = expected(graphs, 0.6, "random", **how)
    assert plan != expected(graphs, 0.6, "greedy")
    assert_cut_by(plan, whole, model)


def test_ratios_by_layer() -> None:
    """`pruning_ratio_dict` beside `ratio` by unit; other units are greedy."""
    model, whole = randomized(Residual), randomized(Residual)
    graphs = extract(model, IMAGES, metric="spatial")
    name = "blocks.1.one.0"
    pruner = make_pruner(
        model,
        RedundancyImportance(graphs, method="brute_force", ratio={name: 0.7}),
        pruning_ratio=0.5,
        pruning_ratio_dict={model.get_submodule(name): 0.7},
    )
    pruner.step()
    kept = dict(expected(graphs, 0.5, "greedy"))
    kept[name] = solve(graphs[name], 3, "brute_force").selected
    assert_cut_by(PruningPlan(graphs.coupling.units, kept), whole, model)


def test_dead_channels_go_first_as_in_prune() -> None:
    """The same sets as those of `prune`, which drops channels that are always zero."""
    model = randomized(SOUND["plain"])
    norm: Any = model.get_submodule("0.1")
    with torch.no_grad():
        norm.weight[[1, 4]] = 0
        norm.bias[[1, 4]] = 0
    result = prune(model, IMAGES, keep=0.5, refit=None)
    assert not {1, 4} & set(result.plan["0.0"].tolist())
    make_pruner(model, RedundancyImportance(result.graphs), pruning_ratio=0.5).step()
    gap, _ = largest_difference(
        frozen_outputs(model, IMAGES), frozen_outputs(result.model, IMAGES)
    )
    assert gap <= 1e-5


def test_scores_are_places_of_the_channels_left() -> None:
    """One score a channel, from 1/n to 1; a second pruner starts afresh."""
    model = nn.Sequential(conv_bn(3, 8), nn.Conv2d(8, 4, 1)).eval()
    graphs = extract(model, IMAGES, metric="spatial")
    importance = RedundancyImportance(graphs)
    graph = tp.DependencyGraph().build_dependency(model, IMAGES)
    (group,) = [g for g in graph.get_all_groups() if importance(g) is not None]
    scores = importance(group)
    assert scores is not None
    assert sorted(scores.tolist()) == [i / 8 for i in range(1, 9)]
    worst = int(scores.argmin())
    group.prune([worst])
    (group,) = [g for g in graph.get_all_groups() if importance(g) is not None]
    left = importance(group)
    assert left is not None
    np.testing.assert_array_equal(left.numpy(), np.delete(scores.numpy(), worst))
    fresh = tp.DependencyGraph().build_dependency(model, IMAGES)
    with pytest.raises(InvalidProblemError, match="got 7 where 8 are left"):
        list(map(importance, fresh.get_all_groups()))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"method": "tabu"}, "must tell the number"),
        ({"method": "tabu", "ratio": 1.0}, r"\[0, 1\)"),
        ({"method": "tabu", "ratio": {"0.0": "half"}}, r"\[0, 1\)"),
        ({"method": "tabu", "ratio": {"nowhere": 0.5}}, "prunable units"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], match: str) -> None:
    """Each is refused with a message that names it."""
    graphs = extract(randomized(SOUND["plain"]), IMAGES)
    with pytest.raises(InvalidProblemError, match=match):
        RedundancyImportance(graphs, **arguments)
