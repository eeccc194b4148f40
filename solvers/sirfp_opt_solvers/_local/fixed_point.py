"""The canonical problem in 32-bit fixed point, as the compiled kernels read it.

Integers make ties exact and sums free of drift, and integer maxima are what compilers
vectorise. Nothing that is computed with them leaves the kernels: the core prices every
set anew in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sirfp_opt.canonical import CanonicalProblem

__all__ = ["BARRED", "LANES", "FixedPoint"]

Int32s = NDArray[np.int32]

# Rows are padded to a multiple of this, and start on a cache line.
LANES = 64
# No gain may exceed 2^29: a swap adds up three of them, which then fit in 32 bits.
_LARGEST_GAIN = 1 << 29
# Of subnormal weights less is seen, down to nothing: the scale itself must be finite.
_LARGEST_SCALE = float(np.finfo(np.float64).max)
# More than any value in fixed point, with room to add two of them up in 64 bits.
BARRED = 1 << 60
# Rows converted at a time, so that no second matrix is ever made.
_ROWS = 32
# The same in entries, where rows are short.
_ENTRIES = 1 << 16


@dataclass(frozen=True, eq=False)
class FixedPoint:
    """Weights and values as round(scale · w), conflicts as a penalty.

    The scale is 2^29 / g, with g an upper bound on any |c_i + Σ_{j in X} W_ij|: the
    largest of |c_i| + min(K · max_j |W_ij|, Σ_j |W_ij|) over the items i, K being the
    most items that a set can have. Every weight is off by at most 1 / (2 · scale), so
    a set of k items is priced within `error`(k) = (k (k - 1) / 2 + k) / (2 · scale).

    Attributes
    ----------
    weights : ndarray of int32, shape (m, stride)
        Row-major, `stride` a multiple of 64, padding zero. A conflict is `-penalty`.
    values : ndarray of int32, shape (stride,)
    sizes : ndarray of int32, shape (stride,)
        Padding has size 0.
    scale : float
    penalty : int
        What a conflict costs; no weight is as low. 0 without conflicts.
    """

    weights: Int32s
    values: Int32s
    sizes: Int32s
    scale: float
    penalty: int

    @property
    def m(self) -> int:
        """Number of items."""
        return int(self.weights.shape[0])

    @property
    def blocked(self) -> Int32s:
        """The weights as (m, blocks, 64), a view."""
        return self.weights.reshape(self.m, -1, LANES)

    @cached_property
    def lowest(self) -> Int32s:
        """min_{j != i} W_ij of each row, padded: what bounds the worth of a swap."""
        lowest = np.zeros_like(self.values)
        step = _rows_at_a_time(self.m)
        for start in range(0, self.m, step):
            block = self.weights[start : start + step, : self.m].copy()
            rows = np.arange(block.shape[0])
            block[rows, start + rows] = np.iinfo(np.int32).max
            lowest[start : start + step][: rows.size] = block.min(axis=1)
        return lowest

    @cached_property
    def least(self) -> int:
        """min(0, W_ij over all pairs): padding counts, too."""
        return int(self.weights.min(initial=0))

    def error(self, k: int) -> float:
        """Return how far, at most, the price of a set of k items can be off."""
        return (k * (k - 1) / 2 + k) / (2 * self.scale)

    def goal(self, canonical: CanonicalProblem, target: float | None) -> int:
        """Return a target in fixed point, low enough not to be missed by rounding."""
        if target is None:
            return BARRED
        value = canonical.from_objective(target)
        slack = self.error(canonical.cardinalities[-1])
        scaled = (value - slack) * self.scale
        return int(max(-BARRED, min(BARRED, np.floor(scaled))))

    @classmethod
    def of(cls, canonical: CanonicalProblem, penalty: float = 2.0) -> FixedPoint:
        """Convert a canonical problem.

        Parameters
        ----------
        canonical : CanonicalProblem
        penalty : float
            Cost of a conflict in units of max |W| + max |c|.
        """
        m = canonical.m
        weights, values = canonical.weights, canonical.values
        conflicts = canonical.conflicts
        most = max(canonical.cardinalities[-1], 1)
        step = _rows_at_a_time(m)
        cost = 0.0
        if conflicts is not None:
            largest = max(float(weights.max()), -float(weights.min()))
            cost = penalty * (largest + float(np.abs(values).max(initial=0.0)))
            cost = cost or 1.0
        scratch = np.empty((min(step, m), m))
        bound = _largest_gain(canonical, most, cost, scratch) if m else 0.0
        # The slack keeps the rounding of single weights from adding up past 2^29.
        scale = (_LARGEST_GAIN - m) / bound if bound > 0 else 1.0
        scale = min(scale, _LARGEST_SCALE)
        stride = -(-max(m, 1) // LANES) * LANES
        matrix = _aligned(m, stride)
        matrix[:, m:] = 0
        scaled_cost = int(np.rint(cost * scale))
        for start in range(0, m, step):
            rows = slice(start, start + step)
            block = np.multiply(
                weights[rows], scale, out=scratch[: min(step, m - start)]
            )
            np.rint(block, out=block)
            if conflicts is not None:
                np.putmask(block, conflicts[rows], -scaled_cost)
            matrix[rows, :m] = block
        padded = np.zeros(stride, dtype=np.int32)
        padded[:m] = np.rint(values * scale)
        sizes = np.zeros(stride, dtype=np.int32)
        sizes[:m] = canonical.sizes
        return cls(matrix, padded, sizes, scale, scaled_cost)


def _rows_at_a_time(m: int) -> int:
    return max(_ROWS, _ENTRIES // max(m, 1))


def _largest_gain(
    canonical: CanonicalProblem, most: int, cost: float, scratch: NDArray[np.float64]
) -> float:
    """Return the largest of |c_i| + min(K · max_j |W_ij|, Σ_j |W_ij|)."""
    weights, conflicts = canonical.weights, canonical.conflicts
    own = np.abs(canonical.values)
    sums = most * canonical.reach
    if conflicts is not None:
        sums[conflicts.any(axis=1)] = most * cost  # it is more than any weight

    def size(start: int, stop: int) -> NDArray[np.float64]:
        made = np.abs(weights[start:stop], out=scratch[: stop - start])
        if conflicts is not None:
            np.putmask(made, conflicts[start:stop], cost)
        return made

    # The sums of rows only where the one that decides is not the larger.
    top = int((own + sums).argmax())
    if sums[top] > size(top, top + 1).sum():
        for start in range(0, own.size, len(scratch)):
            stop = min(start + len(scratch), own.size)
            rows = size(start, stop).sum(axis=1)
            np.minimum(sums[start:stop], rows, out=sums[start:stop])
    return float((own + sums).max())


def _aligned(rows: int, stride: int) -> Int32s:
    """Return a matrix, not filled, whose rows start on 64-byte lines."""
    raw = np.empty(rows * stride + 16, dtype=np.int32)
    skip = (-raw.ctypes.data % 64) // 4
    return raw[skip : skip + rows * stride].reshape(rows, stride)
