"""Solvers by name: entry points, loaded on first use; the built-in ones likewise."""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, overload

from sirfp_opt._option_types import check_options
from sirfp_opt._rules import rules_of
from sirfp_opt._validate import brief
from sirfp_opt.errors import (
    InvalidProblemError,
    SolverError,
    SolverNotInstalledError,
    UnknownSolverError,
    UnsupportedError,
)
from sirfp_opt.objective import Objective
from sirfp_opt.protocols import EVERY_FEATURE, EVERY_LIMIT, Solver, SolverInfo

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ENTRY_POINT_GROUP",
    "SolverRow",
    "SolverTable",
    "available_solvers",
    "create_solver",
    "register_solver",
    "unregister_solver",
]

ENTRY_POINT_GROUP = "sirfp_opt.solvers"

_registered: dict[str, type[Solver]] = {}


@cache
def _entry_points() -> dict[str, EntryPoint]:
    """Return the installed solvers' entry points; ours win over a stranger's."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        other = found.get(point.name)
        if other is None:
            found[point.name] = point
        elif other.value != point.value:
            ours = [p for p in (other, point) if _is_ours(p)]
            found[point.name] = ours[0] if ours else other
            warnings.warn(
                f"two installed packages name a solver {point.name!r}: {other.value} "
                f"and {point.value}; {found[point.name].value} is used.",
                RuntimeWarning,
                stacklevel=3,
            )
    return found


def _is_ours(point: EntryPoint) -> bool:
    return point.value.startswith("sirfp_opt_solvers.")


def _names() -> list[str]:
    return sorted({*_entry_points(), *_registered})


def _load(name: str) -> type[Solver]:
    """Return the class behind a known name.

    Raises
    ------
    SolverNotInstalledError
        If its module cannot be imported.
    SolverError
        If what is there is no solver.
    """
    if name in _registered:
        return _registered[name]
    return _load_point(name)


@cache
def _load_point(name: str) -> type[Solver]:
    """Return the class that an entry point stands for; failures are not remembered."""
    point = _entry_points()[name]
    try:
        cls = point.load()
    except Exception as error:
        raise SolverNotInstalledError(
            f"solver {name!r} must be importable, got {type(error).__name__} from "
            f"{point.value}: {error}. Reinstall or remove the package that brings it."
        ) from error
    _require_solver_class(name, cls)
    return cls  # type: ignore[no-any-return]


def _require_solver_class(name: str, cls: Any) -> None:
    """Raise unless `cls` is a class with what the protocol asks for."""
    info = getattr(cls, "info", None)
    if not (
        isinstance(cls, type)
        and isinstance(info, SolverInfo)
        and callable(getattr(cls, "solve", None))
    ):
        raise SolverError(
            f"solver {name!r} must be a class with `info: SolverInfo` and "
            f"`solve(search)`, got {cls!r}. See sirfp_opt.protocols.Solver."
        )
    unknown = [
        *(info.supports - EVERY_FEATURE),
        *(info.limits - EVERY_LIMIT),
        *(str(o) for o in info.objectives if o not in tuple(Objective)),
    ]
    if unknown:
        raise SolverError(
            f"solver {name!r} must name known features, limits and objectives, got "
            f"{sorted(unknown)}. The known ones are {sorted(EVERY_FEATURE)}, "
            f"{sorted(EVERY_LIMIT)} and {sorted(Objective)}."
        )


def _lacking(info: SolverInfo) -> list[str]:
    """Return the packages a solver needs that are not there, without importing any."""
    return [
        name
        for name in info.requires
        if name not in sys.modules and importlib.util.find_spec(name) is None
    ]


def create_solver(
    method: str | Solver, options: Mapping[str, Any] | None = None
) -> tuple[str, Solver]:
    """Return the name and the solver object that `method` and `options` stand for.

    Parameters
    ----------
    method : str or Solver
        A registered name, or an object that is a solver already.
    options : mapping, optional
        Parameters of the named method; must be empty beside an object.

    Returns
    -------
    name : str
    solver : Solver

    Raises
    ------
    UnknownSolverError
        If no solver has that name; the nearest ones are suggested.
    SolverNotInstalledError
        If a package that it needs is not there.
    UnsupportedError
        If an option is not one of the method's parameters.
    InvalidProblemError
        If `method` is neither, or an option is of another type than declared.
    """
    if options is not None and not isinstance(options, Mapping):
        raise InvalidProblemError(
            f"`options` must be a mapping, got {brief(options)}. "
            "Pass for instance {'samples': 10}."
        )
    if not isinstance(method, str):
        if isinstance(method, type) or not hasattr(type(method), "info"):
            raise InvalidProblemError(
                f"`method` must be a name or a solver object, got {brief(method)}. "
                f"Known: {', '.join(_names())}; call a class to make an object."
            )
        _require_solver_class(type(method).__name__, type(method))
        if dataclasses.is_dataclass(method):
            values = {f: getattr(method, f) for f in _parameters(type(method))}
            check_options(_name_of(method), type(method), values)
        if options:
            raise UnsupportedError(
                f"`options` must be left out beside a solver object, got "
                f"{sorted(options)}. Set them on {type(method).__name__}(...)."
            )
        return _name_of(method), method
    cls = _registered.get(method)
    if cls is None and method not in _entry_points():
        known = _names()
        near = difflib.get_close_matches(method.lower(), known, n=2, cutoff=0.5)
        hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
        raise UnknownSolverError(
            f"`method` must name a solver, got {method!r}. {hint}"
            f"Known: {', '.join(known)}."
        )
    if cls is None:
        cls = _load_point(method)
    lacking = _lacking(cls.info)
    if lacking:
        extra = f"[{cls.info.extra}]" if cls.info.extra else ""
        raise SolverNotInstalledError(
            f"`method` must name an installed solver, got {method!r}, which needs "
            f"{', '.join(lacking)}. Run: pip install 'sirfp-opt{extra}'"
            + ("." if extra else f" {' '.join(lacking)}.")
        )
    if not options:
        return method, cls()
    options = dict(options)
    names = _parameters(cls)
    wrong = sorted(set(options) - set(names))
    if wrong:
        near = difflib.get_close_matches(wrong[0], names, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise UnsupportedError(
            f"`options` of {method!r} must be among {sorted(names)}, got {wrong}. "
            f"{hint}Limits go into Limits(...)."
        )
    check_options(method, cls, options)
    return method, cls(**options)


def _parameters(cls: type[Any]) -> list[str]:
    if not dataclasses.is_dataclass(cls):
        return []
    return [f.name for f in dataclasses.fields(cls) if f.init]


def _rules(cls: type[Any]) -> dict[str, str]:
    """Return what each parameter must be, in words, of those with a declared rule."""
    if not dataclasses.is_dataclass(cls):
        return {}
    return {name: rule.words for name, rule in rules_of(cls).items()}


def _name_of(solver: Solver) -> str:
    """Return the name under which an object's class is known, else its class name."""
    for name, cls in _registered.items():
        if type(solver) is cls:
            return name
    here = f"{type(solver).__module__}:{type(solver).__qualname__}"
    for name, point in _entry_points().items():
        if point.value == here:
            return name
    return type(solver).__name__


def register_solver(name: str, cls: type[Solver], *, replace: bool = False) -> None:
    """Make a solver class known by name in this process.

    A package does the same for good with an entry point in the group
    "sirfp_opt.solvers".

    Parameters
    ----------
    name : str
        A Python identifier.
    cls : type
        A class as described in `sirfp_opt.protocols.Solver`.
    replace : bool
        Allow the name to be taken over.

    Raises
    ------
    InvalidProblemError
        If the name is taken or no identifier.
    SolverError
        If the class is no solver.
    """
    if not (isinstance(name, str) and name.isidentifier()):
        raise InvalidProblemError(
            f"`name` must be a Python identifier, got {name!r}. Try 'my_solver'."
        )
    if name in _names() and not replace:
        raise InvalidProblemError(
            f"`name` must be free, got {name!r}, which is taken. "
            "Choose another or pass replace=True."
        )
    _require_solver_class(name, cls)
    _registered[name] = cls


def unregister_solver(name: str) -> None:
    """Forget a solver that `register_solver` made known; an installed one reappears.

    Raises
    ------
    UnknownSolverError
        If no solver was registered under that name.
    """
    if not isinstance(name, str) or name not in _registered:
        raise UnknownSolverError(
            f"`name` must be one of the registered solvers {sorted(_registered)}, got "
            f"{brief(name)}. Installed solvers go when their package goes."
        )
    del _registered[name]


@dataclass(frozen=True)
class SolverRow:
    """One line of `available_solvers`.

    Attributes
    ----------
    name : str
    kind : str
        "exact" or "heuristic".
    supports : tuple of str
        Features it honours.
    limits : tuple of str
        Limits it honours.
    options : tuple of str
        Its parameters.
    installed : bool
    reason : str
        Why it is not installed.
    summary : str
    objectives : tuple of str
        What it can optimise.
    rules : mapping of str to str
        By parameter, what it must be, where its class declares that.
    """

    name: str
    kind: str
    supports: tuple[str, ...]
    limits: tuple[str, ...]
    options: tuple[str, ...]
    installed: bool
    reason: str
    summary: str
    objectives: tuple[str, ...] = ()
    rules: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class SolverTable(Sequence[SolverRow]):
    """What `available_solvers` returns: a sequence that prints as a table."""

    rows: tuple[SolverRow, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[SolverRow]:
        return iter(self.rows)

    @overload
    def __getitem__(self, index: int) -> SolverRow: ...
    @overload
    def __getitem__(self, index: slice) -> SolverTable: ...
    def __getitem__(self, index: int | slice) -> SolverRow | SolverTable:
        if isinstance(index, slice):
            return SolverTable(self.rows[index])
        return self.rows[index]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the solvers that can run here."""
        return tuple(row.name for row in self.rows if row.installed)

    def __repr__(self) -> str:
        width = max((len(r.name) for r in self.rows), default=0)
        return "\n".join(
            f"{r.name:<{width}}  {r.kind:<9}  "
            + (r.summary if r.installed else f"not installed: {r.reason}")
            for r in self.rows
        )

    def to_frame(self) -> pd.DataFrame:
        """Return a DataFrame with one row a solver."""
        import pandas

        return pandas.DataFrame([dataclasses.asdict(row) for row in self.rows])


def available_solvers() -> SolverTable:
    """Return every known solver: what it is, what it supports, whether it can run.

    A solver whose package is broken is listed with the reason, never raised.

    Examples
    --------
    >>> from sirfp_opt import available_solvers
    >>> "greedy" in available_solvers().names
    True
    """
    rows = []
    for name in _names():
        try:
            cls = _load(name)
        except (SolverNotInstalledError, SolverError) as error:
            warnings.warn(f"skipped: {error}", RuntimeWarning, stacklevel=2)
            rows.append(SolverRow(name, "unknown", (), (), (), False, str(error), ""))
            continue
        lacking = _lacking(cls.info)
        rows.append(
            SolverRow(
                name=name,
                kind="exact" if cls.info.exact else "heuristic",
                supports=tuple(sorted(cls.info.supports)),
                limits=tuple(sorted(cls.info.limits)),
                options=tuple(_parameters(cls)),
                installed=not lacking,
                reason=f"needs {', '.join(lacking)}" if lacking else "",
                summary=cls.info.summary,
                objectives=tuple(sorted(cls.info.objectives)),
                rules=_rules(cls),
            )
        )
    return SolverTable(tuple(rows))
