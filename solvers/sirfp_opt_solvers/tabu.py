"""Tabu search: the default heuristic.

For other solvers that want a good set to start from, without a `Search`:

    improve(canonical, *, seconds=None, iterations=None, seed=0, start=None)
        -> ndarray of int64 (items, ascending) or None
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sirfp_opt._rules import check_fields, ruled, whole
from sirfp_opt.protocols import SolverInfo
from sirfp_opt_solvers._local.backward import backward_set
from sirfp_opt_solvers._local.compilation import compiling
from sirfp_opt_solvers._local.fixed_point import FixedPoint
from sirfp_opt_solvers._local.flip_search import FlipSearch
from sirfp_opt_solvers._local.memetic import Effort, Memetic
from sirfp_opt_solvers._local.runs import (
    HEURISTIC_LIMITS,
    check_jobs,
    drive,
    runs_until_stopped,
)
from sirfp_opt_solvers._local.start import (
    is_open,
    offer_extremes,
    offer_greedy,
    swaps_suffice,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from sirfp_opt.canonical import CanonicalProblem
    from sirfp_opt.search import Search

    Items = NDArray[np.int64]

__all__ = ["Tabu", "improve"]

# Matrix entries read between two looks at the clock: some milliseconds.
_CHUNK_ENTRIES = 8_000_000
# From here on, one population's worth of runs takes so long that breadth pays.
_LARGE = 1000
_LONGEST = 120


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
    patience: int = ruled(whole(1), 5)
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
        starts = [offer_greedy(search)]
        if search.warm_items is not None:
            starts.insert(0, search.warm_items)
        offer_extremes(search)
        if search.stop() or not is_open(canonical):
            return
        fixed = FixedPoint.of(canonical)
        limits = search.limits
        endless = runs_until_stopped(limits)
        with compiling(search, "tabu") as ready:
            if not ready:
                return
            walkers = [
                self._walker(canonical, fixed, rng, starts, limits.target, endless)
                for rng in search.rng.spawn(self.n_jobs)
            ]
            drive(search, walkers, _chunk(fixed))

    def _walker(
        self,
        canonical: CanonicalProblem,
        fixed: FixedPoint,
        rng: np.random.Generator,
        starts: Sequence[Items],
        target: float | None,
        endless: bool,
    ) -> Memetic | FlipSearch:
        m = canonical.m
        patience = None
        if not endless:
            easy = swaps_suffice(canonical) and canonical.conflicts is None
            mixed = canonical.unit_size is None
            patience = self.patience * (5 if mixed else 1 if easy else 3)
        depth = self.depth or min(2500, 20 * m)
        tenures = _tenures(m) if self.tenure is None else (self.tenure,)
        if canonical.unit_size is None:
            return FlipSearch(
                canonical,
                fixed,
                depth,
                tenures[0],
                rng,
                starts=starts,
                target=target,
                patience=patience,
            )
        effort = Effort(
            population=self.population or (20 if m >= _LARGE else 10),
            depth=depth,
            swap_depth=self.swap_depth or max(1, depth // 10),
            tenures=tenures,
        )
        return Memetic(
            canonical,
            fixed,
            effort,
            rng,
            starts=starts,
            target=target,
            patience=patience,
        )


def improve(
    canonical: CanonicalProblem,
    *,
    seconds: float | None = None,
    iterations: int | None = None,
    seed: int = 0,
    start: Items | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Items | None:
    """Return a good set of items, found by `Tabu`, for solvers that need one.

    Parameters
    ----------
    canonical : CanonicalProblem
    seconds : float, optional
        Wall-clock time; the loading of compiled code counts.
    iterations : int, optional
        As in `Tabu`. Without it and `seconds` the search ends by its own patience.
    seed : int
    start : ndarray of int, optional
        Items of a feasible set to start from; the answer is never worse, within the
        error of fixed point.
    stop : callable
        Asked every few milliseconds; once true, the best so far is returned.

    Returns
    -------
    ndarray of int64, ascending, or None if no conflict-free set was found
    """
    began = time.perf_counter()
    greedy = backward_set(canonical)
    best = None
    if start is not None:
        best = np.sort(np.asarray(start, dtype=np.int64))
    elif canonical.conflicts is None:
        best = np.sort(greedy)
    if not is_open(canonical):
        return best
    fixed = FixedPoint.of(canonical)
    walker = Tabu()._walker(
        canonical,
        fixed,
        np.random.default_rng(seed),
        [greedy] if start is None or best is None else [best, greedy],
        None,
        seconds is not None or iterations is not None,
    )
    chunk = _chunk(fixed)
    while not (walker.done or stop()):
        budget = chunk
        if iterations is not None:
            budget = min(chunk, iterations - walker.iterations)
        if budget <= 0 or (
            seconds is not None and time.perf_counter() - began >= seconds
        ):
            break
        found = walker.advance(budget)
        if found is not None and (
            best is None or canonical.evaluate(found) > canonical.evaluate(best)
        ):
            best = found
    return best


def _tenures(m: int) -> tuple[int, ...]:
    """Return tenures around m / 100; random weights like long ones, layers short."""
    middle = max(3, m // 100)
    ladder = {middle // 4, middle // 2, middle, 2 * middle}
    return tuple(sorted({min(max(2, t), _LONGEST) for t in ladder}))


def _chunk(fixed: FixedPoint) -> int:
    return max(500, min(50_000, _CHUNK_ENTRIES // (fixed.values.size + 300)))
