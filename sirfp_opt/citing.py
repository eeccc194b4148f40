"""What to cite: the package, the paper behind it, and the papers behind a method."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from sirfp_opt.errors import SolverError
from sirfp_opt.registry import create_solver
from sirfp_opt.solution import Solution

if TYPE_CHECKING:
    from sirfp_opt.protocols import Solver

__all__ = ["cite"]

_ALWAYS = ("sirfp_opt", "wu2025sirfp")


def cite(method: str | Solver | Solution | None = None) -> str:
    """Return BibTeX entries for a paper that uses the package.

    Parameters
    ----------
    method : str, Solver or Solution, optional
        A method's name, a solver object, or what `solve` returned: then the papers
        that the method follows (`SolverInfo.cites`) are there, too.

    Returns
    -------
    str
        The package, the paper whose problem it solves, and the method's.

    Raises
    ------
    UnknownSolverError, SolverNotInstalledError, InvalidProblemError
        If there is no such method.
    SolverError
        If the method cites what is neither an entry nor a key of the package's own.

    Examples
    --------
    >>> from sirfp_opt import cite
    >>> print(cite("tabu").count("@"), "zhou2017opposition" in cite("tabu"))
    3 True
    """
    keys: tuple[str, ...] = ()
    if method is not None:
        chosen = method.solver if isinstance(method, Solution) else method
        keys = create_solver(chosen)[1].info.cites
    return "\n\n".join(_entry(key) for key in dict.fromkeys((*_ALWAYS, *keys))) + "\n"


def _entry(key: str) -> str:
    """Return an entry by its key; an outsider's comes as a whole."""
    if key.lstrip().startswith("@"):
        return key.strip()
    try:
        return _entries()[key]
    except KeyError:
        raise SolverError(
            f"`cites` must hold BibTeX entries or keys among {sorted(_entries())}, got "
            f"{key!r}. Give the whole entry."
        ) from None


@cache
def _entries() -> dict[str, str]:
    text = files("sirfp_opt").joinpath("references.bib").read_text("utf-8")
    found = {}
    for part in re.split(r"\n(?=@)", text):
        key = part.partition("{")[2].partition(",")[0]
        found[key] = part.strip()
    return found
