"""Compiled parts of the triangle inequalities: finding them, and pricing them.

A triangle is four whole numbers i < j < k and a kind, 0 to 3: which of its four
inequalities in x_i, x_j, x_k and their products it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from sirfp_opt_solvers._kernels.options import INNER, OUTER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["add", "crowd", "separate", "step"]


@njit(**INNER)
def _signs(kind):  # type: ignore[no-untyped-def]
    """Return the signs of x_i x_j, x_i x_k, x_j x_k, x_i, x_j, x_k and the constant.

    Each is x_c (x_a + x_b − 1) − x_a x_b <= 0 for a corner c, and the last one
    (1 − x_i)(1 − x_j)(1 − x_k) + x_i x_j x_k >= 0, with the sign turned.
    """
    if kind == 0:
        return 1.0, 1.0, -1.0, -1.0, 0.0, 0.0, 0.0
    if kind == 1:
        return 1.0, -1.0, 1.0, 0.0, -1.0, 0.0, 0.0
    if kind == 2:
        return -1.0, 1.0, 1.0, 0.0, 0.0, -1.0, 0.0
    return -1.0, -1.0, -1.0, 1.0, 1.0, 1.0, -1.0


@njit(**OUTER)
def separate(products: Floats, x: Floats, least: float, found: Ints, by: Floats) -> int:
    """Write triangles violated by more than `least`, and by how much; return how many.

    Of each triple the most violated one; as many as `found` has rows.
    """
    count = 0
    m = x.size
    for i in range(m):
        for j in range(i + 1, m):
            ij = products[i, j]
            for k in range(j + 1, m):
                ik = products[i, k]
                jk = products[j, k]
                kind = 0
                most = ij + ik - jk - x[i]
                if ij + jk - ik - x[j] > most:
                    kind, most = 1, ij + jk - ik - x[j]
                if ik + jk - ij - x[k] > most:
                    kind, most = 2, ik + jk - ij - x[k]
                if x[i] + x[j] + x[k] - ij - ik - jk - 1.0 > most:
                    kind, most = 3, x[i] + x[j] + x[k] - ij - ik - jk - 1.0
                if most > least:
                    if count == by.size:
                        return count
                    found[count, 0] = i
                    found[count, 1] = j
                    found[count, 2] = k
                    found[count, 3] = kind
                    by[count] = most
                    count += 1
    return count


@njit(**OUTER)
def add(
    triangles: Ints, prices: Floats, upper: Floats, cost: Floats, linear: Floats
) -> float:
    """Add price · triangle to a quadratic form in y = u x; return the constant."""
    constant = 0.0
    for q in range(prices.size):
        price = prices[q]
        if price == 0.0:
            continue
        i, j, k = triangles[q, 0], triangles[q, 1], triangles[q, 2]
        ij, ik, jk, at_i, at_j, at_k, one = _signs(triangles[q, 3])
        ij *= price / (upper[i] * upper[j])
        ik *= price / (upper[i] * upper[k])
        jk *= price / (upper[j] * upper[k])
        cost[i, j] += ij
        cost[j, i] += ij
        cost[i, k] += ik
        cost[k, i] += ik
        cost[j, k] += jk
        cost[k, j] += jk
        linear[i] += price * at_i / upper[i]
        linear[j] += price * at_j / upper[j]
        linear[k] += price * at_k / upper[k]
        constant += price * one
    return constant


@njit(**OUTER)
def crowd(triangles: Ints, out: Floats) -> None:
    """Add to each pair of `out` the number of triangles that it is part of."""
    for q in range(triangles.shape[0]):
        i, j, k = triangles[q, 0], triangles[q, 1], triangles[q, 2]
        out[i, j] += 1.0
        out[j, i] += 1.0
        out[i, k] += 1.0
        out[k, i] += 1.0
        out[j, k] += 1.0
        out[k, j] += 1.0


@njit(**OUTER)
def step(
    triangles: Ints,
    prices: Floats,
    inverse: Floats,
    point: Floats,
    upper: Floats,
    crowded: Floats,
    mu: float,
    size: float,
    out: Floats,
) -> float:
    """Take a scaled gradient step on the prices; return the gain that it predicts.

    With P the inverse and y the point, a triangle y'Ey/2 + e'y + c has the gradient
    y'Ey/2 + mu tr(PE) + e'y + c and the curvature mu tr(PEPE) + v'Pv, v = Ey + e.
    Triangles that share pairs move together, hence the mean of `crowded`.
    """
    gain = 0.0
    p = np.zeros((3, 3))
    e = np.zeros((3, 3))
    product = np.zeros((3, 3))
    v = np.zeros(3)
    at = np.zeros(3, np.int64)
    for q in range(prices.size):
        for a in range(3):
            at[a] = triangles[q, a]
        i, j, k = at[0], at[1], at[2]
        ij, ik, jk, at_i, at_j, at_k, one = _signs(triangles[q, 3])
        e[0, 1] = ij / (upper[i] * upper[j])
        e[0, 2] = ik / (upper[i] * upper[k])
        e[1, 2] = jk / (upper[j] * upper[k])
        e[1, 0] = e[0, 1]
        e[2, 0] = e[0, 2]
        e[2, 1] = e[1, 2]
        v[0] = at_i / upper[i]
        v[1] = at_j / upper[j]
        v[2] = at_k / upper[k]
        slope = one
        for a in range(3):
            slope += v[a] * point[at[a]]
            for b in range(3):
                p[a, b] = inverse[at[a], at[b]]
                slope += e[a, b] * (0.5 * point[at[a]] * point[at[b]] + mu * p[a, b])
        for a in range(3):
            for b in range(3):
                v[a] += e[a, b] * point[at[b]]
                product[a, b] = 0.0
                for c in range(3):
                    product[a, b] += p[a, c] * e[c, b]
        curvature = 1e-300
        for a in range(3):
            for b in range(3):
                curvature += mu * product[a, b] * product[b, a]
                curvature += v[a] * p[a, b] * v[b]
        curvature *= (crowded[i, j] + crowded[i, k] + crowded[j, k]) / 3.0
        new = max(0.0, prices[q] + size * slope / curvature)
        move = new - prices[q]
        gain += slope * move - move * move * curvature / (2.0 * size)
        out[q] = new
    return gain
