"""The cheapest way to fill a box, which the bounds of a compiled tree need.

By partitioning, as quickselect does: O(m) on average, and it compiles in a moment,
where NumPy's sort costs two seconds of compilation.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sirfp_opt_solvers._kernels.options import INNER

__all__ = ["LARGE", "NOBODY", "NONE_YET", "fill_cheapest"]

LARGE = 1e300
NONE_YET, NOBODY = np.int64(0), np.int64(-1)
"""Where a count and a choice begin: the type of a literal is a kind of its own, and all
that depends on it would be worked out twice.
"""


@njit(**INNER)
def fill_cheapest(keys, room, n, total, order, edge):  # type: ignore[no-untyped-def]
    """Return min Σ keys_a z_a over 0 <= z_a <= room_a, Σ z_a = total, a < n.

    Writes to `edge` the dearest key that is used and the cheapest one with room left,
    ∓`LARGE` where there is none.

    Parameters
    ----------
    keys, room : ndarray
    n : int
        Entries that count.
    total : float
        At most the sum of the room.
    order : ndarray of int64
        Room for n numbers.
    edge : ndarray of shape (2,)
    """
    value = 0.0
    left = total
    edge[0] = -LARGE
    edge[1] = LARGE
    for a in range(n):
        order[a] = a
    low = NONE_YET
    high = n
    while low < high and left > 0.0:
        # Everything before `low` is used up, everything from `high` on is too dear.
        pivot = keys[order[(low + high) // 2]]
        split = low
        mass = 0.0
        worth = 0.0
        for a in range(low, high):
            i = order[a]
            key = keys[i]
            if key < pivot:
                order[a] = order[split]
                order[split] = i
                split += 1
                mass += room[i]
                worth += key * room[i]
        if mass >= left:
            high = split
            continue
        value += worth
        left -= mass
        low = split
        for a in range(split, high):
            i = order[a]
            if keys[i] == pivot and left > 0.0:
                amount = min(room[i], left)
                value += pivot * amount
                left -= amount
                edge[0] = pivot
                if amount < room[i]:
                    edge[1] = pivot
                order[a] = order[low]
                order[low] = i
                low += 1
        if low == split:  # only where a key is no number
            return pivot
    for a in range(low, n):
        edge[1] = min(edge[1], keys[order[a]])
    return value
