"""Auto: what to run when the user does not want to choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sirfp_opt._rules import check_fields, ruled, whole
from sirfp_opt.objective import Objective
from sirfp_opt.protocols import SolverInfo
from sirfp_opt_solvers.brute_force import BruteForce
from sirfp_opt_solvers.cpsat import CpSat
from sirfp_opt_solvers.exact import Exact
from sirfp_opt_solvers.local_search import LocalSearch
from sirfp_opt_solvers.tabu import Tabu

if TYPE_CHECKING:
    from sirfp_opt.search import Search

__all__ = ["Auto"]

# Nodes that end within about a second at 128 items; of fewer, each takes less.
_NODES, _ITEMS = 70, 128
# Where readers are refitted, so many items are proved within a second or so.
_REFIT_PROVE_UP_TO = 32


@dataclass(frozen=True)
class Auto:
    """Prove the answer where that takes a moment; else tabu search.

    Few subsets are enumerated. Up to `prove_below` items, branch and bound gets so many
    nodes that it ends within a second or two, the more the fewer items there are;
    trained layers are proved by then. Where
    missing edges leave tabu search without any feasible set, CP-SAT takes over:
    it finds one, or proves that there is none. Where readers are refitted, 32 items are
    proved, and more are left to local search.

    Parameters
    ----------
    enumerate_below : int
        Enumerate problems of at most this many subsets, which takes milliseconds.
    prove_below : int
        Try a proof on problems of at most this many items.

    Raises
    ------
    InvalidProblemError
        If a parameter is no number of at least 0.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import solve
    >>> solve(np.ones((6, 6)), 3).status.value
    'optimal'
    """

    enumerate_below: int = ruled(whole(0), 20_000)
    prove_below: int = ruled(whole(0), 128)
    info: ClassVar[SolverInfo] = SolverInfo(
        summary="a proof where that takes a moment, else tabu search",
        exact=False,
        objectives=frozenset(Objective),
        cites=("zhou2017opposition", "billionnet2009improving"),
    )

    def __post_init__(self) -> None:
        check_fields(self)

    def solve(self, search: Search) -> None:
        """Run what fits the size."""
        if search.form.subsets <= self.enumerate_below:
            BruteForce(max_subsets=self.enumerate_below).solve(search)
            return
        if search.problem.objective is Objective.REFIT:
            proves = search.form.m <= _REFIT_PROVE_UP_TO
            (Exact() if proves else LocalSearch()).solve(search)
            return
        m = max(search.canonical.m, 1)
        nodes = max(_NODES, int(_NODES * (_ITEMS / m) ** 2))
        # Exact starts from tabu search, too.
        solver = Exact(max_nodes=nodes) if m <= self.prove_below else Tabu()
        solver.solve(search)
        if search.best is None and not search.stop():
            CpSat().solve(search)
