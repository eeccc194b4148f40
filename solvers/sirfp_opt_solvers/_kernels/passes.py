"""Passes over one row of a matrix in blocks of 64 lanes, for the tabu searches.

With the inner length known, and nothing but 32-bit integers in it, the compiler turns
each pass into vector instructions. The maximum of each block is found on the way, so
the position of the overall maximum costs one block more, not one pass more.

`blocks`, int32 (3, blocks, 64), are the gains c_i + Σ_{j in X} W_ij, which passes keep
up to date, and two rows of bars: 0 for an item that may be added (`OUT_BARS`) or
dropped (`IN_BARS`), else something that lies below every gain when it is added to one.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sirfp_opt_solvers._kernels.options import INNER

__all__ = [
    "GAINS",
    "IN_BARS",
    "LANES",
    "LOWEST",
    "OUT_BARS",
    "add_pass",
    "drop_pass",
    "scan",
    "swap_pass",
]

LANES = 64
LOWEST = np.int32(np.iinfo(np.int32).min)
GAINS, OUT_BARS, IN_BARS = 0, 1, 2


@njit(**INNER)
def drop_pass(weights, item, blocks):  # type: ignore[no-untyped-def]
    """Subtract a row from the gains; return the item of largest gain not barred."""
    gains, bars, row = blocks[GAINS], blocks[OUT_BARS], weights[item]
    block, most = 0, LOWEST
    for b in range(gains.shape[0]):
        top = LOWEST
        for lane in range(LANES):
            gain = np.int32(gains[b, lane] - row[b, lane])
            gains[b, lane] = gain
            key = np.int32(bars[b, lane] + gain)
            top = key if key > top else top
        block = b if top > most else block
        most = top if top > most else most
    first = np.int32(LANES)
    for lane in range(LANES):
        here = np.int32(bars[block, lane] + gains[block, lane]) == most
        place = np.int32(lane) if here else np.int32(LANES)
        first = place if place < first else first
    return block * LANES + first


@njit(**INNER)
def add_pass(weights, item, blocks):  # type: ignore[no-untyped-def]
    """Add a row to the gains; return the item of smallest gain not barred."""
    gains, bars, row = blocks[GAINS], blocks[IN_BARS], weights[item]
    block, most = 0, LOWEST
    for b in range(gains.shape[0]):
        top = LOWEST
        for lane in range(LANES):
            gain = np.int32(gains[b, lane] + row[b, lane])
            gains[b, lane] = gain
            key = np.int32(bars[b, lane] - gain)
            top = key if key > top else top
        block = b if top > most else block
        most = top if top > most else most
    first = np.int32(LANES)
    for lane in range(LANES):
        here = np.int32(bars[block, lane] - gains[block, lane]) == most
        place = np.int32(lane) if here else np.int32(LANES)
        first = place if place < first else first
    return block * LANES + first


@njit(**INNER)
def swap_pass(weights, out, into, blocks):  # type: ignore[no-untyped-def]
    """Exchange two items' rows in the gains; return the largest gain not barred."""
    gains, bars = blocks[GAINS], blocks[OUT_BARS]
    old, new = weights[out], weights[into]
    most = LOWEST
    for b in range(gains.shape[0]):
        top = LOWEST
        for lane in range(LANES):
            change = np.int32(new[b, lane] - old[b, lane])
            gain = np.int32(gains[b, lane] + change)
            gains[b, lane] = gain
            key = np.int32(gain + bars[b, lane])
            top = key if key > top else top
        most = top if top > most else most
    return most


@njit(**INNER)
def scan(weights, out, blocks):  # type: ignore[no-untyped-def]
    """Return the item j not barred of largest g_j - W[out, j]."""
    gains, bars, row = blocks[GAINS], blocks[OUT_BARS], weights[out]
    block, most = 0, LOWEST
    for b in range(gains.shape[0]):
        top = LOWEST
        for lane in range(LANES):
            gain = np.int32(gains[b, lane] - row[b, lane])
            key = np.int32(gain + bars[b, lane])
            top = key if key > top else top
        block = b if top > most else block
        most = top if top > most else most
    first = np.int32(LANES)
    for lane in range(LANES):
        gain = np.int32(gains[block, lane] - row[block, lane])
        here = np.int32(gain + bars[block, lane]) == most
        place = np.int32(lane) if here else np.int32(LANES)
        first = place if place < first else first
    return block * LANES + first
