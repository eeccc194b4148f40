"""How many channels each layer keeps under a budget."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, NoReturn

from sirfp_opt._moved import raise_moved
from sirfp_opt._rules import check_names
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.network.allocation.lagrangian import Lagrangian, SplitAllocator
from sirfp_opt.network.allocation.measured import Measured
from sirfp_opt.network.allocation.optimal import Optimal
from sirfp_opt.network.allocation.protocol import Allocation, Allocator
from sirfp_opt.network.allocation.scores import greedy_scores
from sirfp_opt.network.allocation.threshold import Threshold
from sirfp_opt.network.allocation.uniform import Uniform
from sirfp_opt.network.worth import Worth

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "ALLOCATIONS",
    "Allocation",
    "Allocator",
    "Lagrangian",
    "Measured",
    "Optimal",
    "Threshold",
    "Uniform",
    "Worth",
    "as_plain",
    "create_allocator",
    "from_plain",
    "greedy_scores",
    "name_of",
    "worth_of",
]

ALLOCATIONS: dict[str, Callable[[], Allocator]] = {
    "uniform": Uniform,
    "threshold": Threshold,
    "lagrangian": Lagrangian,
    "optimal": Optimal,
    "balanced": lambda: Optimal(Worth("balanced")),
    "measured": Measured,
}
"""Allocations by name: "balanced" is "optimal" with another `Worth`."""


def create_allocator(allocation: str | Allocator) -> Allocator:
    """Return the allocator that a name stands for; an object is returned as it is.

    Raises
    ------
    InvalidProblemError
        If there is no allocation of that name; the nearest one is suggested.
    """
    if not isinstance(allocation, str):
        if callable(getattr(allocation, "allocate", None)):
            return allocation
        raise InvalidProblemError(
            f"`allocation` must be a name or have a method `allocate`, got "
            f"{type(allocation).__name__}. The names are {list(ALLOCATIONS)}."
        )
    if allocation not in ALLOCATIONS:
        near = difflib.get_close_matches(allocation.lower(), ALLOCATIONS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InvalidProblemError(
            f"`allocation` must be one of {list(ALLOCATIONS)} or an allocator, got "
            f"{allocation!r}.{hint} The paper's is 'threshold'."
        )
    return ALLOCATIONS[allocation]()


def worth_of(allocation: str | Allocator) -> Worth | None:
    """Return the worth that an allocation states; None where it takes the problem's."""
    allocator = create_allocator(allocation)
    return allocator.worth if isinstance(allocator, SplitAllocator) else None


def name_of(thing: Any) -> str:
    """Return the name of an allocation or a method: its own, or that of its class."""
    return thing if isinstance(thing, str) else type(thing).__name__.lower()


def as_plain(allocation: str | Allocator) -> Any:
    """Return an allocation as plain values for JSON; `from_plain` reads them back.

    One of a class of somebody else's is written by its repr, and cannot be read back.
    """
    if isinstance(allocation, str):
        return allocation
    if type(allocation) not in _CLASSES.values():
        return repr(allocation)
    return {"allocation": type(allocation).__name__, **asdict(allocation)}  # type: ignore[call-overload]


def from_plain(data: Any) -> str | Allocator:
    """Read what `as_plain` wrote.

    Raises
    ------
    InvalidProblemError
        If it names no allocation, or has a parameter that is none of its.
    """
    if not isinstance(data, Mapping):
        return create_allocator(data) and data
    parts = dict(data)
    kind = parts.pop("allocation", None)
    if kind in ALLOCATIONS:  # by its short name, from somebody's hand
        short = ALLOCATIONS[kind]()
        kind = type(short).__name__
        parts = {f.name: getattr(short, f.name) for f in fields(short)} | parts  # type: ignore[arg-type]
    if kind not in _CLASSES:
        raise InvalidProblemError(
            f"`allocation` must name one of {list(_CLASSES)}, got {kind!r}. "
            "Write it with to_dict."
        )
    check_names(parts, [f.name for f in fields(_CLASSES[kind])], kind)
    if isinstance(parts.get("worth"), Mapping):
        parts["worth"] = Worth(**parts["worth"])
    found: Allocator = _CLASSES[kind](**parts)
    return found


_CLASSES: dict[Any, Any] = {
    one.__name__: one for one in (Uniform, Threshold, Lagrangian, Optimal, Measured)
}


def __getattr__(name: str) -> NoReturn:
    """Say where names of earlier versions are."""
    homes = {
        "Budget": "sirfp_opt.network.Budget",
        "MemberGraph": "sirfp_opt.network.MemberGraph",
        "Layer": "sirfp_opt.network.unit.UnitView",
    }
    raise_moved(__name__, name, homes)
