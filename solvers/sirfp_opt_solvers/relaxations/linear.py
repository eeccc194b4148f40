"""What every linear model of the problem needs: partner bounds and integer weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sirfp_opt.partner_bound import best_partners_value

if TYPE_CHECKING:
    from sirfp_opt.canonical import CanonicalProblem

__all__ = ["IntegerWeights", "PartnerBounds", "masked_weights"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def masked_weights(canonical: CanonicalProblem) -> Floats:
    """Return weights in which pairs in conflict weigh as the worst other pair does.

    Such a pair is never chosen, so its weight is ours to set, and the worst one makes
    for the tightest bounds on what an item can gain.
    """
    if canonical.conflicts is None:
        return canonical.weights
    allowed = canonical.weights[~canonical.conflicts]
    return np.where(canonical.conflicts, allowed.min(), canonical.weights)


@dataclass(frozen=True)
class PartnerBounds:
    """How much an item can meet: bounds on g_i = Σ_{j != i} w_ij x_j.

    Attributes
    ----------
    most_in, least_in : ndarray of shape (m,)
        Over all sets of allowed cardinality that hold item i.
    most_out, least_out : ndarray of shape (m,)
        Over those that do not.
    """

    most_in: NDArray[np.float64] | Ints
    least_in: NDArray[np.float64] | Ints
    most_out: NDArray[np.float64] | Ints
    least_out: NDArray[np.float64] | Ints

    @classmethod
    def of(
        cls, weights: Floats | Ints, cardinalities: tuple[int, ...]
    ) -> PartnerBounds:
        """Sum each row's best and worst partners.

        Parameters
        ----------
        weights : ndarray of shape (m, m)
            With m >= 1; the diagonal is not read.
        cardinalities : tuple of int
            Numbers of items that a set can have.
        """
        m = weights.shape[0]
        others = weights[~np.eye(m, dtype=bool)].reshape(m, m - 1)
        ascending = np.sort(others, axis=1)
        nothing = np.zeros((m, 1), dtype=weights.dtype)
        least = np.concatenate((nothing, np.cumsum(ascending, axis=1)), axis=1)
        most = np.concatenate((nothing, np.cumsum(ascending[:, ::-1], axis=1)), axis=1)
        beside = [t - 1 for t in cardinalities if t > 0]
        without = [t for t in cardinalities if t < m] or [m - 1]
        return cls(
            most_in=most[:, beside].max(axis=1),
            least_in=least[:, beside].min(axis=1),
            most_out=most[:, without].max(axis=1),
            least_out=least[:, without].min(axis=1),
        )


@dataclass(frozen=True)
class IntegerWeights:
    """The problem on integers, for solvers that know no other numbers.

    W_ij is replaced by w_ij = round(s · W_ij), likewise the values, with s the largest
    power of two for which Σ_ij |w_ij| + 2 Σ_i |c_i| stays below 2^31 (larger totals
    have given wrong proofs, or-tools issue 5293). A power of two makes the scaling
    itself exact, so integers and short binary fractions lose nothing.

    Attributes
    ----------
    weights : ndarray of int64, shape (m, m)
    values : ndarray of int64, shape (m,)
    scale : float
        s.
    lost_weights, lost_values : ndarray
        What rounding took away, in the original units and without error.
    error : float
        No feasible set's value in the original weights exceeds its value in the
        integers, divided by s, by more than this.
    """

    weights: Ints
    values: Ints
    scale: float
    lost_weights: Floats
    lost_values: Floats
    error: float

    @classmethod
    def of(
        cls,
        weights: Floats,
        values: Floats,
        cardinalities: tuple[int, ...],
        total: int = 2**31,
    ) -> IntegerWeights:
        """Scale and round, and bound what the rounding can cost.

        Parameters
        ----------
        weights : ndarray of shape (m, m)
        values : ndarray of shape (m,)
        cardinalities : tuple of int
            Numbers of items that a set can have.
        total : int
            The total of coefficients stays below this.
        """
        mass = float(np.abs(weights).sum() + 2 * np.abs(values).sum())
        room = total - 1 - weights.size / 2 - values.size  # rounding up adds ½ each
        exponent = math.frexp(room / mass)[1] - 1 if mass > 0 else 0
        exponent = min(exponent, 1000)  # keeps subnormal weights from overflowing
        scaled = np.ldexp(weights, exponent), np.ldexp(values, exponent)
        whole = np.rint(scaled[0]), np.rint(scaled[1])
        # x - rint(x) is exact in floating point, and so is scaling it back.
        lost = scaled[0] - whole[0], scaled[1] - whole[1]
        return cls(
            weights=whole[0].astype(np.int64),
            values=whole[1].astype(np.int64),
            scale=math.ldexp(1.0, exponent),
            lost_weights=np.ldexp(lost[0], -exponent),
            lost_values=np.ldexp(lost[1], -exponent),
            error=math.ldexp(_largest_excess(*lost, cardinalities), -exponent),
        )

    def evaluate(self, items: Ints) -> int:
        """Return twice the value of a set of items in the integers."""
        pairs = self.weights[np.ix_(items, items)].sum()
        return int(pairs + 2 * self.values[items].sum())


def _largest_excess(
    weights: Floats, values: Floats, cardinalities: tuple[int, ...]
) -> float:
    """Bound max_S Σ_{i<j in S} weights_ij + Σ_{i in S} values_i from above.

    For rounding errors, which look like noise, x'Ex <= k · λ_max(E) is smaller than
    the sum of best partners, roughly by a factor √k.
    """
    if not (weights.any() or values.any()):
        return 0.0
    paired = best_partners_value(weights, values, cardinalities)
    top = float(np.linalg.eigvalsh(weights)[-1])
    top += 4 * weights.shape[0] * np.finfo(np.float64).eps * np.abs(weights).sum()
    own = np.concatenate(([0.0], np.cumsum(np.sort(values)[::-1])))
    spectral = max(float(t * top / 2 + own[t]) for t in cardinalities)
    return max(0.0, min(paired, spectral) * (1 + 1e-9))
