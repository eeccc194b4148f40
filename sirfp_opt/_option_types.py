"""Whether a solver's options are of the types that its class declares."""

from __future__ import annotations

import inspect
import sys
import types
import typing
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sirfp_opt._validate import brief
from sirfp_opt.errors import InvalidProblemError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["check_options"]

_WORDS: dict[Any, str] = {
    int: "an integer",
    float: "a number",
    bool: "True or False",
    str: "a text",
    type(None): "None",
}


def check_options(method: str, cls: type[Any], options: Mapping[str, Any]) -> None:
    """Raise if an option is not of the type that its field declares.

    Bools, numbers, texts, `None`, literals and unions of these are checked; fields
    declared as anything else are the solver's own business.

    Parameters
    ----------
    method : str
        For the message.
    cls : type
        A dataclass.
    options : mapping of str to object

    Raises
    ------
    InvalidProblemError
        Naming the option, its type and its value.
    """
    known = _found.setdefault(cls, {})  # once a class: every call of `solve` comes here
    for name, value in options.items():
        if name not in known:
            known[name] = _alternatives(_declared(cls, name))
        wanted = known[name]
        if wanted and not any(_fits(value, kind) for kind in wanted):
            told = " or ".join(_WORDS.get(kind, repr(kind)) for kind in wanted)
            raise InvalidProblemError(
                f"`{name}` of {method!r} must be {told}, got {brief(value)}. "
                f"See {cls.__name__}."
            )


_found: dict[type[Any], dict[str, list[Any]]] = {}


def _declared(cls: type[Any], name: str) -> Any:
    """Return a field's annotation, None if it cannot be resolved here."""
    for base in cls.__mro__:
        if name in (stated_here := inspect.get_annotations(base)):
            stated = stated_here[name]
            if not isinstance(stated, str):
                return stated
            try:  # names that are imported for the type checker only are not there
                return eval(stated, vars(sys.modules[base.__module__]))
            except Exception:
                return None
    return None


def _alternatives(kind: Any) -> list[Any]:
    """Return an annotation's types and literal values, nothing if it has others."""
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        parts = [_alternatives(part) for part in typing.get_args(kind)]
        return [p for part in parts for p in part] if all(parts) else []
    if kind is None:  # not declared, or not to be resolved
        return []
    if origin is Literal:
        return list(typing.get_args(kind))
    return [kind] if isinstance(kind, type) and kind in _WORDS else []


def _fits(value: Any, kind: Any) -> bool:
    if not isinstance(kind, type):
        return type(value) is type(kind) and bool(value == kind)
    if kind is bool:
        return isinstance(value, (bool, np.bool_))
    if isinstance(value, (bool, np.bool_)):
        return False
    if kind is int:
        return isinstance(value, (int, np.integer))
    if kind is float:
        return isinstance(value, (int, float, np.integer, np.floating))
    return isinstance(value, kind)
