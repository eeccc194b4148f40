"""One-flip tabu on a fixed-point problem whose items differ in size."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from sirfp_opt_solvers._kernels.options import OUTER
from sirfp_opt_solvers._kernels.rng import below

__all__ = [
    "BEST",
    "BEST_AT",
    "CONFLICTS",
    "ITERATION",
    "NOTHING",
    "N_STATE",
    "TOTAL",
    "VALUE",
    "flip",
]

# Slots of the int64 `state` array.
ITERATION, VALUE, CONFLICTS, BEST, BEST_AT, TOTAL, N_STATE = 0, 1, 2, 3, 4, 5, 6
NOTHING = np.iinfo(np.int64).min


@njit(**OUTER)
def flip(  # type: ignore[no-untyped-def]
    weights,
    sizes,
    penalty,
    prices,
    gains,
    inside,
    best,
    until,
    state,
    rng,
    tenure,
    spread,
    depth,
    budget,
    goal,
):
    """Add or drop the item of best gain, net of what the new total costs.

    Parameters
    ----------
    weights : int32 (m, stride)
    sizes : int32 (stride,)
    penalty : int
        Weight of a conflict, negated; 0 without conflicts.
    prices : int64 (total of sizes + 1,)
        What each total of sizes costs; 0 where it is allowed.
    gains : int32 (stride,)
        c_i + Σ_{j in X} W_ij, kept up to date.
    inside : uint8 (m,)
    best : uint8 (m,)
        Receives the best set that is allowed.
    until : int64 (m,)
        Iteration before which an item may not be flipped.
    state : int64 (N_STATE,)
    rng : uint64 (1,)
    tenure, spread : int
        Shortest tenure, and length of the range it is drawn from.
    depth : int
        Stop after this many iterations without a better set.
    budget : int
        Stop after this many iterations.
    goal : int
        Stop at a set of at least this value.
    """
    m = inside.size
    last = state[ITERATION] + budget
    while state[ITERATION] < last:
        now = state[ITERATION]
        if now - state[BEST_AT] >= depth or state[BEST] >= goal:
            break
        state[ITERATION] = now + 1
        total = state[TOTAL]
        chosen: Any = np.int64(-1)
        most = np.int64(NOTHING)
        for i in range(m):
            if until[i] > now:
                continue
            if inside[i]:
                gain = -np.int64(gains[i]) - prices[total - sizes[i]]
            else:
                gain = np.int64(gains[i]) - prices[total + sizes[i]]
            if gain > most:
                chosen, most = i, gain
        if chosen < 0:
            continue
        row = weights[chosen]
        sign = np.int32(-1 if inside[chosen] else 1)
        state[VALUE] += sign * np.int64(gains[chosen])
        state[TOTAL] += sign * np.int64(sizes[chosen])
        for j in range(gains.size):
            gains[j] += sign * row[j]
        inside[chosen] = 1 - inside[chosen]
        until[chosen] = now + 1 + tenure + below(rng, spread)
        if penalty > 0:
            clashes = np.int64(0)
            for j in range(m):
                if inside[j] and row[j] == -penalty:
                    clashes += 1
            state[CONFLICTS] += sign * clashes
        if (
            state[VALUE] > state[BEST]
            and state[CONFLICTS] == 0
            and prices[state[TOTAL]] == 0
        ):
            state[BEST] = state[VALUE]
            state[BEST_AT] = now + 1
            for j in range(m):
                best[j] = inside[j]
