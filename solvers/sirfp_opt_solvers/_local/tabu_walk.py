"""Tabu search as a walker: for the solver `Tabu`, and for who wants a good set."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt_solvers._local.backward import backward_set
from sirfp_opt_solvers._local.fixed_point import FixedPoint
from sirfp_opt_solvers._local.flip_search import FlipSearch
from sirfp_opt_solvers._local.memetic import Effort, Memetic
from sirfp_opt_solvers._local.start import is_open, swaps_suffice

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sirfp_opt.canonical import CanonicalProblem
    from sirfp_opt_solvers._local.construct import Items

__all__ = ["PATIENCE", "chunk", "improve", "tabu_walker"]

PATIENCE = 5
"""Generations without a better set, by default."""

# Matrix entries read between two looks at the clock: some milliseconds.
_CHUNK_ENTRIES = 8_000_000
# From here on, one population's worth of runs takes so long that breadth pays.
_LARGE = 1000
_LONGEST = 120


def tabu_walker(
    canonical: CanonicalProblem,
    fixed: FixedPoint,
    rng: np.random.Generator,
    starts: Sequence[Items],
    *,
    endless: bool,
    target: float | None = None,
    population: int | None = None,
    depth: int | None = None,
    swap_depth: int | None = None,
    tenure: int | None = None,
    patience: int = PATIENCE,
) -> Memetic | FlipSearch:
    """Return the walker that fits the problem.

    Parameters
    ----------
    canonical : CanonicalProblem
        One that `is_open`.
    fixed : FixedPoint
        The same in fixed point.
    rng : numpy.random.Generator
    starts : sequence of ndarray of int
        Sets for the first runs.
    endless : bool
        Leave it to others to end the walk.
    target : float, optional
        Objective at which a compiled run may break off.
    population, depth, swap_depth, tenure, patience : int, optional
        As in `Tabu`, with its defaults.
    """
    m = canonical.m
    mixed = canonical.unit_size is None
    most = None
    if not endless:
        easy = swaps_suffice(canonical) and canonical.conflicts is None
        most = patience * (5 if mixed else 1 if easy else 3)
    depth = depth or min(2500, 20 * m)
    tenures = _tenures(m) if tenure is None else (tenure,)
    if mixed:
        return FlipSearch(
            canonical,
            fixed,
            depth,
            tenures[0],
            rng,
            starts=starts,
            target=target,
            patience=most,
        )
    effort = Effort(
        population=population or (20 if m >= _LARGE else 10),
        depth=depth,
        swap_depth=swap_depth or max(1, depth // 10),
        tenures=tenures,
    )
    return Memetic(
        canonical, fixed, effort, rng, starts=starts, target=target, patience=most
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
    """Return a good set of items, found by tabu search, for solvers that need one.

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
    walker = tabu_walker(
        canonical,
        fixed,
        np.random.default_rng(seed),
        [greedy] if start is None or best is None else [best, greedy],
        endless=seconds is not None or iterations is not None,
    )
    step = chunk(fixed)
    while not (walker.done or stop()):
        budget = step
        if iterations is not None:
            budget = min(step, iterations - walker.iterations)
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


def chunk(fixed: FixedPoint) -> int:
    """Return the iterations of a walker between two looks at the clock."""
    return max(500, min(50_000, _CHUNK_ENTRIES // (fixed.values.size + 300)))


def _tenures(m: int) -> tuple[int, ...]:
    """Return tenures around m / 100; random weights like long ones, layers short."""
    middle = max(3, m // 100)
    ladder = {middle // 4, middle // 2, middle, 2 * middle}
    return tuple(sorted({min(max(2, t), _LONGEST) for t in ladder}))
