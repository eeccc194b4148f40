"""Two tabu searches on a fixed-point problem with a fixed number of items.

One kernel for both, with few arrays: they share most of what an iteration does, and
compiling, which the first user waits for, costs by the statement and by the argument.

Matrices and vectors come in blocks of 64 lanes, as (m, blocks, 64) and (blocks, 64):
see `passes`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from sirfp_opt_solvers._kernels.options import OUTER
from sirfp_opt_solvers._kernels.passes import (
    GAINS,
    IN_BARS,
    OUT_BARS,
    add_pass,
    drop_pass,
    scan,
    swap_pass,
)
from sirfp_opt_solvers._kernels.rng import next_bits

__all__ = [
    "BARRED",
    "BEST",
    "BEST_AT",
    "BEST_SET",
    "BUDGET",
    "CHAIN",
    "CONFLICTS",
    "DEPTH",
    "GAINS",
    "GOAL",
    "IN_BARS",
    "ITERATION",
    "LONGEST_IN",
    "LONGEST_OUT",
    "MEMBERS",
    "NOTHING",
    "N_ROWS",
    "N_SLOTS",
    "N_STATE",
    "OUT_BARS",
    "PENALTY",
    "PLACES",
    "RING",
    "SIZE",
    "SPREAD",
    "STAY_IN",
    "STAY_OUT",
    "SWAPS",
    "VALUE",
    "walk",
]

# Rows of the int32 `table`, after those that `passes` works on.
PLACES, CHAIN, MEMBERS, BEST_SET, N_ROWS = 3, 4, 5, 6, 7
# Slots of the int64 `state` array; the ring begins at N_SLOTS.
ITERATION, VALUE, CONFLICTS, BEST, BEST_AT, SIZE, PENALTY = 0, 1, 2, 3, 4, 5, 6
STAY_OUT, STAY_IN, SPREAD, LONGEST_OUT, LONGEST_IN = 7, 8, 9, 10, 11
SWAPS, DEPTH, BUDGET, GOAL, N_SLOTS = 12, 13, 14, 15, 16
# Tenures are shorter than this; the ring has a slot for each coming iteration.
RING = 256
N_STATE = N_SLOTS + RING
NOTHING = np.iinfo(np.int64).min

# Added to the gain of an item that may not be chosen now. Gains are within ±2^29, so
# the sum fits in 32 bits and lies below every gain.
BARRED = np.int32(-3 * (1 << 29))
_SHIFT, _MASK = 6, 63
_HALF = np.uint64(32)
_LOW_BITS = np.uint64(0xFFFFFFFF)


@njit(**OUTER)
def walk(weights, lowest, blocks, table, state, rng):  # type: ignore[no-untyped-def]
    """Search by drop and add, or by best swaps, until a limit is met.

    *Drop-add*: drop the best item that is not tabu, then add the best: two rows an
    iteration. *Best swap*: make the best swap that is not tabu, found exactly by few
    row scans. The row of the best drop is scanned first; another member i can only do
    better if max_j g_j - g_i - min_j W_ij does, so most rows are never read.

    Parameters
    ----------
    weights : int32 (m, blocks, 64)
    lowest : int32 (stride,)
        min_j W_ij of each row; read by best swap alone.
    blocks : int32 (3, blocks, 64)
        The first rows of `table`, in blocks: see `passes`.
    table : int32 (N_ROWS, stride)
        GAINS, OUT_BARS, IN_BARS: as in `passes`. PLACES: where in MEMBERS a member
        stands, -1 outside. CHAIN: the next item whose tenure ends at the same
        iteration. MEMBERS: the set X, without order. BEST_SET: receives the best
        conflict-free set.
    state : int64 (N_STATE,)
        ITERATION, VALUE, CONFLICTS: of the current set. BEST, BEST_AT: value and
        iteration of the best one. SIZE: items in a set. PENALTY: weight of a conflict,
        negated; 0 without conflicts. STAY_OUT, STAY_IN: shortest tenures; SPREAD: of
        how many values from there on; LONGEST_OUT, LONGEST_IN: those that always leave
        a choice. SWAPS: 1 for best swap. DEPTH: stop after this many iterations
        without a better set; 0 stops best swap at the first local optimum, without
        tabu. BUDGET: stop after this many iterations. GOAL: stop at a set of at least
        this value. Then the ring: the first item whose tenure ends at an iteration,
        modulo RING; -1 if none.
    rng : uint64 (1,)

    Notes
    -----
    Drop-add is in the manner of Zhou, Hao, Duval 2017
    (doi 10.1109/TEVC.2017.2674800), but with the drop chosen first, alone, and the add
    chosen after it.
    """
    gains, out_bars, in_bars = table[GAINS], table[OUT_BARS], table[IN_BARS]
    places, chain = table[PLACES], table[CHAIN]
    members, best = table[MEMBERS], table[BEST_SET]
    size, penalty = state[SIZE], state[PENALTY]
    swaps, depth, goal = state[SWAPS] == 1, state[DEPTH], state[GOAL]
    descends = depth == 0

    # The gains are right: look for the first drop, and for the best gain outside, with
    # a pass that changes nothing.
    # Of one type from the start: a literal would have the loop compiled twice.
    out: Any = np.int64(-1)
    into: Any = np.int64(-1)
    top: Any = np.int64(NOTHING)
    for i in range(gains.size):
        if in_bars[i] == 0 and (out < 0 or gains[i] < gains[out]):
            out = i
        key = np.int64(gains[i]) + out_bars[i]
        top = key if key > top else top

    last = state[ITERATION] + state[BUDGET]
    while state[ITERATION] < last:
        now = state[ITERATION]
        if state[BEST] >= goal or (not descends and now - state[BEST_AT] >= depth):
            break

        # Unbar the items whose tenure ends now.
        slot = N_SLOTS + (now & (RING - 1))
        item: Any = state[slot]
        state[slot] = -1
        while item >= 0:
            if places[item] >= 0:
                in_bars[item] = 0
            else:
                out_bars[item] = 0
                top = gains[item] if gains[item] > top else top
            item = np.int64(chain[item])

        if swaps:
            out = np.int64(-1)
            for p in range(size):
                item = np.int64(members[p])
                if in_bars[item] == 0 and (out < 0 or gains[item] < gains[out]):
                    out = item
            easiest = out
            delta = np.int64(NOTHING)
            for p in range(-1, size):
                item = easiest if p < 0 else np.int64(members[p])
                if p >= 0 and (item == easiest or in_bars[item] != 0):
                    continue
                loss = np.int64(gains[item])
                if top - loss - lowest[item] <= delta:
                    continue
                other = scan(weights, item, blocks)
                weight = weights[item, other >> _SHIFT, other & _MASK]
                gain = np.int64(gains[other]) - weight - loss
                if gain > delta:
                    out, into, delta = item, other, gain
            if descends and delta <= 0:
                break
            in_bars[out] = BARRED
        else:
            delta = -np.int64(gains[out])
            in_bars[out] = BARRED
            into = drop_pass(weights, out, blocks)
            delta += gains[into]
        out_bars[into] = BARRED
        state[VALUE] += delta

        # What goes out stays out for a while, and what comes in stays in.
        p = places[out]
        members[p] = into
        places[into] = p
        places[out] = -1
        if descends:
            in_bars[into] = 0
            out_bars[out] = 0
        else:
            bits = next_bits(rng)
            spread = np.uint64(state[SPREAD])
            stay = state[STAY_OUT] + np.int64(((bits >> _HALF) * spread) >> _HALF)
            stay = state[LONGEST_OUT] if stay > state[LONGEST_OUT] else stay
            slot = N_SLOTS + ((now + stay) & (RING - 1))
            chain[out] = state[slot]
            state[slot] = out
            stay = state[STAY_IN] + np.int64(((bits & _LOW_BITS) * spread) >> _HALF)
            stay = state[LONGEST_IN] if stay > state[LONGEST_IN] else stay
            if stay > 0:
                slot = N_SLOTS + ((now + stay) & (RING - 1))
                chain[into] = state[slot]
                state[slot] = into
            else:
                in_bars[into] = 0
        if penalty > 0:
            for p in range(size):
                item = np.int64(members[p])
                b, lane = item >> _SHIFT, item & _MASK
                if weights[into, b, lane] == -penalty:
                    state[CONFLICTS] += 1
                if weights[out, b, lane] == -penalty and item != into:
                    state[CONFLICTS] -= 1

        if swaps:
            top = np.int64(swap_pass(weights, out, into, blocks))
        else:
            out = add_pass(weights, into, blocks)
        state[ITERATION] = now + 1
        if state[VALUE] > state[BEST] and state[CONFLICTS] == 0:
            state[BEST] = state[VALUE]
            state[BEST_AT] = now + 1
            for p in range(size):
                best[p] = members[p]
