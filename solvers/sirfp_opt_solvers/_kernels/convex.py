"""Compiled parts of the convex relaxations: small loops that NumPy has no name for.

Loops are plain, and sorting is avoided: array functions cost seconds of compilation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from sirfp_opt_solvers._kernels.cheapest import fill_cheapest
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


@njit(**OUTER)
def _least_with_one(gradient, multipliers, upper, total, out, keys, order, edge):  # type: ignore[no-untyped-def]
    """See `least_linear_with_one`."""
    m = gradient.size
    for i in range(m):
        for j in range(m):
            keys[j] = gradient[j] + upper[i] * multipliers[i, j]
        value = keys[i] * upper[i]
        keys[i] = np.inf  # comes last, when all else is full
        out[i] = np.inf
        left = total - upper[i]
        if left >= 0.0:
            out[i] = value
            if left > 0.0:
                out[i] += fill_cheapest(keys, upper, m, left, order, edge)


def least_linear_with_one(
    gradient: Floats, multipliers: Floats, upper: Floats, total: float, out: Floats
) -> None:
    """Write, for each i, min (g + u_i N_i)'z over the box with z_i = u_i.

    With y_i at one, the pairs that N had taken off its row count again.
    """
    m = gradient.size
    _least_with_one(
        gradient,
        multipliers,
        upper,
        total,
        out,
        np.empty(m),
        np.empty(m, dtype=np.int64),
        np.empty(2),
    )
