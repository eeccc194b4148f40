"""PruningPlan: which channels of each unit are kept, on paper.

A plan knows no framework.  It holds, for every unit, the places in the network that
share its channels, so that whoever holds the plan can cut or mask a network of the
same shape without tracing it again.
"""

from __future__ import annotations

import html
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sirfp_opt._validate import IntArray, as_int, frozen, in_range
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.network.pruning_unit import MOST_CHANNELS, Attribute, PruningUnit
from sirfp_opt.network.sites import Side, Site

__all__ = ["Attribute", "PruningPlan", "PruningUnit", "Side", "Site"]

FORMAT = "sirfp-opt/plan/2"
FIRST_FORMAT = "sirfp-opt/plan/1"

Norms = Literal["former", "own"]
"""What a norm over channels divides by once it has lost some."""


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
    norms : "former" or "own"
        What a layer norm and its like divide by once they have lost channels: their
        former number of channels (the pruned network is then exactly the masked one),
        or the number that is left (an ordinary norm; its outputs are others).

    Raises
    ------
    InvalidProblemError
        If a unit is unknown, keeps no channel or one it does not have, or cuts a
        tied group in two; if two units live at the same position.

    Examples
    --------
    >>> from sirfp_opt.network.plan import PruningPlan, PruningUnit, Site
    >>> sites = (
    ...     Site("conv1.weight", 0, 4),
    ...     Site("conv1.bias", 0, 4),
    ...     Site("conv2.weight", 1, 4, "in"),
    ... )
    >>> plan = PruningPlan([PruningUnit("conv1", 4, sites)], {"conv1": [0, 3]})
    >>> plan["conv1"], plan.counts
    (array([0, 3]), {'conv1': 2})
    >>> plan.removed_positions()["conv2", "in"]
    array([1, 2])
    >>> plan.cuts()["conv2.weight", 1]
    array([1, 2])
    """

    def __init__(
        self,
        units: Sequence[PruningUnit],
        kept: Mapping[str, Any],
        *,
        info: Mapping[str, Any] | None = None,
        norms: Norms = "former",
    ) -> None:
        if norms not in ("former", "own"):
            raise InvalidProblemError(
                f"`norms` must be 'former' or 'own', got {norms!r}. They divide by "
                "their former number of channels, or by the number that is left."
            )
        if not isinstance(info, (Mapping, type(None))):
            raise InvalidProblemError(
                f"`info` must be a mapping, got {type(info).__name__}. "
                "Pass for instance {'asked': {'macs': 0.5}}."
            )
        self.norms: Norms = norms
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
        _check_disjoint(self._units.values())
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
        same = self._units == other._units and self.norms == other.norms
        return same and all(
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
        """Return what each layer loses: (layer, side) -> sorted positions."""
        pieces: dict[tuple[str, Side], list[IntArray]] = {}
        for name, unit in self._units.items():
            gone = self.removed(name)
            for site in unit.ports if gone.size else ():
                key = (site.layer, site.side)
                pieces.setdefault(key, []).append(site.positions(gone))
        return {key: np.unique(np.concatenate(some)) for key, some in pieces.items()}

    def cuts(self) -> dict[tuple[str, int | None], IntArray]:
        """Return what each tensor loses: (tensor, dimension) -> sorted positions."""
        pieces: dict[tuple[str, int | None], list[IntArray]] = {}
        for name, unit in self._units.items():
            gone = self.removed(name)
            for site in unit.sites if gone.size else ():
                key = (site.tensor, site.dim)
                pieces.setdefault(key, []).append(site.positions(gone))
        return {key: np.unique(np.concatenate(some)) for key, some in pieces.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain lists, dicts, strings and numbers."""
        units = [_structure(unit) for unit in self._units.values()]
        return {
            "format": FORMAT,
            "info": self.info,
            "norms": self.norms,
            "check": _checksum(units),
            "units": [
                {**unit, "kept": self._kept[unit["name"]].tolist()} for unit in units
            ],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PruningPlan:
        """Read what `to_dict` has written; the first format, too.

        Raises
        ------
        InvalidProblemError
            If `data` is no plan, or one of another format, or its units are not those
            that were written: what is kept may be edited, the rest not.
        """
        found = data.get("format") if isinstance(data, Mapping) else None
        if found not in (FORMAT, FIRST_FORMAT):
            raise InvalidProblemError(
                f"`data` must be a plan of format {FORMAT!r}, got {found!r}. "
                "Write it with PruningPlan.to_json."
            )
        try:
            entries = [dict(entry) for entry in data["units"]]
            kept = {str(entry["name"]): entry.pop("kept") for entry in entries}
            if found == FORMAT and data["check"] != _checksum(entries):
                raise InvalidProblemError(
                    "`data` must hold the units as they were written, got others than "
                    "its check sum is of. Edit `kept` only, or make the plan anew."
                )
            read = _first_unit if found == FIRST_FORMAT else _unit
            units = [read(entry) for entry in entries]
        except InvalidProblemError:
            raise
        except Exception as error:  # whatever a foreign text makes Python raise
            raise InvalidProblemError(
                f"`data` must hold the units of a plan, got {error!r} on the way. "
                "Write it with PruningPlan.to_json."
            ) from error
        info = data.get("info")
        return cls(units, kept, info=info, norms=data.get("norms", "former"))

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
        if not text.lstrip().startswith(("{", "[")):
            text = Path(source).read_text(encoding="utf-8")
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidProblemError(
                f"`source` must be the JSON text of a plan, got {error!r} on the way. "
                "Write it with PruningPlan.to_json."
            ) from error
        return cls.from_dict(data)


def _structure(unit: PruningUnit) -> dict[str, Any]:
    """Return a unit in plain values; what is as by default is left out."""
    data: dict[str, Any] = {"name": unit.name, "size": unit.size}
    if unit.tied:
        step = unit.step
        blocks = unit.size % step == 0 and unit.tied == tuple(
            tuple(range(c, c + step)) for c in range(0, unit.size, step)
        )
        data["tied"] = step if blocks else [list(group) for group in unit.tied]
    data["sites"] = [site.to_dict() for site in unit.sites]
    if unit.attributes:
        data["attributes"] = [one.to_dict() for one in unit.attributes]
    if unit.heads is not None:
        data["heads"] = unit.heads
    return data


def _unit(entry: Mapping[str, Any]) -> PruningUnit:
    """Read what `_structure` has written."""
    size, tied = entry["size"], entry.get("tied", ())
    if isinstance(tied, int):
        step = as_int(tied, "tied", least=1)
        whole = as_int(size, "size", least=1)
        if whole > MOST_CHANNELS:
            tied = ()  # refused by the unit itself
        else:
            tied = [range(c, c + step) for c in range(0, whole, step)]
    return PruningUnit(
        name=str(entry["name"]),
        size=size,
        sites=tuple(Site.from_dict(site) for site in entry["sites"]),
        tied=tuple(tuple(group) for group in tied),
        attributes=tuple(Attribute(**one) for one in entry.get("attributes", ())),
        heads=entry.get("heads"),
    )


def _first_unit(entry: Mapping[str, Any]) -> PruningUnit:
    """Read a unit of format 1: sites are sides of layers, heads are told apart."""
    heads = entry.get("heads") or {}
    return PruningUnit(
        name=str(entry["name"]),
        size=entry["size"],
        sites=tuple(Site.of_layer(**site) for site in entry["sites"]),
        tied=tuple(tuple(group) for group in entry["tied"]),
        attributes=tuple(
            Attribute(heads["module"], name) for name in heads.get("attributes", ())
        ),
        heads=heads.get("module"),
    )


def _checksum(units: Sequence[Mapping[str, Any]]) -> str:
    text = json.dumps(units, sort_keys=True, separators=(",", ":"))
    return f"{zlib.crc32(text.encode()):08x}"


def _check_disjoint(units: Iterable[PruningUnit]) -> None:
    """Raise if a position belongs to two channels."""
    places: dict[tuple[str, int | None, Side], list[tuple[Site, PruningUnit]]] = {}
    for unit in units:
        for site in unit.sites:
            place = (site.tensor, site.dim, site.side)
            places.setdefault(place, []).append((site, unit))
    for (tensor, dim, _), some in places.items():
        if len(some) < 2:
            continue
        flat = np.concatenate([s.table(unit.size).ravel() for s, unit in some])
        if len(np.unique(flat)) < len(flat):
            names = sorted({unit.name for _, unit in some})
            raise InvalidProblemError(
                f"`units` must have positions of their own, got some of {tensor!r} "
                f"(dimension {dim}) twice, in units {names[:4]}. "
                "Trace the network again."
            )


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
