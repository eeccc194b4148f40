"""The keywords of `prune`, and patterns of layer names among them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypedDict

from sirfp_opt._rules import check_names, number
from sirfp_opt._validate import brief
from sirfp_opt.constraints import LayerConstraints
from sirfp_opt.errors import InvalidProblemError

if TYPE_CHECKING:
    from sirfp_opt.limits import Limits
    from sirfp_opt.network.allocation import Allocator
    from sirfp_opt.network.budget import Budget
    from sirfp_opt.protocols import Solver
    from sirfp_opt.pytorch.extraction.metrics import Metric
    from sirfp_opt.pytorch.extraction.settings import Extraction
    from sirfp_opt.pytorch.reference import ReferenceOptions
    from sirfp_opt.pytorch.refitting.settings import Refit

__all__ = [
    "MOVED",
    "SHORT",
    "PruneSettings",
    "as_patterns",
    "as_rules",
    "check_fraction",
    "must_match",
    "said_twice",
]


class PruneSettings(TypedDict, total=False):
    """The keywords of `prune`: the fields of `PruneRequest`, and short ones."""

    macs: float | None
    params: float | None
    latency: float | None
    metric: str | Metric
    time_limit: float | None
    reference: bool | ReferenceOptions
    budget: Budget | Mapping[str, float]
    keep: float | Mapping[str, int | float] | None
    method: str | Solver
    options: Mapping[str, Any]
    allocation: str | Allocator | None
    constraints: Mapping[str, LayerConstraints]
    min_keep: float
    multiple_of: int
    ignore: Iterable[str]
    drop_dead: bool
    limits: Limits
    seed: int
    certify: bool | str
    n_jobs: int
    extraction: Extraction | Mapping[str, Any] | None
    refit: str | Refit | None
    verify: bool
    tolerance: float


SHORT = ("macs", "params", "latency", "metric", "time_limit", "reference")
"""Keywords that stand for a part of a field."""

MOVED = {"callback": "progress"}
"""Keywords of earlier versions, and what they are called now."""


def must_match(
    patterns: Iterable[str],
    names: Iterable[str],
    argument: str,
    *,
    literal: bool = False,
) -> None:
    """Refuse patterns that match nothing, with the nearest of the names.

    Parameters
    ----------
    patterns : iterable of str
    names : iterable of str
        What there is.
    argument : str
        For the message.
    literal : bool
        Whether the patterns are plain names.

    Raises
    ------
    InvalidProblemError
    """
    known = list(names)
    for pattern in patterns:
        if literal and pattern in known:
            continue
        if not literal and any(fnmatchcase(name, pattern) for name in known):
            continue
        near = get_close_matches(pattern.replace("*", ""), known, n=3, cutoff=0.4)
        nearest = f"The nearest are {near}." if near else f"There are {known[:6]} ..."
        what = "a name" if literal else "a pattern"
        raise InvalidProblemError(
            f"`{argument}` must name layers of the network, got {pattern!r}, {what} "
            f"that matches none. {nearest}"
        )


def as_patterns(patterns: Any, argument: str) -> tuple[str, ...]:
    """Return patterns of names as a tuple; a single text is refused.

    Raises
    ------
    InvalidProblemError
    """
    single = isinstance(patterns, (str, bytes)) or not isinstance(patterns, Iterable)
    listed = [patterns] if single else list(patterns)
    if single or not all(isinstance(pattern, str) for pattern in listed):
        raise InvalidProblemError(
            f"`{argument}` must hold patterns of layer names, got {brief(patterns)}. "
            "Pass for instance ['head.*']."
        )
    return tuple(listed)


def check_fraction(value: Any, name: str) -> None:
    """Raise unless a value is a fraction of channels that may stay.

    Raises
    ------
    InvalidProblemError
    """
    number(
        0.0,
        1.0,
        above=True,
        way="Pass the fraction that stays, or by unit a whole number of channels.",
    ).check(value, name)


def as_rules(rules: Any, pattern: str) -> Any:
    """Return constraints of units that a mapping stands for, others as they are."""
    if not isinstance(rules, Mapping):
        return rules
    names = [f.name for f in fields(LayerConstraints)]
    check_names(rules, names, f"constraints[{pattern!r}]")
    return LayerConstraints(**rules)


def said_twice(name: str, *others: str) -> InvalidProblemError:
    """Return the error for an argument that is stated in two ways."""
    return InvalidProblemError(
        f"`{name}` must be left out beside {', '.join(others)}, got both. "
        "State it once."
    )
