"""The best values published for public instances, each with its source."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from sirfp_opt._validate import as_text, require
from sirfp_opt.objective import Objective
from sirfp_opt.sense import Sense
from sirfp_opt.set_problem import SetProblem

__all__ = ["BestKnown", "best_known", "best_known_for"]


@dataclass(frozen=True)
class BestKnown:
    """The best value published for an instance.

    Attributes
    ----------
    instance : str
        The file's name in MDPLIB, without its suffix.
    n, k : int
    value : float
        Of the objective, maximised.
    tolerance : float
        Relative difference within which a value is the same: published values are
        rounded, and some are float32 sums.
    source : str
    """

    instance: str
    n: int
    k: int
    value: float
    tolerance: float
    source: str

    def verdict(self, objective: float) -> str:
        """Say how an objective compares, in words."""
        difference = (objective - self.value) / abs(self.value)
        if difference > self.tolerance:
            return (
                f"{self.value:.12g}: BETTER THAN BEST KNOWN by {difference:.2g}. "
                f"Re-check the instance, then publish it. ({self.source})"
            )
        if difference >= -self.tolerance:
            return f"{self.value:.12g}, reached ({self.source})"
        return f"{self.value:.12g}, missed by {-difference:.2g} ({self.source})"


@cache
def _table() -> dict[str, BestKnown]:
    text = files("sirfp_opt.io").joinpath("best_known.csv").read_text("utf-8")
    rows = csv.DictReader(text.splitlines())
    return {
        row["instance"]: BestKnown(
            instance=row["instance"],
            n=int(row["n"]),
            k=int(row["k"]),
            value=float(row["value"]),
            tolerance=float(row["tolerance"]),
            source=row["source"],
        )
        for row in rows
    }


def best_known(instance: str) -> BestKnown | None:
    """Return the best value published for an instance of MDPLIB, None if not listed.

    Parameters
    ----------
    instance : str
        The file's name without its suffix, for instance "GKD-c_1_n500_m50".
    """
    return _table().get(as_text(instance, "instance", hint="It is a file's name."))


def best_known_for(problem: SetProblem) -> BestKnown | None:
    """Return the best value published for a problem, None if there is none.

    The graph's name must be that of an instance, and n, k and the sense its own;
    a problem with further constraints is another problem.
    """
    found = best_known(require(problem, SetProblem, "problem").title)
    if (
        found is None
        or problem.objective is not Objective.CLIQUE
        or problem.features
        or problem.sense is not Sense.MAXIMIZE
    ):
        return None
    counts = problem.constraints.counts(problem.n)
    return found if (problem.n, counts) == (found.n, (found.k,)) else None
