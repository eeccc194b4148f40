"""Scores of single channels in place of measured graphs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sirfp_opt import ChannelGraph
from sirfp_opt.network.allocation import Threshold

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sirfp_opt.pytorch import ExtractedGraphs

__all__ = ["ACROSS", "as_graphs"]

ACROSS = Threshold(pools=(), normalize="none", edge_weights={"*": 1.0})
"""One ranking of all channels of a network by scores, which Torch-Pruning divides by
their mean in each unit: its global pruning."""


def as_graphs(
    base: ExtractedGraphs, scores: dict[str, NDArray[np.float64]]
) -> ExtractedGraphs:
    """Return graphs without edges, whose vertices are worth their scores."""
    graphs: dict[str, Any] = {
        name: ChannelGraph(
            np.zeros((len(score), len(score))),
            sense="maximize",
            vertex_weights=score,
            name=name,
        )
        for name, score in scores.items()
    }
    terms = {name: {name: score} for name, score in scores.items()}
    empty: dict[str, Any] = {name: {} for name in scores}
    return replace(
        base, graphs=graphs, redundancy=empty, importance=terms, inputs={}, reads={}
    )
