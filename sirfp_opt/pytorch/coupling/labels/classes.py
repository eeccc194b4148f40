"""Labels that are one channel: a union-find over integers, by whole arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from sirfp_opt.pytorch.coupling.labels.layouts import distinct

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sirfp_opt._validate import IntArray

__all__ = [
    "ELEMENT",
    "HEAD",
    "INPUT",
    "NONE",
    "PLAIN",
    "Classes",
    "components",
    "distinct",
]

NONE, INPUT = 0, 1
"""Labels of what belongs to no channel, and of the network's input."""

ELEMENT, PLAIN, HEAD = 0, 1, 2
"""Kinds: an element of a bare parameter, a channel, a head. The highest one counts."""

Reason = tuple[str, str]
"""(module, clause that goes after its name)"""


def components(left: IntArray, right: IntArray, count: int) -> IntArray:
    """Return for each of `count` nodes the number of its connected component."""
    ones = np.ones(len(left), dtype=np.int8)
    graph = coo_array((ones, (left, right)), shape=(count, count))
    found: IntArray = connected_components(graph, directed=False)[1].astype(np.int64)
    return found


class Classes:
    """Labels 0, 1, 2, ... and what is known of them.

    Three relations: *united* labels are one channel; *linked* ones belong to one head
    or group, which goes as a whole; a *fixed* one stays, for a reason.
    """

    def __init__(self) -> None:
        self.count = 2
        self._parent = np.arange(1 << 12)
        self._kind = np.full(1 << 12, PLAIN, np.int8)
        self._links: list[IntArray] = []
        self._fixed: dict[int, Reason] = {INPUT: ("", "the network's input")}

    def fresh(self, size: int, kind: int = PLAIN) -> int:
        """Return the first of `size` new labels in a row."""
        start, self.count = self.count, self.count + size
        if self.count > len(self._parent):
            more = max(len(self._parent), self.count)
            old = len(self._parent)
            self._parent = np.concatenate([self._parent, np.arange(old, old + more)])
            self._kind = np.concatenate([self._kind, np.zeros(more, np.int8)])
        self._kind[start : self.count] = kind
        return start

    def find(self, labels: Tensor) -> Tensor:
        """Return the labels that stand for the classes of `labels`."""
        return torch.from_numpy(self.roots(labels.numpy()))

    def roots(self, labels: IntArray) -> IntArray:
        """Return `find` of an array."""
        found: IntArray = np.asarray(self._parent[labels])  # also of a single one
        while True:
            further = np.asarray(self._parent[found])
            if np.array_equal(further, found):
                break
            found = further
        self._parent[labels] = found
        return found

    def kinds(self, labels: Tensor) -> set[int]:
        """Return the kinds of the labels, those that are none left out."""
        roots = distinct(self.roots(labels.numpy()))
        return set(self._kind[roots[roots > 0]].tolist())

    def are_heads(self, roots: IntArray) -> NDArray[np.bool_]:
        """Tell which classes, by the labels that stand for them, are heads."""
        found: NDArray[np.bool_] = self._kind[roots] == HEAD
        return found

    def _pairs(self, one: Tensor, other: Tensor) -> IntArray:
        """Return the distinct pairs of labels that stand at the same places, (2, n)."""
        a, b = np.broadcast_arrays(self.roots(one.numpy()), self.roots(other.numpy()))
        meet = (a != b) & (a > 0) & (b > 0)
        keys = distinct(a[meet] * self.count + b[meet])
        return np.stack(np.divmod(keys, self.count))

    def unite(self, one: Tensor, other: Tensor) -> None:
        """Make one class of the labels that stand at the same places."""
        pairs = self._pairs(one, other)
        if not pairs.size:
            return
        labels, index = np.unique(pairs, return_inverse=True)
        if len(labels) == pairs.size:  # each with one other
            low, high = pairs.min(axis=0), pairs.max(axis=0)
            self._kind[low] = np.maximum(self._kind[low], self._kind[high])
            self._parent[high] = low
            return
        left, right = index.reshape(2, -1)
        group = components(left, right, len(labels))
        least = np.full(int(group.max()) + 1, self.count)
        np.minimum.at(least, group, labels)
        np.maximum.at(self._kind, least[group], self._kind[labels])
        self._parent[labels] = least[group]

    def link(self, one: Tensor, other: Tensor) -> None:
        """Note that the labels at the same places belong to one head."""
        self._links.append(self._pairs(one, other))

    def fix(self, labels: Tensor | None, where: str, why: str) -> None:
        """Note that labels stay; the first reason counts."""
        if labels is not None:
            for label in distinct(self.roots(labels.numpy())).tolist():
                if label:
                    self._fixed.setdefault(label, (where, why))

    def all_roots(self) -> IntArray:
        """Return for each label the one that stands for its class."""
        return self.roots(np.arange(self.count))

    def fixed(self) -> dict[int, Reason]:
        """Return why classes stay, by the label that stands for each."""
        found: dict[int, Reason] = {}
        for label in sorted(self._fixed):
            root = int(self.roots(np.array([label]))[0])
            # That it meets the input is the weakest of words: it is so for all after.
            if root not in found or found[root] == self._fixed[INPUT]:
                found[root] = self._fixed[label]
        return found

    def links(self) -> IntArray:
        """Return the linked pairs of classes, by their roots, of shape (2, n)."""
        nothing = np.zeros((2, 0), dtype=np.int64)
        found: IntArray = self.all_roots()[np.concatenate([nothing, *self._links], 1)]
        return found
