"""Random numbers inside kernels: each run has its own state, nothing is global."""

from __future__ import annotations

import numpy as np
from numba import njit

from sirfp_opt_solvers._kernels.options import INNER

__all__ = ["SCRAMBLER", "below", "next_bits", "stepped"]

SCRAMBLER = np.uint64(2685821657736338717)
"""What a state is multiplied by, for bits that look random."""


@njit(**INNER)
def stepped(x):  # type: ignore[no-untyped-def]
    """Return the uint64 state that follows x in xorshift64; not zero if x is not."""
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    return x


@njit(**INNER)
def next_bits(state):  # type: ignore[no-untyped-def]
    """Return 64 random bits: xorshift64* (Vigna 2016, doi 10.1145/2845077).

    `state` is a uint64 array of length 1, not zero.
    """
    x = stepped(state[0])
    state[0] = x
    return x * SCRAMBLER


@njit(**INNER)
def below(state, n):  # type: ignore[no-untyped-def]
    """Return an int64 in 0..n-1, for n < 2^32, by multiplication, not division."""
    high = next_bits(state) >> np.uint64(32)
    return np.int64((high * np.uint64(n)) >> np.uint64(32))
