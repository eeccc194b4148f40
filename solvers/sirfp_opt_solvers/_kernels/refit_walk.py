"""The compiled tree of refit problems: depth first, with a bound of O(u²) a step.

With H and Q the precisions and products of the u free channels, given what is kept and
dropped already, t channels are left to drop. The tangents x_i = θ_i w_i / H_ii of
`_refit.minorant` bound what they lose,

    f(T) >= Σ_{i in T} (2θ_i − θ_i²) c_i − Σ_{i≠j in T} θ_i θ_j K_ij,
    c_i = Σ_r Q_ii / H_ii,   K_ij = Σ_r H_ij Q_ij / (H_ii H_jj),

for any θ. How a pair's K is shared out between the two is free, too: B = θθ'∘K + E with
E antisymmetric. What i is charged is at most the t − 1 largest of its row, for which
any λ_i gives a bound, (t − 1) λ_i + Σ_j max(0, B_ij − λ_i). That leaves a linear
function of T, whose least value is the sum of its t smallest numbers, and by which
channels are fixed. θ, E and λ are valid whatever they are: each node starts from its
parent's and makes a few steps along Polyak's subgradient.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sirfp_opt_solvers._kernels.options import INNER, OUTER

__all__ = ["walk"]

_FAST = {"reassoc", "nsz", "contract"}
_EPS = 2.220446049250313e-16
# Steps of the bound at a node, and how many where it is near, this part of the cut. In
# the first levels, whose θ and E are handed down to all others, there are more.
_FEW, _MOST, _NEAR, _FIRST = 4, 20, 0.9, 64


@njit(**INNER)
def _top(a, size, m):  # type: ignore[no-untyped-def]
    """Return the m-th largest of the first numbers, 1 <= m <= size; order is lost."""
    low, high, k = 0, size - 1, m - 1
    while low < high:
        pivot = a[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while a[i] > pivot:
                i += 1
            while a[j] < pivot:
                j -= 1
            if i <= j:
                a[i], a[j] = a[j], a[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    return a[k]


@njit(**INNER)
def _smallest(c, work, u, m):  # type: ignore[no-untyped-def]
    """Return the m-th smallest of the first u numbers."""
    for i in range(u):
        work[i] = -c[i]
    return -_top(work, u, m)


@njit(**INNER)
def _lowest(c, u):  # type: ignore[no-untyped-def]
    """Return where the least of the first u numbers is."""
    at = 0
    for i in range(u):
        if c[i] < c[at]:
            at = i
    return at


@njit(**INNER)
def _stay(gone, left, u):  # type: ignore[no-untyped-def]
    """List the channels that are not gone; return how many they are."""
    m = 0
    for i in range(u):
        if not gone[i]:
            left[m] = i
            m += 1
    return m


@njit(**INNER)
def _gather(source, target, left, m):  # type: ignore[no-untyped-def]
    """Copy some rows and columns, ascending, into a corner; it may be in place."""
    for a in range(m):
        row, to = source[left[a]], target[a]
        for b in range(m):
            to[b] = row[left[b]]


@njit(**INNER, fastmath=_FAST)
def _restrict(h, q, e, theta, ids, ho, qo, eo, to, io, left, m, drop, buffer):  # type: ignore[no-untyped-def]
    """Write what is left of a node to another level, or in place.

    `left` holds the m channels that stay free, ascending; `drop` is the one that is
    dropped, -1 where all others are kept. H and Q follow a drop.
    """
    for r in range(h.shape[0]):
        if drop < 0:
            _gather(h[r], ho[r], left, m)
            _gather(q[r], qo[r], left, m)
            continue
        hr, qr, hi, qi = h[r], q[r], buffer[0], buffer[1]
        pivot, own = hr[drop, drop], qr[drop, drop]
        for a in range(m):
            hi[a], qi[a] = hr[drop, left[a]], qr[drop, left[a]]
        for a in range(m):
            x = hi[a] / pivot
            y = (qi[a] - own * x) / pivot
            h_row, q_row, h_to, q_to = hr[left[a]], qr[left[a]], ho[r, a], qo[r, a]
            for b in range(m):
                j = left[b]
                q_to[b] = q_row[j] - x * qi[b] - y * hi[b]
                h_to[b] = h_row[j] - x * hi[b]
    _gather(e, eo, left, m)
    for a in range(m):
        to[a], io[a] = theta[left[a]], ids[left[a]]


@njit(**INNER, fastmath=_FAST)
def _pairs(h, q, k, cost, work, u):  # type: ignore[no-untyped-def]
    """Write the pairs' numbers K and the channels' own costs c."""
    for i in range(u):
        cost[i] = 0.0
        for j in range(u):
            k[i, j] = 0.0
    for r in range(h.shape[0]):
        hr, qr = h[r], q[r]
        for i in range(u):
            work[i] = 1.0 / hr[i, i]
            cost[i] += qr[i, i] * work[i]
        for i in range(u):
            own = work[i]
            row, hi, qi = k[i], hr[i], qr[i]
            for j in range(u):
                row[j] += own * hi[j] * qi[j] * work[j]


@njit(**INNER, fastmath=_FAST)
def _linear(  # type: ignore[no-untyped-def]
    k, e, theta, cost, lam, width, c, b, work, t, u, first
):
    """Write B, and the numbers of the linear function; return their rounding error.

    At first the thresholds are those of each row; afterwards they follow it by
    `width` for each entry too many above them, which is cheaper.
    """
    mass = 0.0
    for i in range(u):
        row = b[i]
        for j in range(u):
            row[j] = theta[i] * theta[j] * k[i, j] + e[i, j]
        row[i] = -1e300
        if first:
            spread = 0.0
            m = 0
            for j in range(u):
                if j != i:
                    work[m] = row[j]
                    spread += abs(row[j])
                    m += 1
            lam[i] = _top(work, m, t - 1)
            width[i] = spread / (u * u)
        level, over, count = lam[i], 0.0, 0.0
        for j in range(u):
            high = row[j] > level
            over += row[j] - level if high else 0.0
            count += 1.0 if high else 0.0
        c[i] = (2.0 - theta[i]) * theta[i] * cost[i] - (t - 1) * level - over
        mass += (2.0 + theta[i]) * theta[i] * abs(cost[i]) + over + t * abs(level)
        work[u + i] = level
        lam[i] = level + (count - (t - 1)) * width[i]
    return 8.0 * _EPS * u * mass


@njit(**INNER, fastmath=_FAST)
def _step(  # type: ignore[no-untyped-def]
    k, e, theta, cost, c, b, work, least, missing, u, pace
):
    """Move E and θ along the subgradient of the bound, as far as it is short."""
    for i in range(u):
        level = work[u + i]
        inside = c[i] <= least
        for j in range(u):
            b[i, j] = 1.0 if inside and b[i, j] > level else 0.0
    norm = 0.0
    for i in range(u):
        slope = 2.0 * (1.0 - theta[i]) * cost[i] if c[i] <= least else 0.0
        for j in range(u):
            turned = b[i, j] - b[j, i]
            norm += 0.5 * turned * turned
            slope -= theta[j] * k[i, j] * (b[i, j] + b[j, i])
        work[i] = pace[i] * slope
        norm += work[i] * slope
    if norm <= 0.0:
        return
    length = missing / norm
    for i in range(u):
        for j in range(u):
            e[i, j] -= length * (b[i, j] - b[j, i])
        theta[i] = min(2.0, max(0.0, theta[i] + length * work[i]))


@njit(**OUTER)
def walk(  # type: ignore[no-untyped-def]
    h, q, e, theta, ids, sizes, loss, chosen, found, best, where, budget
):
    """Visit at most `budget` nodes more of a tree; see `_refit.walk`.

    Parameters
    ----------
    h, q : ndarray of shape (L, R, u, u)
        Precisions and products of each level, one for each channel to drop and one
        more. Level 0 holds the problem.
    e : ndarray of shape (L, u, u)
    theta : ndarray of shape (L, u)
    ids : ndarray of int64, shape (L, u)
        The channels that a level's rows stand for.
    sizes : ndarray of int64, shape (L, 3)
        Free channels of a level, channels left to drop, channels dropped.
    loss : ndarray of shape (L,)
    chosen, found : ndarray of int64, shape (L,)
        The channels dropped so far, and those of the best set.
    best : ndarray of shape (1,)
        Least loss so far, or what sets must be below.
    where : ndarray of int64, shape (2,)
        The level, -1 at the end, and how many nodes were visited.
    budget : int
    """
    n = h.shape[2]
    k, b = np.empty((n, n)), np.empty((n, n))
    cost, c, lam, width = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    pace, work, gone = np.empty(n), np.empty(2 * n), np.empty(n, dtype=np.bool_)
    left, buffer = np.empty(n, dtype=np.int64), np.empty((2, n))
    last = where[1] + budget
    while where[0] >= 0 and where[1] < last:
        level = where[0]
        hl, ql, el, tl, il = h[level], q[level], e[level], theta[level], ids[level]
        u, t, depth = sizes[level, 0], sizes[level, 1], sizes[level, 2]
        where[1] += 1
        branch = -1
        while branch < 0:
            missing = best[0] - loss[level]
            if t == 0 and missing > 0.0:
                best[0] = loss[level]
                for i in range(depth):
                    found[i] = chosen[i]
            if u < t or t == 0 or missing <= 0.0:
                break
            _pairs(hl, ql, k, cost, work, u)
            dropped, some = -1, False
            for i in range(u):
                gone[i] = cost[i] >= missing
                some |= gone[i]
            if t == 1:
                dropped = _lowest(cost, u)
                if cost[dropped] >= missing:
                    break
            elif u == t and not some:
                dropped = 0
            if dropped < 0 and not some:
                scale = 1e-6 * missing / t
                for i in range(u):
                    pace[i] = 1.0 / (abs(cost[i]) + scale) ** 2
                few = max(_FEW, _FIRST >> (level // 2))
                steps, value, error = 0, 0.0, 0.0
                least = 0.0
                while True:
                    error = _linear(
                        k, el, tl, cost, lam, width, c, b, work, t, u, steps == 0
                    )
                    least = _smallest(c, work, u, t)
                    value = 0.0
                    for i in range(u):
                        if c[i] < least:
                            value += c[i] - least
                    value += t * least - error
                    if value >= missing or steps >= max(few, _MOST):
                        break
                    if steps >= few and value < _NEAR * missing:
                        break
                    steps += 1
                    _step(k, el, tl, cost, c, b, work, least, missing - value, u, pace)
                if value >= missing:
                    break
                after = np.inf
                for i in range(u):
                    gone[i] = c[i] > least and value + c[i] - least >= missing
                    some |= gone[i]
                    if c[i] > least:
                        after = min(after, c[i])
                lowest = _lowest(c, u)
                if value + after - c[lowest] >= missing:
                    dropped = lowest
                elif not some:
                    branch = lowest
                    break
            if dropped >= 0:
                chosen[depth] = il[dropped]
                loss[level] += cost[dropped]
                depth += 1
                t -= 1
                gone[dropped] = True
            u = _stay(gone, left, u)
            _restrict(hl, ql, el, tl, il, hl, ql, el, tl, il, left, u, dropped, buffer)
        if branch < 0:
            where[0] -= 1
            continue
        below = level + 1
        hb, qb, eb, tb, ib = h[below], q[below], e[below], theta[below], ids[below]
        for i in range(u):
            gone[i] = i == branch
        chosen[depth] = il[branch]
        loss[below] = loss[level] + cost[branch]
        u = _stay(gone, left, u)
        _restrict(hl, ql, el, tl, il, hb, qb, eb, tb, ib, left, u, branch, buffer)
        _restrict(hl, ql, el, tl, il, hl, ql, el, tl, il, left, u, -1, buffer)
        sizes[below, 0], sizes[below, 1], sizes[below, 2] = u, t - 1, depth + 1
        sizes[level, 0], sizes[level, 1], sizes[level, 2] = u, t, depth
        where[0] = below
