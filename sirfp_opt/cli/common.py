"""What the commands share: exit codes, printing, reading arguments."""

from __future__ import annotations

import ast
import json
import sys
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sirfp_opt.errors import (
    InfeasibleError,
    InvalidProblemError,
    NoSolutionError,
    SirfpError,
    SolverError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "AsJson",
    "ExitCode",
    "exit_code",
    "parse_count",
    "parse_options",
    "print_error",
    "print_json",
    "print_table",
]

AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON on standard output, nothing else.")
]


class ExitCode(IntEnum):
    """What a command's end means, for scripts."""

    DONE = 0
    BUG = 1  # an error in a solver or in this package
    USAGE = 2  # wrong arguments, a wrong file, an unknown method
    INFEASIBLE = 3  # it is proved that no set meets the constraints
    NO_SOLUTION = 4  # a limit came before any feasible set
    NOT_PROVED = 5  # `--prove` was asked, and the answer is not proved optimal
    RUNS_FAILED = 6  # `compare` has finished, and some of its runs failed
    INTERRUPTED = 130


EXIT_CODES = (
    "Exit codes: 0 done, 1 a bug in a solver or here, 2 wrong arguments or input, "
    "3 proved infeasible, 4 no feasible set within the limits, 5 not proved optimal "
    "(with --prove), 6 some runs of a comparison failed, 130 interrupted."
)


def exit_code(error: SirfpError | OSError) -> ExitCode:
    """Return the exit code that tells a script what went wrong."""
    if isinstance(error, InfeasibleError):
        return ExitCode.INFEASIBLE
    if isinstance(error, NoSolutionError):
        return ExitCode.NO_SOLUTION
    return ExitCode.BUG if isinstance(error, SolverError) else ExitCode.USAGE


def print_error(error: BaseException) -> None:
    """Print an error in one line on standard error."""
    print("error:", " ".join(str(error).split()), file=sys.stderr)


def print_json(value: Any) -> None:
    """Print one JSON document on standard output."""
    json.dump(value, sys.stdout, indent=2, allow_nan=False)
    print()


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]
) -> None:
    """Print a table, as wide as the terminal, or as it needs where there is none."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200
    console.print(table)


def parse_count(text: str | None) -> int | float | tuple[int, int] | None:
    """Read "16", "0.5" (a share of the channels) or "8:16" (a range).

    Raises
    ------
    InvalidProblemError
        If it is none of them.
    """
    if text is None:
        return None
    try:
        if ":" in text:
            low, high = text.split(":")
            return int(low), int(high)
        return float(text) if "." in text else int(text)
    except ValueError:
        raise InvalidProblemError(
            f"`-k` must be a number, a share or a range, got {text!r}. "
            "Pass for instance 16, 0.5 or 8:16."
        ) from None


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Read "name=value" pairs; values are Python literals, else text.

    Raises
    ------
    InvalidProblemError
        If a pair has no "=".

    Examples
    --------
    >>> parse_options(["direction=forward", "diagonal=True"])
    {'direction': 'forward', 'diagonal': True}
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.isidentifier():
            raise InvalidProblemError(
                f"`--option` must read name=value, got {pair!r}. "
                "Pass for instance -o direction=forward."
            )
        try:
            options[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            options[name] = text
    return options
