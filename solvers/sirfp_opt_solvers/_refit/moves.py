"""All moves from a set of kept items, priced at once, where readers are refitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sirfp_opt.canonical_refit import CanonicalRefit

__all__ = ["Move", "best_move", "swap_table"]

Floats = NDArray[np.float64]
Items = NDArray[np.int64]
Bools = NDArray[np.bool_]

# A move must lower the loss by this part of it: less is rounding.
_LEAST = 1e-10


@dataclass(frozen=True)
class Move:
    """One item leaves the kept ones, another one comes in; either may be missing.

    Attributes
    ----------
    leaves, enters : int or None
    loss : float
        f afterwards.
    """

    leaves: int | None
    enters: int | None
    loss: float


@dataclass(frozen=True, eq=False)
class _Reader:
    """One reader, seen from the kept channels S and the dropped ones D.

    inverse, of shape (s, s), is C_SS⁻¹; back, (s, d), the map B = C_SS⁻¹ C_SD that
    rebuilds D; rest, (d, d), what is left of D; products, (d, d), P_DD; own, (s, s),
    the products of the refitted filters; cross, (s, d), their products with those of
    D; pulled, (d, d), P_DD times the rest.
    """

    inverse: Floats
    back: Floats
    rest: Floats
    products: Floats
    own: Floats
    cross: Floats
    pulled: Floats

    @classmethod
    def of(
        cls, covariance: Floats, products: Floats, kept: Items, dropped: Items
    ) -> _Reader:
        inside, between = np.ix_(kept, kept), np.ix_(kept, dropped)
        outside = np.ix_(dropped, dropped)
        inverse: Floats = np.asarray(np.linalg.inv(covariance[inside]), np.float64)
        back = inverse @ covariance[between]
        rest = covariance[outside] - covariance[between].T @ back
        cross = products[between] + back @ products[outside]
        own = products[inside] + cross @ back.T + back @ products[between].T
        return cls(
            inverse=inverse,
            back=back,
            rest=rest,
            products=products[outside],
            own=own,
            cross=cross,
            pulled=products[outside] @ rest,
        )


def _readers(form: CanonicalRefit, kept: Bools) -> tuple[list[_Reader], Items, Items]:
    inside = form.channel_mask(kept)
    stays, goes = np.flatnonzero(inside), np.flatnonzero(~inside)
    pairs = zip(form.covariances, form.products, strict=True)
    return [_Reader.of(c, p, stays, goes) for c, p in pairs], stays, goes


def swap_table(form: CanonicalRefit, kept: Bools) -> tuple[float, Floats]:
    """Return f, and f after every swap, where all items are single channels.

    Taking in j gains g_j = [Σ P Σ]_jj / Σ_jj with Σ the rest of the dropped channels;
    dropping i beside loses (Q_ii − 2 B_ij ⟨w̃_i, ŵ_j⟩ + B_ij² |ŵ_j|²) /
    (H_ii + B_ij² / Σ_jj), with H = C_SS⁻¹, Q the products of the refitted filters w̃,
    B the map that rebuilds the dropped channels, and ŵ_j the filter of j once it is
    back. All of it takes O(R u³) for the parts and O(R) for a swap.

    Parameters
    ----------
    form : CanonicalRefit
        Of items of one channel each.
    kept : ndarray of bool, shape (m,)

    Returns
    -------
    loss : float
    table : ndarray of float64, shape (kept, dropped)
        f after the swap of kept item i for dropped item j, by their order.
    """
    readers, stays, goes = _readers(form, kept)
    loss, table = 0.0, np.zeros((stays.size, goes.size))
    for reader in readers:
        variance = reader.rest.diagonal()
        norms = np.einsum("ij,ij->j", reader.rest, reader.pulled) / variance
        inner = (reader.cross @ reader.rest) / variance
        squares = reader.back * reader.back / variance
        lost = reader.own.diagonal()[:, None] - 2.0 * reader.back * inner
        lost += squares * norms
        table += lost / (reader.inverse.diagonal()[:, None] + squares) - norms
        loss += float(np.vdot(reader.rest, reader.products))
    return loss, table + loss


def best_move(form: CanonicalRefit, kept: Bools) -> Move | None:
    """Return the move to an allowed set that lowers f most, None if none does.

    Swaps of items of one size; where sizes differ, those that lead to another allowed
    total, too, and the addition of an item.

    Parameters
    ----------
    form : CanonicalRefit
    kept : ndarray of bool, shape (m,)
    """
    inside, outside = np.flatnonzero(kept), np.flatnonzero(~kept)
    if outside.size == 0:
        return None
    if form.unit_size == 1:
        loss, table = swap_table(form, kept)
        additions = np.full(outside.size, np.inf)
    else:
        loss, table, additions = _block_table(form, kept)
    total = int(form.sizes[inside].sum())
    allowed = np.asarray(form.counts)
    after = total + form.sizes[outside][None, :] - form.sizes[inside][:, None]
    table[~np.isin(after, allowed)] = np.inf
    additions[~np.isin(total + form.sizes[outside], allowed)] = np.inf
    limit = loss - _LEAST * max(loss, form.rounding_error)
    best: Move | None = None
    if table.size and table.min() < limit:
        i, j = np.unravel_index(int(table.argmin()), table.shape)
        best = Move(int(inside[i]), int(outside[j]), float(table[i, j]))
    if additions.min() < (limit if best is None else best.loss):
        j = additions.argmin()
        best = Move(None, int(outside[j]), float(additions[j]))
    return best


def _block_table(form: CanonicalRefit, kept: Bools) -> tuple[float, Floats, Floats]:
    """Return f, f after every swap, and f after every addition, for tied groups."""
    readers, stays, goes = _readers(form, kept)
    inside, outside = np.flatnonzero(kept), np.flatnonzero(~kept)
    channels, real = (part[inside] for part in form.block_table)
    rows = np.searchsorted(stays, channels)
    loss = sum(float(np.vdot(r.rest, r.products)) for r in readers)
    table = np.full((inside.size, outside.size), loss)
    additions = np.full(outside.size, loss)
    filler = np.eye(rows.shape[1])
    pairs = real[:, :, None] & real[:, None, :]
    at = (rows[:, :, None], rows[:, None, :])
    for column, item in enumerate(outside.tolist()):
        group = np.searchsorted(goes, form.blocks[item])
        for reader in readers:
            variance = reader.rest[np.ix_(group, group)]
            norms = np.linalg.solve(
                variance, reader.rest[group] @ reader.pulled[:, group]
            )
            gain = float(np.trace(norms))
            norms = np.linalg.solve(variance, norms.T)  # ⟨ŵ, ŵ⟩
            inner = np.linalg.solve(
                variance, (reader.cross @ reader.rest[:, group]).T
            ).T
            additions[column] -= gain
            if inside.size == 0:
                continue
            back = reader.back[:, group]
            inverse = reader.inverse + back @ np.linalg.solve(variance, back.T)
            turn = back @ inner.T
            own = reader.own - turn - turn.T + back @ norms @ back.T
            solved = np.linalg.solve(
                np.where(pairs, inverse[at], filler), np.where(pairs, own[at], 0.0)
            )
            table[:, column] += np.trace(solved, axis1=1, axis2=2) - gain
    return loss, table, additions
