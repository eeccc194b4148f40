"""Compiled parts of the convex relaxations: small loops that NumPy has no name for.

Loops are plain, and sorting is avoided: array functions cost seconds of compilation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from sirfp_opt_solvers._kernels.cheapest import fill_cheapest
from sirfp_opt_solvers._kernels.options import OUTER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]


@njit(**OUTER)
def _centred(  # type: ignore[no-untyped-def]
    cost, multipliers, diagonal, out, rows
):
    """See `centred`."""
    m = cost.shape[0]
    total = 0.0
    trace = 0.0
    for i in range(m):
        sum_i = 0.0
        for j in range(m):
            b = cost[i, j] - multipliers[i, j]
            out[i, j] = b
            sum_i += b
        out[i, i] += diagonal[i]
        sum_i += diagonal[i]
        trace += out[i, i]
        rows[i] = sum_i / m
        total += sum_i
    t = abs(trace) / m
    shift = total / (m * m) + t / m
    for i in range(m):
        for j in range(m):
            out[i, j] += shift - rows[i] - rows[j]
    return t


def centred(cost: Floats, multipliers: Floats, diagonal: Floats, out: Floats) -> float:
    """Write E B E + t 1 1'/m for B = cost - multipliers + Diag(diagonal); return t.

    E projects on the vectors of zero sum; t is the mean of B's diagonal, so the
    direction 1 is as stiff as the others on average.
    """
    return float(_centred(cost, multipliers, diagonal, out, np.empty(diagonal.size)))


@njit(**OUTER)
def mirror(inverse: Floats, t: float) -> None:
    """Copy the upper triangle to the lower; remove the part t 1 1'/m stood for."""
    m = inverse.shape[0]
    extra = 1.0 / (t * m)
    for i in range(m):
        for j in range(i + 1):
            value = inverse[j, i] - extra
            inverse[i, j] = value
            inverse[j, i] = value


@njit(**OUTER)
def newton_matrix(inverse: Floats, offset: Floats, mu: float, out: Floats) -> None:
    """Write a_i P_ij a_j + mu P_ij² (a = `offset`), a hair above singular."""
    m = inverse.shape[0]
    trace = 0.0
    for i in range(m):
        for j in range(m):
            p = inverse[i, j]
            out[i, j] = p * (offset[i] * offset[j] + mu * p)
        trace += out[i, i]
    for i in range(m):
        out[i, i] += 1e-14 * trace


@njit(**OUTER)
def multiplier_step(
    multipliers: Floats,
    inverse: Floats,
    point: Floats,
    free: Bools,
    mu: float,
    step: float,
    out: Floats,
) -> float:
    """Take a scaled gradient step on the multipliers of y_i y_j >= 0.

    ``free[i, j]`` marks pairs whose product is 0, so their multiplier has no sign;
    `free` of shape (0, 0) marks none. Returns the gain that a model of curvature 1/step
    predicts.
    """
    m = inverse.shape[0]
    any_free = free.shape[0] > 0
    gain = 0.0
    for i in range(m):
        y = point[i]
        p = inverse[i, i]
        out[i, i] = 0.0
        for j in range(i):
            q = inverse[i, j]
            z = point[j]
            product = y * z + 2.0 * mu * q
            curvature = (
                2.0 * mu * (p * inverse[j, j] + q * q)
                + y * y * inverse[j, j]
                + z * z * p
                + 2.0 * y * z * q
            )
            old = multipliers[i, j]
            new = old - step * product / curvature
            if new < 0.0 and not (any_free and free[i, j]):
                new = 0.0
            gain += -product * (new - old) - (new - old) ** 2 * curvature / (2 * step)
            out[i, j] = new
            out[j, i] = new
    return gain


@njit(**OUTER)
def extrapolate(
    new: Floats, old: Floats, momentum: float, free: Bools, out: Floats
) -> None:
    """Write new + momentum · (new − old), kept nonnegative where not free."""
    m = new.shape[0]
    any_free = free.shape[0] > 0
    for i in range(m):
        for j in range(m):
            value = new[i, j] + momentum * (new[i, j] - old[i, j])
            if value < 0.0 and not (any_free and free[i, j]):
                value = 0.0
            out[i, j] = value


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
