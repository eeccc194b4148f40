"""How many channels each layer keeps under a budget."""

from __future__ import annotations

from sirfp_opt.allocation.base import (
    Allocation,
    Allocator,
    Budget,
    Layer,
    MemberGraph,
)
from sirfp_opt.allocation.lagrangian import Lagrangian
from sirfp_opt.allocation.optimal import Optimal
from sirfp_opt.allocation.scores import greedy_scores
from sirfp_opt.allocation.threshold import Threshold
from sirfp_opt.allocation.uniform import Uniform
from sirfp_opt.allocation.worth import Worth

__all__ = [
    "Allocation",
    "Allocator",
    "Budget",
    "Lagrangian",
    "Layer",
    "MemberGraph",
    "Optimal",
    "Threshold",
    "Uniform",
    "Worth",
    "greedy_scores",
]
