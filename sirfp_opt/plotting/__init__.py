"""Pictures: each takes and returns a matplotlib Axes, and reads well in grey.

>>> import matplotlib
>>> matplotlib.use("agg")
>>> import numpy as np
>>> from sirfp_opt import ChannelGraph, solve
>>> from sirfp_opt.plotting import plot_redundancy
>>> maps = np.random.default_rng(0).random((8, 30))
>>> layer = ChannelGraph.from_redundancy(maps @ maps.T, name="layer")
>>> plot_redundancy(solve(layer, 3)).get_title()
'layer: 3 of 8 channels kept'
"""

from __future__ import annotations

from typing import NoReturn

from sirfp_opt._moved import raise_moved
from sirfp_opt.plotting.clique import plot_clique
from sirfp_opt.plotting.frontier import plot_frontier, plot_kept
from sirfp_opt.plotting.layers import (
    plot_embedding,
    plot_feature_maps,
    plot_redundancy,
)
from sirfp_opt.plotting.networks import plot_plan
from sirfp_opt.plotting.runs import plot_anytime

__all__ = [
    "plot_anytime",
    "plot_clique",
    "plot_embedding",
    "plot_feature_maps",
    "plot_frontier",
    "plot_kept",
    "plot_plan",
    "plot_redundancy",
]


def __getattr__(name: str) -> NoReturn:
    """Say where the pictures of a study are."""
    of_a_study = ("plot_gaps", "plot_performance_profile", "plot_value_curve")
    raise_moved(__name__, name, {n: f"sirfp_opt.study.{n}" for n in of_a_study})
