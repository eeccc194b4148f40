"""Depth-first branch and bound on one convex quadratic relaxation, compiled.

The relaxation ½ y'By + b'y of a `Dual` is fixed for the whole tree, so a node costs
microseconds: pairwise steps from the parent's solution, a Frank-Wolfe bound, fixing,
branching. Once a variable is fixed to one, what N had taken off its pairs comes back.

Row d of every array of the state belongs to depth d. All of it is allocated outside of
the compiled code, and plain loops copy it: each array function that a kernel mentions
adds to what the first call has to compile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from sirfp_opt_solvers._kernels.cheapest import LARGE, NOBODY, NONE_YET
from sirfp_opt_solvers._kernels.options import INNER, OUTER
from sirfp_opt_solvers._kernels.qp_bound import rebalance, relax

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

__all__ = ["box_minimum", "search"]

# How a node stands: nothing left, second child left, both left (which first). Odd where
# the next child is that of a one; 5 less itself once the first of two is done.
_DONE, _ONE_LEFT, _ZERO_LEFT, _ONE_FIRST, _ZERO_FIRST = 0, 1, 2, 3, 4
# Rows of `steps` and `reals`: what they hold at depth d.
_SIZES, _N_ONES, _PICKS, _STATES = 0, 1, 2, 3
_NEEDS, _CONSTANTS, _BOUNDS = 0, 1, 2
# A node's pairwise steps end where the bound is so near, beside what is lacking.
_SHARE = 0.5
_NO_CONFLICTS = np.zeros((0, 0), dtype=bool)


@njit(**INNER)
def _finish(  # type: ignore[no-untyped-def]
    quadratic, multipliers, conflicts, frees, linears, d, n, upper, constant, cut,
    ones, count, best,
):  # fmt: skip
    """Price the set of n free variables beside those fixed to one.

    Returns its value, infinity if two clash, and writes it to `best` if it is below
    the cut.
    """
    any_conflict = conflicts.shape[0] > 0
    value = constant
    for a in range(n):
        i = frees[d, a]
        value += upper[i] * (linears[d, i] + 0.5 * upper[i] * quadratic[i, i])
        for c in range(a):
            j = frees[d, c]
            if any_conflict and conflicts[i, j]:
                return np.inf
            value += upper[i] * upper[j] * (quadratic[i, j] + multipliers[i, j])
    if value < cut:
        for a in range(count):
            best[a] = ones[a]
        for a in range(n):
            best[count + a] = frees[d, a]
        best[best.size - 1] = count + n
    return value


@njit(**INNER)
def _mark(  # type: ignore[no-untyped-def]
    frees, gradients, ys, codes, d, n, upper, stiffness, bound, cut, edge
):
    """Fix what one of both values rules out; return where both hurt most, or -1."""
    gap = 1e-6 * (cut - bound)
    most = -1.0
    pick = NOBODY
    for a in range(n):
        i = frees[d, a]
        g, y, u = gradients[d, i], ys[d, i], upper[i]
        to_one = max(g - edge[0], 0.0) * u + stiffness[i] * (u - y) * (u - y)
        to_zero = max(edge[1] - g, 0.0) * u + stiffness[i] * y * y
        if bound + to_one >= cut:
            codes[d, i] = 0
        elif bound + to_zero >= cut:
            codes[d, i] = 1
        else:
            codes[d, i] = -1
            score = (to_one + gap) * (to_zero + gap)
            if score > most:
                most = score
                pick = i
    return pick


@njit(**INNER)
def _bar(conflicts, frees, d, n, code):  # type: ignore[no-untyped-def]
    """Fix to zero what is in conflict with a one; return whether two ones are."""
    clashes = NONE_YET
    for a in range(n):
        i = frees[d, a]
        if code[i] == 1:
            for c in range(n):
                j = frees[d, c]
                if conflicts[i, j]:
                    if code[j] == 1:
                        clashes += 1
                    else:
                        code[j] = 0
    return clashes > 0


@njit(**INNER)
def _descend(  # type: ignore[no-untyped-def]
    quadratic, multipliers, frees, gradients, linears, ys, d, n, upper, code,
    ones, count, totals,
):  # fmt: skip
    """Write the child's row d + 1; return how many are free there, and fixed to one.

    `totals` holds what is needed and the constant, which the child's ones change.
    """
    m = upper.size
    e = d + 1
    for t in range(m):
        ys[e, t] = ys[d, t]
        gradients[e, t] = gradients[d, t]
        linears[e, t] = linears[d, t]
    left = NONE_YET
    for a in range(n):
        i = frees[d, a]
        y = ys[e, i]
        if code[i] < 0:
            frees[e, left] = i
            left += 1
        elif code[i] == 0:
            if y != 0.0:
                for t in range(m):
                    gradients[e, t] -= y * quadratic[i, t]
        else:
            size = upper[i]
            # Rows of variables fixed before are in linears[e, i] already.
            totals[0] -= size
            totals[1] += size * (linears[e, i] + 0.5 * size * quadratic[i, i])
            ones[count] = i
            count += 1
            move = size - y
            for t in range(m):
                back = size * multipliers[i, t]
                linears[e, t] += size * quadratic[i, t] + back
                gradients[e, t] += move * quadratic[i, t] + back
    return left, count


@njit(**OUTER)
def _search(  # type: ignore[no-untyped-def]
    quadratic,
    multipliers,
    constant,
    upper,
    total,
    conflicts,
    stiffness,
    cut,
    share,
    budget,
    ys,
    gradients,
    linears,
    codes,
    frees,
    steps,
    reals,
    ones,
    order,
    code,
    keys,
    rooms,
    edge,
    totals,
    best,
):
    """Search from row 0 of the state on; see `search`."""
    m = upper.size
    any_conflict = conflicts.shape[0] > 0
    steps[_SIZES, 0] = m
    reals[_NEEDS, 0] = total
    reals[_CONSTANTS, 0] = constant
    nodes = d = NONE_YET
    while True:
        nodes += 1
        n, need = steps[_SIZES, d], reals[_NEEDS, d]
        steps[_STATES, d] = _DONE
        room = 0.0
        for a in range(n):
            room += upper[frees[d, a]]
        if need == 0.0 or (need == room and need > 0.0):
            filled = n if need > 0.0 else NONE_YET
            value = _finish(
                quadratic, multipliers, conflicts, frees, linears, d, filled, upper,
                reals[_CONSTANTS, d], cut, ones, steps[_N_ONES, d], best,
            )  # fmt: skip
            if value < cut:
                cut = value
        elif 0.0 < need < room:
            rebalance(quadratic, frees, gradients, ys, d, n, upper, need)
            bound = relax(
                quadratic, frees, gradients, linears, ys, d, n, upper, need,
                reals[_CONSTANTS, d], cut, share, keys, rooms, order, edge,
            )  # fmt: skip
            reals[_BOUNDS, d] = bound
            if bound < cut:
                pick = _mark(
                    frees, gradients, ys, codes, d, n, upper, stiffness, bound, cut,
                    edge,
                )  # fmt: skip
                steps[_PICKS, d] = pick
                if pick < 0:
                    steps[_STATES, d] = _ZERO_LEFT
                elif 2.0 * ys[d, pick] >= upper[pick]:
                    steps[_STATES, d] = _ONE_FIRST
                else:
                    steps[_STATES, d] = _ZERO_FIRST
        while d >= 0 and steps[_STATES, d] == _DONE:
            d -= 1
        if d < 0:
            return True, cut, nodes
        if nodes >= budget:
            return False, cut, nodes
        state = steps[_STATES, d]
        chosen = state & 1
        steps[_STATES, d] = 5 - state if state > _ZERO_LEFT else _DONE
        n = steps[_SIZES, d]
        for a in range(n):
            i = frees[d, a]
            code[i] = codes[d, i]
        if steps[_PICKS, d] >= 0:
            code[steps[_PICKS, d]] = chosen
        totals[0], totals[1] = reals[_NEEDS, d], reals[_CONSTANTS, d]
        if any_conflict and _bar(conflicts, frees, d, n, code):
            totals[0] = -LARGE
        left, count = _descend(
            quadratic, multipliers, frees, gradients, linears, ys, d, n, upper,
            code, ones, steps[_N_ONES, d], totals,
        )  # fmt: skip
        d += 1
        steps[_SIZES, d], steps[_N_ONES, d] = left, count
        reals[_NEEDS, d], reals[_CONSTANTS, d] = totals[0], totals[1]


def search(
    quadratic: Floats,
    multipliers: Floats,
    linear: Floats,
    constant: float,
    upper: Floats,
    total: float,
    conflicts: Bools,
    stiffness: Floats,
    start: Floats,
    cut: float,
    budget: int,
    best: Ints,
) -> tuple[bool, float, int]:
    """Search the whole tree, or as much as `budget` nodes allow.

    Parameters
    ----------
    quadratic, multipliers : ndarray of shape (m, m)
        B and N.
    linear, constant : ndarray of shape (m,), float
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
    state = _state(start, quadratic @ start + linear, linear, upper.size + 2)
    best[upper.size] = -1
    done, cut, nodes = _search(
        quadratic,
        multipliers,
        constant,
        upper,
        total,
        conflicts,
        stiffness,
        cut,
        _SHARE,
        budget,
        *state,
        best,
    )
    return bool(done), float(cut), int(nodes)


def box_minimum(
    quadratic: Floats,
    linear: Floats,
    upper: Floats,
    total: float,
    start: Floats,
    enough: float,
    share: float,
) -> tuple[float, Floats]:
    """Minimise ½y'By + b'y over 0 <= y <= upper, Σy = total: the tree's first node.

    Returns the Frank-Wolfe bound at the point where pairwise steps end, and the point.
    They end once the bound exceeds `enough`, or is within a `share` of the value's
    distance to it. Other parameters as for `search`.
    """
    state = _state(start, quadratic @ start + linear, linear, 1)
    _search(
        quadratic,
        quadratic,  # multipliers, conflicts, stiffness: of no use to a first node
        0.0,
        upper,
        total,
        _NO_CONFLICTS,
        upper,
        enough,
        share,
        1,
        *state,
        np.empty(upper.size + 1, dtype=np.int64),
    )
    ys, _, _, _, _, _, reals, *_ = state
    point: Floats = ys[0]
    return float(reals[_BOUNDS, 0]), point


def _state(
    start: Floats, gradient: Floats, linear: Floats, depths: int
) -> tuple[NDArray[Any], ...]:
    """Return what `_search` works in, with room for so many depths."""
    m = start.size
    ys, gradients, linears = np.zeros((3, depths, m))
    codes, frees = np.zeros((2, depths, m), dtype=np.int64)
    ys[0], gradients[0], linears[0], frees[0] = start, gradient, linear, np.arange(m)
    steps, reals = np.zeros((4, depths), dtype=np.int64), np.zeros((3, depths))
    ones, order, code = np.zeros((3, m), dtype=np.int64)
    keys, rooms = np.zeros((2, m))
    edge, totals = np.zeros((2, 2))
    return (
        *(ys, gradients, linears, codes, frees, steps, reals),
        *(ones, order, code, keys, rooms, edge, totals),
    )
