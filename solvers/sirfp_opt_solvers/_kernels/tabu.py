"""Two tabu searches on a fixed-point problem with a fixed number of items.

Matrices and vectors come in blocks of 64 lanes, as (m, blocks, 64) and (blocks, 64):
see `passes`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from sirfp_opt_solvers._kernels.options import INNER, OUTER
from sirfp_opt_solvers._kernels.passes import (
    LANES,
    LOWEST,
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
    "CONFLICTS",
    "ITERATION",
    "NOTHING",
    "N_STATE",
    "RING",
    "VALUE",
    "best_swap",
    "drop_add",
]

# Slots of the int64 `state` array.
ITERATION, VALUE, CONFLICTS, BEST, BEST_AT, N_STATE = 0, 1, 2, 3, 4, 5
NOTHING = np.iinfo(np.int64).min

# Added to the gain of an item that may not be chosen now. Gains are within ±2^29, so
# the sum fits in 32 bits and lies below every gain.
BARRED = np.int32(-3 * (1 << 29))
# Tenures are shorter than this; the ring has a slot for each coming iteration.
RING = 256
_SHIFT, _MASK = 6, 63
_HALF = np.uint64(32)
_LOW_BITS = np.uint64(0xFFFFFFFF)


@njit(**INNER)
def _release(slot, ring, chain, inside, out_bars, in_bars):  # type: ignore[no-untyped-def]
    """Unbar the items whose tenure ends now."""
    item = ring[slot]
    ring[slot] = -1
    while item >= 0:
        if inside[item]:
            in_bars[item >> _SHIFT, item & _MASK] = 0
        else:
            out_bars[item >> _SHIFT, item & _MASK] = 0
        item = chain[item]


@njit(**INNER)
def _clashes(weights, item, members, penalty):  # type: ignore[no-untyped-def]
    """Count the members in conflict with an item."""
    count = np.int64(0)
    for p in range(members.size):
        other = members[p]
        count += weights[item, other >> _SHIFT, other & _MASK] == -penalty
    return count


@njit(**INNER)
def _keep(members, best, state):  # type: ignore[no-untyped-def]
    """Note the current set as the best."""
    state[BEST] = state[VALUE]
    state[BEST_AT] = state[ITERATION]
    for p in range(members.size):
        best[p] = members[p]


@njit(**INNER)
def _tenures(rng, tenure, longest):  # type: ignore[no-untyped-def]
    """Draw how long a dropped item stays out, and how long an added one stays in."""
    bits = next_bits(rng)
    spread = np.uint64(tenure[1])
    out = tenure[0] + np.int64(((bits >> _HALF) * spread) >> _HALF)
    into = 7 * tenure[0] // 10 + np.int64(((bits & _LOW_BITS) * spread) >> _HALF)
    return min(out, longest[0]), min(into, longest[1])


@njit(**INNER)
def _exchange(  # type: ignore[no-untyped-def]
    out, into, stay_out, stay_in, now, members, places, inside, ring, chain, in_bars
):
    """Book a swap that has been made, but for the bar on the added item's return."""
    p = places[out]
    members[p] = into
    places[into] = p
    inside[out] = 0
    inside[into] = 1
    slot = (now + stay_out) & (RING - 1)
    chain[out] = ring[slot]
    ring[slot] = out
    if stay_in > 0:
        slot = (now + stay_in) & (RING - 1)
        chain[into] = ring[slot]
        ring[slot] = into
    else:
        in_bars[into >> _SHIFT, into & _MASK] = 0


@njit(**OUTER)
def drop_add(  # type: ignore[no-untyped-def]
    weights,
    penalty,
    gains,
    bars,
    maxima,
    members,
    places,
    inside,
    best,
    ring,
    chain,
    state,
    rng,
    tenure,
    longest,
    depth,
    budget,
    goal,
):
    """Drop the best item that is not tabu, then add the best: two rows an iteration.

    Parameters
    ----------
    weights : int32 (m, blocks, 64)
    penalty : int
        Weight of a conflict, negated; 0 without conflicts.
    gains : int32 (blocks, 64)
        c_i + Σ_{j in X} W_ij, kept up to date.
    bars : int32 (2, blocks, 64)
        0 for an item that may be added (bars[0]) or dropped (bars[1]), else BARRED.
    maxima : int32 (blocks,)
        Scratch.
    members : int32 (k,)
        The set X, without order.
    places : int32 (stride,)
        Where in `members` a member stands.
    inside : uint8 (stride,)
    best : int32 (k,)
        Receives the best conflict-free set.
    ring : int32 (RING,)
        First item whose tenure ends at an iteration, modulo RING; -1 if none.
    chain : int32 (stride,)
        The next such item.
    state : int64 (N_STATE,)
    rng : uint64 (1,)
    tenure : int64 (2,)
        Shortest tenure, and length of the range it is drawn from.
    longest : int64 (2,)
        Longest tenure outside and inside that always leaves a choice.
    depth : int
        Stop after this many iterations without a better set.
    budget : int
        Stop after this many iterations.
    goal : int
        Stop at a set of at least this value.

    Notes
    -----
    In the manner of Zhou, Hao, Duval 2017 (doi 10.1109/TEVC.2017.2674800), but with
    the drop chosen first, alone, and the add chosen after it.
    """
    out_bars, in_bars = bars[0], bars[1]
    # The gains are right; look for the first drop with a pass that changes nothing.
    # Of one type from the start: a literal would have the loop compiled twice.
    out: Any = np.int64(-1)
    for item in range(places.size):
        b, lane = item >> _SHIFT, item & _MASK
        if in_bars[b, lane] == 0 and (
            out < 0 or gains[b, lane] < gains[out >> _SHIFT, out & _MASK]
        ):
            out = item
    last = state[ITERATION] + budget
    while state[ITERATION] < last:
        now = state[ITERATION]
        if now - state[BEST_AT] >= depth or state[BEST] >= goal:
            break
        _release(now & (RING - 1), ring, chain, inside, out_bars, in_bars)
        stay_out, stay_in = _tenures(rng, tenure, longest)
        state[VALUE] -= gains[out >> _SHIFT, out & _MASK]
        in_bars[out >> _SHIFT, out & _MASK] = BARRED
        into = drop_pass(weights, out, gains, out_bars, maxima)
        state[VALUE] += gains[into >> _SHIFT, into & _MASK]
        out_bars[into >> _SHIFT, into & _MASK] = BARRED
        if penalty > 0:
            state[CONFLICTS] -= _clashes(weights, out, members, penalty)
        _exchange(
            out,
            into,
            stay_out,
            stay_in,
            now,
            members,
            places,
            inside,
            ring,
            chain,
            in_bars,
        )
        if penalty > 0:
            state[CONFLICTS] += _clashes(weights, into, members, penalty)
        out = add_pass(weights, into, gains, in_bars, maxima)
        state[ITERATION] = now + 1
        if state[VALUE] > state[BEST] and state[CONFLICTS] == 0:
            _keep(members, best, state)


@njit(**OUTER)
def best_swap(  # type: ignore[no-untyped-def]
    weights,
    penalty,
    lowest,
    gains,
    bars,
    maxima,
    members,
    places,
    inside,
    best,
    ring,
    chain,
    state,
    rng,
    tenure,
    longest,
    depth,
    budget,
    goal,
):
    """Make the best swap that is not tabu, found exactly by few row scans.

    The row of the best drop is scanned first. Another member i can only do better if
    max_j g_j - g_i - min_j W_ij does, so most rows are never read.

    Parameters
    ----------
    lowest : int32 (stride,)
        min_j W_ij of each row.
    depth : int
        As in `drop_add`; 0 stops at the first local optimum, without tabu.

    The others are those of `drop_add`.
    """
    out_bars, in_bars = bars[0], bars[1]
    descend = depth == 0
    top = LOWEST
    for b in range(maxima.size):
        for lane in range(LANES):
            key = np.int32(gains[b, lane] + out_bars[b, lane])
            top = key if key > top else top
    last = state[ITERATION] + budget
    while state[ITERATION] < last:
        now = state[ITERATION]
        if state[BEST] >= goal or (not descend and now - state[BEST_AT] >= depth):
            break
        item = ring[now & (RING - 1)]
        while item >= 0:
            if not inside[item]:
                top = max(top, gains[item >> _SHIFT, item & _MASK])
            item = chain[item]
        _release(now & (RING - 1), ring, chain, inside, out_bars, in_bars)

        easiest: Any = np.int64(-1)
        for p in range(members.size):
            item = members[p]
            b, lane = item >> _SHIFT, item & _MASK
            if in_bars[b, lane] == 0 and (
                easiest < 0
                or gains[b, lane] < gains[easiest >> _SHIFT, easiest & _MASK]
            ):
                easiest = item
        out, into, delta = easiest, np.int64(-1), np.int64(NOTHING)
        for p in range(-1, members.size):
            item = easiest if p < 0 else members[p]
            b, lane = item >> _SHIFT, item & _MASK
            if p >= 0 and (item == easiest or in_bars[b, lane] != 0):
                continue
            loss = np.int64(gains[b, lane])
            if np.int64(top) - loss - np.int64(lowest[item]) <= delta:
                continue
            other = scan(weights, item, gains, out_bars, maxima)
            b, lane = other >> _SHIFT, other & _MASK
            gain = np.int64(gains[b, lane]) - np.int64(weights[item, b, lane]) - loss
            if gain > delta:
                out, into, delta = item, other, gain
        if descend and delta <= 0:
            break

        state[VALUE] += delta
        in_bars[out >> _SHIFT, out & _MASK] = BARRED
        out_bars[into >> _SHIFT, into & _MASK] = BARRED
        if penalty > 0:
            state[CONFLICTS] -= _clashes(weights, out, members, penalty)
        stay_out, stay_in = np.int64(1), np.int64(0)
        if not descend:
            stay_out, stay_in = _tenures(rng, tenure, longest)
        _exchange(
            out,
            into,
            stay_out,
            stay_in,
            now,
            members,
            places,
            inside,
            ring,
            chain,
            in_bars,
        )
        if penalty > 0:
            state[CONFLICTS] += _clashes(weights, into, members, penalty)
        if descend:
            out_bars[out >> _SHIFT, out & _MASK] = 0
        top = swap_pass(weights, out, into, gains, out_bars, maxima)
        state[ITERATION] = now + 1
        if state[VALUE] > state[BEST] and state[CONFLICTS] == 0:
            _keep(members, best, state)
