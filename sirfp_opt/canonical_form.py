"""CanonicalForm: items to choose from, whatever the choice is worth.

Users state a layer in many ways: two senses, channels that must stay or go, groups
that move together. Solvers should not have to know. Here all of that is worked into a
smaller maximisation problem over *items* (a free channel, or a free tied group).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import comb
from typing import TYPE_CHECKING, overload

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sirfp_opt._validate import BoolArray, FloatArray, IntArray

__all__ = ["CanonicalForm", "Singles"]


class Singles(Sequence["IntArray"]):
    """The members of items that stand for one channel each, made when asked for.

    Parameters
    ----------
    channels : ndarray of int64, shape (m,)
        Read-only.
    """

    def __init__(self, channels: IntArray) -> None:
        self.channels = channels

    def __len__(self) -> int:
        return int(self.channels.size)

    @overload
    def __getitem__(self, index: int) -> IntArray: ...
    @overload
    def __getitem__(self, index: slice) -> Singles: ...
    def __getitem__(self, index: int | slice) -> IntArray | Singles:
        if isinstance(index, slice):
            return Singles(self.channels[index])
        member: IntArray = self.channels[:, None][index]
        return member


@dataclass(frozen=True, eq=False, kw_only=True)
class CanonicalForm(ABC):
    """Choose items whose sizes add up to an allowed count, to maximise some value.

    What every objective has in common: an item stands for one free channel or one free
    tied group; channels that are kept or dropped for certain are worked in.

    Attributes
    ----------
    sizes : ndarray of int, shape (m,)
        Channels in each item.
    conflicts : ndarray of bool, shape (m, m), or None
        True where two items may not both be chosen.
    counts : tuple of int
        Ascending totals of sizes that are allowed and can be made up of the sizes.
    offset : float
        Objective, in this form, of choosing no item.
    sign : int
        Objective of the original problem = sign · (offset + value of X) · 2^exponent.
    exponent : int
        0 unless the numbers are so small or so large that working with them would
        lose digits: then that of the power of two that they were divided by.
    kept : ndarray of int
        Channels that are in every solution.
    members : sequence of ndarray of int
        The channels of each item.
    n : int
        Channels of the original layer.
    """

    sizes: IntArray
    conflicts: BoolArray | None
    counts: tuple[int, ...]
    offset: float
    sign: int
    kept: IntArray
    members: Sequence[IntArray]
    n: int
    exponent: int = 0

    @property
    def m(self) -> int:
        """Number of items."""
        return len(self.sizes)

    @property
    def _single(self) -> IntArray | None:
        """The one channel of each item, None where some stand for several."""
        if isinstance(self.members, Singles):
            return self.members.channels if self.m else None
        return self._single_groups

    @cached_property
    def _single_groups(self) -> IntArray | None:
        if self.m == 0 or self.unit_size != 1:
            return None
        return np.concatenate(self.members)

    @property
    def unit_size(self) -> int | None:
        """The size all items share, or None where sizes differ (1 with no items)."""
        return 1 if isinstance(self.members, Singles) else self._group_size

    @cached_property
    def _group_size(self) -> int | None:
        if self.m == 0:
            return 1
        first = int(self.sizes[0])
        return first if bool((self.sizes == first).all()) else None

    @property
    def unlike(self) -> IntArray | None:
        """The sizes, None where all items share one."""
        return None if self.unit_size is not None else self.sizes

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Numbers of items that a solution can have, ascending.

        Exact where all sizes are equal; where they differ, the range from the fewest
        to the most items that can lie within the counts.
        """
        if isinstance(self.members, Singles):
            return self.counts
        return self._group_numbers

    @cached_property
    def _group_numbers(self) -> tuple[int, ...]:
        unit = self.unit_size
        if unit is not None:
            return tuple(c // unit for c in self.counts if c % unit == 0)
        ascending = np.sort(self.sizes)
        most = int(np.searchsorted(np.cumsum(ascending), self.counts[-1], "right"))
        largest_first = np.concatenate(([0], np.cumsum(ascending[::-1])))
        fewest = int(np.searchsorted(largest_first, self.counts[0], "left"))
        return tuple(range(fewest, most + 1))

    @cached_property
    def subsets(self) -> int:
        """Number of item sets of allowed cardinality: the size of the search space."""
        return sum(comb(self.m, c) for c in self.cardinalities)

    @property
    @abstractmethod
    def rounding_error(self) -> float:
        """How far a float64 value of this problem can be off."""

    @property
    @abstractmethod
    def scores(self) -> FloatArray:
        """What each item is worth by itself, ranked once against all the others."""

    @abstractmethod
    def bounds_by_count(self) -> dict[int, float]:
        """Return, for each allowed count, a bound on its sets that costs nothing."""

    @abstractmethod
    def values_of(self, chosen: BoolArray) -> FloatArray:
        """Return the values, without the offset, of sets given as rows of a mask.

        Parameters
        ----------
        chosen : ndarray of bool, shape (b, m)

        Returns
        -------
        ndarray of float64, shape (b,)
        """

    def evaluate(self, items: Sequence[int] | IntArray) -> float:
        """Return the value of a set of items in this form, without the offset."""
        chosen = np.zeros((1, self.m), dtype=bool)
        chosen[0, np.asarray(items, dtype=np.int64)] = True
        return float(self.values_of(chosen)[0])

    def to_objective(self, value: float) -> float:
        """Map a value, or a bound on it, to the original problem's sense and units."""
        return _shifted(self.sign * (self.offset + value), self.exponent)

    def from_objective(self, objective: float) -> float:
        """Map an objective of the original problem to this form."""
        return self.sign * _shifted(objective, -self.exponent) - self.offset

    @property
    def objective_rounding(self) -> float:
        """The `rounding_error` in the original problem's units."""
        return _shifted(self.rounding_error, self.exponent)

    def on_grid(self, bound: float) -> float:
        """Lower an upper bound on the canonical value to one that a set can have."""
        return bound

    def lift(self, items: Iterable[int] | IntArray) -> IntArray:
        """Return the channels, ascending, that a set of items stands for."""
        single = self._single
        if single is not None:
            listed = items if isinstance(items, np.ndarray) else list(items)
            channels = single[np.asarray(listed, dtype=np.int64)]
            if self.kept.size:
                channels = np.concatenate((self.kept, channels))
            channels.sort()
            return channels
        parts = [self.kept, *(self.members[int(i)] for i in items)]
        return np.sort(np.concatenate(parts)).astype(np.int64)

    def project(self, selected: Sequence[int] | IntArray) -> IntArray:
        """Return the items whose channels all lie in `selected`."""
        inside = np.zeros(self.n, dtype=bool)
        inside[np.asarray(selected, dtype=np.int64)] = True
        if self._single is not None:
            return np.flatnonzero(inside[self._single])
        hits = [i for i, member in enumerate(self.members) if inside[member].all()]
        return np.asarray(hits, dtype=np.int64)


def _shifted(value: float, exponent: int) -> float:
    """Return value · 2^exponent, infinite where that overflows."""
    if exponent == 0:
        return value
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return math.copysign(math.inf, value)
