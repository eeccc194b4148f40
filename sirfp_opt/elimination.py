"""Backward elimination under refit: the item that is rebuilt best goes first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sirfp_opt._validate import BoolArray, FloatArray, IntArray
    from sirfp_opt.canonical_refit import CanonicalRefit

__all__ = ["eliminate"]

# Channels that are eliminated before the matrices are brought up to date: enough for
# matrix products to do nearly all of the work.
_BLOCK = 64
# Rows that are updated at a time, so that no temporary is as large as a matrix.
_ROWS = 256


def eliminate(
    form: CanonicalRefit, *, overwrite: bool = False
) -> tuple[IntArray, FloatArray]:
    """Return the whole order of elimination and what each step loses.

    With H = C_K⁻¹ of the channels K that are left and Q the products of the refitted
    filters, dropping the channels G of an item loses Σ_r tr(Q_GG H_GG⁻¹); the item that
    loses least per channel goes next. One channel i, with h = H_:i / H_ii and q = Q_:i,
    leaves

        Q ← Q − h q' − q h' + Q_ii h h',     H ← H − h H_i:.

    After p steps the sum of the losses is f of what has been dropped. All of it takes
    O(R u³), nearly all of it in matrix products, and two matrices a reader.

    Parameters
    ----------
    form : CanonicalRefit
    overwrite : bool
        Work on the form's own matrices, so that no others are needed. It is of no use
        afterwards.

    Returns
    -------
    order : ndarray of int64, shape (m,)
        Items, first dropped first.
    losses : ndarray of float64, shape (m,)

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import LayerConstraints, ReconstructionProblem
    >>> from sirfp_opt.elimination import eliminate
    >>> maps = np.random.default_rng(0).normal(size=(3, 500))
    >>> problem = ReconstructionProblem(np.cov(maps), np.eye(3)).constrained(
    ...     LayerConstraints(k_min=1)
    ... )
    >>> order, losses = eliminate(problem.canonical)
    >>> float(losses.sum().round(9))
    1.0
    """
    channels, whole = form.block_table
    width = whole.shape[1]
    matrices = form.precisions, form.products
    if overwrite:
        for stack in matrices:
            stack.setflags(write=True)
    else:
        matrices = form.precisions.copy(), form.products.copy()
    readers = [
        _Reader(precision, product, max(_BLOCK, width))
        for precision, product in zip(*matrices, strict=True)
    ]
    order = np.empty(form.m, dtype=np.int64)
    losses = np.empty(form.m)
    left = np.ones(form.m, dtype=bool)
    live = np.arange(form.u)  # the channels that the readers' matrices hold
    place = np.arange(form.u)  # and where
    for reader in readers:
        reader.start(channels, whole)
    for step in range(form.m):
        costs = np.zeros(form.m)
        for reader in readers:
            costs += reader.costs()
        costs[~left] = np.inf
        item = int((costs / form.sizes).argmin())
        order[step], losses[step] = item, 0.0
        left[item] = False
        real = whole & left[:, None]
        index = np.where(real, place[channels], 0)
        for reader in readers:
            for channel in form.blocks[item].tolist():
                losses[step] += reader.drop(int(place[channel]), index, real)
        if readers and readers[0].pending + width > readers[0].capacity:
            keep = np.flatnonzero(form.channel_mask(left)[live])
            for reader in readers:
                reader.settle(keep)
            live = live[keep]
            place[live] = np.arange(live.size)
    return order, losses


class _Reader:
    """H and Q of one reader; the last few channels' updates still to be made."""

    def __init__(
        self, precision: FloatArray, product: FloatArray, capacity: int
    ) -> None:
        self.precision, self.product, self.capacity = precision, product, capacity
        self.pending = 0
        self._reserve()

    def _reserve(self) -> None:
        size = (self.precision.shape[0], self.capacity)
        self.roots, self.maps, self.rests = (np.empty(size) for _ in range(3))

    def start(self, index: IntArray, real: BoolArray) -> None:
        """Read the items' own blocks of H and Q; see `CanonicalRefit.block_table`."""
        rows, columns = index[:, :, None], index[:, None, :]
        real = real[:, :, None] & real[:, None, :]
        filler = np.eye(index.shape[1])
        self.own_precision = np.where(real, self.precision[rows, columns], filler)
        self.own_product = np.where(real, self.product[rows, columns], 0.0)

    def costs(self) -> FloatArray:
        """Return what dropping each item loses."""
        if self.own_product.shape[1] == 1:
            costs: FloatArray = (self.own_product / self.own_precision)[:, 0, 0]
            return costs
        solved = np.linalg.solve(self.own_precision, self.own_product)
        traces: FloatArray = np.trace(solved, axis1=1, axis2=2)
        return traces

    def drop(self, at: int, index: IntArray, real: BoolArray) -> float:
        """Drop the channel in row `at` and return what that loses.

        `index` and `real`, of shape (m, width), are the rows of the items that stay.
        """
        p = self.pending
        row = self.precision[at] - self.roots[:, :p] @ self.roots[at, :p]
        products = self.product[at] - self.maps[:, :p] @ self.rests[at, :p]
        products -= self.rests[:, :p] @ self.maps[at, :p]
        pivot, own = float(row[at]), float(products[at])
        root, weights = row / np.sqrt(pivot), row / pivot
        rest = products - 0.5 * own * weights
        self.roots[:, p], self.maps[:, p], self.rests[:, p] = root, weights, rest
        self.pending += 1
        a = np.where(real, root[index], 0.0)
        self.own_precision -= a[:, :, None] * a[:, None, :]
        b, c = np.where(real, weights[index], 0.0), np.where(real, rest[index], 0.0)
        cross = b[:, :, None] * c[:, None, :]
        self.own_product -= cross
        self.own_product -= cross.transpose(0, 2, 1)
        return own / pivot

    def settle(self, keep: IntArray) -> None:
        """Make the pending updates, and forget the rows of what was dropped."""
        p, size = self.pending, keep.size
        roots, maps, rests = (
            part[keep, :p] for part in (self.roots, self.maps, self.rests)
        )
        for start in range(0, size, _ROWS):
            rows = slice(start, min(start + _ROWS, size))
            # keep[i] >= i: what is read has not been written over yet.
            for matrix in (self.precision, self.product):
                matrix[rows, :size] = matrix[keep[rows]][:, keep]
            self.precision[rows, :size] -= roots[rows] @ roots.T
            self.product[rows, :size] -= maps[rows] @ rests.T
            self.product[rows, :size] -= rests[rows] @ maps.T
        self.precision = self.precision[:size, :size]
        self.product = self.product[:size, :size]
        self.pending = 0
        self._reserve()
