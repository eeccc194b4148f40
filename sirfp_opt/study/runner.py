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

from sirfp_opt._validate import as_int
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

    from sirfp_opt.sense import Sense
    from sirfp_opt.study.problems import Instance

__all__ = ["INTERRUPTED", "Task", "effective_jobs", "run_all"]


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


def effective_jobs(n_jobs: int | None) -> int:
    """Return how many runs take place at a time.

    Raises
    ------
    InvalidProblemError
        If `n_jobs` is no number of jobs.
    """
    import joblib

    if n_jobs is not None and not (type(n_jobs) is int and n_jobs == -1):
        as_int(n_jobs, "n_jobs", least=1)
    return int(joblib.effective_n_jobs(n_jobs))


def run_all(
    tasks: Sequence[Task],
    *,
    n_jobs: int,
    warm_up: bool = True,
    claim: Callable[[Task], bool] = lambda task: True,
) -> Iterator[RunRecord]:
    """Yield the row of each task as it is finished, in any order.

    Tasks that `claim`, asked just before they begin, does not grant are left out.

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
                if claim(task):
                    taken[task.key] = task
                    yield task
                else:
                    left.pop(task.key, None)

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
    if found.limit == "interrupt":  # its worker was asked to end
        return task.record("killed", found.runtime, error=INTERRUPTED)
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


INTERRUPTED = "interrupted by a signal"
_FAILED_AS: dict[type[BaseException], str] = {
    NoSolutionError: "no_solution",
    UnsupportedError: "unsupported",
}
# Enough for every stage of a method to be reached, and so compiled.
_WARM_ITERATIONS = 2000
# For methods that would not end by themselves; compiling takes less.
_WARM_SECONDS = 60.0
_QUICK = 0.1
_WARM_CALLS = 8
_warmed: set[tuple[str, frozenset[str], str]] = set()


def _warm(task: Task) -> None:
    """Let the method import and compile what it needs before its first timed run.

    By iterations, not by the clock: what compiling takes must not end the warm-up
    before the next stage is compiled. The problem is tiny, of the same features and
    sense, since they decide what is compiled.
    """
    of = task.instance.problem
    kind = (task.method.fingerprint, of.features, of.sense.value)
    if kind in _warmed:
        return
    _warmed.add(kind)
    problem = _tiny(of.features, of.sense)
    solver = task.method.solver
    given: dict[str, Any] = {"iterations": _WARM_ITERATIONS, "time": _WARM_SECONDS}
    limits = Limits(**{k: v for k, v in given.items() if k in solver.info.limits})
    for _ in range(_WARM_CALLS):
        started = time.perf_counter()
        try:
            solve(problem, method=solver, limits=limits, certify=task.certify)
        except (Exception, SystemExit):  # the run itself will show it, in its row
            return
        if time.perf_counter() - started < _QUICK:
            return


def _tiny(features: frozenset[str], sense: Sense) -> PruningProblem:
    """Return a small problem that has the features given."""
    n = 12
    rng = np.random.default_rng(0)
    matrix = rng.random((n, n))
    joined = np.ones((n, n), dtype=bool)
    joined[0, 1] = joined[1, 0] = False
    graph = ChannelGraph(
        weights=matrix + matrix.T,
        sense=sense,
        vertex_weights=rng.random(n) if "vertex_weights" in features else None,
        adjacency=joined if "missing_edges" in features else None,
    )
    ranged = "k_range" in features
    return PruningProblem(
        graph,
        LayerConstraints(
            None if ranged else 6,
            k_min=4 if ranged else None,
            k_max=8 if ranged else None,
            multiple_of=2 if "multiple_of" in features else 1,
            must_keep=[2] if "must_keep" in features else [],
            must_drop=[3] if "must_drop" in features else [],
            tied=[(4, 5), (6, 7, 8)] if "tied" in features else [],
        ),
    )


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
