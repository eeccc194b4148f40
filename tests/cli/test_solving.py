"""`solve`, `inspect`, `compare`: the same answers as from Python, and honest ends."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from sirfp_opt import (
    ChannelGraph,
    LayerConstraints,
    PruningProblem,
    Solution,
    bound,
    solve,
)
from sirfp_opt.cli import ExitCode
from sirfp_opt.io import write, write_npz
from sirfp_opt.study import describe
from tests.cli.conftest import Run


@pytest.fixture(scope="module")
def layers() -> dict[str, ChannelGraph]:
    """Two layers of nine and twelve channels."""
    rng = np.random.default_rng(2)
    made = {}
    for name, n in (("a", 9), ("b", 12)):
        maps = rng.normal(size=(n, 30))
        made[name] = ChannelGraph.from_redundancy(maps @ maps.T, name=name)
    return made


@pytest.fixture
def file(layers: dict[str, ChannelGraph], tmp_path: Path) -> Path:
    """Both layers in one archive."""
    write_npz(layers, tmp_path / "layers.npz")
    return tmp_path / "layers.npz"


def test_solve_is_solve(run: Run, file: Path, layers: dict[str, ChannelGraph]) -> None:
    """Set, objective, bound and status are those of the Python call."""
    told = run("solve", file, "-l", "a", "-k", 4, "-m", "brute_force", "--json")
    alone = solve(layers["a"], 4, method="brute_force")
    assert told.code == 0
    assert told.json["selected"] == alone.selected.tolist()
    assert told.json["objective"] == alone.objective
    assert told.json["status"] == "optimal"
    assert told.json["graph"] == "a"
    read_back = Solution.from_dict(
        told.json, PruningProblem(layers["a"], LayerConstraints(4))
    )
    assert read_back.gap == 0


def test_every_option_reaches_the_solver(run: Run, file: Path, tmp_path: Path) -> None:
    """Share, forced and barred channels, parameters, seed, limits, output."""
    out = tmp_path / "out" / "solution.json"
    arguments = ["-k", "0.5", "-m", "random", "-o", "samples=7", "--seed", 5]
    arguments += ["--must-keep", "0,2", "--must-drop", "4-6", "--iterations", 3]
    arguments += ["--time-limit", 60, "--certify", "--out", out, "--multiple-of", 3]
    told = run("solve", file, "--layer", "b", *arguments)
    assert told.code == 0
    stored = json.loads(out.read_text())
    assert len(stored["selected"]) == 6
    assert {0, 2} <= set(stored["selected"])
    assert not {4, 5, 6} & set(stored["selected"])
    assert stored["options"] == {"samples": 7}
    assert (stored["seed"], stored["limit"]) == (5, "iterations")
    assert stored["bound"] is not None
    assert "kept " in told.out


def test_a_warm_start_is_not_lost(run: Run, file: Path, tmp_path: Path) -> None:
    """What --out wrote, --warm-start takes; the answer is never worse."""
    out = tmp_path / "best.json"
    best = run(
        "solve", file, "-l", "b", "-k", 5, "-m", "brute_force", "--out", out, "--json"
    )
    again = run(
        "solve", file, "-l", "b", "-k", 5, "-m", "random", "--warm-start", out, "--json"
    )
    assert again.json["objective"] == best.json["objective"]


def test_k_may_stand_in_the_file(
    run: Run, layers: dict[str, ChannelGraph], tmp_path: Path
) -> None:
    """MDPLIB files state k; other files need -k."""
    graph = ChannelGraph.from_diversity(np.abs(layers["a"].weights))
    write(graph, tmp_path / "a.txt", k=3)
    told = run("solve", tmp_path / "a.txt", "-m", "brute_force", "--json")
    assert len(told.json["selected"]) == 3
    write(layers["a"], tmp_path / "a.npz")
    assert run("solve", tmp_path / "a.npz", "-m", "greedy").code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["-k", "4", "-m", "greedy", "--prove"], ExitCode.NOT_PROVED, ""),
        (["-k", "4", "-m", "brute_force", "--prove"], ExitCode.DONE, ""),
        (["-k", "40"], ExitCode.USAGE, "`k` must be at most"),
        (["-k", "4", "-m", "gredy"], ExitCode.USAGE, "Did you mean 'greedy'"),
        (["-k", "4", "-m", "greedy", "-o", "x=1"], ExitCode.USAGE, "must be among"),
        (["-k", "1.5"], ExitCode.USAGE, "(0, 1]"),
        (["-k", "4", "--must-keep", "99"], ExitCode.USAGE, "`must_keep`"),
        (["-k", "4", "--sense", "maximize"], ExitCode.USAGE, "`sense` must agree"),
    ],
)
def test_exit_codes(
    run: Run, file: Path, arguments: list[str], code: ExitCode, said: str
) -> None:
    """What went wrong is told by the code, and in one line on standard error."""
    ended = run("solve", file, "-l", "a", *arguments)
    assert ended.code == code
    assert said in ended.err
    assert len(ended.err.splitlines()) == (1 if said else 0)


def test_infeasible_and_unsolved_have_codes_of_their_own(
    run: Run, tmp_path: Path
) -> None:
    """A proof that there is no set, and a method that only found none."""
    apart = ChannelGraph(weights=np.ones((4, 4)), adjacency=np.eye(4, dtype=bool))
    write(apart, tmp_path / "apart.npz")
    command = ["solve", tmp_path / "apart.npz", "-k", 2, "-m"]
    assert run(*command, "brute_force").code == ExitCode.INFEASIBLE
    assert run(*command, "greedy").code == ExitCode.NO_SOLUTION


def test_bound_is_bound(run: Run, file: Path, layers: dict[str, ChannelGraph]) -> None:
    """The command gives what the function gives, for people and for programs."""
    asked = ["bound", file, "-l", "a", "-k", 4, "-e", "eigenvalue"]
    alone = bound(layers["a"], 4, effort="eigenvalue")
    told = run(*asked, "--json")
    assert told.code == ExitCode.DONE
    assert told.json["value"] == pytest.approx(alone.value)
    assert list(told.json["levels"]) == list(alone.levels)
    assert f"{alone.value:.12g}" in run(*asked).out
    assert run("bound", file, "-l", "a", "-k", 4, "-e", "high").code == ExitCode.USAGE


def test_inspect_describes_each_graph(
    run: Run, file: Path, layers: dict[str, ChannelGraph]
) -> None:
    """JSON holds `describe`; one graph is a list, several a table."""
    told = run("inspect", file, "--json").json
    expected = describe(layers["b"]).to_dict()
    del expected["name"]
    assert told["b"] == pytest.approx(expected)
    assert set(told) == {"a", "b"}
    assert "effective rank" in run("inspect", file).out
    assert "effective rank" in run("inspect", file, "-l", "a").out
    wrong = run("inspect", file, "-l", "c")
    assert (wrong.code, "It holds a, b" in wrong.err) == (ExitCode.USAGE, True)


def test_inspect_writes_an_explorer(run: Run, file: Path, tmp_path: Path) -> None:
    """Of one layer or all, opened at -k; what only the page takes needs a page."""
    page = tmp_path / "out" / "page.html"
    told = run("inspect", file, "-l", "a", "--html", page, "-k", 3, "-m", "greedy")
    assert (told.code, told.err) == (0, "")
    assert str(page) in told.out
    text = page.read_text("utf-8")
    stored = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
    assert stored is not None
    (shown,) = json.loads(stored[1])["layers"]
    assert (shown["name"], shown["n"], shown["start"]) == ("a", 9, 3)
    assert {row["status"] for row in shown["rows"][1:-1]} <= {"feasible", "optimal"}
    both = run("inspect", file, "--html", page, "-k", "0.5", "--json")
    assert (set(both.json), page.read_text("utf-8").count("<option")) == ({"a", "b"}, 2)
    alone = run("inspect", file, "-k", 3)
    assert (alone.code, "`--html` must be given" in alone.err) == (ExitCode.USAGE, True)


def test_compare_runs_stores_and_writes(run: Run, file: Path, tmp_path: Path) -> None:
    """A folder of files, several k and methods; every kind of output; then a rerun."""
    folder = tmp_path / "graphs"
    folder.mkdir()
    file.rename(folder / "layers.npz")
    (folder / "README.md").write_text("not a graph")
    outputs = {
        name: tmp_path / "out" / f"study.{name}"
        for name in ("html", "csv", "parquet", "markdown", "latex")
    }
    command = ["compare", folder, "-k", "3", "-k", "0.5", "-m", "greedy", "--json"]
    command += ["-m", "random:samples=4", "--seeds", 2, "--results", tmp_path / "kept"]
    for name, path in outputs.items():
        command += [f"--{name}", path]
    told = run(*command)
    assert told.code == 0
    methods = {row["method"]: row["runs"] for row in told.json["summary"]}
    assert methods == {"greedy": 8, "random(samples=4)": 8}
    assert all(path.stat().st_size > 0 for path in outputs.values())
    assert "layers/a" in outputs["csv"].read_text()
    stored = tmp_path / "kept" / "runs.jsonl"
    before = stored.read_text()
    assert run(*command).code == 0
    assert stored.read_text() == before


def test_compare_tells_of_failed_runs(run: Run, file: Path) -> None:
    """The code says so, and the output names the runs with their errors."""
    told = run("compare", file, "-k", "4", "-m", "brute_force:max_subsets=1")
    assert told.code == ExitCode.RUNS_FAILED
    assert told.out.count("failed: ") == 2
    assert "max_subsets" in told.out
