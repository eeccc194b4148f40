"""Greedy orders where readers are refitted: backward, and its forward twin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sirfp_opt.elimination import eliminate
from sirfp_opt_solvers._local.construct import fill

if TYPE_CHECKING:
    from sirfp_opt.canonical_refit import CanonicalRefit

__all__ = ["add_best", "best_on_path", "greedy_items"]

Items = NDArray[np.int64]
Floats = NDArray[np.float64]


def greedy_items(form: CanonicalRefit, direction: str = "backward") -> Items:
    """Return the best allowed set of items on a greedy path."""
    order = eliminate(form)[0][::-1] if direction == "backward" else add_best(form)
    return best_on_path(form, order)


def best_on_path(form: CanonicalRefit, order: Items) -> Items:
    """Return the largest allowed set that is a prefix of `order`: f grows with D.

    Where no prefix is allowed, items are passed over to make up the count, and of
    several counts the best set is taken.
    """
    totals = np.cumsum(np.concatenate(([0], form.sizes[order])))
    allowed = np.flatnonzero(np.isin(totals, form.counts))
    if allowed.size:
        return order[: allowed[-1]]
    filled = [fill(form, order, count) for count in form.counts]
    sets = [items for items in filled if items is not None]
    masks = np.zeros((len(sets), form.m), dtype=bool)
    for mask, items in zip(masks, sets, strict=True):
        mask[items] = True
    return sets[int(form.values_of(masks).argmax())]


def add_best(form: CanonicalRefit) -> Items:
    """Add the item that regains most per channel until all are in.

    With Σ what is left of all channels and P their products, item G regains
    tr([ΣPΣ]_GG Σ_GG⁻¹). Both matrices are kept up to date, so all of it takes O(R u³):
    adding channel j, with s = Σ_:j / √Σ_jj and w = Σ P s,

        ΣPΣ ← ΣPΣ − s w' − w s' + (s'Ps) s s',    Σ ← Σ − s s'.
    """
    rests = [covariance.copy() for covariance in form.covariances]
    worths = [
        rest @ product @ rest
        for rest, product in zip(rests, form.products, strict=True)
    ]
    order = np.empty(form.m, dtype=np.int64)
    outside = np.ones(form.m, dtype=bool)
    for step in range(form.m):
        gains = np.zeros(form.m)
        for item in np.flatnonzero(outside).tolist() if form.unit_size != 1 else ():
            at = np.ix_(form.blocks[item], form.blocks[item])
            for rest, worth in zip(rests, worths, strict=True):
                gains[item] += np.trace(np.linalg.solve(rest[at], worth[at]))
        if form.unit_size == 1:
            for rest, worth in zip(rests, worths, strict=True):
                variance = np.where(outside, rest.diagonal(), 1.0)
                gains += worth.diagonal() / variance
        gains[~outside] = -np.inf
        item = int((gains / form.sizes).argmax())
        order[step] = item
        outside[item] = False
        for channel in form.blocks[item].tolist():
            for r, product in enumerate(form.products):
                _take_in(rests[r], worths[r], product, channel)
    return order


def _take_in(rest: Floats, worth: Floats, product: Floats, channel: int) -> None:
    """Bring Σ and ΣPΣ up to date with one more channel kept."""
    root = rest[:, channel] / np.sqrt(rest[channel, channel])
    seen = product @ root
    turned = rest @ seen
    worth -= np.outer(root, turned) + np.outer(turned, root)
    worth += float(root @ seen) * np.outer(root, root)
    rest -= np.outer(root, root)
