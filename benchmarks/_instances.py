"""Instances of the heuristics' benchmark: public files, seeded families, layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt import ChannelGraph, LayerConstraints, PruningProblem
from sirfp_opt.io import read, read_problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# (n, k) of each family: MDG-a has uniform weights in [0, 10] with two decimals, MDG-b
# and MDG-c in [0, 1000]; the sizes beyond 3000 are those of Palubeckis' instances.
FAMILIES = {
    "MDG-a": (10.0, 2, ((500, 50), (2000, 200))),
    "MDG-b": (1000.0, 6, ((500, 50), (2000, 200), (5000, 500))),
    "MDG-c": (1000.0, 6, ((3000, 300), (3000, 400), (3000, 500), (3000, 600))),
}
SHARES = (0.25, 0.5, 0.75)


def published(folder: Path) -> Iterator[PruningProblem]:
    """Yield the MDPLIB files of a folder."""
    for path in sorted(folder.glob("*_n*_m*.txt")):
        yield read_problem(path)


def generated(family: str, n: int, k: int, seed: int) -> PruningProblem:
    """Return an instance of a family: independent uniform weights."""
    largest, decimals, _ = FAMILIES[family]
    rng = np.random.default_rng([n, k, seed])
    weights = np.triu(np.round(rng.uniform(0.0, largest, (n, n)), decimals), 1)
    weights += weights.T
    graph = ChannelGraph.from_diversity(weights, name=f"{family}_n{n}_m{k}_s{seed}")
    return PruningProblem(graph, LayerConstraints(k))


def layers(archive: Path) -> Iterator[PruningProblem]:
    """Yield |S| graphs of measured layers at a quarter, half, three quarters kept."""
    graphs = read(archive)
    if isinstance(graphs, ChannelGraph):
        graphs = {graphs.name: graphs}
    for name, graph in graphs.items():
        if name.startswith("abs/"):
            for share in SHARES:
                yield PruningProblem(graph, LayerConstraints(int(share * graph.n)))


def resnet50_layers(seed: int = 0) -> list[ChannelGraph]:
    """Return simulated graphs of the 53 convolutions of a ResNet-50."""
    widths = [64]
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            widths += [width, width, 4 * width] + [4 * width] * (block == 0)
    rng = np.random.default_rng(seed)
    graphs = []
    for n in widths:
        features = rng.normal(size=(n, max(8, n // 4))) * rng.gamma(3.0, size=(n, 1))
        graphs.append(ChannelGraph.from_redundancy(np.abs(features @ features.T)))
    return graphs
