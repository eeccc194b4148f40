"""What is optimised: the one thing in which set problems differ."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Objective"]


class Objective(StrEnum):
    """Which function of the kept set is optimised.

    Attributes
    ----------
    CLIQUE
        Edge and vertex weights inside of the set: `PruningProblem`.
    REFIT
        What comes through to the readers after a refit: `ReconstructionProblem`.
    """

    CLIQUE = "clique"
    REFIT = "refit"
