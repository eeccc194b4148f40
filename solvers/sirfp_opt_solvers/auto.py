"""Auto: what to run when the user does not want to choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sirfp_opt.protocols import SolverInfo
from sirfp_opt_solvers.brute_force import BruteForce
from sirfp_opt_solvers.greedy import Greedy

if TYPE_CHECKING:
    from sirfp_opt.search import Search

__all__ = ["Auto"]


@dataclass(frozen=True)
class Auto:
    """Enumerate small problems; else greedy.

    Parameters
    ----------
    enumerate_below : int
        Enumerate problems of at most this many subsets, which takes milliseconds.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import solve
    >>> solve(np.ones((6, 6)), 3).status.value
    'optimal'
    """

    enumerate_below: int = 20_000
    info: ClassVar[SolverInfo] = SolverInfo(
        summary="all subsets where few, else the best heuristic for the size",
        exact=False,
    )

    def solve(self, search: Search) -> None:
        """Run what fits the size."""
        if search.canonical.subsets <= self.enumerate_below:
            BruteForce().solve(search)
        else:
            Greedy().solve(search)
