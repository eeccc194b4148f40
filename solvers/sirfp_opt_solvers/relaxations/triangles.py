"""Triangle inequalities in the dual: the tightest level of `sirfp_opt.bound`.

For x in {0, 1} and any three of them

    x_i x_j + x_i x_k − x_j x_k − x_i <= 0          (for each of the three as i),
    x_i + x_j + x_k − x_i x_j − x_i x_k − x_j x_k <= 1

(Padberg 1989, doi:10.1007/BF01589101). The doubly non-negative relaxation violates many
of them. Added to the objective at prices λ >= 0, the worst ones make its bound tighter;
the prices are climbed along with the multipliers, and new triangles looked for in
rounds. BiqCrunch works with the same cuts (Krislock, Malick, Roupin 2017,
doi:10.1145/3005345).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt_solvers._kernels import triangles as kernels
from sirfp_opt_solvers.relaxations.certificate import certify
from sirfp_opt_solvers.relaxations.dual import Dual, improve

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from sirfp_opt_solvers.relaxations.box import BoxProblem

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["Triangles", "tighten"]

# Rounds of separation, steps after each, and triangles added per variable.
_ROUNDS, _STEPS, _EACH = 16, 15, 6
# What a triangle must be violated by, and how many are looked at.
_LEAST, _MOST = 0.02, 400_000
# The barrier's share of the gap: strong at first, which moves prices fast.
_SHARE, _WEAKER, _LAST_SHARE = 2.0, 0.8, 0.03
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Triangles:
    """Triangle inequalities of a problem, as cuts for `dual.improve`.

    Attributes
    ----------
    rows : ndarray of int64, shape (q, 4)
        Three variables and a kind, as `_kernels.triangles` reads them.
    upper : ndarray of shape (m,)
    crowded : ndarray of shape (m, m)
    """

    rows: Ints
    upper: Floats
    crowded: Floats

    @classmethod
    def of(cls, rows: Ints, upper: Floats) -> Triangles:
        """Count the triangles that each pair is part of."""
        crowded = np.ones((upper.size, upper.size))
        kernels.crowd(rows, crowded)
        return cls(rows, upper, crowded)

    def applied(self, box: BoxProblem, prices: Floats) -> BoxProblem:
        """Return the problem with the triangles added at their prices."""
        cost, linear = box.cost.copy(), box.linear.copy()
        constant = kernels.add(self.rows, prices, self.upper, cost, linear)
        return replace(box, cost=cost, linear=linear, constant=box.constant + constant)

    def step(self, dual: Dual, mu: float) -> tuple[Floats, float]:
        """Return prices a step uphill, and the gain that is predicted."""
        new = np.empty_like(dual.prices)
        gain = kernels.step(
            self.rows,
            dual.prices,
            dual.inverse,
            dual.point,
            self.upper,
            self.crowded,
            mu,
            dual.step,
            new,
        )
        return new, float(gain)

    def rounding(self, box: BoxProblem, prices: Floats) -> float:
        """Return how far off `applied` can be, for any y in the box.

        Each coefficient is a sum of at most `crowded` terms besides its own, and no
        partial sum is larger than the sum of their sizes.
        """
        own = 0.5 * box.upper @ np.abs(box.cost) @ box.upper
        own += np.abs(box.linear) @ box.upper + abs(box.constant)
        # A corner has up to m² / 2 triangles: that is what `linear` and constant sum.
        terms = min(self.rows.shape[0], box.m**2) + 4.0
        return float(_EPS * terms * (own + 7.0 * prices.sum()))


def tighten(
    box: BoxProblem,
    dual: Dual,
    best: float,
    mu: float,
    cut: float,
    stop: Callable[[], bool],
) -> float:
    """Return the best bound found by adding triangles to a dual point's problem.

    Parameters
    ----------
    box : BoxProblem
    dual : Dual
        Where to begin.
    best : float
        The bound so far.
    mu : float
        The barrier's weight that `dual` was climbed with.
    cut : float
        The bound need not be better than this; finite.
    stop : callable
        Asked between steps.
    """
    found, by = np.empty((_MOST, 4), dtype=np.int64), np.empty(_MOST)
    rows, share = np.zeros((0, 4), dtype=np.int64), _SHARE
    dual = replace(dual, prices=np.zeros(0))
    for _ in range(_ROUNDS):
        if best >= cut or stop():
            break
        used = dual.prices > 0.0
        rows, prices = rows[used], dual.prices[used]
        new = _most_violated(box, dual, mu, found, by)
        new = new[~np.isin(_codes(new, box.m), _codes(rows, box.m))]
        if not rows.size and not new.size:
            break
        rows = np.concatenate((rows, new))
        prices = np.concatenate((prices, np.zeros(len(new))))
        cuts = Triangles.of(rows, box.upper)
        mu = share * (cut - best) / box.m + 1e-13
        share = max(_WEAKER * share, _LAST_SHARE)
        dual = replace(dual, prices=prices, step=min(dual.step, 0.3))
        dual = improve(box, dual, mu, rounds=_STEPS, cuts=cuts, stop=stop)
        priced = cuts.applied(box, dual.prices)
        value = certify(priced, dual, cut).value - cuts.rounding(box, dual.prices)
        best = max(best, value)
    return best


def _most_violated(
    box: BoxProblem, dual: Dual, mu: float, found: Ints, by: Floats
) -> Ints:
    """Return the triangles that the dual point's own products violate most."""
    products = np.outer(dual.point, dual.point) + 2.0 * mu * dual.inverse
    products /= np.outer(box.upper, box.upper)
    count = kernels.separate(products, dual.point / box.upper, _LEAST, found, by)
    worst = np.argsort(-by[:count], kind="stable")[: _EACH * box.m]
    return found[worst]


def _codes(rows: Ints, m: int) -> Ints:
    """Return a number for each triangle, so that sets of them can be compared."""
    codes: Ints = ((rows[:, 0] * m + rows[:, 1]) * m + rows[:, 2]) * 4 + rows[:, 3]
    return codes
