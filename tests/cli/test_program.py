"""The program as a whole: help, version, lists, and how it ends."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import sirfp_opt
from sirfp_opt.cli import ExitCode, app
from sirfp_opt.cli.common import exit_code, parse_count, parse_indices, parse_options
from sirfp_opt.errors import (
    InfeasibleError,
    InvalidProblemError,
    NoSolutionError,
    SirfpError,
    SolverError,
    SolverNotInstalledError,
    UnknownSolverError,
    UnsupportedError,
)
from tests.cli.conftest import Run

COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_an_example(run: Run, command: str) -> None:
    """Help ends well, and shows a call that begins with the command's name."""
    help_page = run(command, "--help")
    assert help_page.code == 0
    assert f"Example: sirfp-opt {command}" in " ".join(help_page.out.split())


def test_the_help_names_the_exit_codes_and_every_command(run: Run) -> None:
    """A script's author finds each code without reading the source."""
    page = " ".join(run("--help").out.split())
    assert all(re.search(rf"\b{code.value} ", page) for code in ExitCode)
    assert all(command in page for command in COMMANDS)


def test_the_guide_lists_the_commands() -> None:
    """The table of the guide has each command, and no other."""
    guide = Path(__file__).parents[2] / "docs" / "guide" / "cli.md"
    commands = guide.read_text("utf-8").split("| command | does |")[1].split("\n\n")[0]
    assert sorted(re.findall(r"^\| `([\w-]+)`", commands, re.MULTILINE)) == COMMANDS


def test_the_version_is_the_packages(run: Run) -> None:
    """One line, and a good end."""
    told = run("--version")
    assert (told.code, told.out) == (0, f"sirfp-opt {sirfp_opt.__version__}\n")


def test_solvers_are_those_of_the_registry(run: Run) -> None:
    """As a table and as JSON."""
    names = {row.name for row in sirfp_opt.available_solvers()}
    told = run("solvers", "--json").json
    assert {row["name"] for row in told} == names
    table = run("solvers").out
    assert all(name in table for name in names)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidProblemError("x"), ExitCode.USAGE),
        (UnknownSolverError("x"), ExitCode.USAGE),
        (SolverNotInstalledError("x"), ExitCode.USAGE),
        (UnsupportedError("x"), ExitCode.USAGE),
        (FileNotFoundError("x"), ExitCode.USAGE),
        (InfeasibleError("x"), ExitCode.INFEASIBLE),
        (NoSolutionError("x"), ExitCode.NO_SOLUTION),
        (SolverError("x"), ExitCode.BUG),
    ],
)
def test_each_error_has_its_code(error: SirfpError | OSError, code: ExitCode) -> None:
    """The table of the guide, row by row."""
    assert exit_code(error) is code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SirfpError("two\nlines"), ExitCode.USAGE),
        (ZeroDivisionError("oops"), ExitCode.BUG),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
    ],
)
def test_no_error_shows_a_traceback(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: ExitCode
) -> None:
    """One line on standard error at most, nothing on standard output."""

    def fail() -> None:
        raise error

    monkeypatch.setattr("sirfp_opt.cli.solving.available_solvers", fail)
    ended = run("solvers")
    assert ended.code == code
    assert ended.out == ""
    assert len(ended.err.splitlines()) <= 1
    assert "Traceback" not in ended.err


def test_wrong_usage_is_code_2(run: Run) -> None:
    """An unknown command, a missing argument, a wrong type."""
    for arguments in (["nonsense"], ["compare"], ["solve", "x", "--seed", "y"]):
        assert run(*arguments).code == ExitCode.USAGE


def test_demo_hands_its_options_on(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The folder, the pace and a console reach the story."""
    story: Any = pytest.importorskip("sirfp_opt.demo.story")
    told: dict[str, Any] = {}
    monkeypatch.setattr(
        story, "run_demo", lambda out, **rest: told.update(rest, out=out)
    )
    assert run("demo", "--out", tmp_path, "--quick").code == 0
    assert told["out"] == tmp_path
    assert told["quick"] is True


def test_arguments_are_read_or_refused() -> None:
    """Counts, channel lists and options, right and wrong."""
    assert parse_count("16") == 16
    assert parse_count("0.5") == 0.5
    assert parse_count("8:16") == (8, 16)
    assert parse_indices("3,0-2,", "--must-keep") == (3, 0, 1, 2)
    assert parse_options(["a=1", "b=x=y", "c=[1, 2]", "d=None"]) == {
        "a": 1,
        "b": "x=y",
        "c": [1, 2],
        "d": None,
    }
    for wrong in ("half", "1:2:3", ""):
        with pytest.raises(InvalidProblemError, match="-k"):
            parse_count(wrong)
    with pytest.raises(InvalidProblemError, match="--must-drop"):
        parse_indices("1,x", "--must-drop")
    with pytest.raises(InvalidProblemError, match="--option"):
        parse_options(["direction"])


def test_starting_the_program_loads_nothing_heavy() -> None:
    """`--help` answers at once: no pandas, torch, matplotlib or solver is imported."""
    code = (
        "import sys, sirfp_opt.cli; print([m for m in ('pandas', 'scipy', 'torch', "
        "'matplotlib', 'ortools', 'pulp', 'numba', 'joblib') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
