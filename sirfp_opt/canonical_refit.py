"""CanonicalRefit: the one form that solvers of refit problems see.

Channels that are kept for certain are conditioned away, channels that are dropped for
certain have been rebuilt from the others; what is left is again a refit problem.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt._validate import BoolArray, FloatArray, IntArray, frozen
from sirfp_opt.canonical import divide
from sirfp_opt.canonical_form import CanonicalForm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sirfp_opt.constraints import LayerConstraints

__all__ = ["CanonicalRefit", "canonicalize_refit", "losses_of"]

# Entries of the batches in which many sets are priced at a time.
_BATCH = 1 << 21


@dataclass(frozen=True, eq=False, kw_only=True)
class CanonicalRefit(CanonicalForm):
    """Choose items X to maximise f(all) − f(D), where D holds the others' channels.

        f(D) = Σ_r tr(P_r[D,D] (M_r[D,D])⁻¹),    M_r = C_r⁻¹.

    The u free channels are numbered anew, item after item. Since f grows with D, of
    several allowed counts only the largest is left where all items have one size.

    Attributes
    ----------
    precisions : ndarray of shape (R, u, u)
        M, of the free channels given those that are kept for certain.
    products : ndarray of shape (R, u, u)
        P of the readers, what is dropped for certain rebuilt, scaled so that f counts
        in shares of the signal.
    most : float
        f of all free channels: what choosing every item is worth.
    """

    precisions: FloatArray
    products: FloatArray
    most: float

    @property
    def u(self) -> int:
        """Number of free channels."""
        return int(self.precisions.shape[1])

    @cached_property
    def owner(self) -> IntArray:
        """The item of each free channel, of shape (u,)."""
        owner = np.repeat(np.arange(self.m), self.sizes)
        frozen(owner)
        return owner

    @cached_property
    def blocks(self) -> tuple[IntArray, ...]:
        """The free channels of each item."""
        index, real = self.block_table
        return tuple(row[here] for row, here in zip(index, real, strict=True))

    @cached_property
    def block_table(self) -> tuple[IntArray, BoolArray]:
        """The items' channels as the rows of a table, and where it is not filled up.

        Both of shape (m, size of the largest item); the filler is 0.
        """
        places = np.arange(int(self.sizes.max(initial=1)))
        real = places < self.sizes[:, None]
        first = np.cumsum(self.sizes) - self.sizes
        index = np.where(real, first[:, None] + places, 0)
        for array in (index, real):
            frozen(array)
        return index, real

    @cached_property
    def covariances(self) -> FloatArray:
        """C = M⁻¹, of shape (R, u, u)."""
        return inverses(self.precisions)

    @cached_property
    def rounding_error(self) -> float:
        """How far a float64 value of this problem can be off.

        A Cholesky factor is that of a matrix whose entries are off by less than
        u · eps · √(C_ii C_jj) (Higham 2002, §10.1), which changes f, relatively, by at
        most that times the norm of the inverse of the correlations. Rounding errors
        being what they are, the factor u that a worst case would add is left out
        (Higham and Mary 2019, doi:10.1137/18M1226312).
        """
        if self.u == 0:
            return 0.0
        norm = 1.0
        for precision, covariance in zip(
            self.precisions, self.covariances, strict=True
        ):
            scales = np.sqrt(covariance.diagonal())
            rows = scales * (np.abs(precision) @ scales)
            norm = max(norm, float(rows.max()))
        return float(np.finfo(np.float64).eps) * self.u * norm

    @property
    def scores(self) -> FloatArray:
        """What is lost where an item alone is dropped: tr(P_GG M_GG⁻¹)."""
        alone = ~np.eye(self.m, dtype=bool)
        return self.most - self.values_of(alone)

    def bounds_by_count(self) -> dict[int, float]:
        """Return, for each allowed count, what choosing every item is worth."""
        return dict.fromkeys(self.counts, self.most)

    def values_of(self, chosen: BoolArray) -> FloatArray:
        """Return the values of sets given as rows of a mask of shape (b, m)."""
        dropped = self.channel_mask(~chosen)
        return self.most - losses_of(self.precisions, self.products, dropped)

    def channel_mask(self, items: BoolArray) -> BoolArray:
        """Spread masks of items, of shape (..., m), to their channels, (..., u)."""
        return items[..., self.owner]

    def channels_of(self, items: Sequence[int] | IntArray) -> IntArray:
        """Return the free channels, ascending, of a set of items."""
        chosen = np.zeros(self.m, dtype=bool)
        chosen[np.asarray(items, dtype=np.int64)] = True
        return np.flatnonzero(self.channel_mask(chosen))


def losses_of(
    precisions: FloatArray, products: FloatArray, dropped: BoolArray
) -> FloatArray:
    """Return f(D) = Σ_r tr(P_r[D,D] (M_r[D,D])⁻¹) of many sets of channels.

    Parameters
    ----------
    precisions, products : ndarray of shape (R, u, u)
        M and P.
    dropped : ndarray of bool, shape (b, u)
        The sets D, as rows of a mask.

    Returns
    -------
    ndarray of float64, shape (b,)
    """
    losses = np.zeros(len(dropped))
    sizes = dropped.sum(axis=1)
    for size in np.unique(sizes[sizes > 0]).tolist():
        sets = np.flatnonzero(sizes == size)
        step = max(1, _BATCH // (size * size))
        for start in range(0, sets.size, step):
            some = sets[start : start + step]
            index = np.nonzero(dropped[some])[1].reshape(some.size, size)
            rows, columns = index[:, :, None], index[:, None, :]
            for m, p in zip(precisions, products, strict=True):
                solved = np.linalg.solve(m[rows, columns], p[rows, columns])
                losses[some] += np.trace(solved, axis1=1, axis2=2)
    return losses


def inverses(matrices: FloatArray) -> FloatArray:
    """Return the inverses of symmetric matrices of shape (R, u, u), symmetric."""
    out = np.empty_like(matrices)
    for r, matrix in enumerate(matrices):
        out[r] = np.linalg.inv(matrix)
        _symmetrise(out[r])
    frozen(out)
    return out


def canonicalize_refit(
    n: int,
    readers: Sequence[tuple[FloatArray, float, FloatArray, float]],
    constraints: LayerConstraints,
) -> CanonicalRefit:
    """Work forced channels and tied groups into a `CanonicalRefit`.

    Parameters
    ----------
    n : int
        Number of channels.
    readers : sequence of (ndarray, float, ndarray, float)
        For each reader C, of shape (n, n), what is added to its diagonal, P, likewise,
        and what a unit of its error counts.
    constraints : LayerConstraints
        With a number of channels; indices known to lie within the layer.

    Returns
    -------
    CanonicalRefit

    Raises
    ------
    InfeasibleError
        If it can be seen here that no set of channels meets the constraints.
    """
    kept, free, counts = divide(n, constraints)
    sizes = np.asarray([len(group) for group in free], dtype=np.int64)
    if len(set(sizes.tolist())) <= 1:
        counts = counts[-1:]
    inside = np.asarray([c for group in free for c in group], dtype=np.int64)
    gone = np.setdiff1d(np.arange(n), np.concatenate((kept, inside)))
    u = inside.size
    precisions, products = (
        np.empty((len(readers), u, u)),
        np.empty((len(readers), u, u)),
    )
    lost = most = 0.0
    for r, (covariance, ridge, product, part) in enumerate(readers):
        condition = _take if kept.size == 0 and gone.size == 0 else _condition
        certain, free_signal = condition(
            covariance, ridge, product, (kept, inside, gone), precisions[r], products[r]
        )
        products[r] *= part
        lost += part * certain
        most += part * free_signal
    members = tuple(np.asarray(group, dtype=np.int64) for group in free)
    for array in (sizes, kept, precisions, products, *members):
        frozen(array)
    return CanonicalRefit(
        sizes=sizes,
        conflicts=None,
        counts=counts,
        offset=1.0 - lost - most,
        sign=1,
        kept=kept,
        members=members,
        n=n,
        precisions=precisions,
        products=products,
        most=most,
    )


def _take(
    covariance: FloatArray,
    ridge: float,
    product: FloatArray,
    parts: tuple[IntArray, IntArray, IntArray],
    precision_out: FloatArray,
    product_out: FloatArray,
) -> tuple[float, float]:
    """Write M and P where every channel is free; return no loss, and f of all.

    Written with two temporary matrices at most: layers may be large.
    """
    index = np.ix_(parts[1], parts[1])
    precision_out[:] = covariance[index]
    np.einsum("ii->i", precision_out)[:] += ridge
    product_out[:] = product[index]
    signal = float(np.vdot(precision_out, product_out))
    precision_out[:] = np.linalg.inv(precision_out)
    _symmetrise(precision_out)
    return 0.0, signal


def _condition(
    covariance: FloatArray,
    ridge: float,
    product: FloatArray,
    parts: tuple[IntArray, IntArray, IntArray],
    precision_out: FloatArray,
    product_out: FloatArray,
) -> tuple[float, float]:
    """Write M and P of the free channels; return the certain loss and f of all.

    With the channels in the order kept, free, gone, and L the Cholesky factor of C,
    the free ones given the kept have the covariance L_FF L_FF', and those gone are
    rebuilt from them by the map B = L_GF L_FF⁻¹, with L_GG L_GG' left.
    """
    kept, free, gone = parts
    order = np.concatenate((kept, free, gone))
    ridged = covariance[np.ix_(order, order)]
    np.einsum("ii->i", ridged)[:] += ridge
    factor = np.linalg.cholesky(ridged)
    a, b = kept.size, kept.size + free.size
    unwind = np.linalg.inv(factor[a:b, a:b])
    precision_out[:] = unwind.T @ unwind
    back = factor[b:, a:b] @ unwind
    rest = factor[b:, b:]
    own = product[np.ix_(gone, gone)]
    cross = product[np.ix_(free, gone)] @ back
    product_out[:] = product[np.ix_(free, free)] + back.T @ own @ back
    product_out += cross + cross.T
    _symmetrise(precision_out)
    _symmetrise(product_out)
    lost = float(np.vdot(rest, own @ rest))
    signal = float(np.vdot(factor[a:b, a:b], product_out @ factor[a:b, a:b]))
    return lost, signal


def _symmetrise(matrix: FloatArray) -> None:
    matrix += matrix.T.copy()
    matrix /= 2.0
