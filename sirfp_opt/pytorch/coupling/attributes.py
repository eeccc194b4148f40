"""Attributes that count channels: found by name and value, proved by a trial cut."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from sirfp_opt.network.plan import Attribute, Site

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sirfp_opt._validate import IntArray
    from sirfp_opt.pytorch.coupling.labels.tables import Draft, Tables

__all__ = ["OWN", "Counting", "totals"]

HEADS = re.compile(
    r"^(n|num)?_?(attention|attn|key_value|query|self_attention|q|kv)?_?heads?(_q|_kv)?$"
    r"|^nheads?$|^[hH]$|^nh$"
)
OF_HEADS = re.compile(
    r"^(all_head_size|inner_dim|inner_size|attn_dim|d_attn|proj_dim)$"
)
ONE_HEAD = re.compile(r"head_(dim|size)|dim_(per_)?head|d_k|d_v|key_dim|scale|kernel")
CHANNELS = re.compile(
    r"dim|size|width|channel|chs?$|feature|planes|hidden|inner|embed|filters|model"
    r"|^c\d?_?$|^d$|^n$|split|part|count|num|rank|^shape$"
)
OWN = (
    nn.modules.conv._ConvNd, nn.Linear, nn.modules.batchnorm._NormBase, nn.LayerNorm,
    nn.RMSNorm, nn.GroupNorm, nn.MultiheadAttention, nn.Embedding, nn.PReLU,
)  # fmt: skip
"""Layers whose own attributes surgery looks after."""

COUNTS = {
    nn.GroupNorm: "num_channels",
    nn.LayerNorm: "normalized_shape",
    nn.RMSNorm: "normalized_shape",
    nn.InstanceNorm1d: "num_features",
    nn.InstanceNorm2d: "num_features",
    nn.InstanceNorm3d: "num_features",
    nn.BatchNorm1d: "num_features",
    nn.BatchNorm2d: "num_features",
    nn.BatchNorm3d: "num_features",
}
"""What stands for the tensors of a norm without any."""


@dataclass
class Counting:
    """Finds what counts a unit's channels in the code around them.

    Parameters
    ----------
    tables : Tables
    modules : mapping of str to nn.Module
    """

    tables: Tables
    modules: Mapping[str, nn.Module]
    _names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._names = list(self.modules)
        number = {name: i for i, name in enumerate(self._names)}
        of_module = {id(module): number[n] for n, module in self.modules.items()}
        by_module: dict[int, list[IntArray]] = defaultdict(list)
        for steps in self.tables.tracker.steps:
            for step in steps:
                places = {number.get(step.where)}
                owner = of_module.get(id(step.owner))
                # A module that calls a layer has no say in what that does.
                if owner is not None and not _calls(self._names[owner], step.where):
                    places.add(owner)
                for one in places:
                    if one is not None and step.touched.size:
                        by_module[one].append(step.touched)
        # By class, in a row: the modules whose code handles it.
        modules, roots = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for one, touched in by_module.items():
            roots.append(np.unique(self.tables.roots[np.concatenate(touched)]))
            modules.append(np.full(len(roots[-1]), one))
        where, root = np.concatenate(modules), np.concatenate(roots)
        by = np.lexsort((where, root))
        self._where = where[by]
        self._starts = np.searchsorted(root[by], np.arange(len(self.tables.roots) + 1))

    def near(self, draft: Draft) -> list[str]:
        """Return the modules whose code handles the channels of a draft."""
        first = [one for one, channel in draft.labels.items() if channel in (0, 1)]
        found: set[int] = set()
        for one in first:
            found.update(
                self._where[self._starts[one] : self._starts[one + 1]].tolist()
            )
        return [self._names[number] for number in sorted(found)]

    def norms_without_tensors(self, draft: Draft) -> list[Site]:
        """Return the counts of norms that have no tensor of these channels.

        Surgery cuts them as it does a tensor: ``"norm.num_channels"``.
        """
        found = []
        for tensor, dim, roots in self._bare_norms:
            rows: dict[int, list[int]] = defaultdict(list)
            for position, root in enumerate(roots.tolist()):
                if root in draft.labels:
                    rows[draft.labels[root]].append(position)
            if (
                len(rows) == draft.size
                and len({len(row) for row in rows.values()}) == 1
            ):
                table = [rows[channel] for channel in range(draft.size)]
                found.append(Site.of_table(tensor, dim, len(roots), table))
        return list(dict.fromkeys(found))

    @cached_property
    def _bare_norms(self) -> list[tuple[str, int, IntArray]]:
        """Norms without tensors: name of the count, dimension, classes along it."""
        found = []
        for where, dim, line in self.tables.tracker.counted:
            module: Any = self.modules.get(where)
            name = COUNTS.get(type(module))
            if name is None:
                continue
            tensors = (*module._parameters.values(), *module._buffers.values())
            if not any(t is not None and t.dim() for t in tensors):
                tensor = f"{where}.{name}" if where else name
                found.append((tensor, dim, self.tables.roots[line]))
        return found

    def heads(self, draft: Draft) -> tuple[str | None, list[Attribute]]:
        """Return the module that multiplies heads, and what counts them there.

        None where the groups of the draft are no heads.
        """
        products = self.tables.tracker.products
        heads = self._heads_of
        mine = {one for one in draft.labels if one in heads}
        if not mine or draft.loose:
            return None, []
        labels = {label for one in mine for label in heads[one]}
        owners = {products[label] for label in labels if label in products}
        found = []
        for name in self.near(draft):
            module = self.modules[name]
            if isinstance(module, OWN):
                continue
            for key, value, index in _integers(module):
                counts = value == len(draft.blocks) and _of_heads(module, key, index)
                widths = OF_HEADS.search(key) and value in totals(draft)
                if counts or widths:
                    found.append(Attribute(name, key, value, None, index))
        return min(owners, default=None), found

    @cached_property
    def _heads_of(self) -> dict[int, set[int]]:
        """Return by class the heads that it is linked to."""
        found: dict[int, set[int]] = defaultdict(set)
        products = self.tables.tracker.products
        named = {int(self.tables.roots[label]): label for label in products}
        is_head = np.zeros(len(self.tables.roots), dtype=bool)
        is_head[list(named)] = True
        soft = self.tables.soft
        soft = np.unique(soft[:, is_head[soft].any(axis=0)], axis=1)
        for one, other in soft.T.tolist():
            for head, member in ((one, other), (other, one)):
                if head in named:
                    found[member].add(named[head])
        return found

    def broadly(self, draft: Draft) -> list[Attribute]:
        """Return all attributes near the channels that may count them."""
        found = []
        numbers = totals(draft)
        whole = self.heads(draft)[0] is not None
        for name in self.near(draft):
            module = self.modules[name]
            if isinstance(module, OWN):
                continue
            for key, value, index in _integers(module):
                if ONE_HEAD.search(key):
                    counts = not whole and value == len(draft.blocks)
                elif _of_heads(module, key, index):
                    counts = whole and value == len(draft.blocks)
                else:
                    counts = value in numbers and bool(CHANNELS.search(key))
                if counts:
                    found.append(Attribute(name, key, value, None, index))
        return found


def _calls(name: str, where: str) -> bool:
    """Tell whether a module is within another one."""
    return not name or where.startswith(f"{name}.")


def _of_heads(module: nn.Module, key: str, index: int | None) -> bool:
    """Tell whether an attribute is called as one that counts heads.

    A table of biases is gathered in rows, one entry a head: heads come last in what it
    is viewed as.
    """
    if index is not None and key == "bias_shape":
        return index == len(vars(module)[key]) - 1
    return bool(HEADS.search(key))


def totals(draft: Draft) -> set[int]:
    """Return the numbers that may count all of a draft's channels."""
    found = {draft.size}
    for table in draft.tables.values():
        found |= {table.size, len(table)}
    return {n for n in found if n > 1}


def _integers(module: nn.Module) -> list[tuple[str, int, int | None]]:
    """Return a module's attributes that are integers, or lists of them."""
    found: list[tuple[str, int, int | None]] = []
    for key, value in vars(module).items():
        if key.startswith("_") or not key.isidentifier():
            continue
        if type(value) is int:
            found.append((key, value, None))
        elif isinstance(value, (tuple, list)) and all(type(v) is int for v in value):
            found += [(key, v, i) for i, v in enumerate(value)]
    return found
