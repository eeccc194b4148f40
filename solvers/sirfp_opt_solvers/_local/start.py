"""Where the searches start, and what totals of sizes cost them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt_solvers._local.backward import backward_set, offer_backward
from sirfp_opt_solvers._local.fixed_point import BARRED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sirfp_opt.canonical import CanonicalProblem
    from sirfp_opt.search import Search
    from sirfp_opt_solvers._local.construct import Items

__all__ = [
    "is_open",
    "offer_extremes",
    "offer_greedy",
    "price_of_a_channel",
    "prices_of_totals",
    "swaps_suffice",
]


def offer_greedy(search: Search, *, ordered: bool = True) -> Items:
    """Offer the backward greedy set, so that no answer is worse; return it.

    Without conflicts it is feasible and saves a search from having nothing to show.
    With them, what is offered is feasible, what is returned need not be.
    """
    canonical = search.canonical
    items = backward_set(canonical, ordered=ordered)
    if canonical.conflicts is None:
        search.offer_items(items)
    else:
        offer_backward(search)
    return items


def is_open(canonical: CanonicalProblem) -> bool:
    """Tell whether any allowed set is neither empty nor whole."""
    return any(0 < c < canonical.m for c in canonical.cardinalities)


def offer_extremes(search: Search) -> None:
    """Offer the empty and the whole set where they are allowed; no swap leads there."""
    canonical = search.canonical
    if 0 in canonical.counts:
        search.offer_items([])
    if canonical.counts[-1] == canonical.sizes.sum() and canonical.conflicts is None:
        search.offer_items(range(canonical.m))


def swaps_suffice(canonical: CanonicalProblem) -> bool:
    """Tell whether swaps alone reach every set of allowed size from any other."""
    return canonical.unit_size is not None and len(canonical.counts) == 1


def price_of_a_channel(
    canonical: CanonicalProblem, gains: NDArray[np.float64]
) -> float:
    """Return what one channel too many or too few costs: twice the mean gain."""
    return 2.0 * float(np.mean(np.abs(gains) / canonical.sizes))


def prices_of_totals(
    canonical: CanonicalProblem, items: Items, scale: float
) -> NDArray[np.int64]:
    """Return what each total of sizes costs, in fixed point: 0 where it is allowed.

    A search that adds and drops items has to pass through totals that are not
    allowed, where sizes differ or only multiples count. They cost
    `price_of_a_channel` at `items` times the distance to the nearest allowed total.
    Totals more than one item away are barred.
    """
    whole = int(canonical.sizes.sum())
    prices = np.full(whole + 1, BARRED, dtype=np.int64)
    allowed = np.asarray(canonical.counts)
    slack = int(canonical.sizes.max(initial=1)) if canonical.unit_size is None else 0
    low = max(0, int(allowed[0]) - slack)
    high = min(whole, int(allowed[-1]) + slack)
    totals = np.arange(low, high + 1)
    distance = np.abs(totals[:, None] - allowed[None, :]).min(axis=1)
    inside = np.zeros(canonical.m)
    inside[items] = 1.0
    gains = canonical.values + canonical.weights @ inside
    unit = price_of_a_channel(canonical, gains)
    prices[low : high + 1] = np.rint(distance * unit * scale).astype(np.int64)
    prices[low : high + 1] += distance > 0  # never free where it is not allowed
    return prices
