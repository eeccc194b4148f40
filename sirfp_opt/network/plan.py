"""PruningPlan: which channels of each unit are kept, on paper.

A plan knows no framework.  It holds, for every unit, the places in the network that
share its channels, so that whoever holds the plan can cut or mask a network of the
same shape without tracing it again.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sirfp_opt._validate import IntArray, as_int, frozen, in_range
from sirfp_opt.errors import InvalidProblemError

__all__ = ["Heads", "PruningPlan", "PruningUnit", "Side", "Site"]

Side = Literal["in", "out"]
FORMAT = "sirfp-opt/plan/1"


@dataclass(frozen=True)
class Site:
    """One place where a unit's channels live: the inputs or outputs of one layer.

    Channel c of the unit is the layer's positions
    ``offset + c * repeat, ..., offset + (c + 1) * repeat - 1``: `offset` counts what
    stands before it in a concatenation, `repeat` the positions that a flattened map
    makes of one channel.

    Parameters
    ----------
    layer : str
        Qualified module name.
    side : "in" or "out"
        Whether the layer reads (in) or makes (out) these channels.
    channels : int
        How many channels the layer has on this side, before pruning.
    offset, repeat : int
        As above.
    """

    layer: str
    side: Side
    channels: int
    offset: int = 0
    repeat: int = 1

    def __post_init__(self) -> None:
        if self.side not in ("in", "out"):
            raise InvalidProblemError(
                f"`side` must be 'in' or 'out', got {self.side!r}. "
                "A layer reads its inputs and makes its outputs."
            )
        as_int(self.channels, "channels", least=1)
        as_int(self.offset, "offset", least=0)
        as_int(self.repeat, "repeat", least=1)

    def positions(self, channels: IntArray) -> IntArray:
        """Return the layer's positions of the unit's `channels`, in their order."""
        first = self.offset + channels[:, None] * self.repeat
        return (first + np.arange(self.repeat)[None, :]).ravel()


@dataclass(frozen=True)
class Heads:
    """Attention heads that a unit's tied groups are.

    Parameters
    ----------
    module : str
        Qualified name of the module in which they are multiplied with each other.
    attributes : tuple of str
        Its attributes that count heads, or the channels of all heads; they shrink
        with the unit.
    """

    module: str
    attributes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "attributes", tuple(self.attributes))


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
    heads : Heads, optional
        If the tied groups are attention heads: of which module.
    """

    name: str
    size: int
    sites: tuple[Site, ...]
    tied: tuple[tuple[int, ...], ...] = ()
    heads: Heads | None = None

    def __post_init__(self) -> None:
        as_int(self.size, "size", least=1)
        object.__setattr__(self, "sites", tuple(self.sites))
        object.__setattr__(
            self, "tied", tuple(tuple(int(c) for c in group) for group in self.tied)
        )
        for site in self.sites:
            if site.offset + self.size * site.repeat > site.channels:
                raise InvalidProblemError(
                    f"`sites` must lie within their layers, got {site} for a unit of "
                    f"{self.size} channels. Trace the network again."
                )
        in_range((c for group in self.tied for c in group), self.size, "tied")

    @property
    def step(self) -> int:
        """Number of channels that go at a time (the size of a tied group)."""
        return len(self.tied[0]) if self.tied else 1


class PruningPlan(Mapping[str, IntArray]):
    """Which channels each pruning unit keeps: ``plan[unit]`` is a sorted int64 array.

    Parameters
    ----------
    units : sequence of PruningUnit
        The units of the network, prunable ones only.
    kept : mapping of str to sequence of int
        Channels kept, by unit name; a unit left out keeps all of its channels.
    info : mapping, optional
        Anything that fits in JSON (what was asked, which method), carried along.

    Raises
    ------
    InvalidProblemError
        If a unit is unknown, keeps no channel or one it does not have, or cuts a
        tied group in two.

    Examples
    --------
    >>> from sirfp_opt.network.plan import PruningPlan, PruningUnit, Site
    >>> sites = (Site("conv1", "out", 4), Site("conv2", "in", 4))
    >>> plan = PruningPlan([PruningUnit("conv1", 4, sites)], {"conv1": [0, 3]})
    >>> plan["conv1"], plan.counts
    (array([0, 3]), {'conv1': 2})
    >>> plan.removed_positions()[("conv2", "in")]
    array([1, 2])
    """

    def __init__(
        self,
        units: Sequence[PruningUnit],
        kept: Mapping[str, Any],
        *,
        info: Mapping[str, Any] | None = None,
    ) -> None:
        self._units = {unit.name: unit for unit in units}
        if len(self._units) != len(units):
            raise InvalidProblemError(
                f"`units` must have distinct names, got {[u.name for u in units]}. "
                "Give each unit the name of its first layer."
            )
        unknown = sorted(set(kept) - set(self._units))
        if unknown:
            raise InvalidProblemError(
                f"`kept` must name units of the plan, got {unknown[:5]}. "
                f"Its units are {list(self._units)[:10]}."
            )
        self._kept: dict[str, IntArray] = {}
        for name, unit in self._units.items():
            self._kept[name] = _as_kept(kept.get(name, range(unit.size)), unit)
        self.info: dict[str, Any] = dict(info or {})

    def __getitem__(self, unit: str) -> IntArray:
        return self._kept[unit]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PruningPlan):
            return NotImplemented
        return self._units == other._units and all(
            np.array_equal(kept, other._kept[name]) for name, kept in self._kept.items()
        )

    __hash__ = None  # type: ignore[assignment]  # holds arrays, as dict does

    def __repr__(self) -> str:
        kept, total = sum(self.counts.values()), sum(self.sizes.values())
        return f"PruningPlan({len(self)} units, {kept} of {total} channels kept)"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td>{self.counts[name]}</td><td>{size}</td><td>"
            f"<meter max='{size}' value='{self.counts[name]}'></meter></td></tr>"
            for name, size in self.sizes.items()
        )
        head = "<tr><th>unit</th><th>kept</th><th>of</th><th></th></tr>"
        return f"<p>{html.escape(repr(self))}</p><table>{head}{rows}</table>"

    @property
    def units(self) -> tuple[PruningUnit, ...]:
        """The pruning units, in the network's order."""
        return tuple(self._units.values())

    @property
    def sizes(self) -> dict[str, int]:
        """Channels of each unit before pruning."""
        return {name: unit.size for name, unit in self._units.items()}

    @property
    def counts(self) -> dict[str, int]:
        """Channels of each unit after pruning."""
        return {name: len(kept) for name, kept in self._kept.items()}

    def removed(self, unit: str) -> IntArray:
        """Return the channels of `unit` that go, sorted."""
        gone = np.ones(self._units[unit].size, dtype=bool)
        gone[self._kept[unit]] = False
        return np.flatnonzero(gone)

    def removed_positions(self) -> dict[tuple[str, Side], IntArray]:
        """Return what is cut from each layer: (layer, side) -> sorted positions."""
        pieces: dict[tuple[str, Side], list[IntArray]] = {}
        for name, unit in self._units.items():
            gone = self.removed(name)
            if gone.size:
                for site in unit.sites:
                    pieces.setdefault((site.layer, site.side), []).append(
                        site.positions(gone)
                    )
        return {key: np.unique(np.concatenate(some)) for key, some in pieces.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain lists, dicts, strings and numbers."""
        return {
            "format": FORMAT,
            "info": self.info,
            "units": [
                {
                    "name": unit.name,
                    "size": unit.size,
                    "kept": self._kept[unit.name].tolist(),
                    "tied": [list(group) for group in unit.tied],
                    "sites": [
                        {
                            "layer": site.layer,
                            "side": site.side,
                            "channels": site.channels,
                            "offset": site.offset,
                            "repeat": site.repeat,
                        }
                        for site in unit.sites
                    ],
                    "heads": None if unit.heads is None else asdict(unit.heads),
                }
                for unit in self._units.values()
            ],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PruningPlan:
        """Read what `to_dict` has written.

        Raises
        ------
        InvalidProblemError
            If `data` is no plan, or one of another format.
        """
        found = data.get("format") if isinstance(data, Mapping) else None
        if found != FORMAT:
            raise InvalidProblemError(
                f"`data` must be a plan of format {FORMAT!r}, got {found!r}. "
                "Write it with PruningPlan.to_json."
            )
        try:
            units = [
                PruningUnit(
                    name=str(entry["name"]),
                    size=entry["size"],
                    sites=tuple(Site(**site) for site in entry["sites"]),
                    tied=tuple(tuple(group) for group in entry["tied"]),
                    heads=Heads(**entry["heads"]) if entry.get("heads") else None,
                )
                for entry in data["units"]
            ]
            kept = {str(entry["name"]): entry["kept"] for entry in data["units"]}
        except (KeyError, TypeError) as error:
            raise InvalidProblemError(
                f"`data` must hold the units of a plan, got {error!r} on the way. "
                "Write it with PruningPlan.to_json."
            ) from error
        return cls(units, kept, info=data.get("info") or {})

    def to_json(self, path: str | Path | None = None, *, indent: int | None = 1) -> str:
        """Return the plan as JSON text, and write it to `path` where one is given."""
        text = json.dumps(self.to_dict(), indent=indent)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    @classmethod
    def from_json(cls, source: str | Path) -> PruningPlan:
        """Read a plan from a file, or from JSON text (a str that starts with "{")."""
        text = source if isinstance(source, str) else ""
        if not text.lstrip().startswith("{"):
            text = Path(source).read_text(encoding="utf-8")
        return cls.from_dict(json.loads(text))


def _as_kept(values: Any, unit: PruningUnit) -> IntArray:
    """Return the kept channels of `unit`, sorted, unique, in range, ties whole."""
    array = np.asarray(list(values) if isinstance(values, range) else values)
    if array.ndim != 1 or array.dtype.kind not in "iu" or array.size == 0:
        raise InvalidProblemError(
            f"`kept` must list at least one channel number of {unit.name!r}, got "
            f"{values!r}. To remove a layer altogether is no channel pruning."
        )
    kept = np.unique(array).astype(np.int64)
    in_range((int(kept[0]), int(kept[-1])), unit.size, f"kept[{unit.name!r}]")
    chosen = set(kept.tolist())
    for group in unit.tied:
        if 0 < len(chosen.intersection(group)) < len(group):
            raise InvalidProblemError(
                f"`kept` must hold all or none of the tied channels {group} of "
                f"{unit.name!r}, got {sorted(chosen.intersection(group))}. "
                "Grouped convolutions, group norms and attention heads tie them."
            )
    frozen(kept)
    return kept
