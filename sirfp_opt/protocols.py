"""What a solver is. An outsider's class needs nothing else from the package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from sirfp_opt.objective import Objective

if TYPE_CHECKING:
    from sirfp_opt.search import Search

__all__ = ["EVERY_FEATURE", "EVERY_LIMIT", "Solver", "SolverInfo"]

EVERY_FEATURE = frozenset(
    {
        "vertex_weights",
        "missing_edges",
        "must_keep",
        "must_drop",
        "tied",
        "k_range",
        "multiple_of",
    }
)
EVERY_LIMIT = frozenset({"time", "iterations", "no_improvement", "gap", "target"})


@dataclass(frozen=True, kw_only=True)
class SolverInfo:
    """What a solver says of itself before it is run.

    Parameters
    ----------
    summary : str
        One line for tables.
    exact : bool
        Whether, given time, it proves optimality.
    supports : frozenset of str
        Those of `EVERY_FEATURE` that it honours. Solvers that work on
        ``search.canonical`` get "must_keep" and "must_drop" for nothing.
    limits : frozenset of str
        Those of `EVERY_LIMIT` that it honours.
    objectives : frozenset of Objective
        What it can optimise; problems of another objective are refused.
    requires : tuple of str
        Import names of packages without which it cannot run.
    extra : str
        The distribution's extra that brings them, for the pip line.
    cites : tuple of str
        The papers it follows, as BibTeX entries; the built-in solvers name keys of the
        package's own. See `sirfp_opt.cite`.
    """

    summary: str
    exact: bool
    supports: frozenset[str] = EVERY_FEATURE
    limits: frozenset[str] = frozenset({"time", "target"})
    objectives: frozenset[Objective] = frozenset({Objective.CLIQUE})
    requires: tuple[str, ...] = ()
    extra: str = ""
    cites: tuple[str, ...] = ()


@runtime_checkable
class Solver(Protocol):
    """A method with its parameters, by custom a frozen dataclass of them.

    `solve` works on ``search.canonical`` (on ``search.refit`` where the objective is
    that of `ReconstructionProblem`, on ``search.form`` for either). It offers what it
    finds with ``search.offer_items`` and what it proves with
    ``search.tighten_canonical``, asks ``search.stop()`` often, and returns nothing. An
    exact solver that has proved that nothing is feasible raises `InfeasibleError`.
    """

    info: ClassVar[SolverInfo]

    def solve(self, search: Search) -> None:
        """Search until done or until ``search.stop()`` is true."""
        ...
