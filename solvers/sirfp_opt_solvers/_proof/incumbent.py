"""What every exact solver begins with: a good set, and the cheapest bound."""

from __future__ import annotations

from sirfp_opt.search import Search
from sirfp_opt_solvers.greedy import Greedy
from sirfp_opt_solvers.tabu import improve

__all__ = ["offer_start"]

# Up to here tabu ends by its own patience within a fraction of a second.
_LARGE = 1000


def offer_start(search: Search) -> None:
    """Offer the greedy set, improved by tabu search, and the combinatorial bound."""
    search.tighten_canonical(max(search.form.bounds_by_count().values()))
    # Greedy's steps are none of the iterations of whoever asks.
    apart = Search(search.problem)
    Greedy().solve(apart)
    if apart.best is not None:
        search.offer(apart.best)
    canonical = search.canonical
    seconds = None
    if search.limits.time is not None and canonical.m > _LARGE:
        seconds = search.remaining() / 5
    items = improve(
        canonical, seconds=seconds, seed=search.seed, start=search.best_items
    )
    if items is not None:
        search.offer_items(items)
