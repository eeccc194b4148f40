"""From a preference order to a feasible set of items."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sirfp_opt.canonical import CanonicalProblem
    from sirfp_opt.canonical_form import CanonicalForm
    from sirfp_opt.search import Search

Items = NDArray[np.int64]

# Orders tried at random before a heuristic admits that it found no feasible set.
_RANDOM_ORDERS = 200


def fill(
    canonical: CanonicalForm, order: Sequence[int] | Items, count: int
) -> Items | None:
    """Take items in `order` until their sizes add up to `count`.

    An item is passed over if it is in conflict with one taken, or if without it the
    total can still be made but with it no more. Without conflicts this never fails
    for a count of ``canonical.counts``.

    Returns
    -------
    ndarray of int64, or None if conflicts leave the count out of reach
    """
    preferred = np.asarray(order, dtype=np.int64)
    unit = canonical.unit_size
    if canonical.conflicts is None and unit is not None:
        return preferred[: count // unit]
    sizes = canonical.sizes
    # later[p], as a bit set, holds the sums that items from position p on can make.
    later = [1] * (preferred.size + 1)
    for p in range(preferred.size - 1, -1, -1):
        later[p] = later[p + 1] | (later[p + 1] << int(sizes[preferred[p]]))
    free = np.ones(canonical.m, dtype=bool)
    taken, left = [], count
    for p, item in enumerate(preferred.tolist()):
        size = int(sizes[item])
        if left == 0:
            break
        if not free[item] or size > left or not later[p + 1] >> (left - size) & 1:
            continue
        taken.append(item)
        left -= size
        if canonical.conflicts is not None:
            free &= ~canonical.conflicts[item]
    return np.asarray(taken, dtype=np.int64) if left == 0 else None


def best_prefix(canonical: CanonicalProblem, order: Items) -> Items | None:
    """Return the best of the allowed sets on a path that adds items in `order`.

    Conflicts are left out of account. None if the path passes no allowed total.
    """
    if canonical.unit_size is not None and len(canonical.counts) == 1:
        return order[: canonical.counts[0] // canonical.unit_size]
    totals = np.cumsum(np.concatenate(([0], canonical.sizes[order])))
    allowed = np.flatnonzero(np.isin(totals, canonical.counts))
    if allowed.size <= 1:
        return order[: allowed[0]] if allowed.size else None
    worth = np.zeros(order.size + 1)
    gains = canonical.values.copy()
    for p, item in enumerate(order):
        worth[p + 1] = worth[p] + gains[item]
        gains += canonical.weights[item]
    return order[: allowed[worth[allowed].argmax()]]


def feasible_sets(search: Search, order: Sequence[int] | Items) -> Iterator[Items]:
    """Yield a feasible set for each allowed count that `order` can fill.

    If it fills none, which only conflicts can cause, try the items of fewest conflicts
    first, then random orders, and yield the first set found, if any.
    """
    canonical = search.form
    found = False
    for count in canonical.counts:
        items = fill(canonical, order, count)
        if items is not None:
            found = True
            yield items
    if found or canonical.conflicts is None:
        return
    by_degree = np.argsort(canonical.conflicts.sum(axis=1), kind="stable")
    for attempt in range(_RANDOM_ORDERS):
        if search.stop():
            return
        trial = search.rng.permutation(canonical.m) if attempt else by_degree
        for count in canonical.counts:
            items = fill(canonical, trial, count)
            if items is not None:
                yield items
                return
