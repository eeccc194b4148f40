"""Baselines: what a method must beat to be worth its time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sirfp_opt.objective import Objective
from sirfp_opt.protocols import SolverInfo
from sirfp_opt_solvers._local.construct import feasible_sets

if TYPE_CHECKING:
    from sirfp_opt.search import Search

__all__ = ["RandomFeasible", "TopK"]


@dataclass(frozen=True)
class RandomFeasible:
    """Uniformly random orders of the channels, the best of `samples` kept.

    One iteration is one order. It is the control of every experiment: a criterion
    that does not beat it has learned nothing.

    Parameters
    ----------
    samples : int
        Orders drawn; with a time limit, the run ends at whichever comes first.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import solve
    >>> solve(np.ones((5, 5)), 2, method="random").objective
    1.0
    """

    samples: int = 1
    info: ClassVar[SolverInfo] = SolverInfo(
        summary="random feasible sets (control)",
        exact=False,
        limits=frozenset({"time", "iterations", "target"}),
        objectives=frozenset(Objective),
    )

    def solve(self, search: Search) -> None:
        """Draw orders until `samples` are done or the run must stop."""
        for sample in range(self.samples):
            order = search.rng.permutation(search.form.m)
            for items in feasible_sets(search, order):
                search.offer_items(items, sample + 1)
            if search.stop(sample + 1):
                return


@dataclass(frozen=True)
class TopK:
    """Rank each channel by itself and keep the best: pruning without interaction.

    Channel i scores c_i + ½ · Σ_j W_ij per channel it stands for, once, against all
    others, kept or not. This is what a score-based pruning criterion does, and what
    the clique formulation improves on. Where readers are refitted, the score is what is
    lost without the item alone.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import solve
    >>> solve(np.array([[0, 3, 1], [3, 0, 2], [1, 2, 0]]), 2, method="top_k").objective
    3.0
    """

    info: ClassVar[SolverInfo] = SolverInfo(
        summary="rank channels once by their row sum, keep the best",
        exact=False,
        objectives=frozenset(Objective),
    )

    def solve(self, search: Search) -> None:
        """Offer the best-ranked set of each allowed count."""
        form = search.form
        worth = form.scores if form.unit_size == 1 else form.scores / form.sizes
        order = (-worth).argsort(kind="stable")
        for items in feasible_sets(search, order):
            search.offer_items(items, 1)
