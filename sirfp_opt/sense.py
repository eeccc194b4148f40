"""Which way the objective runs, and the one formula for the gap."""

from __future__ import annotations

import math
from enum import StrEnum

from sirfp_opt.errors import InvalidProblemError

__all__ = ["Sense", "relative_gap"]


class Sense(StrEnum):
    """Redundancy is minimised, diversity is maximised."""

    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"

    @property
    def sign(self) -> int:
        """Return +1 where larger objectives are better, -1 where smaller ones are."""
        return 1 if self is Sense.MAXIMIZE else -1

    @classmethod
    def of(cls, value: str) -> Sense:
        """Read "min", "minimize", "max", "maximize" (any case).

        Raises
        ------
        InvalidProblemError
            If `value` is none of them.
        """
        if isinstance(value, Sense):
            return value
        aliases = {"min": cls.MINIMIZE, "max": cls.MAXIMIZE}
        text = str(value).lower()
        try:
            return aliases.get(text) or cls(text)
        except ValueError:
            raise InvalidProblemError(
                f"`sense` must be 'minimize' or 'maximize', got {value!r}. "
                "Redundancy is minimised, diversity maximised."
            ) from None


def relative_gap(objective: float, bound: float) -> float:
    """Return |objective - bound| / max(|objective|, |bound|), and 0 where they agree.

    The larger magnitude in the denominator keeps the gap within [0, 1] when both
    have one sign, and defined when either is zero.
    """
    difference = abs(objective - bound)
    if difference == 0.0:
        return 0.0
    if not math.isfinite(difference):
        return math.inf
    return difference / max(abs(objective), abs(bound))
