"""The doubly non-negative relaxation by alternating directions, with triangles or not.

Y stands for y y'. From y_i² = u_i y_i, Σy = t and y >= 0 it follows that

    min ⟨C, Y⟩   over Y ⪰ 0, Y >= 0, ⟨E, Y⟩ = t², Y_ii = u_i (Y1)_i / t,

C = ½H + Diag(h / u), is the doubly non-negative relaxation. Its dual has
multipliers of the equations, N >= 0 of the signs, and S ⪰ 0; minimising the augmented
Lagrangian over one after the other has closed forms, an eigenvalue decomposition for S
(Wen, Goldfarb, Yin 2010, doi:10.1007/s12532-010-0017-1; the equations' twice in each
round, after Sun, Toh, Yang 2015, doi:10.1137/140964357). Where barriers take steps that
shrink with the number of multipliers, these do not.

Cuts T(Y) <= c join in as one more multiplier, moved by a projected gradient step that
is scaled for the cuts that share entries of Y.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt_solvers.relaxations.certificate import relax
from sirfp_opt_solvers.relaxations.triangles import Triangles

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from sirfp_opt_solvers.relaxations.box import BoxProblem

    Floats = NDArray[np.float64]

__all__ = ["alternate"]

# The penalty's first weight, and how often it is weighed anew against the residuals.
_WEIGHT, _WEIGHED, _BY = 4.0, 10, 1.2
# The multiplier of Y moves by more than the theory's step; 1.618 is the most.
_BEYOND = 1.6
# Rounds between two bounds; the last ones must have closed this share of the gap.
_BLOCK, _LEAST_PROGRESS = 40, 0.01
# Triangles are looked for from this round on, and how often.
_TRIANGLES_FROM, _LOOK = 60, 20


def alternate(
    box: BoxProblem,
    best: float,
    cut: float,
    *,
    rounds: int,
    triangles: bool,
    stop: Callable[[], bool],
) -> float:
    """Return the best bound found in some rounds.

    Parameters
    ----------
    box : BoxProblem
        With 0 < total < Σ upper.
    best : float
        The bound so far.
    cut : float
        The bound need not be better than this; finite.
    rounds : int
        At most; it ends once they no longer help. One costs an eigenvalue
        decomposition.
    triangles : bool
        Whether to add triangle inequalities on the way.
    stop : callable
        Asked in each round.
    """
    iterate = _Iterate.start(box)
    if iterate is None:
        return best
    for done in range(1, rounds + 1):
        if stop():
            break
        iterate.round()
        if done % _WEIGHED == 0 and done > 3 * _WEIGHED:
            iterate.weigh()
        if triangles and done >= _TRIANGLES_FROM and done % _LOOK == 0:
            iterate.separate()
        if done % _BLOCK == 0 or done == rounds:
            value = iterate.bound(cut)
            settled = done > _TRIANGLES_FROM + _BLOCK
            gain, best = value - best, max(best, value)
            if best >= cut or (settled and gain < _LEAST_PROGRESS * (cut - best)):
                break
    return best


@dataclass(frozen=True, eq=False)
class _Equations:
    """The linear map A(Y) = (Y_ii − u_i (Y1)_i / t, ⟨E, Y⟩ / m) and its adjoint."""

    share: Floats
    right: Floats
    inverse: Floats

    @classmethod
    def of(cls, box: BoxProblem) -> _Equations:
        m, share = box.m, box.upper / box.total
        gram = np.empty((m + 1, m + 1))
        gram[:m, :m] = np.outer(share, share) / 2.0
        gram[np.arange(m), np.arange(m)] += (1.0 - share) ** 2
        gram[np.arange(m), np.arange(m)] += (m - 2) * share**2 / 2.0
        gram[:m, m] = gram[m, :m] = (1.0 - m * share) / m
        gram[m, m] = 1.0
        right = np.zeros(m + 1)
        right[m] = box.total**2 / m
        # Two variables of which one is chosen have the same equation twice.
        inverse = np.asarray(np.linalg.pinv(gram, rcond=1e-12, hermitian=True), float)
        return cls(share, right, inverse)

    def left(self, matrix: Floats) -> Floats:
        """Return A(Y)."""
        own = np.diagonal(matrix) - self.share * matrix.sum(axis=1)
        return np.append(own, matrix.sum() / own.size)

    def adjoint(self, prices: Floats) -> Floats:
        """Return A*(prices)."""
        m = self.share.size
        rows = -0.5 * self.share * prices[:m]
        matrix: Floats = rows[:, None] + rows[None, :] + prices[m] / m
        matrix[np.diag_indices(m)] += prices[:m]
        return matrix


class _Iterate:
    """A primal matrix and the multipliers, where a run has come to.

    Parameters
    ----------
    box : BoxProblem
    equations : _Equations
    weight : float
        The penalty's, inverse: residuals of the dual are worth so much in Y.
    """

    def __init__(
        self, box: BoxProblem, equations: _Equations, weight: float, cost: Floats
    ) -> None:
        self.box, self.equations, self.weight = box, equations, weight
        self.size = float(np.linalg.norm(cost))
        self.cost = self.priced = cost  # without, and with the cuts at their prices
        shape = cost.shape
        self.primal, self.slack = np.zeros(shape), np.zeros(shape)
        self.signs, self.prices = np.zeros(shape), np.zeros(box.m + 1)
        self.cuts = Triangles.of(np.zeros((0, 4), dtype=np.int64), box.upper)
        self.cut_prices = np.zeros(0)
        self.missed = 0.0

    @classmethod
    def start(cls, box: BoxProblem) -> _Iterate | None:
        """Begin at nothing; None where there is no cost to begin with."""
        cost = 0.5 * box.cost
        if box.free.size:
            cost[box.free] = 0.0  # such pairs cost whatever we like
        cost[np.diag_indices(box.m)] = box.linear / box.upper
        norm = float(np.linalg.norm(cost))
        if not norm > 1e-12:
            return None
        weight = _WEIGHT * box.total * float(box.upper.mean()) / norm
        return cls(box, _Equations.of(box), weight, cost)

    def round(self) -> None:
        """Minimise over each multiplier in turn, then move the primal matrix."""
        equations, weight = self.equations, self.weight
        scaled = self.primal / weight
        short = (equations.right - equations.left(self.primal)) / weight
        self._solve(short)
        missing = self.priced - self.slack - equations.adjoint(self.prices) - scaled
        self.signs = np.maximum(missing, 0.0)
        if self.box.free.size:
            self.signs[self.box.free] = missing[self.box.free]
        np.fill_diagonal(self.signs, 0.0)
        if self.cut_prices.size:
            self.cut_prices = self.cuts.ascended(
                self.cut_prices, weight * (self.signs - missing), weight
            )
            self.priced = self.cost + self.cuts.lifted(self.cut_prices)
        self._solve(short)
        missing = self.priced - self.signs - equations.adjoint(self.prices) - scaled
        self.slack, primal = _parts(missing)
        move = weight * primal - self.primal
        self.missed = float(np.linalg.norm(move)) / weight
        self.primal += _BEYOND * move

    def _solve(self, short: Floats) -> None:
        """Minimise over the multipliers of the equations."""
        rest = self.equations.left(self.priced - self.slack - self.signs)
        self.prices = self.equations.inverse @ (rest + short)

    def weigh(self) -> None:
        """Change the weight where one side's residual is far behind the other's."""
        off = np.linalg.norm(self.equations.left(self.primal) - self.equations.right)
        negative = np.minimum(self.primal, 0.0)
        if self.box.free.size:
            negative[self.box.free] = 0.0
        off += np.linalg.norm(negative)
        primal = float(off) * self.size
        dual = self.missed * float(np.linalg.norm(self.primal))
        if primal > 10.0 * dual:
            self.weight /= _BY
        elif primal < dual:
            self.weight *= _BY

    def separate(self) -> None:
        """Drop the cuts that have no price, and add the most violated ones."""
        self.cuts, self.cut_prices = self.cuts.renewed(self.primal, self.cut_prices)

    def bound(self, cut: float) -> float:
        """Return what the multipliers prove."""
        priced, diagonal, multipliers, point = self.dual()
        return relax(priced, diagonal, multipliers, point, enough=cut).value

    def dual(self) -> tuple[BoxProblem, Floats, Floats, Floats]:
        """Return the problem with the cuts, a diagonal, multipliers, and a point."""
        priced = self.cuts.applied(self.box, self.cut_prices)
        diagonal = 2.0 * (np.diagonal(self.priced) - self.prices[: self.box.m])
        multipliers = 2.0 * self.signs
        if self.box.free.size:  # the cost was left out there
            multipliers[self.box.free] += self.box.cost[self.box.free]
        return (
            priced,
            diagonal,
            multipliers,
            self.primal.sum(axis=1) / self.box.total,
        )


def _parts(matrix: Floats) -> tuple[Floats, Floats]:
    """Return the positive semidefinite matrices P and Q with P − Q the matrix."""
    values, vectors = np.linalg.eigh(matrix)
    negative = values < 0.0
    if 2 * int(negative.sum()) < values.size:
        some = vectors[:, negative]
        below = (some * -values[negative]) @ some.T
        return matrix + below, below
    some = vectors[:, ~negative]
    above = (some * values[~negative]) @ some.T
    return above, above - matrix
