"""What is left to drop where readers are refitted: items, and how many channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sirfp_opt.canonical import reachable
from sirfp_opt.canonical_refit import losses_of

if TYPE_CHECKING:
    from sirfp_opt.canonical_refit import CanonicalRefit

__all__ = ["Drops", "root_drops"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Items = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Drops:
    """What is left to drop: items of u channels, `total` channels of them.

    Attributes
    ----------
    precisions, products : ndarray of shape (R, u, u)
        M and P.
    member : ndarray of shape (m, u)
        1.0 where a channel belongs to an item.
    total : int
        Channels to drop.
    """

    precisions: Floats
    products: Floats
    member: Floats
    total: int

    @property
    def m(self) -> int:
        """Number of items."""
        return int(self.member.shape[0])

    @property
    def single(self) -> bool:
        """Whether every item is one channel."""
        return self.m == int(self.member.shape[1])

    @property
    def sizes(self) -> Items:
        """Channels of each item."""
        sizes: Items = self.member.sum(axis=1).astype(np.int64)
        return sizes

    def losses(self, sets: Bools) -> Floats:
        """Return f of sets of items, the rows of a mask of shape (b, m)."""
        return losses_of(self.precisions, self.products, sets @ self.member > 0.5)

    def greedy(self) -> Bools:
        """Return the set of the backward path; any fitting set where sizes differ."""
        h, q = self.precisions.copy(), self.products.copy()
        chosen = np.zeros(self.m, dtype=bool)
        sizes = self.sizes
        left = self.total
        while left:
            own = np.einsum("ri,mi->m", _ratio(h, q), self.member) / sizes
            own[chosen | (sizes > left)] = np.inf
            for item in np.argsort(own).tolist():
                rest = np.flatnonzero(~chosen & (np.arange(chosen.size) != item))
                if reachable(sizes[rest].tolist(), [left - int(sizes[item])]):
                    break
            chosen[item] = True
            left -= int(sizes[item])
            for i in np.flatnonzero(self.member[item]).tolist():
                for r in range(len(h)):
                    w = h[r, :, i] / h[r, i, i]
                    row = q[r, :, i].copy()
                    q[r] += (
                        row[i] * np.outer(w, w) - np.outer(w, row) - np.outer(row, w)
                    )
                    h[r] -= np.outer(w, h[r, i].copy())
                    h[r, i, i] = 1.0
        return chosen

    def random(self, count: int, rng: np.random.Generator) -> Bools:
        """Return random sets of the right total; fewer where sizes do not fit."""
        out, sizes = np.zeros((count, self.m), dtype=bool), self.sizes
        for row in out:
            left = self.total
            for item in rng.permutation(self.m).tolist():
                if sizes[item] <= left:
                    row[item] = True
                    left -= int(sizes[item])
        fits: Bools = out[(out @ sizes) == self.total]
        return fits

    def costs(self) -> Floats:
        """Return what dropping each item alone loses: no set with it loses less."""
        if self.single:
            ratios: Floats = _ratio(self.precisions, self.products).sum(axis=0)
            return ratios
        return self.losses(np.eye(self.m, dtype=bool))


def root_drops(form: CanonicalRefit, count: int) -> Drops:
    """Return the whole problem for one number of channels to keep."""
    member = (form.owner == np.arange(form.m)[:, None]).astype(np.float64)
    return Drops(form.precisions, form.products, member, form.u - count)


def _ratio(h: Floats, q: Floats) -> Floats:
    ratios: Floats = np.einsum("rii->ri", q) / np.einsum("rii->ri", h)
    return ratios
