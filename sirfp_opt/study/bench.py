"""compare: every method on every problem with every seed, stored as it goes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sirfp_opt._extras import require_extra
from sirfp_opt._parallel import Stages, check_progress, progress_stages
from sirfp_opt._validate import as_indices, as_int, require
from sirfp_opt.bounds import check_effort
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.limits import Limits
from sirfp_opt.objective import Objective
from sirfp_opt.study.methods import as_methods
from sirfp_opt.study.problems import Count, as_instances
from sirfp_opt.study.record import RunRecord
from sirfp_opt.study.result import Study
from sirfp_opt.study.runner import Task, effective_jobs
from sirfp_opt.study.sharing import SharedWork
from sirfp_opt.study.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["compare"]


def compare(
    problems: Any,
    methods: Any,
    *,
    k: Count | Iterable[Count] | None = None,
    seeds: int | Iterable[int] = 1,
    time_limit: float | None = None,
    limits: Limits | None = None,
    certify: bool | str = False,
    n_jobs: int | None = None,
    results: str | Path | None = None,
    retry_failed: bool = False,
    warm_up: bool = True,
    progress: bool | Stages | None = None,
) -> Study:
    """Run every method on every problem with every seed.

    Parameters
    ----------
    problems
        One or more of: ChannelGraph, PruningProblem, matrix, networkx.Graph,
        pandas.DataFrame; a file that `sirfp_opt.io` reads, or a folder of them; a
        mapping of names to any of these, such as a network's layers. What comes again
        under another name counts once, under its first, with a warning.
    methods
        One or more of: a name from `available_solvers()`, a solver object, a pair
        (name, options); or a mapping of labels to these.
    k : int, float, (int, int) or iterable of these, optional
        How many channels to keep: a number, a share such as 0.5, or a range. Several
        make a problem each. May be left out for PruningProblems.
    seeds : int or iterable of int
        A number s stands for the seeds 0, ..., s - 1.
    time_limit : float, optional
        Seconds for each run; short for Limits(time=...).
    limits : Limits, optional
        Any other limit, for every run.
    certify : bool or str
        Ask every run for a proven bound, see `sirfp_opt.solve`.
    n_jobs : int, optional
        Runs at a time; -1 for one on each core. By default what
        ``joblib.parallel_config`` says (a Dask or Ray cluster, say), else one.
    results : str or Path, optional
        A folder. Each finished run is stored there at once, and a run that is there
        already is not repeated: call again after a crash to go on. What is stored is
        checked and priced again before it counts. Several studies at a time, also of
        several machines, may share a folder: each run is made once.
    retry_failed : bool
        Repeat stored runs that failed.
    warm_up : bool
        Let each worker solve a tiny problem by each method first, so that imports and
        compilation are not part of any run's time.
    progress : bool or callable, optional
        True for a progress bar, or ``callback(stage, done, total)``; by default a bar
        on a terminal, and log messages elsewhere.

    Returns
    -------
    Study

    Raises
    ------
    InvalidProblemError, UnknownSolverError, SolverNotInstalledError, UnsupportedError
        If an argument is wrong; nothing has been run then. Or if a stored row is not
        what the core says of it; file and line are named. A *run* that fails raises
        nothing: it becomes a row with its error.

    Notes
    -----
    Runs take place in worker processes, so a solver that crashes takes only its worker
    along. What was under way beside it is done again. Times of runs side by side on
    one machine disturb each other: for figures to publish, use n_jobs=1.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import ChannelGraph
    >>> from sirfp_opt.study import compare
    >>> maps = np.random.default_rng(0).random((10, 50))
    >>> layer = ChannelGraph.from_redundancy(maps @ maps.T, name="layer")
    >>> study = compare(layer, ["greedy", "brute_force"], k=[3, 0.5])
    >>> study.to_frame()[["instance", "k", "method", "status"]].values.tolist()[:2]
    [['layer', 3, 'greedy', 'feasible'], ['layer', 3, 'brute_force', 'optimal']]
    """
    require_extra("study", "joblib")
    if limits is not None:
        require(limits, Limits, "limits")
    if not isinstance(certify, bool):
        check_effort(certify, Objective.CLIQUE, "certify")
    if n_jobs is not None:
        effective_jobs(n_jobs)  # refused before anything is read or run
    check_progress(progress)
    if time_limit is not None:
        if limits is not None:
            raise InvalidProblemError(
                f"`time_limit` must be left out beside `limits`, got {time_limit}. "
                "State it in Limits(time=...)."
            )
        limits = Limits(time=time_limit)
    tasks = _tasks(problems, methods, k, _as_seeds(seeds), limits or Limits(), certify)
    if results is None:
        done = _run(tasks, None, n_jobs, warm_up, progress, retry_failed)
    else:
        store = ResultStore(
            results, {t.instance.fingerprint: t.instance for t in tasks}
        )
        with store.claims:
            done = _run(tasks, store, n_jobs, warm_up, progress, retry_failed)
    return Study([_named(done[task.key], task) for task in tasks])


def _run(
    tasks: list[Task],
    store: ResultStore | None,
    n_jobs: int | None,
    warm_up: bool,
    progress: bool | Stages | None,
    retry_failed: bool,
) -> dict[str, RunRecord]:
    """Make the runs that are not stored yet; return all of them by key."""
    work = SharedWork(tasks, store, retry_failed=retry_failed)
    if work.left:
        records = work.run(effective_jobs(n_jobs), warm_up)
        for _ in _watched(records, len(work.left), progress):
            pass
    return work.done


def _tasks(
    problems: Any,
    methods: Any,
    k: Count | Iterable[Count] | None,
    seeds: Sequence[int],
    limits: Limits,
    certify: bool | str,
) -> list[Task]:
    entries = as_methods(methods)
    tasks = []
    for instance in as_instances(problems, k):
        for seed in seeds:
            for method in entries:
                content = [
                    instance.fingerprint,
                    method.fingerprint,
                    seed,
                    {name: getattr(limits, name) for name in limits.given},
                    certify,
                ]
                key = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]
                tasks.append(Task(key, instance, method, seed, limits, certify))
    return tasks


def _as_seeds(seeds: int | Iterable[int]) -> tuple[int, ...]:
    if isinstance(seeds, Iterable):
        return as_indices(seeds, "seeds")
    return tuple(range(as_int(seeds, "seeds", least=1)))


def _named(record: RunRecord, task: Task) -> RunRecord:
    """Give a stored run the names that it has in this study."""
    if (record.instance, record.method) == (task.instance.name, task.method.label):
        return record
    names = {"instance": task.instance.name, "method": task.method.label}
    return RunRecord.from_dict(record.to_dict() | names)


def _watched(
    records: Iterator[RunRecord], total: int, progress: bool | Stages | None
) -> Iterator[RunRecord]:
    """Pass the records on, showing how many are done and how long the rest takes."""
    failed = 0
    with progress_stages(progress) as tell:
        tell("runs", 0, total)
        for done, record in enumerate(records, 1):
            tell("runs", done, total)
            if record.failed:
                failed += 1
                tell("failed", failed, total)
            yield record
