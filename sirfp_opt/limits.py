"""Limits: when a solver must stop, as plain values."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from sirfp_opt._validate import as_int, as_real
from sirfp_opt.errors import InvalidProblemError

__all__ = ["Limits"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What may stop a run before it ends by itself.

    Parameters
    ----------
    time : float, optional
        Wall-clock seconds, model building included. Infinity is no limit.
    iterations : int, optional
        Iterations, in the solver's own unit (its docstring says which).
    no_improvement : int, optional
        Iterations in a row without a better incumbent.
    gap : float, optional
        Stop once the relative gap is at most this.
    target : float, optional
        Stop once the objective is at least as good as this one.

    Raises
    ------
    InvalidProblemError
        If a value is negative, NaN or of the wrong kind (a bool, a text).

    Examples
    --------
    >>> from sirfp_opt import Limits
    >>> Limits(time=2.0, gap=0.01).given
    ('time', 'gap')
    """

    time: float | None = None
    iterations: int | None = None
    no_improvement: int | None = None
    gap: float | None = None
    target: float | None = None

    def __post_init__(self) -> None:
        store = object.__setattr__
        for name in ("iterations", "no_improvement"):
            value = getattr(self, name)
            if value is not None:
                store(self, name, as_int(value, name, least=1))
        for name in ("time", "gap", "target"):
            value = getattr(self, name)
            if value is None:
                continue
            number = as_real(value, name)
            if name != "target" and number < 0:
                raise InvalidProblemError(
                    f"`{name}` must be a number of at least 0, got {value!r}. "
                    "Leave it out for no limit."
                )
            # Endless time is no limit; the others are compared with as they are.
            store(self, name, None if (name, number) == ("time", math.inf) else number)

    @property
    def given(self) -> tuple[str, ...]:
        """Names of the limits that are set."""
        return tuple(name for name in _NAMES if getattr(self, name) is not None)


_NAMES = tuple(f.name for f in fields(Limits))
