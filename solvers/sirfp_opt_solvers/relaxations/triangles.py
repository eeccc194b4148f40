"""Triangle inequalities in the dual, for the tightest level of `sirfp_opt.bound`.

For x in {0, 1} and any three of them

    x_i x_j + x_i x_k − x_j x_k − x_i <= 0          (for each of the three as i),
    x_i + x_j + x_k − x_i x_j − x_i x_k − x_j x_k <= 1

(Padberg 1989, doi:10.1007/BF01589101). The doubly non-negative relaxation violates many
of them. Added to the objective at prices λ >= 0, the worst ones make its bound tighter.
BiqCrunch works with the same cuts (Krislock, Malick, Roupin 2017, doi:10.1145/3005345).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt_solvers._kernels import triangles as kernels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sirfp_opt_solvers.relaxations.box import BoxProblem

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["Triangles"]

# Triangles added per variable at a time.
_EACH = 6
# What a triangle must be violated by, and how many are looked at.
_LEAST, _MOST = 0.02, 400_000
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Triangles:
    """Some triangle inequalities of a problem.

    Attributes
    ----------
    rows : ndarray of int64, shape (q, 4)
        Three variables and a kind, as `_kernels.triangles` reads them.
    upper : ndarray of shape (m,)
    crowded : ndarray of shape (q,)
        How much each shares with all of them, as `_kernels.triangles.crowd` says.
    """

    rows: Ints
    upper: Floats
    crowded: Floats

    @classmethod
    def of(cls, rows: Ints, upper: Floats) -> Triangles:
        """Measure how crowded the triangles are."""
        crowded = np.zeros(len(rows))
        if len(rows):
            work = np.zeros((upper.size, upper.size))
            kernels.crowd(rows, upper, work, crowded)
        return cls(rows, upper, crowded)

    def applied(self, box: BoxProblem, prices: Floats) -> BoxProblem:
        """Return the problem with the triangles added at their prices.

        Its constant is lowered by what rounding can do, so that no feasible y is worth
        more there than in `box`.
        """
        cost, linear = box.cost.copy(), box.linear.copy()
        constant = kernels.add(self.rows, prices, self.upper, cost, linear)
        constant += box.constant - self._rounding(box, prices)
        return replace(box, cost=cost, linear=linear, constant=constant)

    def lifted(self, prices: Floats) -> Floats:
        """Return the matrix M with ⟨M, yy'⟩ = Σ prices · triangles, but constants."""
        m = self.upper.size
        matrix, linear = np.zeros((m, m)), np.zeros(m)
        kernels.add(self.rows, prices, self.upper, matrix, linear)
        matrix *= 0.5
        matrix[np.diag_indices(m)] = linear / self.upper
        return matrix

    def ascended(self, prices: Floats, products: Floats, weight: float) -> Floats:
        """Return prices a projected gradient step higher where triangles are violated.

        The augmented Lagrangian's curvature in them is the triangles' own products over
        the weight, of which `crowded` is a diagonal upper bound.
        """
        by = np.empty(prices.size)
        kernels.measure(self.rows, self.upper, products, by)
        ascended: Floats = np.maximum(prices + by / (weight * self.crowded), 0.0)
        return ascended

    def renewed(self, products: Floats, prices: Floats) -> tuple[Triangles, Floats]:
        """Drop triangles without a price, and add those that are violated most."""
        m, upper = self.upper.size, self.upper
        found, by = np.empty((_MOST, 4), dtype=np.int64), np.empty(_MOST)
        scaled = products / np.outer(upper, upper)
        # The diagonal is the square, which is x_i itself at u = 1.
        count = kernels.separate(scaled, np.diagonal(scaled).copy(), _LEAST, found, by)
        worst = np.argsort(-by[:count], kind="stable")[: _EACH * m]
        used = prices > 0.0
        rows, new = self.rows[used], found[worst]
        new = new[~np.isin(_codes(new, m), _codes(rows, m))]
        renewed = Triangles.of(np.concatenate((rows, new)), upper)
        return renewed, np.concatenate((prices[used], np.zeros(len(new))))

    def _rounding(self, box: BoxProblem, prices: Floats) -> float:
        """Return how far off the sums in `applied` can be, for any y in the box.

        Each coefficient is a sum of at most as many terms as there are triangles with
        its pair, m, or its corner, m² / 2, besides its own; no partial sum is larger
        than the sum of their sizes.
        """
        own = 0.5 * box.upper @ np.abs(box.cost) @ box.upper
        own += np.abs(box.linear) @ box.upper + abs(box.constant)
        terms = min(self.rows.shape[0], box.m**2) + 4.0
        return float(_EPS * terms * (own + 7.0 * prices.sum()))


def _codes(rows: Ints, m: int) -> Ints:
    """Return a number for each triangle, so that sets of them can be compared."""
    codes: Ints = ((rows[:, 0] * m + rows[:, 1]) * m + rows[:, 2]) * 4 + rows[:, 3]
    return codes
