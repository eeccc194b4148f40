"""Compiled parts of the proof where readers are refitted."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["descend"]


@njit(cache=True, nogil=True)
def descend(linear, quadratic, sets, least):  # type: ignore[no-untyped-def]
    """Make the best swap until none gains, from each row of `sets`, in place.

    The value of a set z is linear·z − z'·quadratic·z, to be minimised; a swap must
    gain more than `least`.
    """
    count, m = sets.shape
    gradient = np.empty(m)
    for row in range(count):
        z = sets[row]
        for i in range(m):
            total = 0.0
            for j in range(m):
                if z[j]:
                    total += quadratic[i, j]
            gradient[i] = linear[i] - 2.0 * total
        for _ in range(10 * m):
            best, leaves, enters = -least, -1, -1
            for i in range(m):
                if not z[i]:
                    continue
                out = -gradient[i] - quadratic[i, i]
                for j in range(m):
                    if z[j]:
                        continue
                    gain = out + gradient[j] - quadratic[j, j] + 2.0 * quadratic[i, j]
                    if gain < best:
                        best, leaves, enters = gain, i, j
            if leaves < 0:
                break
            z[leaves], z[enters] = False, True
            for i in range(m):
                gradient[i] += 2.0 * (quadratic[i, leaves] - quadratic[i, enters])
