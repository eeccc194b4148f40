"""The bound of a node of `qp_tree`: a convex quadratic problem over what is free.

Row d of `frees`, `ys`, `gradients` and `linears` is the node's: the variables that are
free, a point, the gradient there, and the linear part.
"""

from __future__ import annotations

from numba import njit

from sirfp_opt_solvers._kernels.cheapest import LARGE, NOBODY, NONE_YET, fill_cheapest
from sirfp_opt_solvers._kernels.options import INNER

__all__ = ["rebalance", "relax"]


@njit(**INNER)
def relax(  # type: ignore[no-untyped-def]
    quadratic,
    frees,
    gradients,
    linears,
    ys,
    d,
    n,
    upper,
    need,
    constant,
    cut,
    share,
    keys,
    room,
    order,
    edge,
):
    """Minimise over the free variables by pairwise steps, as far as is of use.

    Stops when the bound reaches `cut`, or when it is clear that it will not: less
    than a `share` of what the value lacks is left between value and bound.
    """
    m = upper.size
    step = NONE_YET
    while True:
        low, high = LARGE, -LARGE
        i = j = NOBODY
        for a in range(n):
            t = frees[d, a]
            g = gradients[d, t]
            if g < low and ys[d, t] < upper[t]:
                low = g
                i = t
            if g > high and ys[d, t] > 0.0:
                high = g
                j = t
        level = high - low <= 1e-9 * abs(high)
        if step % 12 == 0 or level:
            # The Frank-Wolfe bound; `edge` receives the prices that fixing goes by.
            value = 0.0
            here = 0.0
            for a in range(n):
                t = frees[d, a]
                g, y = gradients[d, t], ys[d, t]
                value += y * (g + linears[d, t])
                here += y * g
                keys[a] = g
                room[a] = upper[t]
            value = 0.5 * value + constant
            bound = value + fill_cheapest(keys, room, n, need, order, edge) - here
            if bound >= cut or level or step > 4000:
                return bound
            if value < cut and value - bound < share * (cut - value):
                return bound
        step += 1
        curvature = quadratic[i, i] + quadratic[j, j] - 2.0 * quadratic[i, j]
        room_i, room_j = upper[i] - ys[d, i], ys[d, j]
        move = min(room_i, room_j)
        if curvature > 0.0 and (high - low) < curvature * move:
            move = (high - low) / curvature
        ys[d, i] += move
        ys[d, j] -= move
        # Land exactly on the bounds: what is nearly there would stay a candidate.
        if move == room_i:
            ys[d, i] = upper[i]
        if move == room_j or ys[d, j] < 1e-13 * upper[j]:
            ys[d, j] = 0.0
        for t in range(m):
            gradients[d, t] += move * (quadratic[i, t] - quadratic[j, t])


@njit(**INNER)
def rebalance(quadratic, frees, gradients, ys, d, n, upper, need):  # type: ignore[no-untyped-def]
    """Change the free part of y until it sums to `need`, best gradients first."""
    m = upper.size
    total = 0.0
    for a in range(n):
        total += ys[d, frees[d, a]]
    missing = need - total
    while abs(missing) > 1e-11:
        sign = 1.0 if missing > 0.0 else -1.0
        best = LARGE
        most = 0.0
        i = NOBODY
        for a in range(n):
            t = frees[d, a]
            room = upper[t] - ys[d, t] if missing > 0.0 else ys[d, t]
            price = sign * gradients[d, t]
            if room > 0.0 and price < best:
                best = price
                most = room
                i = t
        if i < 0:
            return
        move = sign * min(abs(missing), most)
        ys[d, i] += move
        if upper[i] - ys[d, i] < 1e-13:
            ys[d, i] = upper[i]
        elif ys[d, i] < 1e-13:
            ys[d, i] = 0.0
        missing -= move
        for t in range(m):
            gradients[d, t] += move * quadratic[i, t]
