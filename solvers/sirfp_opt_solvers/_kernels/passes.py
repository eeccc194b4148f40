"""Passes over one row of a matrix in blocks of 64 lanes, for the tabu searches.

With the inner length known, and nothing but 32-bit integers in it, the compiler turns
each pass into vector instructions. The maximum of each block is found on the way, so
the position of the overall maximum costs one block more, not one pass more.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sirfp_opt_solvers._kernels.options import INNER

__all__ = ["LANES", "LOWEST", "add_pass", "drop_pass", "scan", "swap_pass"]

LANES = 64
LOWEST = np.int32(np.iinfo(np.int32).min)


@njit(**INNER)
def _first_of(maxima):  # type: ignore[no-untyped-def]
    """Return the first block of the largest maximum, without branches."""
    block, top = 0, maxima[0]
    for b in range(1, maxima.size):
        higher = maxima[b] > top
        top = maxima[b] if higher else top
        block = b if higher else block
    return block


@njit(**INNER)
def drop_pass(weights, item, gains, bars, maxima):  # type: ignore[no-untyped-def]
    """Subtract a row from the gains; return the item of largest gain not barred."""
    for b in range(maxima.size):
        top = LOWEST
        for lane in range(LANES):
            gain = np.int32(gains[b, lane] - weights[item, b, lane])
            gains[b, lane] = gain
            key = np.int32(bars[b, lane] + gain)
            top = key if key > top else top
        maxima[b] = top
    b = _first_of(maxima)
    first = np.int32(LANES)
    for lane in range(LANES):
        here = np.int32(bars[b, lane] + gains[b, lane]) == maxima[b]
        place = np.int32(lane) if here else np.int32(LANES)
        first = place if place < first else first
    return b * LANES + first


@njit(**INNER)
def add_pass(weights, item, gains, bars, maxima):  # type: ignore[no-untyped-def]
    """Add a row to the gains; return the item of smallest gain not barred."""
    for b in range(maxima.size):
        top = LOWEST
        for lane in range(LANES):
            gain = np.int32(gains[b, lane] + weights[item, b, lane])
            gains[b, lane] = gain
            key = np.int32(bars[b, lane] - gain)
            top = key if key > top else top
        maxima[b] = top
    b = _first_of(maxima)
    first = np.int32(LANES)
    for lane in range(LANES):
        here = np.int32(bars[b, lane] - gains[b, lane]) == maxima[b]
        place = np.int32(lane) if here else np.int32(LANES)
        first = place if place < first else first
    return b * LANES + first


@njit(**INNER)
def swap_pass(weights, out, into, gains, bars, maxima):  # type: ignore[no-untyped-def]
    """Exchange two items' rows in the gains; return the largest gain not barred."""
    highest = LOWEST
    for b in range(maxima.size):
        top = LOWEST
        for lane in range(LANES):
            change = np.int32(weights[into, b, lane] - weights[out, b, lane])
            gain = np.int32(gains[b, lane] + change)
            gains[b, lane] = gain
            key = np.int32(gain + bars[b, lane])
            top = key if key > top else top
        highest = top if top > highest else highest
    return highest


@njit(**INNER)
def scan(weights, out, gains, bars, maxima):  # type: ignore[no-untyped-def]
    """Return the item j not barred of largest g_j - W[out, j]."""
    for b in range(maxima.size):
        top = LOWEST
        for lane in range(LANES):
            gain = np.int32(gains[b, lane] - weights[out, b, lane])
            key = np.int32(gain + bars[b, lane])
            top = key if key > top else top
        maxima[b] = top
    b = _first_of(maxima)
    first = np.int32(LANES)
    for lane in range(LANES):
        gain = np.int32(gains[b, lane] - weights[out, b, lane])
        here = np.int32(gain + bars[b, lane]) == maxima[b]
        place = np.int32(lane) if here else np.int32(LANES)
        first = place if place < first else first
    return b * LANES + first
