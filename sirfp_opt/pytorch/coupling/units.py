"""Pruning units: which channels of a network go together, and which may go at all."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.network.plan import Attribute, PruningUnit, Site
from sirfp_opt.pytorch.batches import Forward, first_and_all, small_sample, to_model
from sirfp_opt.pytorch.coupling.heads import find_heads
from sirfp_opt.pytorch.coupling.probe import probe
from sirfp_opt.pytorch.coupling.rules import Hazard, hazard, sites_of, tied_channels
from sirfp_opt.pytorch.coupling.tracing import Group, Tracer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Coupling", "Exclusion", "Member", "couple"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Member:
    """A layer whose maps show a unit's channels, from `offset` on.

    Each of them in `repeat` entries, where a map was flattened before.
    """

    layer: str
    offset: int = 0
    repeat: int = 1


@dataclass(frozen=True)
class Exclusion:
    """A set of coupled channels that is left whole, and why.

    Attributes
    ----------
    unit : str
        Its first layer.
    size : int
        Its channels.
    layer : str
        The layer at which the trouble was seen.
    reason : str
        A clause that goes after the layer's name.
    """

    unit: str
    size: int
    layer: str
    reason: str

    def __str__(self) -> str:
        return f"{self.unit} ({self.size} channels): {self.layer or '?'}: {self.reason}"


@dataclass(frozen=True)
class Coupling:
    """The pruning units of a network.

    Attributes
    ----------
    units : tuple of PruningUnit
        What may be pruned, in the model's order.
    members : dict of str to tuple of Member
        By unit: the layers whose outputs its graph is measured on.
    exclusions : tuple of Exclusion
        What may not.
    untraced : tuple of str
        Batch norms and convolutions that no output of the network depends on.
    """

    units: tuple[PruningUnit, ...]
    members: dict[str, tuple[Member, ...]]
    exclusions: tuple[Exclusion, ...] = ()
    untraced: tuple[str, ...] = ()

    def unit(self, name: str) -> PruningUnit:
        """Return the unit of that name."""
        return next(unit for unit in self.units if unit.name == name)

    def without(self, exclusions: Iterable[Exclusion]) -> Coupling:
        """Return a copy in which these units are excluded as well."""
        added = tuple(exclusions)
        gone = {exclusion.unit for exclusion in added}
        return Coupling(
            units=tuple(unit for unit in self.units if unit.name not in gone),
            members={k: v for k, v in self.members.items() if k not in gone},
            exclusions=self.exclusions + added,
            untraced=self.untraced,
        )


def couple(
    model: nn.Module,
    batches: Any,
    *,
    forward: Forward | None = None,
    ignore: Sequence[str] = (),
    seed: int = 0,
) -> Coupling:
    """Find the pruning units of a network, and prove on a copy that they can be cut.

    Parameters
    ----------
    model : nn.Module
        The network; not touched.
    batches : Tensor, mapping or iterable of batches
        The first sample of the first batch is run, cut to 128 pixels a side where the
        network takes pictures of that size.
    forward : callable, optional
        ``forward(model, batch)``; by default `model` is called with the batch.
    ignore : sequence of str
        Patterns (``"head.*"``) of layers whose outputs stay whole.
    seed : int
        Of the random channels that the probe cuts.

    Returns
    -------
    Coupling

    Raises
    ------
    UnsupportedError
        If the network cannot be copied, run or traced.

    Notes
    -----
    Three sieves, each before any surgery on the network itself: rules on the trace
    (norms across channels, splits, grouped convolutions, ...); a run of the masked
    copy, in which every layer that reads removed channels must find zeros there; a
    trial cut of a copy, whose output must be that of the masked copy.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from sirfp_opt.pytorch import couple
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1))
    >>> coupling = couple(net, torch.rand(1, 3, 8, 8))
    >>> [unit.name for unit in coupling.units], coupling.exclusions[0].reason
    (['0'], "its channels are the network's output")
    """
    first, _ = first_and_all(batches)
    ignore = _as_patterns(ignore)
    example = small_sample(model, to_model(first, model), forward)
    finder = _Finder(Tracer(model, example, forward), ignore)
    coupling = finder.coupling()
    failed = probe(model, coupling.units, example, forward=forward, seed=seed)
    coupling = coupling.without(
        Exclusion(name, finder.sizes[name], layer, reason + finder.passed(name))
        for name, (layer, reason) in failed.items()
    )
    for exclusion in coupling.exclusions:
        logger.info("not pruned: %s", exclusion)
    return coupling


def matches(layers: Iterable[str], patterns: Sequence[str]) -> list[tuple[str, str]]:
    """Return the (layer, pattern) pairs that match."""
    return [(o, p) for o in layers for p in patterns if fnmatchcase(o, p)]


def _as_patterns(ignore: Any) -> tuple[str, ...]:
    if isinstance(ignore, str) or not all(isinstance(p, str) for p in ignore):
        raise InvalidProblemError(
            f"`ignore` must be a sequence of layer name patterns, got {ignore!r}. "
            "Pass for instance ['head.*']."
        )
    return tuple(ignore)


@dataclass
class _Finder:
    """Sorts the traced groups into units and exclusions."""

    tracer: Tracer
    ignore: tuple[str, ...]
    units: list[PruningUnit] = field(default_factory=list)
    members: dict[str, tuple[Member, ...]] = field(default_factory=dict)
    exclusions: list[Exclusion] = field(default_factory=list)
    # Which group owns a layer's positions, (layer, side) -> number of the group.
    owner: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)

    # By unit: its channels, and the operations that its channels pass.
    sizes: dict[str, int] = field(default_factory=dict)
    operations: dict[str, list[str]] = field(default_factory=dict)

    def coupling(self) -> Coupling:
        groups = self._groups()
        overlapping = self._overlaps(groups)
        shared = _shared_parameters(self.tracer)
        order = {name: i for i, name in enumerate(self.tracer.names.values())}
        modules = {name: module for module, name in self.tracer.names.items()}
        with_input = {
            touch.layer
            for group in groups
            if not group.root
            for touch in group.touches
            if touch.side == "out"
        }
        for number, group in enumerate(groups):
            makers = [touch.layer for touch in group.touches if _makes(touch)]
            if not makers:
                continue
            lost = any(operation.kind == "lost" for operation in group.operations)
            first = min(makers, key=order.__getitem__)
            name = (group.root if lost else first) or first
            outs = [touch.layer for touch in group.touches if touch.side == "out"]
            asked = matches(outs, self.ignore)
            found: Hazard | None = None
            heads = find_heads(group, modules)
            if asked:
                found = asked[0][0], f"left whole on request ({asked[0][1]!r})"
            elif not with_input.isdisjoint(outs):
                found = name, "its channels are added to the network's input"
            else:
                found = hazard(
                    group,
                    self.tracer.output_layers,
                    shared,
                    heads=heads is not None,
                )
            if found is None and number in overlapping:
                found = overlapping[number], "only a part of its channels is coupled"
            if found is None:
                found = self._accept(name, group, heads)
            if found is not None:
                layer, reason = found
                self.exclusions.append(
                    Exclusion(name, group.size, layer or name, reason)
                )
        self.units.sort(key=lambda unit: order[unit.name])
        self.exclusions.sort(key=lambda exclusion: order[exclusion.unit])
        return Coupling(
            units=tuple(self.units),
            members=self.members,
            exclusions=tuple(self.exclusions),
            untraced=self._untraced(),
        )

    def passed(self, name: str) -> str:
        """Name the operations that a unit's channels pass, for a message."""
        names = dict.fromkeys(self.operations[name])
        return f" (on the way: {', '.join(names)})" if names else ""

    def _groups(self) -> list[Group]:
        """Every group once, the widest layer of a coupling as its root."""
        groups = list(self.tracer.input_groups())
        for group in groups:
            self._own(group, 0)
        layers = sorted(self.tracer.layers(), key=lambda entry: -entry[2])
        for name, module, _ in layers:
            mine = self.owner.get((name, "out"))
            if mine is not None and (mine >= 0).all() and len(set(mine.tolist())) == 1:
                continue  # the whole layer came along with a wider or earlier one
            group = self.tracer.group(name, module)
            groups.append(group)
            self._own(group, len(groups) - 1)
        return groups

    def _own(self, group: Group, number: int) -> None:
        for touch in group.touches:
            if touch.positions.size == 0:
                continue
            key = (touch.layer, touch.side)
            size = int(touch.positions.max()) + 1
            owner = self.owner.get(key, np.full(0, -1))
            if owner.size < max(size, _width(touch.module, touch.side)):
                wider = max(size, _width(touch.module, touch.side))
                owner = np.concatenate([owner, np.full(wider - owner.size, -1)])
            free = touch.positions[owner[touch.positions] < 0]
            owner[free] = number
            self.owner[key] = owner

    def _overlaps(self, groups: list[Group]) -> dict[int, str]:
        """Find groups that claim positions of another one, and at which layer."""
        found: dict[int, str] = {}
        for number, group in enumerate(groups):
            for touch in group.touches:
                owners = set(
                    self.owner[touch.layer, touch.side][touch.positions].tolist()
                )
                for other in owners - {number}:
                    if groups[other].root and group.root:
                        found.setdefault(number, touch.layer)
                        found.setdefault(other, touch.layer)
        return found

    def _accept(
        self,
        name: str,
        group: Group,
        heads: tuple[int, str, tuple[Attribute, ...]] | None,
    ) -> Hazard | None:
        sites, wrong = sites_of(group)
        if wrong is not None:
            return wrong
        modules = {t.layer: t.module for t in group.touches}
        block = 1 if heads is None else heads[0]
        ties = tied_channels(group.size, sites, modules, block)
        if isinstance(ties, tuple):
            return ties
        if (len(ties) or group.size) < 2:
            return name, "there is only one channel, or one tied group, to keep"
        unit = PruningUnit(
            name,
            group.size,
            tuple(sites),
            tuple(tuple(c.tolist()) for c in ties),
            attributes=() if heads is None else heads[2],
            heads=None if heads is None else heads[1],
        )
        self.units.append(unit)
        self.sizes[name] = group.size
        self.operations[name] = [o.name for o in group.operations]
        self.members[name] = _members(sites, modules)
        return None

    def _untraced(self) -> tuple[str, ...]:
        kinds = (nn.modules.batchnorm._BatchNorm, nn.modules.conv._ConvNd, nn.Linear)
        reached = self.tracer.graph.module2node
        return tuple(
            name
            for module, name in self.tracer.names.items()
            if isinstance(module, kinds) and module not in reached
        )


def _makes(touch: Any) -> bool:
    made = isinstance(touch.module, (nn.modules.conv._ConvNd, nn.Linear))
    return made and touch.side == "out"


def _width(module: Any, side: str) -> int:
    if isinstance(module, nn.modules.conv._ConvNd):
        return module.in_channels if side == "in" else module.out_channels
    if isinstance(module, nn.Linear):
        return module.in_features if side == "in" else module.out_features
    return 0


def _members(
    sites: Sequence[Site], modules: dict[str, nn.Module]
) -> tuple[Member, ...]:
    """Return the batch norms that show the unit; without any, its makers."""
    outs = [s for s in sites if s.side == "out" and s.repeat == 1]
    norms = [
        s for s in outs if isinstance(modules[s.layer], nn.modules.batchnorm._BatchNorm)
    ]
    makers = [s for s in outs if not isinstance(modules[s.layer], nn.PReLU)]
    return tuple(Member(s.layer, s.offset) for s in norms or makers)


def _shared_parameters(tracer: Tracer) -> dict[str, str]:
    """Layers that share a parameter with another layer, and which."""
    holders: dict[int, list[str]] = {}
    for module, name in tracer.names.items():
        for parameter in module.parameters(recurse=False):
            holders.setdefault(id(parameter), []).append(name)
    counts = Counter({key: len(names) for key, names in holders.items()})
    return {
        name: next(other for other in names if other != name)
        for key, names in holders.items()
        if counts[key] > 1 and len(set(names)) > 1
        for name in names
    }
