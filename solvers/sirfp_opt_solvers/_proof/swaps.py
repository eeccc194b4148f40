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
# Sets that are searched abreast, and how often.
_ABREAST, _ROUNDS = 10, 3


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

    Iterated local search (Lourenço, Martin, Stützle 2003), several sets abreast: some
    members are exchanged at random for outsiders, from one of them to all, swaps
    repair that, and the best of the sets goes on.

    Parameters
    ----------
    canonical : CanonicalProblem
        One that `is_small`.
    start : ndarray of int
        Items of a set of the right number.
    seed : int
    """
    rng = np.random.default_rng(seed)
    inside = np.zeros((1, canonical.m), dtype=bool)
    inside[0, start] = True
    best, worth = _descend(canonical, inside)
    for _ in range(_ROUNDS):
        found, value = _descend(canonical, _shaken(best, rng))
        if value >= worth:
            best, worth = found, value
    return np.flatnonzero(best)


def _shaken(best: Bools, rng: np.random.Generator) -> Bools:
    """Return as many sets as are searched abreast, each some exchanges away."""
    count = int(best.sum())
    most = min(count, best.size - count)
    sizes = rng.integers(1, most + 1, size=(_ABREAST, 1))
    # Members first, in random order, then the others, in random order.
    keys = rng.random((_ABREAST, best.size)) + np.where(best, 0.0, 1.0)
    order = keys.argsort(axis=1)
    shaken = np.tile(best, (_ABREAST, 1))
    exchanged = np.arange(most) < sizes
    rows = np.broadcast_to(np.arange(_ABREAST)[:, None], exchanged.shape)[exchanged]
    shaken[rows, order[:, :most][exchanged]] = False
    shaken[rows, order[:, count : count + most][exchanged]] = True
    return shaken


def _descend(canonical: CanonicalProblem, inside: Bools) -> tuple[Bools, float]:
    """Make the best swap in each set until none helps; return the best, its value."""
    weights, sets = canonical.weights, np.arange(len(inside))
    gains = canonical.values + inside @ weights
    # The whole table of swaps is priced, with those barred that are none: so few items
    # have it done before their places would have been looked up.
    no_entry, no_exit = np.where(inside, -np.inf, 0.0), np.where(inside, 0.0, np.inf)
    while True:
        change = (gains[sets] + no_entry[sets])[:, None, :] - weights
        change -= (gains[sets] + no_exit[sets])[:, :, None]
        flat = change.reshape(len(sets), -1)
        at = flat.argmax(axis=1)
        out, into = np.divmod(at, inside.shape[1])
        # Below rounding a swap could be undone, and made again, for ever.
        least = 1e-12 * (np.abs(gains[sets, out]) + np.abs(gains[sets, into]))
        better = flat[np.arange(len(sets)), at] > least
        if not better.any():
            break
        sets, out, into = sets[better], out[better], into[better]
        inside[sets, out], inside[sets, into] = False, True
        no_entry[sets, out], no_entry[sets, into] = 0.0, -np.inf
        no_exit[sets, out], no_exit[sets, into] = np.inf, 0.0
        gains[sets] += weights[into] - weights[out]
    values = 0.5 * ((gains + canonical.values) * inside).sum(axis=1)
    top = int(values.argmax())
    return inside[top], float(values[top])
