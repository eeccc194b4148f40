"""Backward deletion: the paper's greedy, and where every search starts."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sirfp_opt import deletion
from sirfp_opt_solvers._local.construct import Items, best_prefix, feasible_sets, fill

if TYPE_CHECKING:
    from sirfp_opt.canonical import CanonicalProblem
    from sirfp_opt.search import Search

__all__ = [
    "backward_preference",
    "backward_set",
    "delete_smallest",
    "fill_loosely",
    "offer_backward",
    "offer_path",
    "with_penalties",
]

Floats = NDArray[np.float64]

# Below, NumPy is as fast, and needs no compilation.
_LARGE = 256


def delete_smallest(
    weights: Floats,
    marginals: Floats,
    sizes: Items | None,
    compiled: bool | None = None,
    most: int | None = None,
) -> tuple[Items, Floats]:
    """Do as `sirfp_opt.deletion.delete_smallest`, compiled where that gains."""
    if compiled is None:
        large = marginals.size >= _LARGE and "numba" in sys.modules
        compiled = large or _is_at_hand()
    if not (compiled and marginals.size and sizes is None):
        return deletion.delete_smallest(weights, marginals, sizes, most)
    from sirfp_opt_solvers._kernels.greedy import delete_smallest as kernel

    steps = marginals.size if most is None else most
    order, gains = np.empty(steps, dtype=np.int64), np.empty(steps)
    # Read-only and contiguous, always: else numba compiles for each kind.
    matrix = np.ascontiguousarray(weights).view()
    matrix.setflags(write=False)
    kernel(matrix, marginals.copy(), order, gains)
    return order, gains


def _is_at_hand() -> bool:
    """Tell whether the kernel has been loaded in this process, for a larger layer."""
    module = sys.modules.get("sirfp_opt_solvers._kernels.greedy")
    # Another thread may be in the middle of importing it: then there is no kernel yet.
    kernel = getattr(module, "delete_smallest", None)
    return kernel is not None and bool(kernel.signatures)


def backward_preference(
    weights: Floats,
    marginals: Floats,
    sizes: Items | None,
    compiled: bool | None = None,
    undecided: int = 0,
) -> Items:
    """Return the items in the order of preference: the one deleted last is first.

    `marginals` are what the items gain beside all the others.

    The first `undecided` of them are left as they are numbered, which saves deleting
    them one by one where it is known that all are kept.
    """
    most = marginals.size - undecided
    gone = delete_smallest(weights, marginals, sizes, compiled, most)[0]
    if not undecided:
        return gone[::-1]
    left = np.ones(marginals.size, dtype=bool)
    left[gone] = False
    return np.concatenate((left.nonzero()[0], gone[::-1]))


def backward_set(canonical: CanonicalProblem, *, ordered: bool = True) -> Items:
    """Return the best set on the backward greedy path, conflicts left out of account.

    If the path passes no allowed count, its last items fill up the middle one. Unless
    the order of preference in it matters (`ordered`), fewer items are deleted.
    """
    alone = canonical.unit_size is not None and len(canonical.cardinalities) == 1
    preference = backward_preference(
        canonical.weights,
        canonical.row_sums + canonical.values,
        canonical.unlike,
        undecided=canonical.cardinalities[0] if alone and not ordered else 0,
    )
    prefix = best_prefix(canonical, preference)
    if prefix is not None:
        return prefix
    count = canonical.counts[len(canonical.counts) // 2]
    return fill_loosely(canonical, preference, count)


def fill_loosely(canonical: CanonicalProblem, order: Items, count: int) -> Items:
    """Take items in `order` up to `count` channels, conflicts or not."""
    loose = canonical
    if canonical.conflicts is not None:
        loose = dataclasses.replace(canonical, conflicts=None)
    items = fill(loose, order, count)
    if items is None:  # cannot be: counts are reachable by construction
        raise RuntimeError(f"count {count} is out of reach")
    return items


def offer_backward(search: Search, iteration: int | None = None) -> None:
    """Offer the backward greedy set of each allowed count, conflicts minded."""
    canonical = search.canonical
    weights = with_penalties(canonical)
    marginals = weights.sum(axis=1) + canonical.values
    preference = backward_preference(weights, marginals, canonical.unlike)
    offer_path(search, preference, iteration)


def offer_path(search: Search, preference: Items, iteration: int | None = None) -> None:
    """Offer the sets that come of adding items in the order of preference."""
    canonical = search.canonical
    if canonical.conflicts is None:
        prefix = best_prefix(canonical, preference)
        if prefix is not None:
            search.offer_items(prefix, iteration)
            return
    for items in feasible_sets(search, preference):
        search.offer_items(items, iteration)


def with_penalties(canonical: CanonicalProblem) -> Floats:
    """Return weights in which a conflict costs more than all else can gain."""
    if canonical.conflicts is None:
        return canonical.weights
    largest = max(canonical.weights.max(), -canonical.weights.min())
    most = canonical.m * largest + np.abs(canonical.values).max() + 1.0
    return np.where(canonical.conflicts, -most, canonical.weights)
