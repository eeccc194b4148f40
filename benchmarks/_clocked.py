"""Runs on the processor's clock, of our solvers and of external programs."""

from __future__ import annotations

import re
import resource
import shlex
import subprocess
import time
from typing import TYPE_CHECKING, Any

from benchmarks._instances import generated
from sirfp_opt import Limits
from sirfp_opt.registry import create_solver
from sirfp_opt.search import Search
from sirfp_opt.study.record import RunRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from sirfp_opt import PruningProblem

PATTERN = r"^\s*(?P<seconds>[0-9.eE+-]+)[\s,;]+(?P<value>[0-9.eE+-]+)"


class CpuSearch(Search):
    """A search whose clock is the process's CPU time, so that neighbours cost less."""

    @property
    def seconds(self) -> float:
        """CPU seconds of this process since the start."""
        return time.process_time() - self._started


def run(
    problem: PruningProblem,
    method: str,
    seconds: float,
    seed: int,
    *,
    target: float | None = None,
    **options: Any,
) -> RunRecord:
    """Run a method for some CPU seconds; the trace is in CPU seconds."""
    _, solver = create_solver(method, options)
    search = CpuSearch(
        problem,
        limits=Limits(time=seconds, target=target),
        seed=seed,
        started=time.process_time(),
        solver=method,
    )
    solver.solve(search)
    trace = search.trace()
    return _record(
        problem,
        method,
        seed,
        seconds,
        [(e.seconds, e.iteration, e.incumbent, e.bound) for e in trace],
        limit=search.limit,
    )


def warm_up(methods: Iterable[str]) -> None:
    """Load compiled code before any clock runs."""
    problem = generated("MDG-a", 100, 10, 0)
    for method in methods:
        run(problem, method, 0.05, 0)


def run_external(
    command: str,
    file: Path,
    problem: PruningProblem,
    seconds: float,
    seed: int,
    pattern: str = PATTERN,
) -> RunRecord:
    """Run another program on an instance's file.

    Parameters
    ----------
    command : str
        Words with {file}, {n}, {k}, {seconds}, {seed}; without any of them, file, k,
        seconds and seed are appended.
    file : Path
        The instance as MDPLIB text.
    pattern : str
        Regular expression for an improvement in the program's output, with the groups
        "seconds" (of the program's own clock), "value" and, if it has one,
        "iterations".
    """
    k = problem.constraints.counts(problem.graph.n)[0]
    if "{" not in command:
        command += " {file} {k} {seconds} {seed}"
    words = [
        word.format(file=file, n=problem.graph.n, k=k, seconds=seconds, seed=seed)
        for word in shlex.split(command)
    ]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=20 * seconds + 60, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    events: list[tuple[float, int, float | None, float | None]] = []
    best = float("-inf")
    for found in re.finditer(pattern, done.stdout, re.MULTILINE):
        groups = found.groupdict()
        value, iteration = float(groups["value"]), int(groups.get("iterations") or 0)
        if value > best:
            best = value
            events.append((float(groups["seconds"]), iteration, value, None))
    if not events:
        raise RuntimeError(f"{words[0]} printed nothing that matches {pattern!r}")
    events.append((max(used, events[-1][0]), events[-1][1], best, None))
    return _record(problem, words[0], seed, seconds, events)


def _record(
    problem: PruningProblem,
    method: str,
    seed: int,
    seconds: float,
    trace: Sequence[tuple[float, int, float | None, float | None]],
    limit: str | None = None,
) -> RunRecord:
    return RunRecord(
        key="",
        instance=problem.graph.name,
        problem="",
        n=problem.graph.n,
        k=problem.constraints.counts(problem.graph.n)[0],
        sense=problem.sense.value,
        method=method,
        solver=method,
        options={},
        seed=seed,
        limits={"time": seconds},
        status="feasible",
        objective=trace[-1][2],
        limit=limit,
        seconds=trace[-1][0],
        trace=tuple(trace),
    )
