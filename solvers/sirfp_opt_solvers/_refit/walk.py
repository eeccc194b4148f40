"""A node's own tree, walked by compiled code: depth first, and ready to go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt_solvers._kernels.refit_walk import walk

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from sirfp_opt_solvers._refit.drops import Drops

    Items = NDArray[np.int64]

__all__ = ["Walk", "walk_bytes"]

# Nodes between two questions whether to stop: some milliseconds.
_CHUNK = 100
# θ of the tangents at the root: a little less than alone, where it is 1.
_THETA = 0.8


def walk_bytes(drops: Drops) -> int:
    """Return how much memory a walk takes."""
    readers, u = len(drops.precisions), int(drops.member.shape[1])
    return 8 * (drops.total + 1) * u * u * (2 * readers + 1)


class Walk:
    """Look for a set of single channels that loses less than a cut.

    Parameters
    ----------
    drops : Drops
        At least one channel to drop, each an item of its own.
    cut : float
        Sets that lose at least this are of no interest.

    Attributes
    ----------
    nodes : int
        How many were visited.
    """

    def __init__(self, drops: Drops, cut: float) -> None:
        readers, u, _ = drops.precisions.shape
        levels = drops.total + 1
        self._h = np.empty((levels, readers, u, u))
        self._q = np.empty((levels, readers, u, u))
        self._h[0], self._q[0] = drops.precisions, drops.products
        self._e = np.zeros((levels, u, u))
        self._theta = np.full((levels, u), _THETA)
        self._ids = np.tile(np.arange(u), (levels, 1))
        self._sizes = np.zeros((levels, 3), dtype=np.int64)
        self._sizes[0, :2] = u, drops.total
        self._loss = np.zeros(levels)
        self._chosen = np.zeros(levels, dtype=np.int64)
        self._found = np.full(levels, -1, dtype=np.int64)
        self._best = np.array([cut])
        self._where = np.zeros(2, dtype=np.int64)

    @property
    def done(self) -> bool:
        """Whether no set is left that might be better."""
        return bool(self._where[0] < 0)

    @property
    def nodes(self) -> int:
        """How many nodes were visited."""
        return int(self._where[1])

    @property
    def least(self) -> float:
        """The least loss found, the cut if there was none below it."""
        return float(self._best[0])

    @property
    def found(self) -> Items | None:
        """The channels of the best set below the cut, if there was one."""
        channels = self._found[:-1]
        return None if channels[0] < 0 else np.sort(channels)

    def advance(self, nodes: int, stop: Callable[[], bool]) -> bool:
        """Visit at most so many nodes more; return whether the tree is done."""
        last = self.nodes + nodes
        while not self.done and self.nodes < last and not stop():
            walk(
                self._h,
                self._q,
                self._e,
                self._theta,
                self._ids,
                self._sizes,
                self._loss,
                self._chosen,
                self._found,
                self._best,
                self._where,
                min(_CHUNK, last - self.nodes),
            )
        return self.done
