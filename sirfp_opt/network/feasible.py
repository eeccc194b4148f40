"""Which numbers of channels a layer can keep at all: sets found, or none proved.

The greedy path visits one number after another and may step over some: tied groups of
several sizes add up to more totals than their prefixes do, and a clique that the path
has missed may be there all the same. "Greedy knows none" is not "there is none".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sirfp_opt._validate import BoolArray, FloatArray, IntArray
    from sirfp_opt.canonical_form import CanonicalForm
    from sirfp_opt.constraints import LayerConstraints

__all__ = ["Found", "find_sets", "reachable_counts", "whole_groups"]

NODES = 5_000
"""Nodes of the search for a clique of one size: a second or so, at most."""


def reachable_counts(
    n: int, rules: LayerConstraints, adjacency: BoolArray | None = None
) -> tuple[int, ...]:
    """Return the totals that tied groups and single channels can make up, ascending.

    must_keep and must_drop are worked in. Missing edges count where they are certain:
    inside of a tied group, and beside a channel that is kept in any case. Without
    `adjacency` each total is that of some set; with it, some may have no clique.

    Parameters
    ----------
    n : int
    rules : LayerConstraints
        Its range of counts is not looked at.
    adjacency : ndarray of bool of shape (n, n), optional

    Examples
    --------
    >>> from sirfp_opt import LayerConstraints
    >>> reachable_counts(5, LayerConstraints(tied=[[0, 1], [2, 3, 4]]))
    (2, 3, 5)
    """
    keep, drop = set(rules.must_keep), set(rules.must_drop)
    if not rules.tied and adjacency is None:
        return tuple(range(max(1, len(keep)), n - len(drop) + 1))
    tied = {c for group in rules.tied for c in group}
    groups = [*rules.tied, *((c,) for c in range(n) if c not in tied)]
    missing = np.zeros((n, n), dtype=bool) if adjacency is None else ~adjacency
    np.fill_diagonal(missing, False)
    broken = [bool(missing[np.ix_(g, g)].any()) for g in groups]
    kept = [g for g in groups if not keep.isdisjoint(g)]
    fixed = [c for group in kept for c in group]
    if not drop.isdisjoint(fixed) or missing[np.ix_(fixed, fixed)].any():
        return ()
    barred: BoolArray = np.any(missing[:, fixed], axis=1)
    sums = 1 << len(fixed)
    for group, bad in zip(groups, broken, strict=True):
        out = bad or not drop.isdisjoint(group) or bool(barred[list(group)].any())
        if keep.isdisjoint(group) and not out:
            sums |= sums << len(group)
    return tuple(k for k in range(1, n + 1) if sums >> k & 1)


def whole_groups(channels: Iterable[int], rules: LayerConstraints) -> tuple[int, ...]:
    """Return those of some channels that may go: tied ones only as a whole group.

    Examples
    --------
    >>> from sirfp_opt import LayerConstraints
    >>> whole_groups([0, 2, 3], LayerConstraints(tied=[[0, 1], [2, 3]]))
    (2, 3)
    """
    some = set(channels) - set(rules.must_keep) - set(rules.must_drop)
    broken = {c for group in rules.tied if not some.issuperset(group) for c in group}
    return tuple(sorted(int(c) for c in some - broken))


@dataclass(frozen=True)
class Found:
    """What is known about single counts.

    Attributes
    ----------
    sets : dict of int to ndarray
        By count, items of the canonical form.
    undecided : tuple of int
        Counts without a set, and without a proof that there is none.
    """

    sets: dict[int, IntArray] = field(default_factory=dict)
    undecided: tuple[int, ...] = ()


def find_sets(
    canonical: CanonicalForm,
    counts: list[int],
    order: IntArray,
    gains: FloatArray,
    *,
    nodes: int = NODES,
) -> Found:
    """Find a set for each of `counts`, or prove that there is none.

    Parameters
    ----------
    canonical : CanonicalForm
    counts : list of int
        Numbers of channels, ascending.
    order : ndarray of int64
        Items, the most wanted first.
    gains : ndarray of float64
        What each of them is worth, roughly, in the same order.
    nodes : int
        Nodes of the search for each clique, after which it stays undecided.
    """
    totals = [k - int(canonical.kept.size) for k in counts]
    wanted = [t for t in totals if t > 0 and t in canonical.counts]
    if not wanted:
        return Found()
    if canonical.conflicts is None:
        sets = _fill(canonical.sizes[order], gains, wanted)
        undecided: tuple[int, ...] = ()
    else:
        sets, undecided = _cliques(canonical, order, wanted, nodes)
    base = int(canonical.kept.size)
    return Found(
        {total + base: order[places] for total, places in sets.items()},
        tuple(total + base for total in undecided),
    )


def _fill(sizes: IntArray, gains: FloatArray, totals: list[int]) -> dict[int, IntArray]:
    """Return, by total, places of most summed gain whose sizes add up to it."""
    top = max(totals)
    best = np.full(top + 1, -np.inf)
    best[0] = 0.0
    taken = np.zeros((sizes.size, top + 1), dtype=bool)
    for place, size in enumerate(sizes.tolist()):
        if size > top:
            continue
        trial = best[: top + 1 - size] + gains[place]
        better = trial > best[size:]
        taken[place, size:] = better
        best[size:] = np.where(better, trial, best[size:])
    found = {}
    for total in totals:
        if not np.isfinite(best[total]):
            continue
        places, left = [], total
        for place in range(sizes.size - 1, -1, -1):
            if taken[place, left]:
                places.append(place)
                left -= int(sizes[place])
        found[total] = np.array(places[::-1], dtype=np.int64)
    return found


def _cliques(
    canonical: CanonicalForm, order: IntArray, totals: list[int], nodes: int
) -> tuple[dict[int, IntArray], tuple[int, ...]]:
    assert canonical.conflicts is not None  # for the type checker: seen by the caller
    sizes = canonical.sizes[order].tolist()
    friends = [
        sum(1 << j for j in np.flatnonzero(~row).tolist()) & ~(1 << i)
        for i, row in enumerate(canonical.conflicts[np.ix_(order, order)])
    ]
    search = _CliqueSearch(sizes, friends)
    found: dict[int, IntArray] = {}
    undecided: list[int] = []
    equal = len(set(sizes)) == 1
    for place, total in enumerate(totals):
        clique = search.run(total, nodes)
        if clique:
            found[total] = np.array(sorted(clique), dtype=np.int64)
            continue
        if clique is None:
            undecided.append(total)
        if equal:
            # A part of a clique is a clique: where a size has none, larger ones have
            # none, and where it is not known, nor is theirs.
            undecided += totals[place + 1 :] if clique is None else []
            break
    return found, tuple(undecided)


class _CliqueSearch:
    """Depth-first search for a clique of a total size, on bit sets of Python ints."""

    def __init__(self, sizes: list[int], friends: list[int]) -> None:
        self.sizes, self.friends = sizes, friends

    def run(self, total: int, nodes: int) -> list[int] | None:
        """Return a clique; empty if there is none; None where the nodes ran out."""
        chosen: list[int] = []
        stack = [((1 << len(self.sizes)) - 1, total)]
        for _ in range(nodes):
            allowed, need = stack.pop()
            if not self._may_reach(allowed, need):
                if not stack:
                    return []
                chosen.pop()
                continue
            first = (allowed & -allowed).bit_length() - 1
            rest = need - self.sizes[first]
            if rest == 0:
                return [*chosen, first]
            stack.append((allowed & (allowed - 1), need))  # without it, later
            if rest > 0:
                chosen.append(first)
                stack.append((allowed & self.friends[first], rest))
        return None

    def _may_reach(self, allowed: int, need: int) -> bool:
        """Tell whether classes of mutual conflicts, one of each, could add up to it."""
        sums = 1
        while allowed:
            # A class in which each two are in conflict gives one item at most.
            clash, options, rest = allowed, 0, allowed
            while clash:
                item = (clash & -clash).bit_length() - 1
                options |= sums << self.sizes[item]
                rest &= ~(1 << item)
                clash &= ~self.friends[item] & ~(1 << item)
            sums |= options
            allowed = rest
            if sums >> need & 1:
                return True
        return False
