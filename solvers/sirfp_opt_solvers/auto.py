"""Auto: what to run when the user does not want to choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sirfp_opt._validate import as_int
from sirfp_opt.protocols import SolverInfo
from sirfp_opt_solvers.brute_force import BruteForce
from sirfp_opt_solvers.cpsat import CpSat
from sirfp_opt_solvers.tabu import Tabu

if TYPE_CHECKING:
    from sirfp_opt.search import Search

__all__ = ["Auto"]


@dataclass(frozen=True)
class Auto:
    """Enumerate small problems, which proves the answer; else tabu search.

    Where missing edges leave tabu search without any feasible set, CP-SAT takes over:
    it finds one, or proves that there is none.

    Parameters
    ----------
    enumerate_below : int
        Enumerate problems of at most this many subsets, which takes milliseconds.

    Raises
    ------
    InvalidProblemError
        If `enumerate_below` is no number of at least 0.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import solve
    >>> solve(np.ones((6, 6)), 3).status.value
    'optimal'
    """

    enumerate_below: int = 20_000
    info: ClassVar[SolverInfo] = SolverInfo(
        summary="all subsets where few (a proof), else tabu search",
        exact=False,
    )

    def __post_init__(self) -> None:
        as_int(self.enumerate_below, "enumerate_below", least=0)

    def solve(self, search: Search) -> None:
        """Run what fits the size."""
        if search.canonical.subsets <= self.enumerate_below:
            BruteForce(max_subsets=self.enumerate_below).solve(search)
            return
        Tabu().solve(search)
        if search.best is None and not search.stop():
            CpSat().solve(search)
