"""From labels to tables: which positions of which tensors are one channel."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from math import gcd
from typing import TYPE_CHECKING

import numpy as np
import torch

from sirfp_opt.pytorch.coupling.labels.classes import ELEMENT, components
from sirfp_opt.pytorch.coupling.labels.layouts import alike, dealt_out

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sirfp_opt._validate import IntArray
    from sirfp_opt.network.sites import Side
    from sirfp_opt.pytorch.coupling.labels.engine import Tracker

__all__ = ["Draft", "Place", "Tables"]

Reason = tuple[str, str]


@dataclass(frozen=True)
class Place:
    """A dimension of a tensor at which channels live; `size` positions of it."""

    tensor: str
    dim: int
    size: int
    side: Side

    @property
    def layer(self) -> str:
        """The module that holds the tensor."""
        return self.tensor.rpartition(".")[0]


@dataclass
class Draft:
    """Channels that may make a unit: on the same tensors, in the same way.

    Attributes
    ----------
    tables : dict of Place to ndarray
        By place: the positions of each channel, (channels, positions of one).
    blocks : ndarray of shape (groups, channels of one)
        Channels that only go together.
    labels : dict of int to int
        Label of each class that goes with the channels, and the channel.
    why : (module, reason), optional
        Why it stays whole.
    loose : bool
        Whether its channels go without the rest of their heads.
    """

    tables: dict[Place, IntArray]
    blocks: IntArray
    labels: dict[int, int] = field(default_factory=dict)
    why: Reason | None = None
    loose: bool = False

    @property
    def size(self) -> int:
        """Number of channels."""
        return int(self.blocks.size)


class Tables:
    """The channels of a traced network, under some choice of what goes together.

    Parameters
    ----------
    tracker : Tracker
        After the runs.
    """

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.roots = tracker.classes.all_roots()
        self.hard, self.soft = self._links()
        self.fixed = tracker.classes.fixed()
        everything = [np.zeros(0, np.int64), *tracker.read]
        read = np.unique(np.concatenate(everything))
        self._is_read = np.zeros(len(self.roots), dtype=bool)
        self._is_read[self.roots[read]] = True
        # By group or class, for one draft at a time.
        self._mine = np.zeros(len(self.roots), dtype=bool)
        self._rank, self._channel = (np.zeros_like(self.roots) for _ in range(2))
        self._whole, self._split = self._nodes()

    def _links(self) -> tuple[IntArray, IntArray]:
        """Return the pairs of classes that belong to one group, and to one head."""
        found = {False: [np.zeros((2, 0), int)], True: [np.zeros((2, 0), int)]}
        for sets in self.tracker.sets:
            rows = np.sort(self.roots[sets.rows], axis=1)
            if len(np.unique(rows, axis=0)) > 1:
                heads = np.broadcast_to(sets.heads[:, None], rows.shape)
                pairs = np.stack([self.roots[heads].ravel(), rows.ravel()])
                found[sets.hard].append(pairs[:, pairs[1] > 0])
            elif sets.why is not None:
                self.tracker.classes.fix(torch.from_numpy(rows), *sets.why)
        self._relate_spread(np.concatenate(found[False], axis=1))
        found[False].append(self.tracker.classes.links())
        hard, soft = (np.concatenate(found[kind], axis=1) for kind in (True, False))
        return hard, soft

    def _relate_spread(self, heads: IntArray) -> None:
        """Tie channels to bare parameters broadcast over them, or let these be.

        Frequencies of rotary positions, a scale of each place in a head: where the
        heads share them, whole heads go without them. Otherwise what shares one goes
        together. `heads` are pairs of a head and a member.
        """
        classes = self.tracker.classes
        head_of = np.zeros(len(self.roots), dtype=np.int64)
        for one, other in (classes.links(), classes.links()[::-1]):  # values
            belongs = classes.are_heads(one) & ~classes.are_heads(other)
            head_of[other[belongs]] = one[belongs]
        head_of[heads[1]] = heads[0]
        for small, large, where in self.tracker.spread:
            bare, over = np.broadcast_arrays(
                self.roots[small.numpy()], head_of[self.roots[large.numpy()]]
            )
            met = np.unique(np.stack([bare.ravel(), over.ravel()]), axis=1)
            met = met[:, met[0] > 0]
            shared = bool(met.size) and bool((met[1] > 0).all())
            if (
                shared
                and len(np.unique(met[0])) < met.shape[1]
                and (classes.kinds(small) == {ELEMENT})
            ):
                classes.fix(small, where, "heads share it")
            else:
                classes.link(small, large)

    def _nodes(self) -> tuple[list[tuple[Place, IntArray]], list[tuple[str, IntArray]]]:
        """Sort nodes: those along one dimension, and bare ones that vary along more.

        Of each the classes: a row of labels along the dimension, or all of them.
        """
        whole: list[tuple[Place, IntArray]] = []
        split: list[tuple[str, IntArray]] = []
        for node in self.tracker.nodes:
            found = self.roots[node.start : node.start + node.size].reshape(node.shape)
            if node.dim is not None:
                place = Place(node.name, node.dim, node.size, node.side)
                whole.append((place, found))
                continue
            dim = _only_dimension(found)
            if dim is None:
                split.append((node.name, found))
            else:
                place = Place(node.name, dim, node.shape[dim], "out")
                line = np.moveaxis(found, dim, 0).reshape(node.shape[dim], -1)[:, 0]
                whole.append((place, line))
        return whole, split

    def groups(
        self, ties: Sequence[IntArray] = (), loose: Collection[int] = ()
    ) -> IntArray:
        """Return for each label the number of the group that it goes with.

        Parameters
        ----------
        ties : sequence of ndarray of shape (2, n)
            Pairs of classes that go together besides.
        loose : collection of int
            Classes that go without the rest of their heads.
        """
        soft = self.without(loose)
        left, right = np.concatenate([self.hard, soft, *ties], axis=1)
        return components(left, right, len(self.roots))[self.roots]

    def without(self, loose: Collection[int]) -> IntArray:
        """Return the pairs that belong to one head, those of some classes left out."""
        out = np.fromiter(loose, dtype=np.int64)
        return self.soft[:, ~np.isin(self.soft, out).any(axis=0)]

    def drafts(self, group: IntArray) -> list[Draft]:
        """Return the candidates that follow from what goes together."""
        places = list(self._whole)
        why = {int(group[root]): reason for root, reason in self.fixed.items()}
        for name, found in self._split:
            dim = _only_dimension(group[found])
            if dim is None:
                layer = name.rpartition(".")[0]
                reason = layer, f"its channels meet the bare parameter {name!r}"
                for one in np.unique(group[found]).tolist():
                    why.setdefault(one, reason)
            else:
                shape = found.shape
                line = np.moveaxis(found, dim, 0).reshape(shape[dim], -1)[:, 0]
                places.append((Place(name, dim, shape[dim], "out"), line))
        return [
            self._draft([places[i] for i in where], members, group, why)
            for where, members in alike([group[line] for _, line in places])
        ]

    def _draft(
        self,
        places: list[tuple[Place, IntArray]],
        members: IntArray,
        group: IntArray,
        why: dict[int, Reason],
    ) -> Draft:
        """Lay out groups that live at the same places, channel by channel."""
        self._mine[members] = True
        counts, found = [], []
        for place, line in places:
            here = np.flatnonzero(self._mine[group[line]])
            found.append((place, line[here], here))
            counts.append(len(here) // len(members))
        self._mine[members] = False
        made = next((entry for entry in found if entry[0].side == "out"), found[0])
        first = np.unique(group[made[1]], return_index=True)[1]  # of each group there
        rank = np.empty(len(members), dtype=np.int64)
        rank[np.argsort(first)] = np.arange(len(members))
        self._rank[members] = rank
        lines = [(classes, here) for _, classes, here in found]
        width = reduce(gcd, counts)
        dealt = dealt_out(lines, self._rank, group, width)
        if dealt is None:
            width = 1
            dealt = dealt_out(lines, self._rank, group, 1)
            assert dealt is not None
        ones, channels = dealt
        self._channel[ones] = channels
        tables = {}
        for place, classes, here in found:
            by = np.lexsort((here, self._channel[classes]))
            tables[place] = here[by].reshape(len(members) * width, -1)
        reasons = [why[g] for g in members.tolist() if g in why]
        reason = reasons[0] if reasons else None
        blocks = np.arange(len(members) * width).reshape(len(members), width)
        # Number the channels as they stand where they are made.
        line = tables[made[0]][:, 0]
        if (np.diff(line) < 0).any():
            natural = np.argsort(line, kind="stable")
            number = np.empty_like(natural)
            number[natural] = np.arange(len(natural))
            tables = {place: table[natural] for place, table in tables.items()}
            blocks = np.sort(number[blocks], axis=1)
            blocks = blocks[np.argsort(blocks[:, 0])]
            channels = number[channels]
        if reason is None and not self._is_read[ones].any():
            reason = "", "nothing reads its channels: no output depends on them"
        labels = dict(zip(ones.tolist(), channels.tolist(), strict=True))
        return Draft(tables, blocks, labels, reason)


def _only_dimension(labels: IntArray) -> int | None:
    """Return the only dimension along which labels vary; None if there are several.

    Where they do not vary at all, the last one.
    """
    wide = [
        d
        for d in range(labels.ndim)
        if labels.shape[d] > 1 and bool((labels != labels.take([0], axis=d)).any())
    ]
    if len(wide) > 1:
        return None
    if wide:
        return wide[0]
    return max(range(labels.ndim), key=lambda d: (labels.shape[d] > 1, d))
