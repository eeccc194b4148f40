"""Solvers that misbehave, or leave a trace, for the tests of the study bench."""

from __future__ import annotations

import os
import signal
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


@dataclass(frozen=True)
class Signalled:
    """Offer a set; on seed 1 ask the process to end, as a scheduler would."""

    info: ClassVar[SolverInfo] = SolverInfo(summary="signalled", exact=False)

    def solve(self, search: Search) -> None:
        """Offer, and raise the signal if the set is that of the run, not a warm-up."""
        search.offer_items(range(search.form.counts[0]), 1)
        if search.seed == 1:
            signal.raise_signal(signal.SIGTERM)


@dataclass(frozen=True)
class Staged:
    """Compiles one stage more each ten iterations: three sleeps, once in a process."""

    log: str = os.devnull
    reached: ClassVar[set[int]] = set()
    info: ClassVar[SolverInfo] = SolverInfo(
        summary="stages by iterations",
        exact=False,
        limits=frozenset({"time", "iterations"}),
    )

    def solve(self, search: Search) -> None:
        """Go through all stages unless the clock stops it before."""
        search.offer_items(range(search.form.counts[0]), 1)
        for stage in range(3):
            if search.stop(10 * stage):
                return
            if stage not in self.reached:
                self.reached.add(stage)
                name = search.problem.title or "warm-up"
                with Path(self.log).open("a", encoding="utf-8") as handle:
                    handle.write(f"{name} {stage}\n")
                time.sleep(0.2)
