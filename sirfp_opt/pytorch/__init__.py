"""The torch adapter: graphs out of a network, a smaller network out of a plan."""

from __future__ import annotations

from sirfp_opt.pytorch.coupling import Coupling, Exclusion, Member, couple
from sirfp_opt.pytorch.extract import extract
from sirfp_opt.pytorch.graphs import ExtractedGraphs
from sirfp_opt.pytorch.surgery import apply_plan, mask

__all__ = [
    "Coupling",
    "Exclusion",
    "ExtractedGraphs",
    "Member",
    "apply_plan",
    "couple",
    "extract",
    "mask",
]
