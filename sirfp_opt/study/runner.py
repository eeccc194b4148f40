"""Run tasks through joblib; what dies on the way becomes a row."""

from __future__ import annotations

import os
import platform
import re
import time
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sirfp_opt.api import solve
from sirfp_opt.constraints import LayerConstraints
from sirfp_opt.errors import (
    InfeasibleError,
    NoSolutionError,
    SirfpError,
    UnsupportedError,
)
from sirfp_opt.graph import ChannelGraph
from sirfp_opt.limits import Limits
from sirfp_opt.problem import PruningProblem
from sirfp_opt.study.methods import Method, versions_of
from sirfp_opt.study.record import RunRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sirfp_opt.study.problems import Instance

__all__ = ["Task", "run_all"]


@dataclass(frozen=True)
class Task:
    """One run to be made."""

    key: str
    instance: Instance
    method: Method
    seed: int
    limits: Limits
    certify: bool | str

    def record(self, status: str, seconds: float, **found: Any) -> RunRecord:
        """Return the row of this run."""
        problem = self.instance.problem
        return RunRecord(
            key=self.key,
            instance=self.instance.name,
            problem=self.instance.fingerprint,
            n=problem.graph.n,
            k=found.pop("k", self.instance.k),
            sense=problem.sense.value,
            method=self.method.label,
            solver=self.method.name,
            options=self.method.options,
            seed=self.seed,
            limits={name: getattr(self.limits, name) for name in self.limits.given},
            status=status,
            seconds=seconds,
            versions={"python": platform.python_version()}
            | versions_of(self.method.solver),
            machine=_machine(),
            **found,
        )


def run_all(
    tasks: Sequence[Task], *, n_jobs: int, warm_up: bool = True
) -> Iterator[RunRecord]:
    """Yield the row of each task as it is finished, in any order.

    Runs take place in joblib's workers. If a worker dies, the tasks that were under
    way are tried again, each alone; one that kills its worker again is the culprit,
    and becomes a row of status "killed".
    """
    left = {task.key: task for task in tasks}
    while left:
        under_way: dict[str, Task] = {}

        def feed(
            pending: tuple[Task, ...] = tuple(left.values()),
            taken: dict[str, Task] = under_way,
        ) -> Iterator[Task]:
            for task in pending:
                taken[task.key] = task
                yield task

        try:
            for record in _parallel(feed(), n_jobs, warm_up):
                del left[record.key], under_way[record.key]
                yield record
        except Exception:  # a worker died: run_task itself returns every error
            if not under_way:
                raise
            for task in list(under_way.values()):
                yield _run_alone(task, warm_up)
                del left[task.key]


def _run_alone(task: Task, warm_up: bool) -> RunRecord:
    started = time.perf_counter()
    try:
        return next(iter(_parallel([task], 1, warm_up)))
    except Exception as error:
        seconds = time.perf_counter() - started
        if isinstance(error, BrokenExecutor) or "Killed" in type(error).__name__:
            code = re.search(r"\{.*\}", str(error))  # loky names the exit codes
            told = f" with {code.group()}" if code else ""
            died = f"the worker process died{told}"
            return task.record("killed", seconds, error=died)
        return task.record("error", seconds, error=_one_line(error))


def _parallel(tasks: Iterable[Task], n_jobs: int, warm_up: bool) -> Iterator[RunRecord]:
    import joblib

    # joblib runs n_jobs=1 in this very process, which a crash would take along. Two
    # workers of which one task at a time is asked do the same, and keep us alive.
    parallel = joblib.Parallel(
        n_jobs=n_jobs if n_jobs != 1 else 2,
        pre_dispatch=1 if n_jobs == 1 else "n_jobs",
        batch_size=1,
        return_as="generator_unordered",
    )
    jobs: Callable[..., Any] = joblib.delayed(run_task)
    yield from parallel(jobs(task, warm_up) for task in tasks)


def run_task(task: Task, warm_up: bool = True) -> RunRecord:
    """Make one run in this process; every error of the solver becomes a row."""
    if warm_up:
        _warm(task)
    # A fresh problem: its canonical form is part of the work that is timed.
    problem = PruningProblem(
        task.instance.problem.graph, task.instance.problem.constraints
    )
    started = time.perf_counter()
    try:
        found = solve(
            problem,
            method=task.method.solver,
            limits=task.limits,
            seed=task.seed,
            certify=task.certify,
        )
    except InfeasibleError:
        return task.record("infeasible", time.perf_counter() - started)
    except (Exception, SystemExit) as error:
        return task.record(
            _FAILED_AS.get(type(error), "error"),
            time.perf_counter() - started,
            error=_one_line(error),
        )
    return task.record(
        found.status.value,
        found.runtime,
        k=found.k,
        objective=found.objective,
        bound=found.bound,
        gap=found.gap,
        limit=found.limit,
        selected=tuple(found.selected.tolist()),
        trace=tuple(
            (e.seconds, e.iteration, e.incumbent, e.bound) for e in found.trace
        ),
    )


_FAILED_AS: dict[type[BaseException], str] = {
    NoSolutionError: "no_solution",
    UnsupportedError: "unsupported",
}
_WARM_SECONDS = 0.05
_WARM_CALLS = 8
_warmed: set[str] = set()


def _warm(task: Task) -> None:
    """Let the method import and compile what it needs before its first timed run."""
    if task.method.fingerprint in _warmed:
        return
    _warmed.add(task.method.fingerprint)
    matrix = np.random.default_rng(0).random((12, 12))
    problem = PruningProblem(
        ChannelGraph(weights=matrix + matrix.T, sense=task.instance.problem.sense),
        LayerConstraints(6),
    )
    solver = task.method.solver
    limits = Limits(time=_WARM_SECONDS) if "time" in solver.info.limits else None
    # What one call compiles may use up its time before the next stage is compiled.
    for _ in range(_WARM_CALLS):
        started = time.perf_counter()
        try:
            solve(problem, method=solver, limits=limits)
        except (Exception, SystemExit):  # the run itself will show it, in its row
            return
        if time.perf_counter() - started < 2 * _WARM_SECONDS:
            return


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or "no message"
    return text if isinstance(error, SirfpError) else f"{type(error).__name__}: {text}"


@cache
def _machine() -> str:
    """Return processor, cores and system, in words."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return f"{model}, {os.cpu_count()} cores, {platform.system()}"
