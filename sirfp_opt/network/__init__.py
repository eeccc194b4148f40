"""Many layers under one budget: the problem, its curves, the split, the plan."""

from __future__ import annotations

from sirfp_opt.network.cost import Affine, CostForm, CostModel
from sirfp_opt.network.curves import ValueCurves
from sirfp_opt.network.frontier import Frontier, sweep
from sirfp_opt.network.plan import PruningPlan
from sirfp_opt.network.problem import NetworkProblem
from sirfp_opt.network.solution import NetworkSolution
from sirfp_opt.network.solve import solve_network
from sirfp_opt.network.worth import Worth

__all__ = [
    "Affine",
    "CostForm",
    "CostModel",
    "Frontier",
    "NetworkProblem",
    "NetworkSolution",
    "PruningPlan",
    "ValueCurves",
    "Worth",
    "solve_network",
    "sweep",
]
