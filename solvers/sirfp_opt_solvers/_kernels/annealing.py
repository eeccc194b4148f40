"""Metropolis moves on a fixed-point problem, priced in O(1) from kept-up gains."""

from __future__ import annotations

import numpy as np
from numba import njit

from sirfp_opt_solvers._kernels.options import INNER, OUTER
from sirfp_opt_solvers._kernels.rng import SCRAMBLER, stepped

__all__ = [
    "BEST",
    "BEST_INSIDE",
    "BEST_MOVE",
    "CONFLICTS",
    "LEVEL",
    "NOTHING",
    "N_STATE",
    "TOTAL",
    "anneal",
    "set_up",
]

# Slots of the int64 `state` array.
INSIDE, TOTAL, VALUE, CONFLICTS, BEST, BEST_INSIDE, BEST_MOVE = range(7)
N_STATE = 7
NOTHING = np.iinfo(np.int64).min
# log(u) of 4096 equal parts of [0, 1), of which each move draws one: what a move may
# lose, in temperatures.
_BITS = np.uint64(12)
_LOGARITHMS = np.log((np.arange(4096) + 0.5) / 4096).astype(np.float32)
# Two random items and a threshold come from one draw of 64 bits.
_ITEM = np.uint64(26)
_ITEM_BITS = np.uint64((1 << 26) - 1)
_THRESHOLD_BITS = np.uint64((1 << 12) - 1)
# Moves between two changes of temperature.
LEVEL = 64


@njit(**INNER)
def _clashes(weights, item, order, inside, penalty):  # type: ignore[no-untyped-def]
    """Count the first `inside` items of `order` that are in conflict with an item."""
    count = np.int64(0)
    for p in range(inside):
        count += weights[item, order[p]] == -penalty
    return count


@njit(**OUTER)
def set_up(weights, values, sizes, penalty, prices, gains, order, best, state):  # type: ignore[no-untyped-def]
    """Compute gains and totals of the set ``order[:state[0]]``, best so far."""
    inside = state[INSIDE]
    for j in range(gains.size):
        gains[j] = values[j]
    total = np.int64(0)
    conflicts = np.int64(0)
    for p in range(inside):
        item = order[p]
        for j in range(gains.size):
            gains[j] += weights[item, j]
        total += sizes[item]
        if penalty > 0:
            conflicts += _clashes(weights, item, order, p, penalty)
    value = np.int64(0)
    for p in range(inside):
        # Every pair is in two gains, every value in one: halve what is doubled.
        value += np.int64(gains[order[p]]) + np.int64(values[order[p]])
    state[TOTAL] = total
    state[VALUE] = value // 2
    state[CONFLICTS] = conflicts
    state[BEST] = NOTHING
    state[BEST_MOVE] = 0
    if conflicts == 0 and prices[total] == 0:
        state[BEST] = state[VALUE]
        state[BEST_INSIDE] = inside
        for p in range(inside):
            best[p] = order[p]


@njit(**OUTER)
def anneal(  # type: ignore[no-untyped-def]
    weights,
    sizes,
    penalty,
    prices,
    gains,
    order,
    best,
    state,
    rng,
    moves,
    temperature,
    cooling,
    flips,
    lowest,
    goal,
):
    """Propose `moves` moves; return how many were made before `goal` was reached.

    Parameters
    ----------
    weights : int32 (m, stride)
    sizes : int32 (stride,)
    penalty : int
        Weight of a conflict, negated; 0 without conflicts.
    prices : int64 (total of sizes + 1,)
        Price of each total of sizes; 0 where it is allowed.
    gains : int32 (stride,)
        c_i + Σ_{j in X} W_ij, kept up to date.
    order : int32 (m,)
        The items, those of the set X first.
    best : int32 (m,)
        Receives the best feasible set's items.
    state : int64 (N_STATE,)
    rng : uint64 (1,)
    moves : int
    temperature, cooling : float
        In fixed-point units; the temperature is multiplied by `cooling` after every
        64 moves. At 0 no move may lose anything.
    flips : bool
        Half of the moves add or drop one item; the others swap two.
    lowest : int
        No weight is less.
    goal : int
        Stop at a feasible set of at least this value.

    Notes
    -----
    A move is made if it loses no more than -T log(u), u uniform: the same as with
    probability exp(Δ / T), without an exponential. u is drawn first, so most moves
    fail by the two gains alone and never fetch a weight from memory.
    """
    m = order.size
    inside = state[INSIDE]
    total = state[TOTAL]
    value = state[VALUE]
    conflicts = state[CONFLICTS]
    stride = gains.size
    drawn = rng[0]
    for move in range(moves):
        if move % LEVEL == LEVEL - 1:
            temperature *= cooling
        drawn = stepped(drawn)
        bits = drawn * SCRAMBLER
        may_lose = temperature * _LOGARITHMS[bits & _THRESHOLD_BITS]
        first, second = bits >> (_ITEM + _BITS), (bits >> _BITS) & _ITEM_BITS
        swap = not flips or drawn >> np.uint64(63) == 0
        if swap and (inside == 0 or inside == m):
            continue
        p = np.int64((first * np.uint64(inside if swap else m)) >> _ITEM)
        q = p
        if swap:
            q = inside + np.int64((second * np.uint64(m - inside)) >> _ITEM)
        drops = swap or p < inside
        adds = swap or p >= inside
        out, into = order[p], order[q]
        cost, after = np.int64(0), total
        if drops:
            cost -= gains[out]
            after -= sizes[out]
        if adds:
            cost += gains[into]
            after += sizes[into]
        hurdle = prices[total] - prices[after]
        cost += hurdle
        if swap:
            if cost - lowest < may_lose:
                continue
            cost -= weights[out, into]
        if cost < may_lose:
            continue

        if drops:
            inside -= 1
            order[p] = order[inside]
            order[inside] = out
            if penalty > 0:
                conflicts -= _clashes(weights, out, order, inside, penalty)
        if adds:
            if penalty > 0:
                conflicts += _clashes(weights, into, order, inside, penalty)
            order[q] = order[inside]
            order[inside] = into
            inside += 1
        if swap:
            for j in range(stride):
                gains[j] += weights[into, j] - weights[out, j]
        else:
            sign = np.int32(1 if adds else -1)
            for j in range(stride):
                gains[j] += sign * weights[out, j]
        total = after
        value += cost - hurdle
        if value > state[BEST] and conflicts == 0 and prices[total] == 0:
            state[BEST] = value
            state[BEST_INSIDE] = inside
            state[BEST_MOVE] = move + 1
            for place in range(inside):
                best[place] = order[place]
            if value >= goal:
                moves = move + 1
                break
    rng[0] = drawn
    state[INSIDE] = inside
    state[TOTAL] = total
    state[VALUE] = value
    state[CONFLICTS] = conflicts
    return moves
