"""The study's table of results."""

from __future__ import annotations

from pathlib import Path

from examples.studies import results
from examples.studies.refit.execute import FIGURES
from examples.studies.refit.runs import KEYS

__all__ = ["SHIPPED", "Results"]

SHIPPED = Path(__file__).with_name("results.csv")


class Results(results.Results):
    """Finished runs of this study.

    Parameters
    ----------
    path : str or Path
        Made, with its folder, if it is not there.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path, KEYS, FIGURES)
