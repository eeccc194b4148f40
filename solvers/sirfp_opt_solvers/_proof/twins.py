"""Channels that stand in for each other, as one choice of how many to keep.

If item j gains at least as much as item i beside any other item, then a set that holds
i without j is no worse with j in its place. Along a chain of such items only the first
t matter, for some t. Copies of a channel are such a chain, and so are copies at another
scale where weights have one sign. Without that knowledge branch and bound works through
all the choices among copies, which are equally good.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sirfp_opt.canonical import CanonicalProblem

if TYPE_CHECKING:
    from sirfp_opt._validate import BoolArray

__all__ = ["Merged", "merge_twins"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Longer chains are cut: as single choices they are many, and their sizes large.
_LONGEST = 8
# Columns that candidates are recognised by, and how far apart two may be there.
_PROBES, _ALIKE = 24, 3e-6
# Chains that an item is compared with, at most.
_OPEN = 64


@dataclass(frozen=True, eq=False)
class Merged:
    """A problem in which each chain is one choice, and the way back.

    A chain of c items becomes c items in conflict with each other, the t-th of which
    stands for the first t. Without chains it is the problem as it was.

    Attributes
    ----------
    canonical : CanonicalProblem
    parts : tuple of ndarray of int, or None
        The original items that each merged item stands for.
    slack : float
        By how much the original optimum can be better than the merged one, and the
        value of a merged set be off, by rounding and by copies that are not quite
        equal.
    """

    canonical: CanonicalProblem
    parts: tuple[Ints, ...] | None = None
    slack: float = 0.0

    def items(self, merged: Ints) -> Ints:
        """Return the original items of a set of merged ones."""
        if self.parts is None:
            return merged
        chosen = [self.parts[int(i)] for i in merged]
        return np.concatenate(chosen) if chosen else np.zeros(0, dtype=np.int64)


@dataclass
class _Chain:
    """Items of which each can stand in for those after it.

    `exclusive`: of these only one can be chosen, because they are in conflict.
    """

    items: list[int]
    exclusive: bool = False


def merge_twins(canonical: CanonicalProblem, allowance: float) -> Merged:
    """Merge items that can stand in for each other.

    Parameters
    ----------
    canonical : CanonicalProblem
    allowance : float
        What all the merging may cost, in canonical units, beside rounding: copies need
        not be equal to the last bit.
    """
    if canonical.m < 3:
        return Merged(canonical)
    chains, loss = _Chains(canonical, allowance / canonical.m).build()
    if not chains:
        return Merged(canonical)
    single = np.ones(canonical.m, dtype=bool)
    for chain in chains:
        single[chain.items] = False
    ends = [[i] for i in np.flatnonzero(single).tolist()]
    kept = [c.items[:1] if c.exclusive else c.items for c in chains]
    parts = [group for group in (*ends, *kept) if group]
    merged, members = _accumulate(canonical, parts)
    # Prefix sums along rows, then columns, over pairs of which each counts once.
    total = float(np.abs(canonical.weights).sum() + np.abs(canonical.values).sum())
    longest = max(map(len, parts))
    rounding = 0.5 * (longest + 1) * float(np.finfo(np.float64).eps) * total
    return Merged(merged, members, loss + rounding)


class _Chains:
    """Finds the chains of a problem.

    Parameters
    ----------
    canonical : CanonicalProblem
    near : float
        What putting one item in another's place may cost.
    """

    def __init__(self, canonical: CanonicalProblem, near: float) -> None:
        self.weights = canonical.weights
        self.values, self.sizes = canonical.values, canonical.sizes
        self.conflicts: BoolArray | None = canonical.conflicts
        if self.conflicts is not None:  # the weights of such pairs never count
            self.weights = np.where(self.conflicts, 0.0, self.weights)
        self.others = max(canonical.cardinalities[-1] - 1, 0)
        self.near = near

    def build(self) -> tuple[list[_Chain], float]:
        """Return the chains of two and more, and what using them can cost."""
        worth = self.values + self.weights.sum(axis=1)
        chains: list[_Chain] = []
        total = 0.0
        for items in self._clusters():
            grown: list[_Chain] = []
            for item in items[np.argsort(-worth[items], kind="stable")].tolist():
                total += self._place(item, grown)
            chains += [chain for chain in grown if len(chain.items) > 1]
        return chains, total

    def _clusters(self) -> list[Ints]:
        """Return groups of items whose rows are proportional at a few columns.

        A pair's own columns tell nothing about it. It spoils two of three disjoint
        sets of columns at most, so that a third recognises it.
        """
        m = self.values.size
        rng = np.random.default_rng(0)
        count = min(_PROBES, m // 3)
        pairs = []
        for columns in rng.permutation(m)[: 3 * count].reshape(3, count):
            rows = self.weights[:, columns]
            rows = rows / np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-300)
            length = np.sqrt((rows**2).sum(axis=1, keepdims=True))
            key = (rows / np.maximum(length, 1e-300)) @ rng.normal(size=count)
            order = np.argsort(key, kind="stable")
            alike = np.flatnonzero(np.diff(key[order]) <= _ALIKE)
            pairs.append(np.stack((order[alike], order[alike + 1])))
        i, j = np.concatenate(pairs, axis=1)
        label = _components(m, i, j)
        order = np.argsort(label, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(label[order])) + 1)
        return [group for group in groups if group.size > 1]

    def _place(self, item: int, chains: list[_Chain]) -> float:
        """Append an item to a chain that allows it; return what that can cost."""
        recent = [c for c in chains if c.exclusive or len(c.items) < _LONGEST]
        recent = recent[-_OPEN:]
        if recent:
            last = np.asarray([c.items[-1] for c in recent])
            for at in np.flatnonzero(self._losses(item, last) <= self.near):
                chain = recent[at]
                before = np.asarray(chain.items)
                loss = float(self._losses(item, before).max())
                if loss <= self.near and self._fits(item, chain):
                    chain.items.append(item)
                    return loss
        chains.append(_Chain([item]))
        return 0.0

    def _losses(self, item: int, instead: Ints) -> Floats:
        """Return what putting each of `instead` in the item's place can cost."""
        short = np.maximum(self.weights[item] - self.weights[instead], 0.0)
        short[:, item] = 0.0
        short[np.arange(instead.size), instead] = 0.0
        own = np.maximum(self.values[item] - self.values[instead], 0.0)
        with np.errstate(over="ignore"):
            most = np.minimum(short.sum(axis=1), self.others * short.max(axis=1))
        losses: Floats = own + most
        losses[self.sizes[instead] != self.sizes[item]] = np.inf
        return losses

    def _fits(self, item: int, chain: _Chain) -> bool:
        """Tell whether item and chain are in conflict with the same items."""
        if self.conflicts is None:
            return True
        members = np.asarray(chain.items)
        inside = self.conflicts[item, members]
        exclusive = bool(inside.all())
        if not exclusive and bool(inside.any()):
            return False
        if members.size > 1 and exclusive != chain.exclusive:
            return False
        if not exclusive and members.size >= _LONGEST:
            return False
        differ = self.conflicts[item] != self.conflicts[members[0]]
        differ[item] = False
        differ[members] = False
        if differ.any():
            return False
        chain.exclusive = exclusive
        return True


def _components(m: int, i: Ints, j: Ints) -> Ints:
    """Return a label for each of m nodes, the same for those that edges i, j join."""
    label = np.arange(m)
    while True:
        least = label.copy()
        np.minimum.at(least, i, label[j])
        np.minimum.at(least, j, label[i])
        least = least[least]
        if np.array_equal(least, label):
            return label
        label = least


def _accumulate(
    canonical: CanonicalProblem, groups: list[list[int]]
) -> tuple[CanonicalProblem, tuple[Ints, ...]]:
    """Return the problem over the prefixes of the groups, and those prefixes."""
    order = np.concatenate([np.asarray(g, dtype=np.int64) for g in groups])
    label = np.repeat(np.arange(len(groups)), [len(g) for g in groups])
    stops = np.cumsum([len(g) for g in groups])
    runs = [
        slice(int(stop) - len(group), int(stop))
        for stop, group in zip(stops, groups, strict=True)
        if len(group) > 1
    ]
    weights = canonical.weights[np.ix_(order, order)]
    values, sizes = canonical.values[order], canonical.sizes[order]
    for run in runs:
        values[run] += np.tril(weights[run, run], -1).sum(axis=1)
        values[run] = np.cumsum(values[run])
        sizes[run] = np.cumsum(sizes[run])
    for run in runs:
        weights[run] = np.cumsum(weights[run], axis=0)
    for run in runs:
        weights[:, run] = np.cumsum(weights[:, run], axis=1)
    # Both triangles add up the same numbers, in different order.
    weights = (weights + weights.T) / 2
    same = label[:, None] == label[None, :]
    np.fill_diagonal(same, False)
    weights[same] = 0.0
    np.fill_diagonal(weights, 0.0)
    conflicts = same
    if canonical.conflicts is not None:
        conflicts = canonical.conflicts[np.ix_(order, order)] | same
    parts = []
    for group in groups:
        chain = np.asarray(group, dtype=np.int64)
        parts += [chain[: t + 1] for t in range(chain.size)]
    merged = CanonicalProblem(
        weights=weights,
        values=values,
        sizes=sizes,
        conflicts=conflicts if conflicts.any() else None,
        counts=canonical.counts,
        offset=canonical.offset,
        sign=canonical.sign,
        kept=canonical.kept,
        members=tuple(
            np.concatenate([canonical.members[int(i)] for i in part]) for part in parts
        ),
        n=canonical.n,
        exponent=canonical.exponent,
    )
    return merged, tuple(parts)
