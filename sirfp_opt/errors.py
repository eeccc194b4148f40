"""Every error the package raises on purpose, under one root.

A message names the argument, the rule, the value and the way out.
"""

from __future__ import annotations

__all__ = [
    "InfeasibleError",
    "InvalidProblemError",
    "MissingExtraError",
    "NoSolutionError",
    "SirfpError",
    "SolverError",
    "SolverNotInstalledError",
    "UnknownSolverError",
    "UnsupportedError",
]


class SirfpError(Exception):
    """Root of the package's errors: ``except SirfpError`` catches them all."""


class InvalidProblemError(SirfpError, ValueError):
    """An argument breaks a rule that can be read off it before any work."""


class UnknownSolverError(SirfpError, ValueError):
    """No solver of that name is registered."""


class SolverNotInstalledError(SirfpError, ImportError):
    """The solver is known, but a package it needs cannot be imported."""


class MissingExtraError(SirfpError, ImportError):
    """A package that only a part of this one needs is not installed."""


class UnsupportedError(SirfpError, ValueError):
    """The solver cannot honour a constraint, a limit or an option it was given."""


class InfeasibleError(SirfpError):
    """It is proved that no set of channels meets the constraints."""


class NoSolutionError(SirfpError):
    """The solver stopped before it held any feasible set of channels."""


class SolverError(SirfpError, RuntimeError):
    """A solver broke its contract: it offered a set or a bound that is wrong."""
