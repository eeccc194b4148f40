"""What every exact solver begins with: a good set, and the cheapest bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sirfp_opt.solution import OPTIMALITY_TOLERANCE
from sirfp_opt_solvers._local.backward import offer_backward
from sirfp_opt_solvers._local.compilation import compiling
from sirfp_opt_solvers._local.tabu_walk import improve
from sirfp_opt_solvers._proof.swaps import is_small, swap_search

if TYPE_CHECKING:
    from collections.abc import Callable

    from sirfp_opt.canonical import CanonicalProblem
    from sirfp_opt.search import Search

__all__ = ["is_large", "is_proved", "offer_better", "offer_start"]

# Up to here tabu ends by its own patience within a fraction of a second.
_LARGE = 1000
# Beyond, what it gets before anything is known of the bound; and what afterwards, as a
# share of what is left.
_SECONDS_PER_ITEM, _SHARE = 1e-3, 0.2


def is_large(canonical: CanonicalProblem) -> bool:
    """Tell whether a good set takes longer to find than the first bound."""
    return canonical.m > _LARGE


def offer_start(search: Search) -> dict[int, float]:
    """Offer the greedy set, improved by tabu search, and the combinatorial bound.

    Returns
    -------
    dict of int to float
        That bound for each total of sizes.
    """
    canonical = search.canonical
    bounds = search.form.bounds_by_count()
    search.tighten_canonical(max(bounds.values()))
    offer_backward(search)
    if search.gap != 0.0:
        seconds = None
        if is_large(canonical):
            seconds = min(_SECONDS_PER_ITEM * canonical.m, _SHARE * search.remaining())
        _improve(search, seconds, search.stop)
    return bounds


def offer_better(search: Search, stop: Callable[[], bool]) -> None:
    """Spend a share of the time that is left on the incumbent."""
    seconds = None if search.limits.time is None else _SHARE * search.remaining()
    _improve(search, seconds, stop)


def is_proved(search: Search) -> bool:
    """Tell whether incumbent and bound are as close as a proof must bring them."""
    gap = search.gap
    return gap is not None and gap <= OPTIMALITY_TOLERANCE


def _improve(search: Search, seconds: float | None, stop: Callable[[], bool]) -> None:
    if is_small(search.canonical) and search.best_items is not None:
        start = search.best_items
        search.offer_items(swap_search(search.canonical, start, search.seed))
        return
    with compiling(search, "tabu") as ready:
        if not ready:
            return
        items = improve(
            search.canonical,
            seconds=seconds,
            seed=search.seed,
            start=search.best_items,
            stop=stop,
        )
    if items is not None:
        search.offer_items(items)
