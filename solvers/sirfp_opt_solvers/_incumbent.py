"""What every exact solver begins with: a good set, and the cheapest bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt.bounds import combinatorial_bound
from sirfp_opt_solvers.greedy import Greedy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sirfp_opt.canonical import CanonicalProblem
    from sirfp_opt.search import Search

__all__ = ["offer_start"]


def offer_start(search: Search) -> None:
    """Offer the greedy set, improved by best swaps, and the combinatorial bound."""
    search.tighten(combinatorial_bound(search.problem))
    Greedy().solve(search)
    items = search.best_items
    if items is not None and search.canonical.unit_size is not None:
        search.offer_items(_swap(search.canonical, items))


def _swap(canonical: CanonicalProblem, items: NDArray[np.int64]) -> NDArray[np.int64]:
    """Exchange one item for another while that gains, the best pair first."""
    weights, values = canonical.weights, canonical.values
    inside = np.zeros(canonical.m, dtype=bool)
    inside[items] = True
    gains = weights[:, inside].sum(axis=1) + values
    for _ in range(canonical.m):
        chosen, free = np.flatnonzero(inside), np.flatnonzero(~inside)
        if not (chosen.size and free.size):
            break
        change = gains[free][None, :] - gains[chosen][:, None]
        change -= weights[np.ix_(chosen, free)]
        if canonical.conflicts is not None:
            clashes = canonical.conflicts[np.ix_(free, chosen)]
            blocked = clashes.sum(axis=1)[None, :] - clashes.T > 0
            change[blocked] = -np.inf
        d, a = np.unravel_index(int(change.argmax()), change.shape)
        if change[d, a] <= canonical.rounding_error:
            break
        out, into = chosen[d], free[a]
        inside[out], inside[into] = False, True
        gains += weights[into] - weights[out]
    return np.flatnonzero(inside)
