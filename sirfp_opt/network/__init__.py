"""Many layers under one budget: the problem, its curves, the split, the plan."""

from __future__ import annotations

from sirfp_opt.network.budget import Budget
from sirfp_opt.network.cost import Affine, CostForm, CostModel
from sirfp_opt.network.curves import ValueCurve, ValueCurves, value_curve
from sirfp_opt.network.frontier import Frontier, sweep
from sirfp_opt.network.plan import PruningPlan
from sirfp_opt.network.problem import NetworkProblem
from sirfp_opt.network.response import Response
from sirfp_opt.network.solution import NetworkSolution
from sirfp_opt.network.solve import solve_network
from sirfp_opt.network.unit import MemberGraph
from sirfp_opt.network.worth import Worth

__all__ = [
    "Affine",
    "Budget",
    "CostForm",
    "CostModel",
    "Frontier",
    "MemberGraph",
    "NetworkProblem",
    "NetworkSolution",
    "PruningPlan",
    "Response",
    "ValueCurve",
    "ValueCurves",
    "Worth",
    "solve_network",
    "sweep",
    "value_curve",
]
