"""The results folder: rows are believed if the core says so, and work is shared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sirfp_opt import ChannelGraph, InvalidProblemError
from sirfp_opt.study import RunRecord, Study, compare
from sirfp_opt.study.claims import Claims
from tests.study.solvers import Signalled, Staged

Layers = dict[str, ChannelGraph]


@pytest.fixture
def filled(layers: Layers, tmp_path: Path) -> Path:
    """Make a folder with two runs of one problem."""
    methods = ["greedy", "brute_force"]
    compare(layers["first"], methods, k=3, results=tmp_path, warm_up=False)
    return tmp_path


def _edit(folder: Path, line: int, *, digest: bool, **fields: Any) -> None:
    """Change fields of a stored row; drop its digest, or leave it as it was."""
    path = folder / "runs.jsonl"
    rows = [json.loads(row) for row in path.read_text().splitlines()]
    rows[line - 1] |= fields
    if not digest:
        del rows[line - 1]["digest"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _again(layers: Layers, folder: Path) -> Study:
    methods = ["greedy", "brute_force"]
    return compare(layers["first"], methods, k=3, results=folder, warm_up=False)


EDITS: list[tuple[dict[str, Any], str]] = [
    ({"objective": 99.0}, "gap|worth"),
    ({"objective": 99.0, "bound": None, "gap": None, "status": "feasible"}, "trace"),
    ({"objective": 0.0, "bound": 0.0, "trace": []}, "its set is worth"),
    ({"objective": "5"}, "'objective' as a number"),
    ({"selected": [0, 1]}, "without an objective and k"),
    ({"selected": [0, 1, 99]}, "channels from 0 to 8"),
    ({"selected": [0, 0, 1]}, "each once"),
    ({"selected": "012"}, "'selected' as a list"),
    ({"status": "optimal"}, "status 'optimal' at a gap of|gap"),
    ({"status": "excellent"}, "is not known"),
    ({"status": "error"}, "beside an answer"),
    ({"seconds": -1.0}, "'seconds'"),
    ({"seconds": None}, "'seconds'"),
    ({"n": 10}, "problem, n or sense"),
    ({"sense": "maximize"}, "problem, n or sense|better than the bound"),
    ({"trace": [[1, 2, 3]]}, "'trace'"),
    ({"trace": [[5.0, 1, 1.0, None], [1.0, 2, 1.0, None]]}, "trace"),
    ({"k": True}, "'k'"),
    ({"seed": "0"}, "'seed'"),
    ({"more": 1}, "no field"),
]


@pytest.mark.parametrize(("fields", "says"), EDITS)
def test_an_edited_row_is_refused_with_file_and_line(
    layers: Layers, filled: Path, fields: dict[str, Any], says: str
) -> None:
    """Also where whoever edited it took the digest away: the core prices the set."""
    line = 1 if fields.get("status") == "optimal" else 2
    _edit(filled, line, digest=False, **fields)
    with pytest.raises(
        InvalidProblemError, match=rf"runs\.jsonl, line {line}:"
    ) as told:
        _again(layers, filled)
    assert any(part in str(told.value) for part in says.split("|"))


def test_what_only_the_digest_can_tell(layers: Layers, filled: Path) -> None:
    """Faster by hand: the core cannot know, but the row is not what was written."""
    _edit(filled, 1, digest=True, seconds=1e-6)
    with pytest.raises(InvalidProblemError, match="line 1: it was changed after"):
        _again(layers, filled)
    with pytest.raises(InvalidProblemError, match="line 1: it was changed after"):
        Study.load(filled)


def test_load_prices_what_it_is_given_problems_for(
    layers: Layers, filled: Path
) -> None:
    """A consistent lie is seen by whoever has the problem."""
    assert len(Study.load(filled, layers, k=3)) == 2
    run = Study.load(filled)[0]
    other = [0, 1, 2] if list(run.selected) != [0, 1, 2] else [0, 1, 3]
    _edit(filled, 1, digest=False, selected=other)
    assert len(Study.load(filled)) == 2
    with pytest.raises(InvalidProblemError, match="its set is worth"):
        Study.load(filled, layers, k=3)


@pytest.mark.parametrize("line", [b"[]", b"5", b"null", b'"x"', b"{}"])
def test_a_line_that_is_no_row_is_refused(
    layers: Layers, filled: Path, line: bytes
) -> None:
    """JSON of another kind was not written by us; half a line was, and is ignored."""
    path = filled / "runs.jsonl"
    rows = path.read_bytes()
    path.write_bytes(rows + b'{"key": "cut sh\n')
    assert len(_again(layers, filled)) == 2
    path.write_bytes(rows + line + b"\n")
    with pytest.raises(InvalidProblemError, match="line 3"):
        _again(layers, filled)


@pytest.mark.parametrize("results", [5, "a\0b", [1]])
def test_results_is_a_folder(layers: Layers, results: Any) -> None:
    """Anything else is refused before any run."""
    with pytest.raises(InvalidProblemError, match="`results` must be a folder"):
        compare(layers["first"], "greedy", k=3, results=results)


SCRIPT = """
import sys, numpy as np
from sirfp_opt import ChannelGraph
from sirfp_opt.study import compare
from tests.study.solvers import Logged
graph = ChannelGraph.from_diversity(np.ones((5, 5)), name="g")
study = compare(graph, Logged(sys.argv[1], pause=0.1), k=2, seeds=10,
                results=sys.argv[2], warm_up=False)
assert len(study) == 10 and not study.failures
assert [run.seed for run in study] == list(range(10))
"""


def test_two_studies_share_the_work(tmp_path: Path) -> None:
    """Each of ten runs is made once, by one or the other, and both end with all."""
    log, results = tmp_path / "log", tmp_path / "results"
    command = [sys.executable, "-c", SCRIPT, str(log), str(results)]
    root = Path(__file__).parents[2]
    both = [subprocess.Popen(command, cwd=root) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    seeds = Counter(int(line.split()[1]) for line in log.read_text().splitlines())
    assert seeds == Counter(range(10))
    assert len((results / "runs.jsonl").read_text().splitlines()) == 10
    assert not (results / "claims").exists()


def test_a_claim_is_held_once_and_taken_over_from_the_dead(tmp_path: Path) -> None:
    """While its owner lives nobody else gets it; silence or a dead process end it."""
    with Claims(tmp_path / "c") as ours, Claims(tmp_path / "c") as theirs:
        assert ours.take("run")
        assert not theirs.take("run")
        ours.release("run")
        assert theirs.take("run")
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        host = ours.owner.rsplit("-", 2)[0]
        (tmp_path / "c" / "gone").write_text(f"{host}-{dead.pid}-0123abcd")
        assert ours.take("gone")
        silent = tmp_path / "c" / "silent"
        silent.write_text("elsewhere-1-0123abcd")
        assert not ours.take("silent")
        os.utime(silent, (1.0, 1.0))
        assert ours.take("silent")
        assert not theirs.take("silent")
    assert not (tmp_path / "c").exists()


def test_a_run_cut_short_by_a_signal_is_made_again(
    layers: Layers, tmp_path: Path
) -> None:
    """Its set is not stored as the run's: that it was stopped is not its answer."""
    study = compare(layers["first"], Signalled(), k=3, seeds=2, results=tmp_path)
    assert [run.status for run in study] == ["feasible", "killed"]
    assert len((tmp_path / "runs.jsonl").read_text().splitlines()) == 1


def test_one_instance_under_several_names_counts_once(layers: Layers) -> None:
    """Whatever counts, counts it once: runs, problems, ranks, and the frame's rows."""
    one = layers["first"]
    other = ChannelGraph.from_redundancy(one.weights + np.diag(one.self_redundancy))
    with pytest.warns(UserWarning, match="count once: 'b'"):
        study = compare(
            {"a": one, "b": other, "c": layers["second"]}, ["greedy", "top_k"], k=3
        )
    assert repr(study) == "Study(4 runs: 2 problems x 2 methods x 1 seeds)"
    assert study.summary()["runs"].tolist() == [2, 2]
    assert study.to_frame()["instance"].unique().tolist() == ["a", "c"]
    with pytest.warns(UserWarning, match="k=5"):
        assert len(compare(layers["first"], "greedy", k=[5, 0.5])) == 1


def test_the_warm_up_goes_by_iterations(layers: Layers, tmp_path: Path) -> None:
    """All stages are reached before the clock of the run starts, whatever they cost."""
    log = tmp_path / "log"
    study = compare(layers["first"], Staged(str(log)), k=3, time_limit=0.1)
    stages = log.read_text().split("\n")
    assert stages[:3] == ["warm-up 0", "warm-up 1", "warm-up 2"]
    assert not any(line.startswith("first") for line in stages)
    assert not study[0].overran


def test_a_run_far_past_its_limit_is_flagged(layers: Layers) -> None:
    """In the row, in the frame and in the summary."""
    run = compare(layers["first"], "greedy", k=3, time_limit=1.0)[0]
    late = RunRecord.from_dict(run.to_dict() | {"seconds": 9.9})
    assert (run.overran, late.overran) == (False, True)
    study = Study([run, late])
    assert study.to_frame()["overran"].tolist() == [False, True]
    assert study.summary()["late"].tolist() == [1]
