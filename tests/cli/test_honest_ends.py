"""The program's input and output: pipes, closed ends, signals, wrong words."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sirfp_opt import ChannelGraph
from sirfp_opt.cli import ExitCode
from sirfp_opt.io import write, write_npz
from tests.cli.conftest import Run

MDPLIB = b"\xef\xbb\xbf3 2\n0 1 5\n0 2 1\n1 2 2.5\n"
PROGRAM = [sys.executable, "-c", "from sirfp_opt.cli import main; main()"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Three elements, two to choose."""
    (tmp_path / "t.txt").write_bytes(MDPLIB)
    return tmp_path / "t.txt"


def test_standard_input_by_its_dash_and_by_its_device() -> None:
    """A pipe is read once, for the graph and for k; `-` is standard input."""
    for name in ("-", "/dev/stdin"):
        ended = subprocess.run(
            [*PROGRAM, "solve", name, "-m", "greedy", "--json"],
            input=MDPLIB,
            capture_output=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        assert json.loads(ended.stdout)["selected"] == [0, 1]


def test_a_reader_that_goes_is_no_bug(tmp_path: Path) -> None:
    """Like any program under `head`: the code of SIGPIPE, and no traceback."""
    graphs = {f"layer{i}": ChannelGraph(np.eye(2)) for i in range(400)}
    write_npz(graphs, tmp_path / "many.npz")
    command = [*PROGRAM, "inspect", str(tmp_path / "many.npz"), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr is not None
    told = process.stderr.read()
    assert process.wait() == ExitCode.OUTPUT_CLOSED
    assert told == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_output_that_cannot_be_written_is_an_error(file: Path) -> None:
    """A full disk and a closed standard output are said, not swallowed."""
    command = [*PROGRAM, "solve", str(file), "-m", "greedy"]
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ended.returncode == ExitCode.USAGE
    assert "No space left" in ended.stderr
    ended = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert ended.returncode == ExitCode.USAGE
    assert "standard output must be open" in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_prints_the_incumbent(tmp_path: Path, number: signal.Signals) -> None:
    """Stopped from outside, the program still prints the best set, and says so."""
    drawn = np.random.default_rng(0).random((60, 60))
    write(ChannelGraph(drawn + drawn.T, name="layer"), tmp_path / "layer.npz")
    script = (
        "import signal, sys\n"
        "from sirfp_opt.search import Search\n"
        "accept = Search._accept\n"
        "def told(self, *given):\n"
        "    found = accept(self, *given)\n"
        "    print('found', file=sys.stderr, flush=True)\n"
        "    return found\n"
        "Search._accept = told\n"
        "from sirfp_opt.cli import main\n"
        "main()\n"
    )
    command = ["solve", str(tmp_path / "layer.npz"), "-k", "20", "-m", "tabu"]
    process = subprocess.Popen(
        [sys.executable, "-c", script, *command, "-t", "600", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        assert process.stderr.readline() == "found\n"
        process.send_signal(number)
        out, _ = process.communicate(timeout=100)
    finally:
        process.kill()
    assert process.returncode == 0
    told = json.loads(out)
    assert told["limit"] == "interrupt"
    assert len(told["selected"]) == 20


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-k", "1_0"], "`-k` must be"),
        (["-k", "٢"], "`-k` must be"),
        (["-k", "1:2:3"], "`-k` must be"),
        (["-k", "-1"], ""),
        (["-k", "nan"], "`-k` must be"),
        (["--must-keep", "1_0"], "`--must-keep` must list"),
        (["--must-keep", "2-1"], "`--must-keep` must list"),
        (["--must-keep", "0-999999999"], "`--must-keep` must list"),
        (["--must-keep", "x"], "`--must-keep` must list"),
        (["-o", "seed=3"], "`--option` must name a parameter of the method"),
        (["-o", "graph=3"], "`--option` must name a parameter of the method"),
        (["-o", "samples"], "`--option` must read name=value"),
        (["-m", "random", "-o", "samples=abc"], "must be an integer, got 'abc'"),
        (["-m", "random", "-o", "samples=True"], "must be an integer, got True"),
        (["-m", "random", "-o", "samples={[]:1}"], "must be an integer"),
        (["-m", "greedy", "-o", "polish=5"], "must be True or False, got 5"),
        (["-m", "greedy", "-o", "direction=1"], "must be a text, got 1"),
        (["-m", "tabu", "-o", "tenure=1.5"], "must be an integer or None"),
        (["-t", "nan"], "`time` must be a number"),
        (["-t", "-1"], "at least 0"),
        (["--gap", "nan"], "`gap` must be a number"),
        (["--seed", "-1"], "`seed` must be at least 0"),
        (["--sense", "sideways"], "`sense` must be"),
        (["--layer", "other"], "`--layer` must name"),
        (["--multiple-of", "0"], "`multiple_of` must be at least 1"),
        (["--method", "gredy"], "Did you mean 'greedy'"),
    ],
)
def test_wrong_arguments_are_named(
    run: Run, file: Path, arguments: list[str], words: str
) -> None:
    """Exit code 2 and one line that names the argument; code 1 is for bugs."""
    told = run("solve", file, *arguments)
    assert told.code == ExitCode.USAGE
    assert words in " ".join(told.err.split())
    assert "Traceback" not in told.err


@pytest.mark.parametrize(
    "content",
    [
        b"[1,2",
        b"[1, 2]",
        b"{}",
        b"null",
        b"\xff\xfe",
        b"{" * 100_000,
        b'{"selected": [0, 1], "objective": "5"}',
    ],
)
def test_a_broken_warm_start_is_a_wrong_file(
    run: Run, file: Path, content: bytes
) -> None:
    """Whatever the file holds instead of a solution, it is said in one line."""
    start = file.with_suffix(".json")
    start.write_bytes(content)
    told = run("solve", file, "-m", "greedy", "--warm-start", start)
    assert told.code == ExitCode.USAGE
    assert told.err.startswith("error: ")


@pytest.mark.parametrize("field", range(14))
def test_every_field_of_a_warm_start_is_checked(
    run: Run, file: Path, field: int
) -> None:
    """No value of another kind gets through, whichever field it stands in."""
    out = file.with_suffix(".json")
    run("solve", file, "-m", "brute_force", "--out", out)
    stored = json.loads(out.read_text())
    derived = {"gap", "status", "graph"}
    name = [key for key in stored if key not in derived][field]
    for wrong in ({"a": 1}, [[1]], "abc", True, 1e400, -1):
        if isinstance(wrong, str) and name in ("limit", "solver", "title"):
            continue
        if wrong == {"a": 1} and name == "options":
            continue
        if wrong == -1 and name in ("objective", "bound"):
            continue
        out.write_text(json.dumps(stored | {name: wrong}))
        told = run("solve", file, "-m", "greedy", "--warm-start", out)
        assert (told.code, name, wrong) == (ExitCode.USAGE, name, wrong)
        assert name in told.err or "objective" in told.err


def test_inspect_of_extreme_weights(run: Run, tmp_path: Path) -> None:
    """Figures about weights of 1e200 and 1e-320 are those of ordinary ones, scaled."""
    weights = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 4.0], [2.0, 4.0, 0.0]])
    found = []
    for scale in (1.0, 1e200, 1e300, 1e-300, 1e-320):
        write(ChannelGraph(weights * scale), tmp_path / "x.npz")
        told = run("inspect", tmp_path / "x.npz", "--json")
        assert told.code == 0
        (facts,) = told.json.values()
        assert facts["largest"] == pytest.approx(4 * scale, rel=1e-3)
        assert facts["twins"] == 0
        found.append([facts["variation"], facts["effective_rank"]])
    for other in found[1:]:
        assert other == pytest.approx(found[0], rel=1e-3)
