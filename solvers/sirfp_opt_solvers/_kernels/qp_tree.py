"""Depth-first branch and bound on one convex quadratic relaxation, compiled.

The relaxation ½ y'By + b'y of a `Dual` is fixed for the whole tree, so a node costs
microseconds: pairwise steps from the parent's solution, a Frank-Wolfe bound, fixing,
branching. Once a variable is fixed to one, what N had taken off its pairs comes back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

__all__ = ["search"]

_OPTIONS = {"cache": True, "nogil": True, "error_model": "numpy"}
_LARGE = 1e300

# How a node stands: nothing left, second child left, both left (which first).
_DONE, _ONE_LEFT, _ZERO_LEFT, _ZERO_FIRST, _ONE_FIRST = 0, 1, 2, 3, 4


@njit(**_OPTIONS)
def _frank_wolfe(free, n, gradient, linear, y, upper, need, constant, keys, fill):  # type: ignore[no-untyped-def]
    """Return bound and value at y; write to `fill` the prices that fixing goes by."""
    value = 0.0
    here = 0.0
    for a in range(n):
        i = free[a]
        value += y[i] * (gradient[i] + linear[i])
        here += y[i] * gradient[i]
        keys[a] = gradient[i]
    value = 0.5 * value + constant
    least = 0.0
    left = need
    order = np.argsort(keys[:n])
    fill[0] = -_LARGE
    fill[1] = _LARGE
    for a in range(n):
        i = free[order[a]]
        if left <= 0.0:
            fill[1] = gradient[i]
            break
        amount = min(upper[i], left)
        least += gradient[i] * amount
        left -= amount
        fill[0] = gradient[i]
        if amount < upper[i]:
            fill[1] = gradient[i]
            break
    return value + least - here, value


@njit(**_OPTIONS)
def _relax(  # type: ignore[no-untyped-def]
    quadratic, free, n, y, gradient, linear, upper, need, constant, cut, keys, fill
):
    """Minimise over the free variables by pairwise steps, as far as is of use.

    Stops when the bound reaches `cut`, or when it is clear that it will not.
    """
    step = 0
    while True:
        low, high = _LARGE, -_LARGE
        i, j = -1, -1
        for a in range(n):
            t = free[a]
            g = gradient[t]
            if g < low and y[t] < upper[t]:
                low = g
                i = t
            if g > high and y[t] > 0.0:
                high = g
                j = t
        if step % 8 == 0 or high - low <= 1e-9 * abs(high):
            bound, value = _frank_wolfe(
                free, n, gradient, linear, y, upper, need, constant, keys, fill
            )
            if bound >= cut or high - low <= 1e-9 * abs(high) or step > 4000:
                return bound, step
            if value < cut and value - bound < 0.1 * (cut - value):
                return bound, step
        step += 1
        curvature = quadratic[i, i] + quadratic[j, j] - 2.0 * quadratic[i, j]
        room_i, room_j = upper[i] - y[i], y[j]
        move = min(room_i, room_j)
        if curvature > 0.0 and (high - low) < curvature * move:
            move = (high - low) / curvature
        y[i] += move
        y[j] -= move
        # Land exactly on the bounds: what is nearly there would stay a candidate.
        if move == room_i:
            y[i] = upper[i]
        if move == room_j or y[j] < 1e-13 * upper[j]:
            y[j] = 0.0
        row_i, row_j = quadratic[i], quadratic[j]
        for t in range(gradient.size):
            gradient[t] += move * (row_i[t] - row_j[t])


@njit(**_OPTIONS)
def _rebalance(quadratic, free, n, y, gradient, upper, need):  # type: ignore[no-untyped-def]
    """Change the free part of y until it sums to `need`, best gradients first."""
    total = 0.0
    for a in range(n):
        total += y[free[a]]
    missing = need - total
    while abs(missing) > 1e-11:
        best = _LARGE
        i = -1
        for a in range(n):
            t = free[a]
            if missing > 0.0:
                if y[t] < upper[t] and gradient[t] < best:
                    best = gradient[t]
                    i = t
            elif y[t] > 0.0 and -gradient[t] < best:
                best = -gradient[t]
                i = t
        if i < 0:
            return
        move = min(missing, upper[i] - y[i]) if missing > 0.0 else max(missing, -y[i])
        y[i] += move
        if upper[i] - y[i] < 1e-13:
            y[i] = upper[i]
        elif y[i] < 1e-13:
            y[i] = 0.0
        missing -= move
        for t in range(gradient.size):
            gradient[t] += move * quadratic[i, t]


@njit(**_OPTIONS)
def search(  # type: ignore[no-untyped-def]
    quadratic,
    multipliers,
    linear0,
    constant0,
    upper,
    total,
    conflicts,
    stiffness,
    start,
    cut,
    budget,
    best,
):
    """Search the whole tree, or as much as `budget` nodes allow.

    Parameters
    ----------
    quadratic, multipliers : ndarray of shape (m, m)
        B and N.
    linear0, constant0 : ndarray of shape (m,), float
        b, and what is added to all values.
    upper, total : ndarray of shape (m,), float
        y_i in {0, upper_i}, Σy = total, 0 < total < Σ upper.
    conflicts : ndarray of bool, shape (m, m) or (0, 0)
        Pairs of which one must be zero.
    stiffness : ndarray of shape (m,)
        ½ / P_ii.
    start : ndarray of shape (m,)
        A point of the relaxation to begin with.
    cut : float
        Only sets of value below this are of interest.
    budget : int
        Nodes at most.
    best : ndarray of int64, shape (m + 1,)
        Filled with the variables of the best set below `cut`: their number in
        ``best[m]`` (-1 if there is none).

    Returns
    -------
    done : bool
        Whether the whole tree was searched.
    cut : float
        Value of the best set found, or `cut` as given.
    nodes : int
    """
    m = upper.size
    depths = m + 2
    ys = np.zeros((depths, m))
    gradients = np.zeros((depths, m))
    linears = np.zeros((depths, m))
    codes = np.zeros((depths, m), np.int8)
    frees = np.zeros((depths, m), np.int64)
    sizes = np.zeros(depths, np.int64)
    ones = np.zeros(m + 1, np.int64)
    n_ones = np.zeros(depths, np.int64)
    needs = np.zeros(depths)
    constants = np.zeros(depths)
    branch = np.zeros(depths, np.int64)
    state = np.zeros(depths, np.int8)
    keys = np.empty(m)
    fill = np.empty(2)
    any_conflict = conflicts.shape[0] > 0
    best[m] = -1
    frees[0] = np.arange(m)
    sizes[0] = m
    needs[0] = total
    constants[0] = constant0
    ys[0] = start
    linears[0] = linear0
    gradients[0] = quadratic @ start + linear0
    nodes = 0
    d = 0
    entering = True
    while True:
        if entering:
            nodes += 1
            n, need = sizes[d], needs[d]
            free, y, gradient, linear = frees[d], ys[d], gradients[d], linears[d]
            state[d] = _DONE
            room = 0.0
            for a in range(n):
                room += upper[free[a]]
            if need < 0.0 or need > room:
                pass
            elif need == 0.0 or need == room:
                value = constants[d]
                feasible = True
                count = n_ones[d]
                if need > 0.0:
                    for a in range(n):
                        i = free[a]
                        value += upper[i] * linear[i]
                        for c in range(n):
                            j = free[c]
                            pair = quadratic[i, j]
                            if i != j:
                                pair += multipliers[i, j]
                                if any_conflict and conflicts[i, j]:
                                    feasible = False
                            value += 0.5 * upper[i] * upper[j] * pair
                if feasible and value < cut:
                    cut = value
                    best[:count] = ones[:count]
                    if need > 0.0:
                        best[count : count + n] = free[:n]
                        count += n
                    best[m] = count
            else:
                _rebalance(quadratic, free, n, y, gradient, upper, need)
                bound, _ = _relax(
                    quadratic,
                    free,
                    n,
                    y,
                    gradient,
                    linear,
                    upper,
                    need,
                    constants[d],
                    cut,
                    keys,
                    fill,
                )
                if bound < cut:
                    # Fix what one of both values rules out; branch where both hurt.
                    most = -1.0
                    pick = -1
                    for a in range(n):
                        i = free[a]
                        g = gradient[i]
                        to_one = max(g - fill[0], 0.0) * upper[i]
                        to_one += stiffness[i] * (upper[i] - y[i]) ** 2
                        to_zero = max(fill[1] - g, 0.0) * upper[i]
                        to_zero += stiffness[i] * y[i] ** 2
                        if bound + to_one >= cut:
                            codes[d, i] = 0
                        elif bound + to_zero >= cut:
                            codes[d, i] = 1
                        else:
                            codes[d, i] = -1
                            score = (to_one + 1e-6 * (cut - bound)) * (
                                to_zero + 1e-6 * (cut - bound)
                            )
                            if score > most:
                                most = score
                                pick = i
                    branch[d] = pick
                    if pick < 0:
                        state[d] = _ZERO_LEFT
                    elif 2.0 * y[pick] >= upper[pick]:
                        state[d] = _ONE_FIRST
                    else:
                        state[d] = _ZERO_FIRST
        while d >= 0 and state[d] == _DONE:
            d -= 1
        if d < 0:
            return True, cut, nodes
        if nodes >= budget:
            return False, cut, nodes
        pick = branch[d]
        value_of_pick = 0
        if state[d] == _ZERO_FIRST:
            state[d] = _ONE_LEFT
        elif state[d] == _ONE_FIRST:
            value_of_pick = 1
            state[d] = _ZERO_LEFT
        else:
            if state[d] == _ONE_LEFT:
                value_of_pick = 1
            state[d] = _DONE
        e = d + 1
        n, need, constant, count = sizes[d], needs[d], constants[d], n_ones[d]
        free = frees[d]
        ys[e] = ys[d]
        gradients[e] = gradients[d]
        linears[e] = linears[d]
        y, gradient, linear = ys[e], gradients[e], linears[e]
        code = codes[d].copy()
        if pick >= 0:
            code[pick] = value_of_pick
        if any_conflict:
            for a in range(n):
                i = free[a]
                if code[i] == 1:
                    for c in range(n):
                        j = free[c]
                        if conflicts[i, j]:
                            if code[j] == 1:
                                need = -_LARGE
                            else:
                                code[j] = 0
        left = 0
        for a in range(n):
            i = free[a]
            if code[i] < 0:
                frees[e, left] = i
                left += 1
            elif code[i] == 0:
                if y[i] != 0.0:
                    for t in range(m):
                        gradient[t] -= y[i] * quadratic[i, t]
            else:
                size = upper[i]
                # Rows of variables fixed before are in linear[i] already.
                constant += size * (linear[i] + 0.5 * size * quadratic[i, i])
                ones[count] = i
                count += 1
                need -= size
                move = size - y[i]
                for t in range(m):
                    back = size * multipliers[i, t]
                    linear[t] += size * quadratic[i, t] + back
                    gradient[t] += move * quadratic[i, t] + back
        sizes[e] = left
        needs[e] = need
        constants[e] = constant
        n_ones[e] = count
        d = e
        entering = True
