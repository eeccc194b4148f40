"""Rules of parameters, declared once, beside the field that they are about.

A rule checks a value, says in words what it wants, and knows values that break it: so
it serves ``__post_init__``, tables and help texts, and the test that hands every
public callable invalid values.
"""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from sirfp_opt._validate import as_int, as_real, brief
from sirfp_opt.errors import InvalidProblemError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = [
    "Rule",
    "check_fields",
    "check_names",
    "choice",
    "flag",
    "number",
    "ruled",
    "rules_of",
    "whole",
]


@dataclass(frozen=True)
class Rule:
    """What a parameter must be.

    Attributes
    ----------
    words : str
        The rule, to go after "must be".
    check : callable
        ``check(value, name)`` raises `InvalidProblemError`, or returns the value.
    bad : tuple
        Some values that break it.
    """

    words: str
    check: Callable[[Any, str], Any]
    bad: tuple[Any, ...]


def whole(least: int = 0, *, optional: bool = False) -> Rule:
    """Return the rule of a whole number of at least `least`."""

    def check(value: Any, name: str) -> int | None:
        if value is None and optional:
            return None
        return as_int(value, name, least=least)

    words = f"a whole number of at least {least}" + (" or None" if optional else "")
    bad = (least - 1, 1.5, "many", True, [1], *([] if optional else [None]))
    return Rule(words, check, bad)


def number(
    least: float = -math.inf,
    most: float = math.inf,
    *,
    above: bool = False,
    below: bool = False,
    optional: bool = False,
    way: str = "Pass a number.",
) -> Rule:
    """Return the rule of a number within [least, most].

    Parameters
    ----------
    least, most : float
    above, below : bool
        Whether the number must not be `least`, or `most`, itself.
    optional : bool
        Whether it may be None.
    way : str
        The way out, for the message.
    """
    if most == math.inf:
        words = f"a number {'above' if above else 'of at least'} {least:g}"
    else:
        words = f"a number in {'(' if above else '['}{least:g}, {most:g}"
        words += ")" if below else "]"

    def check(value: Any, name: str) -> float | None:
        if value is None and optional:
            return None
        found = as_real(value, name, hint=way)
        low = found > least if above else found >= least
        high = found < most if below else found <= most
        if not (low and high and math.isfinite(found)):
            raise InvalidProblemError(
                f"`{name}` must be {words}, got {brief(value)}. {way}"
            )
        return found

    bad: list[Any] = [math.nan, "half", True, [0.5]]
    if math.isfinite(least):
        bad.append(least if above else least - 0.5)
    bad.append(most if below and math.isfinite(most) else most + 1)
    return Rule(
        words + (" or None" if optional else ""),
        check,
        tuple(bad if optional else [*bad, None]),
    )


def choice(*names: Any, way: str = "") -> Rule:
    """Return the rule of one of a few values."""
    words = "one of " + ", ".join(map(repr, names))

    def check(value: Any, name: str) -> Any:
        known = [n for n in names if type(n) is type(value) and n == value]
        if known:
            return value
        near = (
            get_close_matches(value, [n for n in names if isinstance(n, str)], n=1)
            if isinstance(value, str)
            else []
        )
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InvalidProblemError(
            f"`{name}` must be {words}, got {brief(value)}.{hint or ' ' + way}".rstrip()
        )

    return Rule(words, check, ("nothing of the kind", 7, ["list"]))


def flag(*, optional: bool = False) -> Rule:
    """Return the rule of True or False."""
    return choice(True, False, *([None] if optional else []), way="Pass True or False.")


def ruled(rule: Rule, default: Any = MISSING, *, factory: Any = MISSING) -> Any:
    """Return a dataclass field with its rule.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class Search:
    ...     depth: int = ruled(whole(1), 3)
    ...     def __post_init__(self) -> None:
    ...         check_fields(self)
    >>> Search(depth=0)
    Traceback (most recent call last):
    sirfp_opt.errors.InvalidProblemError: `depth` must be at least 1, got 0. ...
    """
    if factory is not MISSING:
        return field(default_factory=factory, metadata={"rule": rule})
    return field(default=default, metadata={"rule": rule})


def rules_of(cls: Any) -> dict[str, Rule]:
    """Return the declared rules of a dataclass's fields, by name."""
    return {f.name: f.metadata["rule"] for f in fields(cls) if "rule" in f.metadata}


def check_fields(value: Any) -> None:
    """Check every field of a dataclass that has a rule; for ``__post_init__``.

    Raises
    ------
    InvalidProblemError
        Naming the field, the rule and the value.
    """
    cls = type(value)
    if cls not in _found:  # once a class: every call of `solve` makes a solver
        own = {f.name: f.default for f in fields(cls)}
        rules = [(n, own[n], rule) for n, rule in rules_of(cls).items()]
        for name, default, rule in rules:
            if default is not MISSING:
                rule.check(default, name)
        _found[cls] = rules
    for name, default, rule in _found[cls]:
        given = getattr(value, name)
        if given is not default:  # that one keeps the rule
            rule.check(given, name)


_found: dict[type[Any], list[tuple[str, Any, Rule]]] = {}


def check_names(
    given: Mapping[str, Any],
    known: Iterable[str],
    owner: str,
    moved: Mapping[str, str] | None = None,
) -> None:
    """Refuse keywords that nobody knows, with the nearest that somebody does.

    Parameters
    ----------
    given : mapping
        Keywords.
    known : iterable of str
    owner : str
        Whose they are, for the message.
    moved : mapping of str to str, optional
        Former names, and what they are called now.

    Raises
    ------
    InvalidProblemError
    """
    names = sorted(known)
    for name in given:
        if name in names:
            continue
        near = get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"Did you mean `{near[0]}`? " if near else ""
        if moved and name in moved:
            hint = f"It is `{moved[name]}` now. "
        raise InvalidProblemError(
            f"`{name}` must be a keyword of {owner}, got an unknown one. {hint}"
            f"There are {', '.join(names)}."
        )
