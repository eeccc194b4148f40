"""From what a user calls "methods" to solver objects with a label."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions, version
from typing import TYPE_CHECKING, Any

from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.registry import create_solver

if TYPE_CHECKING:
    from sirfp_opt.protocols import Solver

__all__ = ["Method", "as_methods", "versions_of"]


@dataclass(frozen=True)
class Method:
    """A solver with its label in the study.

    Attributes
    ----------
    label : str
    name : str
        Its name in the registry, or that of its class.
    solver : Solver
    options : dict
        Its parameters as JSON values.
    fingerprint : str
        Changes with the options, with the solver's source and with its version.
    """

    label: str
    name: str
    solver: Solver
    options: dict[str, Any]
    fingerprint: str


def as_methods(methods: Any) -> list[Method]:
    """Return the methods with distinct labels; see `compare` for what is understood.

    Raises
    ------
    InvalidProblemError
        If there is none, or two have one label.
    UnknownSolverError, SolverNotInstalledError, UnsupportedError
        If one cannot be made here.
    """
    if isinstance(methods, Mapping):
        made = [_as_method(spec, str(label)) for label, spec in methods.items()]
    elif (
        isinstance(methods, str)
        or _is_pair(methods)
        or not isinstance(methods, Iterable)
        or getattr(methods, "ndim", 1) != 1
    ):
        made = [_as_method(methods)]
    else:
        made = [_as_method(spec) for spec in methods]
    labels = [method.label for method in made]
    if not made or len(set(labels)) < len(labels):
        raise InvalidProblemError(
            f"`methods` must be one or more with distinct labels, got {labels}. "
            "Pass a mapping of labels to methods to name them yourself."
        )
    return made


def _as_method(spec: Any, label: str = "") -> Method:
    if _is_pair(spec):
        name, solver = create_solver(spec[0], spec[1])
    else:
        name, solver = create_solver(spec)
    values = _parameters(solver)
    if not label:
        defaults = _parameters_by_default(type(solver))
        told = [f"{k}={v!r}" for k, v in values.items() if defaults.get(k, ...) != v]
        label = f"{name}({', '.join(told)})" if told else name
    options = {k: v if _is_plain(v) else repr(v) for k, v in values.items()}
    identity = json.dumps(
        [name, options, _state(solver), _source(type(solver)), versions_of(solver)],
        sort_keys=True,
    )
    fingerprint = hashlib.sha256(identity.encode()).hexdigest()[:32]
    return Method(label, name, solver, options, fingerprint)


def _is_pair(spec: Any) -> bool:
    """Tell (name, options) from a tuple of two methods."""
    return isinstance(spec, tuple) and len(spec) == 2 and isinstance(spec[1], Mapping)


def _parameters(solver: Any) -> dict[str, Any]:
    if not dataclasses.is_dataclass(solver):
        return {}
    return {f.name: getattr(solver, f.name) for f in dataclasses.fields(solver)}


def _parameters_by_default(cls: type[Any]) -> dict[str, Any]:
    try:
        return _parameters(cls())
    except TypeError:  # a parameter without a default
        return {}


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _state(solver: Any) -> str:
    """Return what tells two objects of one class apart that is no declared option."""
    if dataclasses.is_dataclass(solver):
        return ""
    import joblib

    return str(joblib.hash(vars(solver) if hasattr(solver, "__dict__") else ()))


def _source(cls: type[Any]) -> str:
    """Return the class's source, so that an edited solver is run anew."""
    try:
        return inspect.getsource(cls)
    except (OSError, TypeError):  # made by exec, or in C
        return ""


@cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def versions_of(solver: Solver) -> dict[str, str]:
    """Return the versions of the distributions that a solver stands on."""
    modules = {type(solver).__module__.split(".")[0], "sirfp_opt", "numpy"}
    modules.update(solver.info.requires)
    names = {d for module in modules for d in _distributions().get(module, ())}
    return {name: version(name) for name in sorted(names)}
