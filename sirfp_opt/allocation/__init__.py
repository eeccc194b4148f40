"""How many channels each layer keeps under a budget."""

from __future__ import annotations

from sirfp_opt.allocation.base import (
    Allocation,
    Allocator,
    Budget,
    Layer,
    MemberGraph,
)
from sirfp_opt.allocation.scores import greedy_scores
from sirfp_opt.allocation.threshold import Threshold
from sirfp_opt.allocation.uniform import Uniform

__all__ = [
    "Allocation",
    "Allocator",
    "Budget",
    "Layer",
    "MemberGraph",
    "Threshold",
    "Uniform",
    "greedy_scores",
]
