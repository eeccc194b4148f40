"""A good set of a small problem in a few milliseconds, without anything compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sirfp_opt.canonical import CanonicalProblem

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

__all__ = ["is_small", "swap_search"]

# Up to here it finds what tabu search finds, and costs less.
_SMALL = 64
_ROUNDS = 30


def is_small(canonical: CanonicalProblem) -> bool:
    """Tell whether `swap_search` serves: few items, one number of them, all joined."""
    return (
        1 < canonical.m <= _SMALL
        and canonical.unit_size is not None
        and len(canonical.cardinalities) == 1
        and 0 < canonical.cardinalities[0] < canonical.m
        and canonical.conflicts is None
    )


def swap_search(canonical: CanonicalProblem, start: Ints, seed: int) -> Ints:
    """Return a set no worse than `start`: best swaps, then shaken and swapped again.

    Iterated local search (Lourenço, Martin, Stützle 2003): some members are exchanged
    at random for outsiders, from one of them to all, swaps repair that, and the better
    set stays.

    Parameters
    ----------
    canonical : CanonicalProblem
        One that `is_small`.
    start : ndarray of int
        Items of a set of the right number.
    seed : int
    """
    rng = np.random.default_rng(seed)
    inside = np.zeros(canonical.m, dtype=bool)
    inside[start] = True
    best, worth = _descend(canonical, inside)
    count = int(best.sum())
    most = min(count, canonical.m - count)
    for _ in range(_ROUNDS):
        shaken = best.copy()
        size = int(rng.integers(1, most + 1))
        shaken[rng.choice(np.flatnonzero(best), size, replace=False)] = False
        shaken[rng.choice(np.flatnonzero(~best), size, replace=False)] = True
        found, value = _descend(canonical, shaken)
        if value >= worth:
            best, worth = found, value
    return np.flatnonzero(best)


def _descend(canonical: CanonicalProblem, inside: Bools) -> tuple[Bools, float]:
    """Make the best swap until none helps; return the set and its value."""
    weights = canonical.weights
    inside = inside.copy()
    gains = canonical.values + weights @ inside
    while True:
        members, others = np.flatnonzero(inside), np.flatnonzero(~inside)
        change = gains[others] - gains[members, None] - weights[np.ix_(members, others)]
        at = int(change.argmax())
        out, into = members[at // others.size], others[at % others.size]
        # Below rounding a swap could be undone, and made again, for ever.
        if change.flat[at] <= 1e-12 * (abs(gains[out]) + abs(gains[into])):
            value = 0.5 * (gains[members] + canonical.values[members]).sum()
            return inside, float(value)
        inside[out], inside[into] = False, True
        gains += weights[into] - weights[out]
