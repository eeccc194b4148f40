"""Compiled parts of the mixing method: coordinate sweeps over unit vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from sirfp_opt_solvers._kernels.options import OUTER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

__all__ = ["multiplier_step", "sweep"]

# Sums may be taken in any order, so that they run in vector registers.
_OPTIONS = {**OUTER, "fastmath": {"reassoc", "contract", "nsz"}}


@njit(**_OPTIONS)
def sweep(
    cost: Floats,
    linear: Floats,
    upper: Floats,
    total: float,
    penalty: float,
    price: Floats,
    vectors: Floats,
    sums: Floats,
    diagonal: Floats,
) -> None:
    """Set each vector in turn to its minimiser, the others being fixed.

    Row i of `vectors` is w_i = ½ u_i (e + v_i) with ‖v_i‖ = 1 and e the first unit
    vector; `sums` holds Σ w_i. Minimises ½ Σ_ij H_ij w_i·w_j + Σ h_i w_i·e +
    price·Σ w_i + ½ penalty ‖Σ w_i − total e‖² over them, and writes to `diagonal` the
    diagonal for which each step was stationary.
    """
    m, rank = vectors.shape
    slope = np.empty(rank)
    for i in range(m):
        half = 0.5 * upper[i]
        own = vectors[i]
        for a in range(rank):
            slope[a] = price[a] + penalty * (sums[a] - own[a])
        slope[0] += linear[i] + penalty * (half - total)
        row = cost[i]
        for j in range(m):
            weight = row[j]
            if weight != 0.0 and j != i:
                other = vectors[j]
                for a in range(rank):
                    slope[a] += weight * other[a]
        square = 0.0
        for a in range(rank):
            square += slope[a] * slope[a]
        norm = np.sqrt(square)
        diagonal[i] = norm / half - penalty
        if norm <= 1e-150:
            continue
        scale = half / norm
        for a in range(rank):
            new = -scale * slope[a]
            if a == 0:
                new += half
            sums[a] += new - own[a]
            own[a] = new


@njit(**_OPTIONS)
def multiplier_step(
    cost: Floats,
    products: Floats,
    stiffness: Floats,
    step: float,
    free: Bools,
    multipliers: Floats,
    reduced: Floats,
) -> None:
    """Move the multipliers against their products, but not below zero.

    With its multiplier, a product rises at a rate of the order of ‖w_j‖ / s_i +
    ‖w_i‖ / s_j (s = `stiffness`): a vector turns by the length of the other over that
    of its slope. The move is `step` times product over rate, whatever the weights'
    scale. ``free[i, j]`` marks
    pairs whose multiplier has no sign, `free` of shape (0, 0) none. Writes
    cost − multipliers to `reduced`.
    """
    m = cost.shape[0]
    any_free = free.shape[0] > 0
    for i in range(m):
        length, stiff = np.sqrt(products[i, i]), stiffness[i]
        for j in range(m):
            if i == j:
                continue
            rate = np.sqrt(products[j, j]) / stiff + length / stiffness[j] + 1e-300
            value = multipliers[i, j] - step * products[i, j] / rate
            if value < 0.0 and not (any_free and free[i, j]):
                value = 0.0
            multipliers[i, j] = value
            reduced[i, j] = cost[i, j] - value
