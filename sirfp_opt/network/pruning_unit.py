"""Pruning units on paper: their sites, their ties, and what counts their channels."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sirfp_opt._validate import as_int, in_range
from sirfp_opt.errors import InvalidProblemError

if TYPE_CHECKING:
    from sirfp_opt.network.sites import Site

__all__ = ["MOST_CHANNELS", "Attribute", "PruningUnit"]

MOST_CHANNELS = 1 << 24


@dataclass(frozen=True)
class Attribute:
    """A module's attribute that counts a unit's channels, or what is made of them.

    After a cut it is less by ``share * removed / size``: a head counts one in
    `num_heads`, its channels in `all_head_size`.

    Parameters
    ----------
    module : str
        Qualified name.
    name : str
        The attribute: an int; where `index` is given, a tuple or list of them.
    value : int or None
        What it is before pruning. None: whatever is found (plans of format 1).
    share : int, optional
        How much of it are the unit's channels; by default all.
    index : int, optional
        Which entry of the attribute counts, where it is a tuple or list.
    """

    module: str
    name: str
    value: int | None = None
    share: int | None = None
    index: int | None = None

    def __post_init__(self) -> None:
        for text, what in ((self.module, "module"), (self.name, "name")):
            if not isinstance(text, str):
                raise InvalidProblemError(
                    f"`{what}` must be a name, got {text!r}. It says which attribute "
                    "of which module counts a unit's channels."
                )
        if not self.name.isidentifier() or self.name.startswith("__"):
            raise InvalidProblemError(
                f"`name` must be the name of an attribute, got {self.name!r}. "
                "Pass for instance 'num_heads'."
            )
        if self.value is not None:
            as_int(self.value, "value", least=1)
        if self.share is not None:
            as_int(self.share, "share", least=1)
        if self.index is not None:
            as_int(self.index, "index", least=0)

    def loss(self, found: int, removed: int, size: int) -> int:
        """Return by how much the attribute shrinks.

        Raises
        ------
        InvalidProblemError
            If that is no whole number.
        """
        share = found if self.share is None else self.share
        if share * removed % size:
            raise InvalidProblemError(
                f"`plan` must leave a whole number in {self.name!r} of "
                f"{self.module!r}, got {found} less {share} * {removed} / {size}. "
                "Remove whole groups of what it counts."
            )
        return share * removed // size

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; what is as by default is left out."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if getattr(self, field.name) is not None
        }


@dataclass(frozen=True)
class PruningUnit:
    """A set of channels that several layers share, kept or removed together.

    Parameters
    ----------
    name : str
        The first layer whose outputs these channels are.
    size : int
        Number of channels.
    sites : sequence of Site
        Every place that has to be cut when a channel goes.
    tied : sequence of sequences of int
        Channels that only go together (grouped convolutions, the groups of a group
        norm, attention heads); all of one length.
    attributes : sequence of Attribute
        What counts these channels, and is no tensor's shape.
    heads : str, optional
        If the tied groups are attention heads: the module that multiplies them.
    """

    name: str
    size: int
    sites: tuple[Site, ...]
    tied: tuple[tuple[int, ...], ...] = ()
    attributes: tuple[Attribute, ...] = ()
    heads: str | None = None

    def __post_init__(self) -> None:
        as_int(self.size, "size", least=1)
        if self.size > MOST_CHANNELS:
            raise InvalidProblemError(
                f"`size` must be at most {MOST_CHANNELS}, got {self.size} for "
                f"{self.name!r}. No layer is that wide: the text is damaged."
            )
        object.__setattr__(self, "sites", tuple(self.sites))
        object.__setattr__(self, "attributes", tuple(self.attributes))
        object.__setattr__(self, "tied", _as_tied(self.tied, self.name))
        for site in self.sites:
            if not site.fits(self.size):
                raise InvalidProblemError(
                    "`sites` must lie within their layers, with positions of its own "
                    f"for each channel, got {site} for a unit of {self.size} "
                    "channels. Trace the network again."
                )
        in_range((c for group in self.tied for c in group), self.size, "tied")
        if not (self.heads is None or isinstance(self.heads, str)):
            raise InvalidProblemError(
                f"`heads` must name a module, got {self.heads!r}. It is the module "
                "that multiplies queries with keys; leave it out for other units."
            )

    @cached_property
    def classes(self) -> tuple[tuple[int, ...], ...]:
        """The tied groups; single channels where nothing is tied."""
        return self.tied or tuple((c,) for c in range(self.size))

    @property
    def step(self) -> int:
        """Number of channels that go at a time (the size of a tied group)."""
        return len(self.tied[0]) if self.tied else 1

    @property
    def ports(self) -> tuple[Site, ...]:
        """One site of each layer's side: the places at which its maps show the unit.

        The weight and the bias of a convolution are two sites and one port.
        """
        found: dict[Any, Site] = {}
        for s in self.sites:
            table = (s.offset, s.repeat, s.step, s.stride, s.rows)
            found.setdefault((s.layer, s.side, *table), s)
        return tuple(found.values())


def _as_tied(tied: Any, unit: str) -> tuple[tuple[int, ...], ...]:
    try:
        groups = tuple(tuple(as_int(c, "tied", least=0) for c in g) for g in tied)
    except TypeError:
        raise InvalidProblemError(
            f"`tied` must be lists of channel numbers, got {tied!r} for {unit!r}. "
            "Pass for instance [[0, 4], [1, 5]]."
        ) from None
    lengths = {len(group) for group in groups}
    seen = [c for group in groups for c in group]
    if len(lengths) > 1 or lengths == {0} or len(set(seen)) < len(seen):
        raise InvalidProblemError(
            f"`tied` must be disjoint sets of one size, got sizes {sorted(lengths)} "
            f"for {unit!r}. Join sets that share a channel."
        )
    return groups
