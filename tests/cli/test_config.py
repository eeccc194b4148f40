"""`--config` and `--set`: what the command line asks for, from files and by paths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sirfp_opt import ChannelGraph
from sirfp_opt.cli import ExitCode
from sirfp_opt.cli.runs import with_paths
from sirfp_opt.io import write_npz
from tests.cli.conftest import Run


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a layer of twelve channels into the current folder."""
    monkeypatch.chdir(tmp_path)
    maps = np.random.default_rng(2).normal(size=(12, 30))
    layer = ChannelGraph.from_redundancy(maps @ maps.T, name="b")
    write_npz({"b": layer}, Path("layers.npz"))
    return Path("layers.npz")


def test_a_file_of_options_is_as_good_as_the_options(run: Run, file: Path) -> None:
    """Names, lists and tables of a TOML file; options beside it take precedence."""
    Path("run.toml").write_text(
        f"""
        file = "{file}"
        k = 0.5
        method = "random"
        seed = 5
        must_keep = [0, 2]
        tied = ["3,4", "8-9"]
        certify = true
        [option]
        samples = 7
        """
    )
    words = ["-k", "0.5", "-m", "random", "--seed", "5", "--must-keep", "0,2"]
    words += ["--tied", "3,4", "--tied", "8-9", "--certify", "-o", "samples=7"]
    plain = run("solve", file, *words, "--json").json
    told = run("solve", "--config", "run.toml", "--json").json
    assert told["selected"] == plain["selected"]
    assert told["options"] == {"samples": 7}
    assert told["bound"] is not None
    for pair in ((3, 4), (8, 9)):
        assert len(set(pair) & set(told["selected"])) != 1
    other = run("solve", "--config", "run.toml", "-k", 5, "--json").json
    assert len(other["selected"]) == 5
    Path("run.toml").write_text("must-kep = 3")
    wrong = run("solve", "--config", "run.toml")
    assert wrong.code == ExitCode.USAGE
    assert "`must_keep`" in wrong.err


def test_a_comparison_from_a_file(run: Run, file: Path) -> None:
    """Several values of one option are a list; limits reach the runs."""
    pytest.importorskip("joblib")
    Path("study.toml").write_text(
        f"""
        problems = ["{file}"]
        method = ["random", "random:samples=3"]
        k = [4, 0.5]
        results = "runs"
        iterations = 2
        """
    )
    told = run("compare", "--config", "study.toml", "--json")
    assert (told.code, told.err) == (0, "")
    assert [row["runs"] for row in told.json["summary"]] == [2, 2]
    rows = [
        json.loads(line)
        for path in Path("runs").glob("*.jsonl")
        for line in path.read_text("utf-8").splitlines()
    ]
    assert len(rows) == 4
    assert [row["limits"] for row in rows] == [{"iterations": 2}] * 4


def test_every_field_of_a_request_can_be_set() -> None:
    """A request of which nothing is at its default, leaf by leaf as `--set` pairs."""
    torch = pytest.importorskip("torch")
    from sirfp_opt import LayerConstraints, Limits
    from sirfp_opt.network import Budget
    from sirfp_opt.network.allocation import Optimal
    from sirfp_opt.network.worth import Worth
    from sirfp_opt.pytorch import Extraction, PruneRequest, Refit
    from sirfp_opt.pytorch.request import as_request

    request = PruneRequest(
        budget=Budget(macs=0.5, params=0.6),
        method="tabu",
        options={"population": 4},
        allocation=Optimal(Worth("balanced"), time_limit=3.0),
        constraints={"backbone.*": LayerConstraints(k_min=2, multiple_of=2)},
        min_keep=0.2,
        multiple_of=4,
        ignore=("head.*",),
        drop_dead=False,
        limits=Limits(time=2.0, no_improvement=50),
        seed=3,
        certify="semidefinite",
        n_jobs=2,
        extraction=Extraction(
            "spatial",
            importance=None,
            decay=0.9,
            bias_correction=False,
            absolute=False,
            normalize="none",
            combine="max",
            pool_constant=False,
            training=True,
            on_nan="skip",
            positions=64,
            dtype=torch.bfloat16,
            max_batches=3,
        ),
        refit=Refit(
            kind="merge",
            inputs="original",
            passes=5,
            ridge=0.1,
            positions=None,
            max_unknowns=7,
            held_out=0.25,
            batch_norms="kept",
            seed=3,
        ),
        verify=False,
        tolerance=1e-4,
    )

    def leaves(value: Any, path: str = "") -> list[str]:
        if not isinstance(value, dict):
            return [f"{path}={value}"]
        dotted = f"{path}." if path else ""
        return [
            leaf
            for name, each in value.items()
            for leaf in leaves(each, f"{dotted}{json.dumps(name)}")
        ]

    told = request.to_dict()
    pairs = [pair for pair in leaves(told) if not pair.startswith('"keep"')]
    made, rest = with_paths(None, pairs, {})
    assert as_request(made, rest) == request
    # A name alone, and then its parts; the amount may stand beside the pairs.
    pairs = ["allocation=balanced", "allocation.time_limit=3", "refit=none"]
    short = as_request(*with_paths(None, pairs, {"macs": 0.5}))
    assert short.refit is None
    assert short.allocation == Optimal(Worth("balanced"), time_limit=3)
