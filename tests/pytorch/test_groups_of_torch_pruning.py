"""Our channels against Torch-Pruning's groups: the same, but where theirs are wrong."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from sirfp_opt.pytorch import couple
from tests.pytorch.networks import SOUND, randomized
from tests.pytorch.structures import STRUCTURES

tp = pytest.importorskip("torch_pruning")

IMAGES = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
LAYERS = (
    nn.modules.conv._ConvNd, nn.Linear, nn.modules.batchnorm._BatchNorm, nn.GroupNorm,
    nn.LayerNorm, nn.PReLU,
)  # fmt: skip

Channel = frozenset[tuple[str, str, int]]
"""One channel: (layer, side, position), every place at which it lives."""

SAME = (
    "frozen batch norm", "group norm", "layer norm 2d", "grouped", "channel shuffle",
    "squeeze and excitation", "dense block", "swiglu", "glu", "split", "3-d",
)  # fmt: skip
"""Structures of `structures.py` in which nothing differs."""

DIFFERENT = {
    "upernet": (
        {"stages.1.two", "auxiliary.0.0"},
        "their one run, in evaluation mode, does not come by the auxiliary head",
    ),
    "auxiliary head": (
        {"a.0", "aux.0"},
        "the same",
    ),
    "prelu of one": (
        {"0"},
        "its one slope is taken for a channel, and asked to go with each of them",
    ),
    "pixel shuffle": (
        {"0"},
        "each position is a channel of its own, though four of them make one map",
    ),
    "shuffle unit": (
        {"stem"},
        "the halves' places after the shuffle are lost",
    ),
    "c2f": (
        {"stem", "layers.0", "layers.1"},
        "offsets of the parts that are concatenated are lost",
    ),
    "non-local": (
        {"q", "v"},
        "values are tied to queries, though only scores join them",
    ),
    "1-d, halves": (
        {"b"},
        "a split of the length is taken for one of the channels",
    ),
    "encoder under no_grad": (
        {"encoder.0", "encoder.2", "encoder.4"},
        "their graph is autograd's, and begins after the encoder",
    ),
    "patch merging": (
        {"patch"},
        "four neighbours of one channel are not told from four channels",
    ),
    "vit, timm": (
        {"att.0.qkv", "att.1.qkv"},
        "values are not tied to the projection that reads them",
    ),
}
"""By network: the units that are other ones, and why theirs are not right."""


def _side(module: nn.Module, *, reads: bool) -> str:
    """Return the side of a layer; what has one number a channel has one side."""
    plain = isinstance(module, nn.Linear)
    if isinstance(module, nn.modules.conv._ConvNd):
        plain = module.groups == 1 or module.groups < module.in_channels
    return "in" if reads and plain else "out"


def theirs(model: nn.Module, images: Tensor) -> set[Channel]:
    """Return Torch-Pruning's channels: what goes with each position of a root."""

    def forward(network: nn.Module, batch: Any) -> list[Any]:
        return pytree.tree_leaves(network(batch))

    graph = tp.DependencyGraph().build_dependency(
        model, images, forward_fn=forward, verbose=False
    )
    names = {module: name for name, module in model.named_modules()}
    found: set[Channel] = set()
    for group in graph.get_all_groups():
        places: dict[int, set[tuple[str, str, int]]] = defaultdict(set)
        for item in group:
            module = item.dep.target.module
            if module in names and isinstance(module, LAYERS):
                reads = graph.is_in_channel_pruning_fn(item.dep.handler)
                side = _side(module, reads=reads)
                for position, root in zip(item.idxs, item.root_idxs, strict=True):
                    places[root].add((names[module], side, position))
        found |= {frozenset(some) for some in places.values()}
    return found


def ours(model: nn.Module, images: Tensor) -> dict[str, set[Channel]]:
    """Return our channels by unit."""
    modules, found = dict(model.named_modules()), {}
    for unit in couple(model, images).units:
        places: list[set[tuple[str, str, int]]] = [set() for _ in range(unit.size)]
        for site in unit.sites:
            if isinstance(modules[site.layer], LAYERS):
                for channel, row in enumerate(site.table(unit.size).tolist()):
                    places[channel] |= {(site.layer, site.side, p) for p in row}
        found[unit.name] = {frozenset(some) for some in places}
    return found


@pytest.mark.parametrize(
    "name", [*SOUND, *SAME, *(n for n in DIFFERENT if n not in SOUND)]
)
def test_channels_are_those_of_torch_pruning(name: str) -> None:
    """Every channel of ours is one of theirs, place by place, but for those listed."""
    if name in SOUND:
        model, images = randomized(SOUND[name]), IMAGES
    else:
        model, images = STRUCTURES[name].build(), STRUCTURES[name].input()
    known = theirs(model, images)
    units = ours(model, images)
    different = {unit for unit, found in units.items() if not found <= known}
    assert units
    assert different == (DIFFERENT[name][0] if name in DIFFERENT else set())
