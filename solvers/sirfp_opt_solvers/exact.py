"""Exact: branch and bound on convexified relaxations with their best duals."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar

from sirfp_opt._rules import check_fields, number, ruled, whole
from sirfp_opt.errors import UnsupportedError
from sirfp_opt.objective import Objective
from sirfp_opt.protocols import SolverInfo
from sirfp_opt_solvers._local.compilation import SWEEPS, compiling
from sirfp_opt_solvers._local.runs import check_jobs
from sirfp_opt_solvers._proof.incumbent import is_proved, offer_start

if TYPE_CHECKING:
    from sirfp_opt.search import Search

__all__ = ["Exact"]


@dataclass(frozen=True)
class Exact:
    """Branch and bound on convex relaxations; proves layers of hundreds of channels.

    Since x_i² = x_i for 0/1 variables, any diagonal d and any multipliers N >= 0 on
    the products x_i x_j may be moved about without changing the objective on feasible
    sets (in the minimising form, y being x with the weights -W):

        min ½ x'(A - N + diag d) x + (c - d/2)' x   over {0 <= x <= 1, Σ x = k},

    and where the matrix is positive semidefinite the minimum of this convex problem
    is a bound. At the root, d and N are those of (nearly) the best such bound, the
    dual of the doubly non-negative relaxation, found by coordinate sweeps and then by
    Newton and multiplier steps on a barrier; nodes below improve their parent's.
    Variables are fixed by reduced costs, a short compiled tree tries to finish each
    node, and what is left is split in two on a variable that is torn and has a high
    d_i. The node of the least bound comes first, so the bound rises all the time.

    Bounds are *dual* values with their rounding subtracted, and the matrix is shown to
    be positive semidefinite by a Cholesky factorisation with a margin, so a bound
    holds for the weights as given. The first incumbent is tabu search's, or, up to 64
    items with no missing edge and one number of them, that of best swaps.

    One iteration is one node with a dual of its own. With several threads, which
    nodes are visited, and which of several optima is found, depends on their timing.

    Parameters
    ----------
    barrier : float
        Weight of the barrier, times gap / m: less is tighter and slower.
    rounds : int
        Multiplier steps at a node below the root.
    root_rounds : int
        The same at the root, at most; it stops once they no longer help.
    budget : int
        Nodes of the compiled tree that tries to finish a node.
    max_nodes : int, optional
        Give up after so many nodes, as after Limits(iterations=...), but as an end of
        its own.
    n_jobs : int
        Threads, each with a node of its own.

    Raises
    ------
    InvalidProblemError
        If a parameter is out of its range.
    InfeasibleError
        If it is proved that no set meets the constraints.

    Notes
    -----
    Convexification by the diagonal: Billionnet, Elloumi, Plateau (2009), "Improving
    the performance of standard solvers for quadratic 0-1 programs by a tight convex
    reformulation", doi 10.1016/j.dam.2007.12.007. Numbers of channels in a range are
    so many roots of one tree.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import ChannelGraph, solve
    >>> maps = np.random.default_rng(0).random((30, 200)) ** 4
    >>> solve(ChannelGraph.from_redundancy(maps @ maps.T), 15, "exact").status.value
    'optimal'
    """

    barrier: float = ruled(number(0.0, above=True, way="The default is 1.0."), 1.0)
    rounds: int = ruled(whole(0), 16)
    root_rounds: int = ruled(whole(1), 400)
    budget: int = ruled(whole(1), 400)
    max_nodes: int | None = ruled(whole(1, optional=True), None)
    n_jobs: int = 1
    info: ClassVar[SolverInfo] = SolverInfo(
        summary="branch and bound on convexified relaxations; proves whole layers",
        exact=True,
        limits=frozenset({"time", "iterations", "gap", "target"}),
        requires=("numba",),
        objectives=frozenset(Objective),
        cites=("billionnet2009improving",),
    )

    def __post_init__(self) -> None:
        check_fields(self)
        check_jobs(self.n_jobs)

    def solve(self, search: Search) -> None:
        """Offer a start, then close the tree from the least bound on."""
        if search.problem.objective is Objective.REFIT:
            self._solve_refit(search)
            return
        bounds = offer_start(search)
        if search.stop() or is_proved(search):
            return
        with compiling(search, "exact") as ready:
            if not ready:
                return
            # Loads numba: only when it is to run.
            from sirfp_opt_solvers._proof.best_first import BestFirst
            from sirfp_opt_solvers._proof.branching import Effort, is_swept

            canonical = search.canonical
            swept = is_swept(canonical.m, missing=canonical.conflicts is not None)
            with compiling(search, *([SWEEPS] if swept else [])) as ready:
                if not ready:
                    return
                BestFirst(
                    search,
                    bounds,
                    Effort(self.barrier, self.rounds, self.root_rounds, self.budget),
                    self.n_jobs,
                    self.max_nodes,
                ).run()

    def _solve_refit(self, search: Search) -> None:
        """Close the tree of a refit problem."""
        for field in fields(self):
            if field.name != "max_nodes" and getattr(self, field.name) != field.default:
                raise UnsupportedError(
                    f"`{field.name}` must be left as it is where readers are refitted, "
                    f"got {getattr(self, field.name)!r}. It is a parameter of the "
                    "clique tree; max_nodes and limits hold for both."
                )
        from sirfp_opt_solvers._refit.proof import prove

        prove(search, self.max_nodes)
