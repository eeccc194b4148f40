"""Typed access to what a file or a mapping holds; a complaint names the field."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from sirfp_opt._validate import as_int, as_real, brief
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.trace import Trace, TraceEvent

__all__ = ["Fields"]


class Fields:
    """The fields of a mapping, each read as what it must be.

    Parameters
    ----------
    data : Mapping
    source : str
        Where it should have come from, for messages.

    Raises
    ------
    InvalidProblemError
        If `data` is no mapping; by each method, if its field is not there or of
        another kind. A bool is no number, and NaN is none either.
    """

    def __init__(self, data: Any, source: str) -> None:
        self.source = source
        if not isinstance(data, Mapping):
            raise InvalidProblemError(
                f"`data` must be a mapping, got {brief(data)}. Pass {source}."
            )
        self.data = data

    def refuse(self, name: str, rule: str) -> NoReturn:
        """Raise about a field."""
        raise InvalidProblemError(
            f"`data` must hold {name!r} {rule}, got {brief(self.data.get(name))}. "
            f"Pass {self.source}."
        )

    def _get(self, name: str) -> Any:
        if name not in self.data:
            raise InvalidProblemError(
                f"`data` must hold the field {name!r}, got none. Pass {self.source}."
            )
        return self.data[name]

    def real(self, name: str, *, least: float = -math.inf) -> float:
        """Return a finite number of at least `least`."""
        try:
            value = as_real(self._get(name), name)
        except InvalidProblemError:
            self._get(name)
            self.refuse(name, "as a number")
        if not math.isfinite(value) or value < least:
            self.refuse(name, "as a finite number" + _from(least))
        return value

    def real_or_none(self, name: str) -> float | None:
        """Return a finite number, or None where that is what the field holds."""
        return None if self._get(name) is None else self.real(name)

    def whole(self, name: str, *, least: int = 0) -> int:
        """Return a whole number of at least `least`."""
        value = self._get(name)
        try:
            return as_int(value, name, least=least)
        except InvalidProblemError:
            self.refuse(name, "as a whole number" + _from(least))

    def text(self, name: str) -> str:
        """Return a text."""
        value = self._get(name)
        return str(value) if isinstance(value, str) else self.refuse(name, "as a text")

    def text_or_none(self, name: str) -> str | None:
        """Return a text, or None where that is what the field holds."""
        return None if self._get(name) is None else self.text(name)

    def mapping(self, name: str) -> dict[str, Any]:
        """Return a mapping whose keys are texts."""
        value = self._get(name)
        if not isinstance(value, Mapping) or not all(isinstance(k, str) for k in value):
            self.refuse(name, "as a mapping")
        return dict(value)

    def sequence(self, name: str) -> list[Any]:
        """Return a list of anything."""
        value = self._get(name)
        if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
            self.refuse(name, "as a list")
        return list(value)

    def channels(self, name: str, n: int) -> tuple[int, ...]:
        """Return distinct channel numbers below `n`, ascending."""
        try:
            found = [as_int(c, name, least=0, most=n - 1) for c in self.sequence(name)]
        except InvalidProblemError:
            self.refuse(name, f"as a list of channels from 0 to {n - 1}")
        if len(set(found)) < len(found):
            self.refuse(name, "as a list of channels, each once")
        return tuple(sorted(found))

    def trace(self, name: str) -> Trace:
        """Return rows of seconds, iteration, incumbent and bound."""
        rule = "as rows (seconds, iteration, incumbent, bound)"
        events = []
        for row in self.sequence(name):
            if isinstance(row, (str, bytes)) or not isinstance(row, Sequence):
                self.refuse(name, rule)
            if len(row) != 4:
                self.refuse(name, rule)
            parts = Fields(dict(zip(_COLUMNS, row, strict=True)), self.source)
            try:
                events.append(
                    TraceEvent(
                        parts.real("seconds", least=0.0),
                        parts.whole("iteration"),
                        parts.real_or_none("incumbent"),
                        parts.real_or_none("bound"),
                    )
                )
            except InvalidProblemError:
                self.refuse(name, f"{rule}, not {brief(row)}")
        return Trace(tuple(events))


_COLUMNS = ("seconds", "iteration", "incumbent", "bound")


def _from(least: float) -> str:
    return "" if least == -math.inf else f" of at least {least:g}"
