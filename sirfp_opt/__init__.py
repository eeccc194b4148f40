"""Neural-network pruning as graph optimization.

>>> import numpy as np
>>> from sirfp_opt import ChannelGraph, solve
>>> rng = np.random.default_rng(0)
>>> maps = rng.random((12, 100))
>>> graph = ChannelGraph.from_redundancy(maps @ maps.T)
>>> solve(graph, 4, method="brute_force").status.value
'optimal'
"""

from __future__ import annotations

import logging
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from sirfp_opt._moved import tell_of_moves
from sirfp_opt.api import solve
from sirfp_opt.bounds import Bound, bound
from sirfp_opt.citing import cite
from sirfp_opt.constraints import LayerConstraints
from sirfp_opt.errors import (
    InfeasibleError,
    InvalidProblemError,
    MissingExtraError,
    NoSolutionError,
    SirfpError,
    SolverError,
    SolverNotInstalledError,
    UnknownSolverError,
    UnsupportedError,
)
from sirfp_opt.graph import ChannelGraph
from sirfp_opt.limits import Limits
from sirfp_opt.objective import Objective
from sirfp_opt.partner_bound import combinatorial_bound
from sirfp_opt.problem import PruningProblem
from sirfp_opt.protocols import Solver, SolverInfo
from sirfp_opt.reconstruction import ReconstructionProblem
from sirfp_opt.registry import available_solvers, register_solver, unregister_solver
from sirfp_opt.search import Progress, Search
from sirfp_opt.sense import Sense
from sirfp_opt.solution import Solution, Status
from sirfp_opt.trace import Trace, TraceEvent

if TYPE_CHECKING:
    from sirfp_opt.network import NetworkProblem, PruningPlan, solve_network

try:
    __version__ = version("sirfp-opt")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

logging.getLogger(__name__).addHandler(logging.NullHandler())
tell_of_moves()

_OF_NETWORKS = ("NetworkProblem", "PruningPlan", "solve_network")
"""Names of the floor above, which the core does not load: only who asks for them."""

__all__ = [
    "Bound",
    "ChannelGraph",
    "InfeasibleError",
    "InvalidProblemError",
    "LayerConstraints",
    "Limits",
    "MissingExtraError",
    "NetworkProblem",
    "NoSolutionError",
    "Objective",
    "Progress",
    "PruningPlan",
    "PruningProblem",
    "ReconstructionProblem",
    "Search",
    "Sense",
    "SirfpError",
    "Solution",
    "Solver",
    "SolverError",
    "SolverInfo",
    "SolverNotInstalledError",
    "Status",
    "Trace",
    "TraceEvent",
    "UnknownSolverError",
    "UnsupportedError",
    "available_solvers",
    "bound",
    "cite",
    "combinatorial_bound",
    "register_solver",
    "solve",
    "solve_network",
    "unregister_solver",
]


def __getattr__(name: str) -> Any:
    if name != "network" and name not in _OF_NETWORKS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    floor = import_module("sirfp_opt.network")
    return floor if name == "network" else getattr(floor, name)
