"""From tables of positions to units on paper, their members, and exclusions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from torch import nn

from sirfp_opt.network.plan import PruningUnit, Site
from sirfp_opt.pytorch.coupling.coupling import Exclusion, Member
from sirfp_opt.pytorch.coupling.labels.classes import INPUT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sirfp_opt.pytorch.coupling.attributes import Counting
    from sirfp_opt.pytorch.coupling.labels.tables import Draft, Place, Tables

__all__ = ["Candidate", "Drafting", "members_of"]

MAKERS = (nn.modules.conv._ConvNd, nn.Linear, nn.Embedding, nn.MultiheadAttention)
NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm)
SHOWING = (nn.modules.conv._ConvNd, nn.Linear, nn.MultiheadAttention, *NORMS)
INPUT_REASON = "its channels are added to the network's input"
MIXES = "its weight mixes positions, and leaves the channels alone"
ONE_CHANNEL = "there is only one channel"
ONE_GROUP = "its channels are read as one, or go all together"
OUTPUT_REASON = "its channels are the network's output"


@dataclass
class Candidate:
    """A unit that may be cut, and the draft that it was made of."""

    unit: PruningUnit
    draft: Draft


@dataclass
class Drafting:
    """Names, sorts and checks what the tables give.

    Parameters
    ----------
    tables : Tables
    counting : Counting
    modules : mapping of str to nn.Module
        The network's modules by name, in their order.
    """

    tables: Tables
    counting: Counting
    modules: Mapping[str, nn.Module]
    _order: dict[str, int] = field(default_factory=dict)
    _out: set[tuple[str, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._order = {name: i for i, name in enumerate(self.modules)}
        nodes = self.tables.tracker.nodes
        sides = {(n.name, n.side) for n in nodes if n.dim is not None}
        self._out = {
            (n.name, n.dim)
            for n in nodes
            if n.dim is not None and n.side == "out" and (n.name, "in") in sides
        }

    def sort(
        self, drafts: Sequence[Draft], ignored: Mapping[str, str]
    ) -> tuple[list[Candidate], list[tuple[Exclusion, Draft]]]:
        """Return what may be cut and what may not, each in the network's order.

        Parameters
        ----------
        drafts : sequence of Draft
        ignored : mapping of str to str
            Layers to leave whole, and the pattern that says so.
        """
        made = [draft for draft in drafts if self._makers(draft)]
        made.sort(key=lambda d: self._key(self._first(d)))
        names = self._names(made)
        candidates: list[Candidate] = []
        exclusions: list[tuple[Exclusion, Draft]] = []
        for draft, name in zip(made, names, strict=True):
            layer, reason = self._hazard(draft, name, ignored)
            if reason:
                size = draft.size
                if len(draft.blocks) < 2:  # its channels are one class, the input's say
                    size = draft.tables[self._first(draft)[0]].size
                told = Exclusion(name, size, layer, reason)
                exclusions.append((told, draft))
            else:
                candidates.append(Candidate(self._unit(name, draft), draft))
        exclusions += [(self._unshown(d), d) for d in drafts if self._bare(d)]
        return candidates, exclusions

    def counting_broadly(self, candidate: Candidate) -> Candidate:
        """Return a candidate with all attributes that may count its channels."""
        own = candidate.unit.attributes
        taken = {(one.module, one.name, one.index) for one in own}
        more = [
            one
            for one in self.counting.broadly(candidate.draft)
            if (one.module, one.name, one.index) not in taken
        ]
        unit = replace(candidate.unit, attributes=(*own, *more))
        return Candidate(unit, candidate.draft)

    def _unit(self, name: str, draft: Draft) -> PruningUnit:
        sites = [
            Site.of_table(place.tensor, place.dim, place.size, table, place.side)
            for place, table in draft.tables.items()
        ]
        sites += self.counting.norms_without_tensors(draft)
        tied: Any = draft.blocks.tolist() if draft.blocks.shape[1] > 1 else ()
        heads, attributes = self.counting.heads(draft)
        return PruningUnit(
            name,
            draft.size,
            tuple(sites),
            tuple(map(tuple, tied)),
            tuple(attributes),
            heads,
        )

    def _makers(self, draft: Draft) -> list[Place]:
        return [
            place
            for place in draft.tables
            if place.side == "out"
            and place.dim is not None
            and isinstance(self.modules[place.layer], MAKERS)
        ]

    def _bare(self, draft: Draft) -> list[Place]:
        """Return the weights that make a draft's channels where no layer does."""
        if self._makers(draft) or (draft.why and draft.why[1] == MIXES):
            return []
        return [
            place for place in draft.tables if (place.tensor, place.dim) in self._out
        ]

    def _unshown(self, draft: Draft) -> Exclusion:
        """Leave whole what bare parameters make: no layer shows its channels."""
        place = min(self._bare(draft), key=lambda p: (self._order[p.layer], p.tensor))
        reason = f"its channels are made by {place.tensor!r}, which no layer shows"
        layer, why = draft.why or (place.layer, reason)
        if why == "the network's output":
            layer, why = place.layer, OUTPUT_REASON
        return Exclusion(place.tensor, draft.tables[place].size, layer, why)

    def _first(self, draft: Draft) -> tuple[Place, int]:
        """Return where the channels are made first, and their first position there."""
        makers = self._makers(draft)
        place = min(makers, key=lambda p: (self._order[p.layer], p.tensor))
        return place, int(draft.tables[place].min())

    def _key(self, first: tuple[Place, int]) -> tuple[int, int]:
        return self._order[first[0].layer], first[1]

    def _names(self, drafts: Sequence[Draft]) -> list[str]:
        """Name each draft after its first layer; parts of one by positions, too."""
        firsts = [self._first(draft) for draft in drafts]
        layers = Counter(place.layer for place, _ in firsts)
        names: dict[str, None] = {}
        for draft, (place, _) in zip(drafts, firsts, strict=True):
            name = place.layer
            if layers[name] > 1:
                rows = draft.tables[place]
                name = f"{name}[{rows.min()}:{rows.max() + 1}]"
            while name in names:
                name += "'"
            names[name] = None
        return list(names)

    def _hazard(
        self, draft: Draft, name: str, ignored: Mapping[str, str]
    ) -> tuple[str, str]:
        layer = name.partition("[")[0]
        for place in draft.tables:
            if place.side == "out" and place.layer in ignored:
                pattern = ignored[place.layer]
                return place.layer, f"left whole on request ({pattern!r})"
        if draft.why is not None:
            where, reason = draft.why
            if int(self.tables.roots[INPUT]) in draft.labels:
                return layer, INPUT_REASON
            if reason == "the network's output":
                reason = OUTPUT_REASON
            return where or layer, reason
        if len(draft.blocks) < 2:
            alone = draft.tables[self._first(draft)[0]].size < 2
            return layer, ONE_CHANNEL if alone else ONE_GROUP
        return "", ""

    def ordered(self, exclusions: Sequence[Exclusion]) -> list[Exclusion]:
        """Return exclusions in the network's order."""

        def place(exclusion: Exclusion) -> int:
            name = exclusion.unit.partition("[")[0].rstrip("'")
            owner = name if name in self._order else name.rpartition(".")[0]
            return self._order[owner]

        return sorted(exclusions, key=place)

    def untraced(self) -> tuple[str, ...]:
        """Return the layers with channels that no run has come by."""
        kinds = (nn.modules.batchnorm._BatchNorm, nn.modules.conv._ConvNd, nn.Linear)
        seen = {node.name.rpartition(".")[0] for node in self.tables.tracker.nodes}
        return tuple(
            name
            for name, module in self.modules.items()
            if isinstance(module, kinds)
            and name not in seen
            and any(True for _ in module.parameters(recurse=False))
        )


def members_of(
    unit: PruningUnit, modules: Mapping[str, nn.Module]
) -> tuple[Member, ...]:
    """Return the batch norms that show a unit; without any, its other layers.

    A channel that a layer shows at several places, each at one, counts at each.
    """
    found: dict[str, dict[Member, None]] = {"norm": {}, "maker": {}}
    for site in unit.ports:
        module = modules.get(site.layer)
        if site.side != "out" or module is None:
            continue
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            kind = "norm"
        elif isinstance(module, SHOWING):
            kind = "maker"
        else:
            continue
        found[kind].update(dict.fromkeys(Member.columns(unit, site, modules)))
    return tuple(found["norm"] or found["maker"])
