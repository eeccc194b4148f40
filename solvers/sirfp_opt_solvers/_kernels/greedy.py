"""Backward deletion, one pass over a row for each item deleted."""

from __future__ import annotations

import numpy as np
from numba import njit

from sirfp_opt_solvers._kernels.options import OUTER

__all__ = ["delete_smallest"]


@njit(**OUTER)
def delete_smallest(weights, left, order, gains):  # type: ignore[no-untyped-def]
    """Delete the item of least marginal gain, as often as `order` has room for.

    The same float64 operations on each entry as in the NumPy form, so the same order
    and gains to the last bit; ties go to the first item.

    Parameters
    ----------
    weights : float64 (m, m)
    left : float64 (m,)
        Marginal gains; overwritten.
    order : int64 (m,) or shorter
        Receives the items, first deleted first.
    gains : float64, as long as `order`
        Receives the marginal gain of each when it was deleted.
    """
    m = left.size
    item, least = 0, left[0]
    for i in range(1, m):
        if left[i] < least:
            item, least = i, left[i]
    for step in range(order.size):
        order[step] = item
        gains[step] = left[item]
        left[item] = np.inf
        row = weights[item]
        # The next least is found while the row is subtracted. Infinity stays
        # infinity: an item that is gone never comes back.
        item, least = 0, np.inf
        for i in range(m):
            gain = left[i] - row[i]
            left[i] = gain
            if gain < least:
                item, least = i, gain
