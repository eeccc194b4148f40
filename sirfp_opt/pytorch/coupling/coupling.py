"""The answer to which channels go together: units, and what stays whole."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from sirfp_opt.pytorch.headline import MOST, holders, percent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sirfp_opt._validate import IntArray
    from sirfp_opt.network.plan import PruningUnit, Site
    from sirfp_opt.pytorch.coupling.pairings import Pairing

__all__ = ["Coupling", "Exclusion", "Member"]


@dataclass(frozen=True)
class Member:
    """A layer whose maps show a unit's channels.

    Attributes
    ----------
    layer : str
        Qualified module name.
    offset : int
        Its first position that belongs to the unit.
    repeat : int
        Positions of one channel, where a map was flattened before.
    rows : tuple of int, optional
        The positions one by one, `repeat` of them a channel, where they do not follow
        each other from `offset` on.
    """

    layer: str
    offset: int = 0
    repeat: int = 1
    rows: tuple[int, ...] | None = None

    def positions(self, size: int) -> IntArray:
        """Return the layer's positions of a unit of `size` channels, in their order."""
        if self.rows is not None:
            return np.array(self.rows, dtype=np.int64)
        return self.offset + np.arange(size * self.repeat)

    @classmethod
    def at(cls, site: Site, size: int, fold: int = 1) -> Member:
        """Return the member that shows a unit of `size` channels at a site.

        With `fold`, so many positions of the layer count as one.
        """
        if site.contiguous:
            return cls(site.layer, site.offset // fold, site.repeat // fold)
        rows = tuple(site.table(size).ravel().tolist())
        return cls(site.layer, rows[0], site.repeat, rows)

    @classmethod
    def columns(
        cls, unit: PruningUnit, site: Site, modules: Mapping[str, nn.Module]
    ) -> list[Member]:
        """Return a member for each place at which a layer makes a unit's channels.

        An attention makes the values of its heads, as its projection reads them.
        """
        shown = site
        if isinstance(modules[site.layer], nn.MultiheadAttention):
            projection = f"{site.layer}.out_proj"
            reads = [s for s in unit.ports if (s.layer, s.side) == (projection, "in")]
            if not reads:
                return []
            shown = reads[0]
        found = []
        for column in shown.table(unit.size).T:
            first = int(column[0])
            plain = np.array_equal(column, first + np.arange(len(column)))
            rows = None if plain else tuple(column.tolist())
            found.append(cls(site.layer, first, 1, rows))
        return found


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
    pairings : tuple of Pairing
        Layers whose outputs meet in products of queries and keys, as far as units may
        cut a head's terms in part.
    decided : tuple of str
        Modules whose code takes numbers out of what it computes, perhaps to decide by
        them: what other numbers lead to has not been traced.
    """

    units: tuple[PruningUnit, ...]
    members: dict[str, tuple[Member, ...]]
    exclusions: tuple[Exclusion, ...] = ()
    untraced: tuple[str, ...] = ()
    pairings: tuple[Pairing, ...] = ()
    decided: tuple[str, ...] = ()

    def unit(self, name: str) -> PruningUnit:
        """Return the unit of that name."""
        return next(unit for unit in self.units if unit.name == name)

    @property
    def share(self) -> float:
        """Share of the channels that may be cut, of all that were found."""
        free = sum(unit.size for unit in self.units)
        whole = sum(exclusion.size for exclusion in self.exclusions)
        return free / max(1, free + whole)

    def headline(self) -> str:
        """Say how much may be cut, and what holds most of the rest.

        Examples
        --------
        >>> from sirfp_opt.network.plan import PruningUnit
        >>> from sirfp_opt.pytorch.coupling import Coupling, Exclusion
        >>> whole = Exclusion("head", 10, "head", "its channels are the output")
        >>> Coupling((PruningUnit("stem", 30, ()),), {}, (whole,)).headline()
        '1 unit, 75 % of the channels; left whole: 10 by head (its channels are the \
output)'
        """
        free = sum(unit.size for unit in self.units)
        whole = sum(exclusion.size for exclusion in self.exclusions)
        text = f"{len(self.units)} unit{'s' * (len(self.units) != 1)}, "
        text += f"{percent(free, max(1, free + whole))} of the channels"
        held = holders(asdict(exclusion) for exclusion in self.exclusions)[:MOST]
        most = [f"{size} by {where} ({why})" for size, where, why in held]
        return f"{text}; left whole: {', '.join(most)}" if most else text

    @property
    def notes(self) -> tuple[str, ...]:
        """What the trace does not show, in words."""
        if not self.decided:
            return ()
        where = ", ".join(
            repr(name) if name else "the network" for name in self.decided
        )
        return (
            f"the code of {where} goes by values that it computes: only what the first "
            "sample leads to was traced. Batches that take other ways are verified, "
            "if they are given.",
        )

    def without(self, exclusions: Iterable[Exclusion]) -> Coupling:
        """Return a copy in which these units are excluded as well."""
        added = tuple(exclusions)
        gone = {exclusion.unit for exclusion in added}
        return Coupling(
            units=tuple(unit for unit in self.units if unit.name not in gone),
            members={k: v for k, v in self.members.items() if k not in gone},
            exclusions=self.exclusions + added,
            untraced=self.untraced,
            pairings=self.pairings,
            decided=self.decided,
        )
