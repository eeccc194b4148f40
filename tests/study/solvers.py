"""Solvers that misbehave, or leave a trace, for the tests of the study bench."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from sirfp_opt import SolverInfo

if TYPE_CHECKING:
    from sirfp_opt import Search


@dataclass(frozen=True)
class Logged:
    """Keep the first channels, and add a line to a file for each run."""

    log: str = os.devnull
    pause: float = 0.0
    info: ClassVar[SolverInfo] = SolverInfo(summary="first k, logged", exact=False)

    def solve(self, search: Search) -> None:
        """Write, wait, answer."""
        with Path(self.log).open("a", encoding="utf-8") as handle:
            handle.write(f"{search.problem.title} {search.seed}\n")
        time.sleep(self.pause)
        search.offer_items(range(search.canonical.counts[0]), 1)


@dataclass(frozen=True)
class SlowAtFirst(Logged):
    """Take long over each of the first calls in a process, as if compiling."""

    calls: ClassVar[list[int]] = []

    def solve(self, search: Search) -> None:
        """Sleep three times in all, a stage a call."""
        if len(self.calls) < 3:
            self.calls.append(1)
            time.sleep(0.3)
        super().solve(search)


@dataclass(frozen=True)
class Failing:
    """Fail in a given way on seed 1, else keep the first channels."""

    how: str
    info: ClassVar[SolverInfo] = SolverInfo(summary="fails on seed 1", exact=False)

    def solve(self, search: Search) -> None:
        """Do it."""
        if search.seed == 1:
            if self.how == "raise":
                raise ValueError("first line\nsecond line")
            if self.how == "sys.exit":
                sys.exit("bye")
            if self.how == "die":
                os._exit(3)
            return  # nothing offered
        search.offer_items(range(search.canonical.counts[0]), 1)
