"""Other ways to cut channels, for when the first one fails a trial."""

from __future__ import annotations

from collections import defaultdict
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt.pytorch.coupling.attributes import OWN, totals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sirfp_opt._validate import IntArray
    from sirfp_opt.pytorch.coupling.drafting import Candidate, Drafting
    from sirfp_opt.pytorch.coupling.labels.tables import Draft, Tables

__all__ = ["Way", "Ways", "claimed_twice", "inside_heads"]

MOST_GRIDS = 3
MOST_PARTNERS = 6


@dataclass(frozen=True)
class Way:
    """How to cut channels: what goes together besides, what is counted besides.

    Attributes
    ----------
    what : str
        For the log.
    ties : tuple of ndarray of shape (2, n)
        Pairs of classes that go together.
    broad : bool
        Whether all attributes that may count the channels shrink with them.
    loose : frozenset of int
        Classes that go without the rest of their heads.
    partner : str
        The unit that the channels are tied to; empty where it is none.
    """

    what: str
    ties: tuple[IntArray, ...] = ()
    broad: bool = False
    loose: frozenset[int] = frozenset()
    partner: str = ""

    @property
    def kind(self) -> tuple[str, bool]:
        """What ways of several channels have in common, whatever they are tied to."""
        what = self.what.replace(self.partner, "") if self.partner else self.what
        return what, self.broad


@dataclass
class Ways:
    """Lists the ways for a candidate, the likeliest first."""

    drafting: Drafting
    _grids: list[IntArray] = field(default_factory=list)

    def __post_init__(self) -> None:
        roots, seen = self.drafting.tables.roots, set()
        for grid in self.drafting.tables.tracker.grids:
            labels = roots[grid.labels]
            key = (labels.shape, labels.tobytes())
            if key not in seen:
                seen.add(key)
                self._grids.append(labels)

    def of(
        self, candidate: Candidate, others: Sequence[Candidate], where: str
    ) -> list[Way]:
        """Return the ways for a candidate beside others, without the one it came by.

        Parameters
        ----------
        candidate : Candidate
        others : sequence of Candidate
            What it may be tied to.
        where : str
            The module whose code fails.
        """
        draft = candidate.draft
        known = set(candidate.unit.attributes)
        broad = bool(set(self.drafting.counting.broadly(draft)) - known)
        found: list[Way] = [Way("counting attributes", broad=True)] if broad else []
        for other, tie in self._with_heads(draft, others, where):
            found.append(Way(f"together with {other}", (tie,), partner=other))
        for what, ties in self._along_grids(draft):
            found.append(Way(what, ties))
            found.append(Way(f"{what}, counting attributes", ties, broad=True))
        for other, tie in self._partners(draft, others, where):
            what = f"as many as {other}"
            found.append(Way(what, (tie,), partner=other))
            if broad:
                what = f"{what}, counting attributes"
                found.append(Way(what, (tie,), broad=True, partner=other))
        found += self._in_every_head(draft)
        return found

    def _with_heads(
        self, draft: Draft, others: Sequence[Candidate], where: str
    ) -> list[tuple[str, IntArray]]:
        """Tie a stream to the heads that read it: a head's width of it to each head.

        For code that takes the width of a head from the stream's, as
        ``C // num_heads`` does, or lays out all heads in as many channels.
        """
        counting = self.drafting.counting
        own = counting.heads(draft)[0] is not None
        found = []
        for other in others:
            theirs = counting.heads(other.draft)[0] is not None
            if other.draft is draft or own is theirs:
                continue
            heads, stream = (draft, other.draft) if own else (other.draft, draft)
            if not _is_within(counting.near(other.draft), where):
                continue
            fits = stream.size in totals(heads) and stream.size % len(heads.blocks) == 0
            if fits:
                pair = _by_share(heads, stream)
                found.append((other.unit.name, pair))
        return found[:MOST_PARTNERS]

    def _along_grids(self, draft: Draft) -> list[tuple[str, tuple[IntArray, ...]]]:
        """Tie channels that the code lays out in rows and columns, by either."""
        mine = np.fromiter(draft.labels, dtype=np.int64)
        touched = []
        for grid in self._grids:
            here = np.isin(grid, mine)
            if here.any() and len(np.unique(grid)) > max(grid.shape):
                touched.append(grid)
        found: list[tuple[str, tuple[IntArray, ...]]] = []
        if not touched:
            return found
        for what, axis in (("columns", -1), ("rows", 0)):
            found.append((what, tuple(_along(grid, axis) for grid in touched)))
        if len(touched) > 1:
            for number, grid in enumerate(touched[:MOST_GRIDS]):
                for axis in range(grid.ndim):
                    found.append((f"grid {number}, axis {axis}", (_along(grid, axis),)))
        elif touched[0].ndim > 2:
            for axis in range(1, touched[0].ndim - 1):
                found.append((f"axis {axis}", (_along(touched[0], axis),)))
        return found

    def _partners(
        self, draft: Draft, others: Sequence[Candidate], where: str
    ) -> list[tuple[str, IntArray]]:
        """Tie the channels to those of units of the same size in the same code.

        Heads also to a stream that goes with other heads already, and which only
        layers within that code read: its width is asked for in the code itself.
        """
        if isinstance(self.drafting.modules.get(where), OWN):
            return []  # a layer of PyTorch's own takes no two counts for equal
        counting = self.drafting.counting
        heads = counting.heads(draft)[0] is not None
        found = []
        for other in others:
            if other.draft is draft or other.draft.blocks.shape != draft.blocks.shape:
                continue
            near = counting.near(other.draft)
            within = heads and counting.heads(other.draft)[0] is not None
            if where in near or (within and _is_within(near, where)):
                pair = _by_number(draft, other.draft)
                found.append((other.unit.name, pair))
        return found[:MOST_PARTNERS]

    def _in_every_head(self, draft: Draft) -> list[Way]:
        """Take the same place of every head, instead of whole heads."""
        by_place: dict[tuple[int, int], list[int]] = defaultdict(list)
        block_of = {int(c): b for b, row in enumerate(draft.blocks) for c in row}
        place_of = {int(c): i for row in draft.blocks for i, c in enumerate(row)}
        for one, channel in draft.labels.items():
            by_place[block_of[channel], place_of[channel]].append(one)
        if draft.blocks.shape[1] < 2 or len(draft.blocks) < 2:
            return []
        heads, _ = self.drafting.counting.heads(draft)
        if heads is None:
            return []
        ties = []
        for place in range(draft.blocks.shape[1]):
            rows = [sorted(by_place[b, place]) for b in range(len(draft.blocks))]
            if len({len(row) for row in rows}) > 1:
                return []
            table = np.array(rows)
            ties.append(np.stack([table[:-1].ravel(), table[1:].ravel()]))
        loose = frozenset(draft.labels)
        tie = np.concatenate(ties, axis=1)
        return [
            Way("the same place of every head", (tie,), loose=loose),
            Way("the same place of every head, counting", (tie,), True, loose),
        ]


def inside_heads(drafting: Drafting) -> Tables:
    """Return the tables in which the same place of every head goes, and no whole head.

    Queries and keys are units of their own then, and values are.
    """
    tables, ways = drafting.tables, Ways(drafting)
    found = [
        way
        for draft in tables.drafts(tables.groups())
        for way in ways._in_every_head(draft)[:1]
    ]
    loose = frozenset[int]().union(*(way.loose for way in found))
    ties = [tie for way in found for tie in way.ties]
    apart = copy(tables)
    apart.hard = np.concatenate([tables.hard, *ties], axis=1)
    apart.soft = tables.without(loose)
    return apart


def claimed_twice(candidates: Sequence[Candidate]) -> list[IntArray]:
    """Tie candidates all of whose channels one and the same attribute counts."""
    first: dict[tuple[str, str, int | None], Candidate] = {}
    ties = []
    for candidate in candidates:
        for one in candidate.unit.attributes:
            other = first.setdefault((one.module, one.name, one.index), candidate)
            if other is candidate or one.share is not None:
                continue
            if other.draft.blocks.shape == candidate.draft.blocks.shape:
                ties.append(_by_number(other.draft, candidate.draft))
    return ties


def _is_within(names: Sequence[str], where: str) -> bool:
    """Tell whether a module, or one within it, is among those named."""
    return any(name == where or name.startswith(f"{where}.") for name in names)


def _along(grid: IntArray, axis: int) -> IntArray:
    """Tie the entries of a grid that have the same place along an axis."""
    lines = np.moveaxis(grid, axis, 0).reshape(grid.shape[axis], -1)
    first = np.broadcast_to(lines[:, :1], lines.shape)
    return np.stack([first.ravel(), lines.ravel()])


def _by_share(heads: Draft, stream: Draft) -> IntArray:
    """Tie equal shares of a stream, in its order, to the heads in theirs."""
    first: dict[int, int] = {}
    block_of = {int(c): b for b, row in enumerate(heads.blocks) for c in row}
    for label, channel in heads.labels.items():
        first.setdefault(block_of[channel], label)
    width = stream.size // len(heads.blocks)
    pairs = [(first[c // width], label) for label, c in stream.labels.items()]
    return np.array(pairs, dtype=np.int64).T


def _by_number(one: Draft, other: Draft) -> IntArray:
    """Tie the channels of two drafts that have the same number."""
    first: dict[int, int] = {}
    for label, channel in one.labels.items():
        first.setdefault(channel, label)
    pairs = [(first[c], label) for label, c in other.labels.items() if c in first]
    return np.array(pairs, dtype=np.int64).T
