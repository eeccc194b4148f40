"""What a first run does while kernels are made, and that they are made once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sirfp_opt import ChannelGraph, LayerConstraints, PruningProblem, solve
from sirfp_opt.search import Search
from sirfp_opt_solvers._local import compilation

from .heuristic_cases import judged_problems

_CODE = """
import json, logging, sys
import numpy as np
from sirfp_opt import ChannelGraph, solve
logging.basicConfig(format="%(message)s")
method, seconds = sys.argv[1], float(sys.argv[2])
maps = np.random.default_rng(0).random((60, 40))
graph = ChannelGraph.from_redundancy(maps @ maps.T)
found = solve(graph, 30, method, time_limit=seconds or None)
print(json.dumps({
    "objective": found.objective, "limit": found.limit, "runtime": found.runtime,
    "compiled": found.compile_seconds, "greedy": solve(graph, 30, "greedy").objective,
}))
"""


def _run(method: str, seconds: float, folder: Path) -> tuple[dict[str, Any], str]:
    """Solve in a process of its own, with its kernels kept in `folder`."""
    run = subprocess.run(
        [sys.executable, "-c", _CODE, method, str(seconds)],
        capture_output=True,
        text=True,
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder)},
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout), run.stderr


def test_a_short_limit_is_kept_where_nothing_is_compiled_yet(tmp_path: Path) -> None:
    """The limit stops the run; the answer is at least as good as greedy."""
    found, told = _run("tabu", 0.3, tmp_path)
    assert found["limit"] == "time"
    assert found["objective"] <= found["greedy"]
    assert told.count("compiling, once") <= 1


def test_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    """Without a limit kernels are made first, said in one line, and kept on disk."""
    first, told = _run("local_search", 0, tmp_path)
    assert first["compiled"] > 0
    assert first["limit"] is None
    assert told.count("compiling, once") == 1
    second, silence = _run("local_search", 0, tmp_path)
    assert second["compiled"] == 0
    assert second["objective"] == first["objective"]
    assert "compiling" not in silence


def test_all_that_is_compiled_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels of blocks one after the other, and of a block inside of another."""
    monkeypatch.setattr(compilation, "_spent", 5.0)
    weights = np.ones((6, 6))
    search = Search(PruningProblem(ChannelGraph(weights), LayerConstraints(3)))
    with compilation.compiling(search, "tabu"):
        compilation._spent += 1.0
    with compilation.compiling(search, "exact"):
        compilation._spent += 2.0
        with compilation.compiling(search, "tabu"):
            compilation._spent += 4.0
        compilation._spent += 8.0
    assert search.compile_seconds == 15.0


@pytest.mark.parametrize("method", ["tabu", "local_search", "anneal", "exact"])
def test_toys_leave_nothing_to_compile(method: str) -> None:
    """After `warm_up` no run of the method compiles, mixed sizes and conflicts too."""
    compilation.warm_up(method)
    for problem, best in judged_problems(8):
        found = solve(problem, method=method, **compilation.COMPILED[method])
        assert found.compile_seconds == 0.0
        assert found.objective * problem.sense.sign <= (
            best.objective * problem.sense.sign + 1e-9
        )
