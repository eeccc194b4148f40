"""One tabu run over sets of one size: the kernels' arrays and how they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sirfp_opt_solvers._local.fixed_point import LANES
from sirfp_opt_solvers._local.runs import xorshift_state

if TYPE_CHECKING:
    from sirfp_opt_solvers._local.fixed_point import FixedPoint

__all__ = ["Known", "SwapRun"]

# A set of items, ascending, and all items' gains: c_i + Σ_{j in the set} W_ij.
Known = tuple[NDArray[np.int64], NDArray[np.int32]]

# Tenures are drawn from this many values from the shortest one on.
_SPREAD = 10
# Rows gathered at a time.
_ROWS = 128


class SwapRun:
    """A set of k items, 0 < k < m, on its way through swaps.

    Parameters
    ----------
    fixed : FixedPoint
    items : ndarray of int
        The set to start from.
    tenure : int
        Shortest time that a dropped item stays out; an added one stays in for 0.7
        times as long. Both are drawn from ten values upwards, and cut so that there
        is always an item to choose.
    rng : numpy.random.Generator
    near : (items, gains), optional
        A set whose gains are known; where it is close to `items`, theirs follow from
        the difference.
    """

    def __init__(
        self,
        fixed: FixedPoint,
        items: NDArray[np.int64],
        tenure: int,
        rng: np.random.Generator,
        near: Known | None = None,
    ) -> None:
        from sirfp_opt_solvers._kernels import tabu

        self._kernels = tabu
        self._fixed = fixed
        m, stride, k = fixed.m, fixed.values.size, items.size
        table = np.zeros((tabu.N_ROWS, stride), dtype=np.int32)
        table[tabu.GAINS] = gains = _gains(fixed, items, near)
        table[tabu.OUT_BARS, m:] = table[tabu.OUT_BARS, items] = tabu.BARRED
        table[tabu.IN_BARS] = tabu.BARRED
        table[tabu.IN_BARS, items] = 0
        table[tabu.PLACES] = -1
        table[tabu.PLACES, items] = np.arange(k)
        table[tabu.MEMBERS, :k] = table[tabu.BEST_SET, :k] = items
        self._members, self._best = table[tabu.MEMBERS, :k], table[tabu.BEST_SET, :k]
        doubled = int(gains[items].sum(dtype=np.int64))
        doubled += int(fixed.values[items].sum(dtype=np.int64))
        conflicts = 0
        if fixed.penalty:
            among = fixed.weights[np.ix_(items, items)]
            conflicts = int(np.count_nonzero(among == -fixed.penalty)) // 2
        self._state = state = np.full(tabu.N_STATE, -1, dtype=np.int64)
        state[: tabu.N_SLOTS] = 0
        state[tabu.VALUE] = doubled // 2
        state[tabu.CONFLICTS] = conflicts
        state[tabu.BEST] = tabu.NOTHING if conflicts else doubled // 2
        state[tabu.SIZE], state[tabu.PENALTY] = k, fixed.penalty
        state[tabu.STAY_OUT], state[tabu.STAY_IN] = tenure, 7 * tenure // 10
        state[tabu.SPREAD] = _SPREAD
        state[tabu.LONGEST_OUT] = min(tabu.RING - 2, m - k)
        state[tabu.LONGEST_IN] = min(tabu.RING - 2, k - 1)
        self._table = table
        self._blocks = table[: tabu.PLACES].reshape(tabu.PLACES, -1, LANES)
        self._rng = xorshift_state(rng)

    @property
    def iterations(self) -> int:
        """Swaps made."""
        return int(self._state[self._kernels.ITERATION])

    @property
    def found_at(self) -> int:
        """The swap that led to the best set."""
        return int(self._state[self._kernels.BEST_AT])

    @property
    def feasible(self) -> bool:
        """Whether a conflict-free set has been met."""
        return bool(self._state[self._kernels.BEST] != self._kernels.NOTHING)

    @property
    def value(self) -> int:
        """Of the best conflict-free set; of the current set, if none has been met."""
        if self.feasible:
            return int(self._state[self._kernels.BEST])
        return int(self._state[self._kernels.VALUE])

    @property
    def items(self) -> NDArray[np.int64]:
        """Return, ascending, the set that `value` speaks of."""
        chosen = self._best if self.feasible else self._members
        return np.sort(chosen).astype(np.int64)

    def known(self) -> Known:
        """Return `items` and their gains."""
        items = self.items
        current = np.sort(self._members).astype(np.int64)
        gains = self._table[self._kernels.GAINS]
        return items, _gains(self._fixed, items, (current, gains))

    def drop_add(self, depth: int, budget: int, goal: int) -> int:
        """Run drop-add tabu; return the iterations made, `budget` if not at its end."""
        # No row of it is read: any of its type will do, and the bounds take a while.
        return self._walk(self._fixed.values, 0, depth, budget, goal)

    def best_swap(self, depth: int, budget: int, goal: int) -> int:
        """Run best-swap tabu (`depth` > 0) or descent (0); return as `drop_add`."""
        return self._walk(self._fixed.lowest, 1, depth, budget, goal)

    def _walk(
        self, lowest: NDArray[np.int32], swaps: int, depth: int, budget: int, goal: int
    ) -> int:
        before, state, kernels = self.iterations, self._state, self._kernels
        state[kernels.SWAPS] = swaps
        state[kernels.DEPTH], state[kernels.BUDGET] = depth, budget
        state[kernels.GOAL] = goal
        kernels.walk(
            self._fixed.blocked, lowest, self._blocks, self._table, state, self._rng
        )
        return self.iterations - before


def _gains(
    fixed: FixedPoint, items: NDArray[np.int64], near: Known | None
) -> NDArray[np.int32]:
    """Return the gains at a set; exact, whichever way they are come by."""
    inside = np.zeros(fixed.m, dtype=bool)
    inside[items] = True
    before = np.zeros(fixed.m, dtype=bool)
    gains = fixed.values
    if near is not None:
        before[near[0]] = True
        if np.count_nonzero(before != inside) < items.size:
            gains = near[1]
        else:
            before[:] = False
    gains = gains.copy()
    added, gone = np.flatnonzero(inside & ~before), np.flatnonzero(before & ~inside)
    for start in range(0, added.size, _ROWS):
        rows = fixed.weights[added[start : start + _ROWS]]
        gains += rows.sum(axis=0, dtype=np.int32)
    for start in range(0, gone.size, _ROWS):
        rows = fixed.weights[gone[start : start + _ROWS]]
        gains -= rows.sum(axis=0, dtype=np.int32)
    return gains
