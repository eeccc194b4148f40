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

__all__ = ["add", "crowd", "measure", "separate"]


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


@njit(**INNER)
def _coefficients(triangles, upper, q, at, out):  # type: ignore[no-untyped-def]
    """Write a triangle's variables, and its coefficients in y's products and squares.

    In the order ij, ik, jk, ii, jj, kk: y_i stands there as y_i² / u_i. Returns the
    constant.
    """
    for a in range(3):
        at[a] = triangles[q, a]
    ij, ik, jk, at_i, at_j, at_k, one = _signs(triangles[q, 3])
    u, v, w = upper[at[0]], upper[at[1]], upper[at[2]]
    out[0], out[1], out[2] = ij / (u * v), ik / (u * w), jk / (v * w)
    out[3], out[4], out[5] = at_i / (u * u), at_j / (v * v), at_k / (w * w)
    return one


@njit(**OUTER)
def measure(triangles: Ints, upper: Floats, products: Floats, out: Floats) -> None:
    """Write by how much the products y_i y_j violate each triangle, negative if not."""
    at = np.zeros(3, np.int64)
    c = np.zeros(6)
    for q in range(triangles.shape[0]):
        one = _coefficients(triangles, upper, q, at, c)
        i, j, k = at[0], at[1], at[2]
        value = one + c[0] * products[i, j] + c[1] * products[i, k]
        value += c[2] * products[j, k] + c[3] * products[i, i]
        out[q] = value + c[4] * products[j, j] + c[5] * products[k, k]


@njit(**OUTER)
def crowd(triangles: Ints, upper: Floats, crowded: Floats, out: Floats) -> None:
    """Write how much each triangle shares with all of them, itself included.

    The sum over its entries of |coefficient| times the sum of |coefficients| there: a
    bound on the sum of |⟨T_q, T_r⟩| over r. `crowded` of shape (m, m), zero, is filled.
    """
    at = np.zeros(3, np.int64)
    c = np.zeros(6)
    for q in range(triangles.shape[0]):
        _coefficients(triangles, upper, q, at, c)
        i, j, k = at[0], at[1], at[2]
        # Half of a product's coefficient stands on each side of the diagonal.
        crowded[i, j] += 0.5 * abs(c[0])
        crowded[i, k] += 0.5 * abs(c[1])
        crowded[j, k] += 0.5 * abs(c[2])
        crowded[i, i] += abs(c[3])
        crowded[j, j] += abs(c[4])
        crowded[k, k] += abs(c[5])
    for q in range(triangles.shape[0]):
        _coefficients(triangles, upper, q, at, c)
        i, j, k = at[0], at[1], at[2]
        value = abs(c[0]) * crowded[i, j] + abs(c[1]) * crowded[i, k]
        value += abs(c[2]) * crowded[j, k] + abs(c[3]) * crowded[i, i]
        out[q] = value + abs(c[4]) * crowded[j, j] + abs(c[5]) * crowded[k, k]
