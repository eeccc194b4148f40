"""Driving walkers: chunks of compiled work between looks at the clock.

A walker is one independent run. Walkers advance side by side in threads (kernels
release the GIL) in rounds of equal chunks, and their finds are offered in a fixed
order after each round: so even with many threads a run with an iteration limit is
repeatable, and an interrupt loses one chunk at most.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from sirfp_opt.errors import InvalidProblemError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sirfp_opt.limits import Limits
    from sirfp_opt.search import Search

__all__ = [
    "HEURISTIC_LIMITS",
    "Walker",
    "check_jobs",
    "drive",
    "runs_until_stopped",
    "xorshift_state",
]

HEURISTIC_LIMITS = frozenset({"time", "iterations", "no_improvement", "target"})

Items = NDArray[np.int64]


class Walker(Protocol):
    """One run that can be advanced a little at a time.

    Attributes
    ----------
    iterations : int
        Done so far.
    found_at : int
        The iteration of the last find.
    done : bool
        Whether the run has ended by itself.
    """

    iterations: int
    found_at: int
    done: bool

    def advance(self, budget: int) -> Items | None:
        """Do at most `budget` iterations; return a better set if one was found."""
        ...


def drive(search: Search, walkers: Sequence[Walker], chunk: int) -> None:
    """Advance the walkers until all are done or the run must stop.

    Parameters
    ----------
    search : Search
    walkers : sequence of Walker
        Each gets its own thread, a single one the caller's.
    chunk : int
        Iterations of one walker between two looks at the clock.
    """
    pool = ThreadPoolExecutor(len(walkers)) if len(walkers) > 1 else None
    last_find = 0
    try:
        while live := [w for w in walkers if not w.done]:
            total = sum(w.iterations for w in walkers)
            if _exhausted(search, total, last_find):
                return
            budgets = _split(search, chunk, len(live))
            if pool is None:
                finds = [live[0].advance(budgets[0])]
            else:
                finds = list(pool.map(lambda w, b: w.advance(b), live, budgets))
            now = sum(w.iterations for w in walkers)
            for walker, items in zip(live, finds, strict=True):
                if items is not None:
                    when = walker.found_at if len(walkers) == 1 else now
                    if search.offer_items(items, when):
                        last_find = when
        search.stop(sum(w.iterations for w in walkers))
    finally:
        if pool is not None:
            pool.shutdown()


def _exhausted(search: Search, total: int, last_find: int) -> bool:
    if search.stop(total):
        return True
    patience = search.limits.no_improvement
    if patience is not None and total - last_find >= patience:
        search.stopped_by("no_improvement")
        return True
    return False


def _split(search: Search, chunk: int, parts: int) -> list[int]:
    """Share out what is left of the iteration limit, a chunk for each at most."""
    left = search.remaining_iterations()
    patience = search.limits.no_improvement
    if patience is not None:
        chunk = min(chunk, patience)
    if left is None or left >= chunk * parts:
        return [chunk] * parts
    return [left // parts + (p < left % parts) for p in range(parts)]


def runs_until_stopped(limits: Limits) -> bool:
    """Tell whether a limit will end the run, so that it need not end by itself."""
    ends = (limits.time, limits.iterations, limits.no_improvement)
    return any(end is not None for end in ends)


def xorshift_state(rng: np.random.Generator) -> NDArray[np.uint64]:
    """Return a seed for a kernel's own generator; it must not be zero."""
    return rng.integers(1, 1 << 63, size=1, dtype=np.uint64)


def check_jobs(n_jobs: int) -> None:
    """Raise unless the number of threads is positive."""
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, int) or n_jobs < 1:
        raise InvalidProblemError(
            f"`n_jobs` must be an integer of at least 1, got {n_jobs!r}. "
            "Each job is an independent run in a thread of its own."
        )
