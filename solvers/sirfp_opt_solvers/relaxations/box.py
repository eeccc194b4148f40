"""The problem for one number of items, in the form that the relaxations work on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sirfp_opt_solvers.relaxations.linear import masked_weights

if TYPE_CHECKING:
    from sirfp_opt.canonical import CanonicalProblem

__all__ = ["BoxProblem"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class BoxProblem:
    """Minimise constant + ½ y'Hy + h'y over y in {0, u}^m with Σy = total.

    An item of size s is y = s x with u = s, so that the size constraint is Σy = total
    whatever the sizes. Values are the canonical ones, negated and divided by a power of
    two, so that the largest coefficient is about 1 and nothing can over- or underflow.

    Attributes
    ----------
    cost : ndarray of shape (m, m)
        H, symmetric with a zero diagonal.
    linear : ndarray of shape (m,)
        h.
    upper : ndarray of shape (m,)
        u, whole numbers.
    total : float
        A whole number.
    constant : float
    free : ndarray of bool, shape (m, m) or (0, 0)
        Pairs that may not both be chosen; their cost is arbitrary.
    items : ndarray of int
        The canonical items that the variables stand for.
    ones : ndarray of int
        Canonical items that have been chosen already.
    exponent : int
        That of the power of two.
    """

    cost: Floats
    linear: Floats
    upper: Floats
    total: float
    constant: float
    free: Bools
    items: Ints
    ones: Ints
    exponent: int

    @property
    def m(self) -> int:
        """Number of variables."""
        return int(self.linear.size)

    @classmethod
    def of(cls, canonical: CanonicalProblem, count: int) -> BoxProblem:
        """State the canonical problem for one total of sizes, as a minimisation."""
        sizes = canonical.sizes.astype(np.float64)
        weights = masked_weights(canonical)
        conflicts = canonical.conflicts
        values = canonical.values
        largest = max(
            float(np.abs(weights).max(initial=0.0)),
            float(np.abs(values).max(initial=0.0)),
        )
        exponent = math.frexp(largest)[1]
        # Scaled first: dividing subnormal numbers would lose digits.
        # 0 − W, not −W: a negative zero would spread.
        cost = np.ldexp(0.0 - weights, -exponent) / np.outer(sizes, sizes)
        np.fill_diagonal(cost, 0.0)
        return cls(
            cost=cost,
            linear=np.ldexp(0.0 - values, -exponent) / sizes,
            upper=sizes,
            total=float(count),
            constant=0.0,
            free=np.zeros((0, 0), dtype=bool) if conflicts is None else conflicts,
            items=np.arange(canonical.m),
            ones=np.zeros(0, dtype=np.int64),
            exponent=exponent,
        )

    def from_canonical(self, value: float) -> float:
        """Return a canonical value, to be maximised, in the unit used here."""
        try:
            return math.ldexp(-value, -self.exponent)
        except OverflowError:
            return math.copysign(math.inf, -value)

    def to_canonical(self, value: float) -> float:
        """Return the canonical value that `value` stands for, never one below.

        A bound on subnormal weights can fall between two numbers: the larger holds.
        """
        try:
            scaled = math.ldexp(value, self.exponent)
        except OverflowError:
            return math.copysign(math.inf, -value)
        if self.from_canonical(-scaled) != value:
            scaled = math.nextafter(scaled, -math.inf)
        return -scaled

    @property
    def trivial(self) -> bool:
        """Whether at most one choice is left."""
        return self.m == 0 or self.total <= 0 or self.total >= float(self.upper.sum())

    @cached_property
    def centre(self) -> Floats:
        """The point of the box that takes the same share of every variable."""
        centre: Floats = self.upper * (self.total / self.upper.sum())
        return centre

    def evaluate(self, chosen: Ints) -> float:
        """Return the objective with the variables `chosen` at their upper bound."""
        y = self.upper[chosen]
        pairs = 0.5 * y @ self.cost[chosen[:, None], chosen] @ y
        return float(self.constant + pairs + self.linear[chosen] @ y)

    def fix(self, zeros: Ints, ones: Ints) -> tuple[BoxProblem, Ints]:
        """Return the problem with variables fixed, and the indices of those left.

        Neighbours in conflict with a variable fixed to one are fixed to zero; where
        that contradicts `ones`, the total of what is returned is negative.
        """
        keep = np.ones(self.m, dtype=bool)
        keep[zeros] = False
        keep[ones] = False
        total = self.total - float(self.upper[ones].sum())
        if self.free.size and ones.size:
            barred = np.logical_or.reduce(self.free[ones], axis=0)
            if barred[ones].any():
                total = -1.0
            keep &= ~barred
        left = np.flatnonzero(keep)
        y = self.upper[ones]
        box = BoxProblem(
            cost=self.cost[left[:, None], left],
            linear=self.linear[left] + self.cost[left[:, None], ones] @ y,
            upper=self.upper[left],
            total=total,
            constant=self.evaluate(ones),
            free=self.free[left[:, None], left] if self.free.size else self.free,
            items=self.items[left],
            ones=np.concatenate((self.ones, self.items[ones])),
            exponent=self.exponent,
        )
        return box, left
