"""Compiled parts of the convex relaxations: small loops that NumPy has no name for.

Loops are plain, and sorting is avoided: array functions cost seconds of compilation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from sirfp_opt_solvers._kernels.options import LOOSE, OUTER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]


@njit(**OUTER, **LOOSE)
def _centred(  # type: ignore[no-untyped-def]
    cost, multipliers, diagonal, base, out, image, rows
):
    """See `centred`."""
    m = cost.shape[0]
    total = 0.0
    trace = 0.0
    for i in range(m):
        sum_i = diagonal[i]
        image_i = diagonal[i] * base[i]
        for j in range(m):
            b = cost[i, j] - multipliers[i, j]
            out[i, j] = b
            sum_i += b
            image_i += b * base[j]
        out[i, i] += diagonal[i]
        image[i] = image_i
        trace += out[i, i]
        rows[i] = sum_i / m
        total += sum_i
    t = abs(trace) / m
    shift = total / (m * m) + t / m
    for i in range(m):
        row_i = shift - rows[i]
        for j in range(m):
            out[i, j] += row_i - rows[j]
    return t


def centred(
    cost: Floats, multipliers: Floats, diagonal: Floats, base: Floats, out: Floats
) -> tuple[float, Floats]:
    """Write E B E + t 1 1'/m for B = cost - multipliers + Diag(diagonal).

    E projects on the vectors of zero sum; t is the mean of B's diagonal, so the
    direction 1 is as stiff as the others on average. Returns t and B base.
    """
    image, rows = np.empty((2, diagonal.size))
    t = _centred(cost, multipliers, diagonal, base, out, image, rows)
    return float(t), image


@njit(**OUTER)
def mirror(inverse: Floats, extra: float) -> None:
    """Take `extra` off the lower triangle, and copy it to the upper one."""
    for i in range(inverse.shape[0]):
        for j in range(i + 1):
            inverse[i, j] -= extra
            inverse[j, i] = inverse[i, j]


@njit(**OUTER, **LOOSE)
def weighed(  # type: ignore[no-untyped-def]
    cost, multipliers, diagonal, linear, upper, base, inverse, point, room
):
    """Write P and argmin q; return q there, and log det B on zero sums.

    Not a number where B is not positive definite. The inverse is by the sweep operator
    on the lower triangle, two pivots at a time (Goodnight 1979,
    doi:10.1080/00031305.1979.10482685): below some hundred variables LAPACK's runs at a
    fraction of its speed. One body, for every part of a kernel is compiled by itself.

    Parameters
    ----------
    cost, multipliers, diagonal, linear, upper : ndarray
    base : ndarray of shape (m,)
        A point of the right sum.
    inverse, point : ndarray of shape (m, m), (m,)
    room : ndarray of shape (3, m)
        To work in.
    """
    m = linear.size
    image, first, second = room[0], room[1], room[2]
    t = _centred(cost, multipliers, diagonal, base, inverse, image, first)
    if not t > 0.0:
        return 0.0, np.nan
    logarithm = 0.0
    for k in range(0, m, 2):
        # The last one may be alone: its fellow is itself, at no weight.
        e = min(k + 1, m - 1)
        weight = np.float64(e - k)
        p, q, r = (
            inverse[k, k],
            weight * inverse[e, k],
            weight * inverse[e, e] + 1.0 - weight,
        )
        determinant = p * r - q * q
        if not (p > 0.0 and determinant > 0.0):
            return 0.0, np.nan
        logarithm += np.log(determinant)
        # The inverse of the pivots' own block, and their columns.
        p, q, r = r / determinant, -q / determinant, p / determinant
        for i in range(m):
            if i < k:
                first[i] = inverse[k, i]
                second[i] = weight * inverse[e, i]
            else:
                first[i] = inverse[i, k]
                second[i] = weight * inverse[i, e]
        first[k] = first[e] = second[k] = second[e] = 0.0
        for i in range(m):
            f = p * first[i] + q * second[i]
            g = q * first[i] + r * second[i]
            row = inverse[i]
            for j in range(i + 1):
                row[j] = row[j] - f * first[j] - g * second[j]
            if i < k:
                inverse[e, i] = g
                inverse[k, i] = f
            else:
                inverse[i, e] = g
                inverse[i, k] = f
        inverse[e, e] = -r
        inverse[e, k] = -q
        inverse[k, k] = -p
    extra = 1.0 / (t * m)
    value = 0.0
    for i in range(m):
        for j in range(i + 1):
            inverse[i, j] = -inverse[i, j] - extra
            inverse[j, i] = inverse[i, j]
        shifted = linear[i] - 0.5 * diagonal[i] * upper[i]
        value += (0.5 * image[i] + shifted) * base[i]
        image[i] += shifted
    for i in range(m):
        move = 0.0
        for j in range(m):
            move += inverse[i, j] * image[j]
        point[i] = base[i] - move
        value -= 0.5 * image[i] * move
    return value, logarithm


@njit(**OUTER, **LOOSE)
def newton_matrix(  # type: ignore[no-untyped-def]
    inverse, point, upper, mu, out, gradient
):
    """Write a_i P_ij a_j + mu P_ij² (a = y − u/2), a hair above singular, and ∂phi/∂d.

    Both at the dual point whose minimiser is y.
    """
    m = point.size
    trace = 0.0
    for i in range(m):
        y, u, p = point[i], upper[i], inverse[i, i]
        gradient[i] = 0.5 * y * (y - u) + mu * p
        offset = y - 0.5 * u
        trace += p * (offset * offset + mu * p)
        for j in range(m):
            p = inverse[i, j]
            out[i, j] = p * (offset * (point[j] - 0.5 * upper[j]) + mu * p)
    for i in range(m):
        out[i, i] += 1e-14 * trace


@njit(**OUTER, **LOOSE)
def multiplier_step(
    multipliers: Floats,
    behind: Floats,
    inverse: Floats,
    point: Floats,
    free: Bools,
    mu: float,
    step: float,
    momentum: float,
    moved: Floats,
    beyond: Floats,
    own: Floats,
) -> float:
    """Take a scaled gradient step on the multipliers of y_i y_j >= 0, and beyond.

    ``free[i, j]`` marks pairs whose product is 0, so their multiplier has no sign;
    `free` of shape (0, 0) marks none. Writes where the step ends to the lower triangle
    of `moved`, and that plus momentum · (that − `behind`), kept nonnegative where not
    free, to `beyond`. Returns the gain that a model of curvature 1/step predicts.
    """
    m = inverse.shape[0]
    any_free = free.shape[0] > 0
    gain = 0.0
    for i in range(m):
        own[i] = inverse[i, i]
        y = point[i]
        p = inverse[i, i]
        for j in range(i):
            q = inverse[i, j]
            z = point[j]
            r = own[j]
            product = y * z + 2.0 * mu * q
            curvature = 2.0 * mu * (p * r + q * q) + y * y * r + z * (z * p + 2 * y * q)
            old = multipliers[i, j]
            least = 0.0
            if any_free and free[i, j]:
                least = -np.inf
            new = max(old - step * product / curvature, least)
            gain += (old - new) * (product + (old - new) * curvature * (-0.5 / step))
            moved[i, j] = new
            beyond[i, j] = max(new + momentum * (new - behind[i, j]), least)
        beyond[i, i] = 0.0
    for i in range(m):
        for j in range(i):
            beyond[j, i] = beyond[i, j]
    return float(gain)
