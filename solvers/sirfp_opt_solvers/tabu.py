"""Tabu search: the default heuristic.

For other solvers that want a good set to start from, without a `Search`: `improve`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sirfp_opt._rules import check_fields, ruled, whole
from sirfp_opt.protocols import SolverInfo
from sirfp_opt_solvers._local.compilation import compiling
from sirfp_opt_solvers._local.fixed_point import FixedPoint
from sirfp_opt_solvers._local.runs import (
    HEURISTIC_LIMITS,
    check_jobs,
    drive,
    runs_until_stopped,
)
from sirfp_opt_solvers._local.start import is_open, offer_extremes, offer_greedy
from sirfp_opt_solvers._local.tabu_walk import PATIENCE, chunk, improve, tabu_walker

if TYPE_CHECKING:
    from sirfp_opt.search import Search

__all__ = ["Tabu", "improve"]


@dataclass(frozen=True)
class Tabu:
    """Memetic tabu search for sets of k items; what `solve` is at its best with.

    Each generation takes what two sets of a small population have in common, fills
    it up at random, and improves it by two tabu searches in turn:

    1. *drop-add*: drop the member i of least gain g_i that is not tabu, then add the
       outsider j of largest gain; the gains g_i = c_i + Σ_{l in X} W_il are kept up
       to date, which reads two rows of W an iteration;
    2. *best swap*, from the best set of (1): the swap of largest g_j - g_i - W_ij
       that is not tabu, found exactly, with few rows read because
       max_j g_j - g_i - min_j W_ij bounds what the others can do.

    The child replaces the worst set of the population if it is better and new. When
    as many children in a row have failed to as the population has members, both
    searches go twice as deep and the worse half of the population is replaced by
    newcomers. The first generations start from the warm start and the greedy set.

    One iteration is one drop and add, or one swap.

    Parameters
    ----------
    population : int, optional
        10 by default, 20 from 1000 items on.
    depth : int, optional
        Iterations of drop-add without a better set before it ends; by default
        min(2500, 20 m).
    swap_depth : int, optional
        The same for best swap; a tenth of `depth` by default.
    tenure : int, optional
        Shortest time that a dropped item stays out, drawn from ten values from here
        on; an added one stays in for 0.7 of it. By default each generation takes
        m / 400, m / 200, m / 100 or m / 50, mostly the one whose children have ranked
        highest in the population so far.
    patience : int
        Without a limit other than `target`, end after so many generations without a
        better set; after three times as many where k is a range or edges are missing,
        five times as many where tied groups differ in size.
    n_jobs : int
        Independent searches, each in a thread of its own.

    Raises
    ------
    InvalidProblemError
        If a parameter is out of its range.

    Notes
    -----
    The searches run on weights rounded to 32-bit fixed point (`FixedPoint`): a set of
    k items is priced within (k (k - 1) / 2 + k) / (2 · scale), about 1e-9 · k of its
    value. The core prices what is found anew, in float64.

    A missing edge costs twice max |W| + max |c|, and twice as much again after every
    20 runs without a conflict-free set; only conflict-free sets are answers. Where k
    is a range, children leave their parent's number of items by 1, 2, 4, ... allowed
    steps. Where tied groups differ in size, an iterated one-flip tabu takes over.

    The memetic frame follows Zhou, Hao and Duval (2017), "Opposition-based memetic
    search for the maximum diversity problem", doi 10.1109/TEVC.2017.2674800.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import Limits, solve
    >>> weights = np.random.default_rng(0).random((100, 100))
    >>> diversity = weights + weights.T
    >>> found = solve(diversity, 10, "tabu", limits=Limits(iterations=10_000))
    >>> found.objective > solve(diversity, 10, "top_k").objective
    True
    """

    population: int | None = ruled(whole(2, optional=True), None)
    depth: int | None = ruled(whole(1, optional=True), None)
    swap_depth: int | None = ruled(whole(1, optional=True), None)
    tenure: int | None = ruled(whole(1, optional=True), None)
    patience: int = ruled(whole(1), PATIENCE)
    n_jobs: int = 1
    info: ClassVar[SolverInfo] = SolverInfo(
        summary="memetic tabu search, compiled; the default heuristic",
        exact=False,
        limits=HEURISTIC_LIMITS,
        requires=("numba",),
        cites=("zhou2017opposition",),
    )

    def __post_init__(self) -> None:
        check_fields(self)
        check_jobs(self.n_jobs)

    def solve(self, search: Search) -> None:
        """Search from the greedy set on, `n_jobs` times side by side."""
        canonical = search.canonical
        starts = [offer_greedy(search, ordered=False)]
        if search.warm_items is not None:
            starts.insert(0, search.warm_items)
        offer_extremes(search)
        if search.stop() or not is_open(canonical):
            return
        fixed = FixedPoint.of(canonical)
        with compiling(search, "tabu") as ready:
            if not ready:
                return
            walkers = [
                tabu_walker(
                    canonical,
                    fixed,
                    rng,
                    starts,
                    endless=runs_until_stopped(search.limits),
                    target=search.limits.target,
                    population=self.population,
                    depth=self.depth,
                    swap_depth=self.swap_depth,
                    tenure=self.tenure,
                    patience=self.patience,
                )
                for rng in search.generators(self.n_jobs)
            ]
            drive(search, walkers, chunk(fixed))
