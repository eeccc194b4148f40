"""Compiled parts of the convex relaxations: small loops that NumPy has no name for.

Loops are plain, and sorting is avoided: array functions cost seconds of compilation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from sirfp_opt_solvers._kernels.cheapest import fill_cheapest
from sirfp_opt_solvers._kernels.options import INNER, OUTER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]


@njit(**OUTER)
def centred(cost: Floats, multipliers: Floats, diagonal: Floats, out: Floats) -> float:
    """Write E B E + t 1 1'/m for B = cost - multipliers + Diag(diagonal); return t.

    E projects on the vectors of zero sum; t is the mean of B's diagonal, so the
    direction 1 is as stiff as the others on average.
    """
    m = cost.shape[0]
    rows = np.zeros(m)
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
    return float(t)


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


@njit(**INNER)
def _project(point, upper, total, out):  # type: ignore[no-untyped-def]
    """Write the nearest point of 0 <= y <= upper, Σy = total."""
    m = point.size
    low, high = point[0] - upper[0], point[0]
    for i in range(m):
        low = min(low, point[i] - upper[i])
        high = max(high, point[i])
    for _ in range(80):
        shift = 0.5 * (low + high)
        mass = 0.0
        for i in range(m):
            mass += min(max(point[i] - shift, 0.0), upper[i])
        if mass > total:
            low = shift
        else:
            high = shift
    mass = 0.0
    for i in range(m):
        out[i] = min(max(point[i] - high, 0.0), upper[i])
        mass += out[i]
    # What the bisection leaves over goes where there is room.
    left = total - mass
    for i in range(m):
        if left <= 0.0:
            break
        amount = min(left, upper[i] - out[i])
        out[i] += amount
        left -= amount


@njit(**INNER)
def _slope(quadratic, linear, y, gradient):  # type: ignore[no-untyped-def]
    """Write the gradient at y; return the value there and the gradient's product."""
    m = y.size
    for j in range(m):
        gradient[j] = 0.0
    for i in range(m):
        share = y[i]
        if share != 0.0:
            for j in range(m):
                gradient[j] += share * quadratic[i, j]
    value = 0.0
    along = 0.0
    for i in range(m):
        value += (0.5 * gradient[i] + linear[i]) * y[i]
        gradient[i] += linear[i]
        along += gradient[i] * y[i]
    return value, along


@njit(**OUTER)
def _box_minimum(  # type: ignore[no-untyped-def]
    quadratic,
    linear,
    upper,
    total,
    lipschitz,
    iterations,
    enough,
    out,
    work,
    order,
    edge,
):
    """Start from `work[0]`; see `box_minimum`."""
    m = linear.size
    ahead, here, new, trial, gradient = 0, 1, 2, 3, 4
    best_bound = -np.inf
    best_value = np.inf
    _project(work[ahead], upper, total, work[here])
    for i in range(m):
        work[ahead, i] = work[here, i]
    t = 1.0
    for _ in range(iterations):
        value, along = _slope(quadratic, linear, work[ahead], work[gradient])
        lower = fill_cheapest(work[gradient], upper, m, total, order, edge)
        lower += value - along
        best_bound = max(best_bound, lower)
        if value < best_value:
            best_value = value
            for i in range(m):
                out[i] = work[ahead, i]
        if best_bound >= enough:
            break
        if best_value - best_bound <= 0.01 * max(enough - best_bound, 0.0):
            break
        for i in range(m):
            work[trial, i] = work[ahead, i] - work[gradient, i] / lipschitz
        _project(work[trial], upper, total, work[new])
        turn = 0.0
        for i in range(m):
            turn += (work[ahead, i] - work[new, i]) * (work[new, i] - work[here, i])
        momentum = 0.0
        if turn > 0.0:
            t = 1.0
        else:
            t_next = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * t * t))
            momentum = (t - 1.0) / t_next
            t = t_next
        for i in range(m):
            moved = work[new, i]
            work[trial, i] = moved + momentum * (moved - work[here, i])
            work[here, i] = moved
        if momentum > 0.0:
            # Kept feasible, so that every gradient gives a bound.
            _project(work[trial], upper, total, work[ahead])
        else:
            for i in range(m):
                work[ahead, i] = work[here, i]
    return best_bound, best_value


def box_minimum(
    quadratic: Floats,
    linear: Floats,
    upper: Floats,
    total: float,
    start: Floats,
    lipschitz: float,
    iterations: int,
    enough: float,
    out: Floats,
) -> tuple[float, float]:
    """Minimise ½y'By + b'y over 0 <= y <= upper, Σy = total by projected gradients.

    Accelerated, with restarts (O'Donoghue and Candès 2015). Writes the best point to
    `out` and returns the largest Frank-Wolfe bound seen and the value at `out`. Stops
    once the bound exceeds `enough`, or is within 1 % of the value's distance to it.
    """
    m = linear.size
    work = np.empty((5, m))
    work[0] = start
    bound, value = _box_minimum(
        quadratic,
        linear,
        upper,
        total,
        lipschitz,
        iterations,
        enough,
        out,
        work,
        np.empty(m, dtype=np.int64),
        np.empty(2),
    )
    return float(bound), float(value)


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
