"""compare: every run once, stored at once, whatever the solvers do."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from sirfp_opt import (
    ChannelGraph,
    InvalidProblemError,
    LayerConstraints,
    PruningProblem,
    UnknownSolverError,
    UnsupportedError,
    solve,
)
from sirfp_opt.study import Study, compare
from tests.study.solvers import Failing, Logged, SlowAtFirst

Layers = dict[str, ChannelGraph]


def test_each_combination_is_one_row(layers: Layers) -> None:
    """Problems x k x seeds x methods, in that order, each exactly once."""
    methods = ["greedy", ("random", {"samples": 3})]
    study = compare(layers, methods, k=[2, 0.5], seeds=2)
    got = [(r.instance, r.k, r.seed, r.method) for r in study]
    ks = {"first": (2, 5), "second": (2, 6)}
    assert got == [
        (name, k, seed, method)
        for name in layers
        for k in ks[name]
        for seed in (0, 1)
        for method in ("greedy", "random(samples=3)")
    ]
    assert not study.failures


def test_a_row_is_what_solve_answers(layers: Layers) -> None:
    """A stored run has the objective, bound, set and status of the same `solve`."""
    run = compare(layers["first"], "brute_force", k=4)[0]
    alone = solve(layers["first"], 4, method="brute_force")
    assert run.objective == alone.objective
    assert run.bound == alone.bound
    assert run.selected == tuple(alone.selected.tolist())
    assert run.status == "optimal"
    assert run.versions["numpy"] == np.__version__


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_killed_worker_is_a_row(layers: Layers, n_jobs: int) -> None:
    """A solver that ends its process costs its own run, no other."""
    methods = {"good": "greedy", "bad": Failing("die")}
    study = compare(layers["first"], methods, k=3, seeds=3, n_jobs=n_jobs)
    status = {(r.method, r.seed): r.status for r in study}
    assert len(status) == 6
    killed = {key for key, told in status.items() if told == "killed"}
    assert killed == {("bad", 1)}
    assert "died" in study.failures[0].error
    assert set(status.values()) == {"feasible", "killed"}


@pytest.mark.parametrize(
    ("how", "status", "error"),
    [
        ("raise", "error", "ValueError: first line second line"),
        ("sys.exit", "error", "SystemExit: bye"),
        ("nothing", "no_solution", "must find a feasible set"),
    ],
)
def test_a_failing_solver_is_a_row(
    layers: Layers, how: str, status: str, error: str
) -> None:
    """An exception, an exit and an empty hand become rows with a one-line error."""
    study = compare(layers["first"], Failing(how), k=3, seeds=3)
    assert [r.status for r in study] == ["feasible", status, "feasible"]
    assert error in study[1].error
    assert "\n" not in study[1].error


def test_infeasible_is_an_answer() -> None:
    """A proof that nothing is feasible is no failure."""
    apart = ChannelGraph(weights=np.ones((3, 3)), adjacency=np.eye(3, dtype=bool))
    study = compare(apart, ["brute_force", "greedy"], k=2)
    assert [r.status for r in study] == ["infeasible", "no_solution"]
    assert [r.failed for r in study] == [False, True]


def test_a_rerun_repeats_nothing(layers: Layers, tmp_path: Path) -> None:
    """Stored runs are read back; a cut last line and a new seed are run, no more."""
    log, results = tmp_path / "log", tmp_path / "results"
    method = {"first k": Logged(str(log))}
    first = compare(layers, method, k=3, seeds=2, results=results, warm_up=False)
    assert len(log.read_text().splitlines()) == 4
    stored = results / "runs.jsonl"
    text = stored.read_text()
    stored.write_text(text[: len(text) - 20])  # as a crash would leave it
    again = compare(layers, method, k=3, seeds=3, results=results, warm_up=False)
    assert len(log.read_text().splitlines()) == 4 + 1 + 2
    assert [r.objective for r in again if r.seed < 2] == [r.objective for r in first]
    assert len(Study.load(results)) == 6


def test_what_is_different_is_run_again(layers: Layers, tmp_path: Path) -> None:
    """Another option, graph or limit is another run; another label is not."""
    graph = layers["first"]
    results = tmp_path / "results"
    compare(graph, "greedy", k=3, results=results)
    compare({"named": graph}, {"paper": "greedy"}, k=3, results=results)
    assert len(Study.load(results)) == 1
    compare(graph, ("greedy", {"diagonal": True}), k=3, results=results)
    compare(graph, "greedy", k=3, time_limit=5, results=results)
    moved = ChannelGraph.from_redundancy(graph.weights + 1e-9, name="first")
    compare(moved, "greedy", k=3, results=results)
    assert len(Study.load(results)) == 4


def test_failed_runs_are_repeated_on_request(layers: Layers, tmp_path: Path) -> None:
    """A stored failure stays a row until retry_failed asks for it again."""
    results = tmp_path / "results"
    for retry, lines in ((False, 1), (False, 1), (True, 2)):
        compare(
            layers["first"],
            Failing("raise"),
            k=3,
            seeds=[1],
            results=results,
            retry_failed=retry,
        )
        assert len((results / "runs.jsonl").read_text().splitlines()) == lines


def test_methods_are_warm_before_they_are_timed(layers: Layers, tmp_path: Path) -> None:
    """Calls on a nameless problem go on until one is quick; then the run is made."""
    log = tmp_path / "log"
    compare(layers["first"], SlowAtFirst(str(log)), k=3)
    names = [line.split()[0] for line in log.read_text().splitlines() if line[0] != " "]
    assert names == ["first"]
    # Three slow calls, at least one quick one (more on a busy machine), and the run.
    assert len(log.read_text().splitlines()) >= 4 + 1


SCRIPT = """
import sys, numpy as np
from sirfp_opt import ChannelGraph
from sirfp_opt.study import compare
from tests.study.solvers import Logged
graph = ChannelGraph.from_diversity(np.ones((5, 5)), name="g")
study = compare(graph, Logged(sys.argv[1], pause=0.2), k=2, seeds=8, n_jobs=2,
                results=sys.argv[2], warm_up=False)
assert len(study) == 8 and not study.failures
"""


def test_a_killed_study_resumes(tmp_path: Path) -> None:
    """After a SIGKILL of the whole study, a rerun does only what was not finished."""
    log, results = tmp_path / "log", tmp_path / "results"
    command = [sys.executable, "-c", SCRIPT, str(log), str(results)]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(command, cwd=root)
    stored = results / "runs.jsonl"
    for _ in range(600):
        if stored.exists() and len(stored.read_text().splitlines()) >= 2:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = [json.loads(line)["seed"] for line in stored.read_text().splitlines()]
    assert 2 <= len(finished) < 8
    subprocess.run(command, cwd=root, check=True)
    times = Counter(int(line.split()[1]) for line in log.read_text().splitlines())
    assert set(times) == set(range(8))
    assert all(times[seed] == 1 for seed in finished)


def test_runs_on_a_dask_cluster(layers: Layers) -> None:
    """joblib.parallel_config sends the runs to a cluster, with the same answers."""
    joblib = pytest.importorskip("joblib")
    distributed = pytest.importorskip("distributed")
    here = compare(layers, ["greedy", "brute_force"], k=[3, 4])
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=None
    )
    with cluster, distributed.Client(cluster), joblib.parallel_config("dask"):
        there = compare(layers, ["greedy", "brute_force"], k=[3, 4])
    assert [r.selected for r in there] == [r.selected for r in here]
    assert [r.objective for r in there] == [r.objective for r in here]


def test_solvers_defined_in_a_script_can_be_compared(tmp_path: Path) -> None:
    """A class that no worker can import, as in a notebook, travels by value."""
    source = Path(__file__).with_name("solvers.py").read_text()
    use = (
        "import numpy as np; from sirfp_opt.study import compare;"
        "assert Logged.__module__ == '__main__';"
        "print(compare(np.ones((5, 5)), Logged(), k=2)[0].status)"
    )
    (tmp_path / "script.py").write_text(f"{source}\n{use}\n")
    command = [sys.executable, "script.py"]
    done = subprocess.run(
        command, cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "feasible"


def test_all_kinds_of_problems_are_understood(layers: Layers) -> None:
    """Matrices, frames, graphs, problems, lists and nested mappings, names unique."""
    import networkx as nx
    import pandas as pd

    matrix = np.ones((4, 4))
    edges: nx.Graph[int] = nx.Graph()
    edges.add_weighted_edges_from((i, j, 1.0) for i in range(4) for j in range(i))
    problems = [
        matrix,
        pd.DataFrame(2 * matrix),
        edges,
        {"net": layers},
        PruningProblem(layers["first"], LayerConstraints(must_keep=[8], k=5)),
    ]
    study = compare(problems, "greedy", k=2)
    names = [r.instance for r in study]
    assert names == ["n4", "n4#2", "n4#3", "net/first", "net/second", "first"]
    assert [r.objective for r in study][:3] == [1.0, 2.0, 1.0]
    assert 8 in study[5].selected
    assert len(study[5].selected) == 2


@pytest.mark.parametrize(
    ("problems", "methods", "options", "error"),
    [
        ([], "greedy", {"k": 2}, InvalidProblemError),
        (np.ones((3, 3)), [], {"k": 2}, InvalidProblemError),
        (np.ones((3, 3)), ["greedy", "greedy"], {"k": 2}, InvalidProblemError),
        (np.ones((3, 3)), "greedy", {}, InvalidProblemError),
        (np.ones((3, 3)), "greedy", {"k": []}, InvalidProblemError),
        (np.ones((3, 3)), "greedy", {"k": 1.5}, InvalidProblemError),
        (np.ones((3, 3)), "greedy", {"k": 2, "seeds": 0}, InvalidProblemError),
        (np.ones((3, 3)), "gredy", {"k": 2}, UnknownSolverError),
        (np.ones((3, 3)), ("greedy", {"x": 1}), {"k": 2}, UnsupportedError),
        ([[0, 1], [2, 0]], "greedy", {"k": 1}, InvalidProblemError),
    ],
)
def test_wrong_arguments_raise_before_any_run(
    problems: object,
    methods: object,
    options: dict[str, object],
    error: type[Exception],
    tmp_path: Path,
) -> None:
    """Nothing is run or stored if an argument is wrong."""
    with pytest.raises(error):
        compare(problems, methods, results=tmp_path / "out", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out" / "runs.jsonl").exists()


def test_large_graphs_reach_the_workers_whole() -> None:
    """A matrix that joblib hands over as a memory map is solved as in this process."""
    rng = np.random.default_rng(0)
    matrix = rng.random((400, 400))
    graph = ChannelGraph.from_redundancy(matrix + matrix.T)
    study = compare(graph, ["greedy", "top_k"], k=100, n_jobs=2)
    for run, name in itertools.zip_longest(study, ("greedy", "top_k")):
        assert run.objective == solve(graph, 100, method=name).objective
