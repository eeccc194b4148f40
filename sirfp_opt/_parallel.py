"""Run one function over many arguments, through joblib where more than one job is."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sirfp_opt._extras import require_extra
from sirfp_opt._signals import as_one
from sirfp_opt._validate import as_int, brief
from sirfp_opt.errors import InvalidProblemError

__all__ = [
    "Clock",
    "Stages",
    "Tick",
    "check_jobs",
    "check_progress",
    "progress_stages",
    "run_all",
]

logger = logging.getLogger("sirfp_opt.progress")

Tick = Callable[[], None]
"""Called after each finished task."""

Stages = Callable[[str, int, int], None]
"""``callback(stage, done, total)``."""

Result = TypeVar("Result")


def run_all(
    function: Callable[..., Result],
    arguments: Sequence[tuple[Any, ...]],
    n_jobs: int = 1,
    tick: Tick | None = None,
) -> list[Result]:
    """Return ``[function(*a) for a in arguments]``.

    Parameters
    ----------
    function : callable
    arguments : sequence of tuple
    n_jobs : int
        1 for a plain loop, which needs no joblib. Else joblib's workers: threads, since
        the numerical work releases the GIL and matrices need not be copied; processes
        or a cluster where `joblib.parallel_config` says so. -1 for all cores.
    tick : callable, optional
        Called after each finished task, in order.

    Raises
    ------
    MissingExtraError
        If several jobs are asked for and joblib is not installed.
    """
    check_jobs(n_jobs)
    if n_jobs == 1 or len(arguments) < 2:
        results: Iterator[Result] = (function(*one) for one in arguments)
    else:
        import joblib

        parallel = joblib.Parallel(
            n_jobs=n_jobs, prefer="threads", return_as="generator"
        )
        results = parallel(joblib.delayed(function)(*one) for one in arguments)
    out = []
    with as_one():
        for result in results:
            out.append(result)
            if tick is not None:
                tick()
    return out


def check_jobs(n_jobs: Any) -> None:
    """Raise unless `n_jobs` is a number of jobs, and joblib is there for several.

    Raises
    ------
    InvalidProblemError
        If it is neither -1 nor at least 1.
    MissingExtraError
        If several jobs are asked for and joblib is not installed.
    """
    if type(n_jobs) is not int or n_jobs != -1:
        as_int(n_jobs, "n_jobs", least=1)
    if n_jobs != 1:
        require_extra("study", "joblib")


def check_progress(progress: Any) -> None:
    """Raise unless `progress` is True, False, None or callable.

    Raises
    ------
    InvalidProblemError
    """
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        raise InvalidProblemError(
            f"`progress` must be True, False, None or callable, got {brief(progress)}. "
            "Pass True for bars, or callback(stage, done, total)."
        )


class Clock:
    """Seconds of each stage, and a callback for progress.

    Parameters
    ----------
    callback : callable, optional
        ``callback(stage, done, total)``.

    Attributes
    ----------
    seconds : dict of str to float
        Wall-clock time of each stage so far.
    """

    def __init__(self, callback: Stages | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self._callback = callback

    @contextmanager
    def stage(self, name: str, total: int = 1) -> Iterator[Tick]:
        """Time a block; it calls what it is given after each of `total` steps.

        With a total of 0 it is only timed: what runs in it tells of itself.
        """
        done = 0

        def tick() -> None:
            nonlocal done
            done += 1
            self.tell(name, done, total)

        if total:
            self.tell(name, 0, total)
        start = time.perf_counter()
        try:
            yield tick
        finally:
            spent = time.perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + spent
        if done < total:
            self.tell(name, total, total)

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add the stages of another clock to this one's."""
        for name, spent in seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + spent

    def tell(self, name: str, done: int, total: int) -> None:
        """Call back, if anybody listens."""
        if self._callback is not None:
            self._callback(name, done, total)


@contextmanager
def progress_stages(progress: bool | Stages | None) -> Iterator[Stages]:
    """Give a callback for progress: the caller's, one that draws bars, or a quiet one.

    Parameters
    ----------
    progress : bool or callable, optional
        True draws a bar for each stage on stderr, by rich. None, the default of all
        that takes long, does so on a terminal, where the bars go when all is done; in
        a notebook, a pipe, and on all ranks but the first it logs each finished stage
        (INFO, `sirfp_opt.progress`).
    """
    check_progress(progress)
    if callable(progress):
        yield progress
    elif progress is False:
        yield lambda stage, done, total: None
    elif progress or _on_terminal():
        with _bars(transient=progress is None) as draw:
            yield draw
    else:
        yield _log


def _on_terminal() -> bool:
    """Whether somebody looks on: several ranks would draw over each other."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    return terminal and os.environ.get("RANK", "0") == "0"


def _log(stage: str, done: int, total: int) -> None:
    if done == total:
        logger.info("%s: done%s", stage, f", {total} steps" if total > 1 else "")


@contextmanager
def _bars(*, transient: bool) -> Iterator[Stages]:
    """Draw a bar for each stage that is told of."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("{task.description:<9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=transient,
        refresh_per_second=2,  # drawing must not disturb what is being timed
        speed_estimate_period=600.0,
    ) as bars:
        tasks: dict[str, Any] = {}

        def draw(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield draw
