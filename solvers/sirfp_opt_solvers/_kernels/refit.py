"""Compiled parts of the proof where readers are refitted."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["descend", "enumerate_drops"]


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


@njit(cache=True, nogil=True)
def enumerate_drops(  # type: ignore[no-untyped-def]
    precisions, products, need, cut, budget, found
):
    """Return the least loss below `cut` of dropping `need` channels, `cut` if none.

    Depth first, in ascending order of the channels. Each drop updates H and Q of the
    channels after it; the loss only grows, so that a channel whose own drop leads to
    the cut leaves the subtree. The channels of the best set are written to `found`.
    The second number returned is how many sets were looked into, above `budget` where
    that has ended the search: then the least loss may not have been found.
    """
    readers, u = precisions.shape[0], precisions.shape[1]
    h = np.empty((need, readers, u, u))
    q = np.empty((need, readers, u, u))
    cost = np.empty((need, u))
    loss = np.zeros(need)
    place = np.zeros(need, dtype=np.int64)
    chosen = np.zeros(need, dtype=np.int64)
    h[0], q[0] = precisions, products
    for i in range(u):
        total = 0.0
        for r in range(readers):
            total += products[r, i, i] / precisions[r, i, i]
        cost[0, i] = total
    best, level, nodes = cut, 0, 0
    while level >= 0 and nodes <= budget:
        if level == need - 1:
            nodes += 1
            for i in range(place[level], u):
                if loss[level] + cost[level, i] < best:
                    best = loss[level] + cost[level, i]
                    chosen[level] = i
                    found[:] = chosen
            level -= 1
            continue
        i = place[level]
        while i < u and loss[level] + cost[level, i] >= best:
            i += 1
        alive = 0
        for j in range(i, u):
            if loss[level] + cost[level, j] < best:
                alive += 1
        if alive < need - level:
            level -= 1
            continue
        nodes += 1
        place[level] = i + 1
        chosen[level] = i
        below = level + 1
        loss[below] = loss[level] + cost[level, i]
        place[below] = i + 1
        for j in range(i + 1, u):
            cost[below, j] = 0.0
            if loss[level] + cost[level, j] >= best:
                cost[below, j] = np.inf
        for r in range(readers):
            hr, qr = h[level, r], q[level, r]
            hn, qn = h[below, r], q[below, r]
            pivot, own = hr[i, i], qr[i, i]
            for j in range(i + 1, u):
                if cost[below, j] == np.inf:
                    continue
                a = hr[i, j] / pivot
                b = qr[i, j] - own * a
                for k in range(j, u):
                    hn[j, k] = hr[j, k] - a * hr[i, k]
                    qn[j, k] = qr[j, k] - a * qr[i, k] - b * hr[i, k] / pivot
                cost[below, j] += qn[j, j] / hn[j, j]
        level = below
    return best, nodes
