"""What the commands share: exit codes, printing, reading arguments."""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sirfp_opt._validate import MOST_CHANNELS
from sirfp_opt.api import solve
from sirfp_opt.errors import (
    InfeasibleError,
    InvalidProblemError,
    NoSolutionError,
    SirfpError,
    SolverError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from sirfp_opt.graph import ChannelGraph
    from sirfp_opt.io.files import Contents

__all__ = [
    "AsJson",
    "Effort",
    "ExitCode",
    "exit_code",
    "parse_count",
    "parse_indices",
    "parse_options",
    "parse_value",
    "print_error",
    "print_json",
    "print_pairs",
    "print_table",
    "read_contents",
    "read_json",
    "the_graph",
]

AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON on standard output, nothing else.")
]

Effort = Annotated[
    str | None,
    typer.Option(
        "--effort",
        "-e",
        help="The last level of bounds; with this, --certify is meant.",
    ),
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
    OUTPUT_CLOSED = 141  # who read our output has gone, as `head` does


EXIT_CODES = (
    "Exit codes: 0 done, 1 a bug in a solver or here, 2 wrong arguments or input, "
    "3 proved infeasible, 4 no feasible set within the limits, 5 not proved optimal "
    "(with --prove), 6 some runs of a comparison failed, 130 interrupted, "
    "141 nobody reads the output any more."
)


def exit_code(error: SirfpError | OSError | MemoryError) -> ExitCode:
    """Return the exit code that tells a script what went wrong."""
    if isinstance(error, InfeasibleError):
        return ExitCode.INFEASIBLE
    if isinstance(error, NoSolutionError):
        return ExitCode.NO_SOLUTION
    return ExitCode.BUG if isinstance(error, SolverError) else ExitCode.USAGE


def print_error(error: BaseException) -> None:
    """Print an error in one line on standard error."""
    told = " ".join(str(error).split()) or type(error).__name__
    print("error:", told, file=sys.stderr)


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


def print_pairs(pairs: Mapping[str, Any]) -> None:
    """Print names and values, one pair a line."""
    width = max(map(len, pairs))
    for name, value in pairs.items():
        told = f"{value:.6g}" if isinstance(value, float) else str(value)
        print(f"{name.replace('_', ' '):<{width}}  {told}")


def parse_count(text: str | None) -> int | float | tuple[int, int] | None:
    """Read "16", "0.5" (a share of the channels) or "8:16" (a range).

    Raises
    ------
    InvalidProblemError
        If it is none of them.
    """
    if text is None:
        return None
    if found := re.fullmatch(r"(\d+):(\d+)", text, re.ASCII):
        return int(found[1]), int(found[2])
    if re.fullmatch(r"\d+", text, re.ASCII):
        return int(text)
    if re.fullmatch(r"\d*\.\d*", text, re.ASCII) and text != ".":
        return float(text)
    raise InvalidProblemError(
        f"`-k` must be a number, a share or a range, got {text!r}. "
        "Pass for instance 16, 0.5 or 8:16."
    )


def parse_indices(text: str, name: str) -> tuple[int, ...]:
    """Read "0,3,7" and "0-7".

    Raises
    ------
    InvalidProblemError
        If it is neither.

    Examples
    --------
    >>> parse_indices("0,4-6", "--must-keep")
    (0, 4, 5, 6)
    """
    found: list[int] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        ends = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part, re.ASCII)
        low, high = (int(ends[1]), int(ends[2] or ends[1])) if ends else (1, 0)
        if not low <= high < low + MOST_CHANNELS:
            raise InvalidProblemError(
                f"`{name}` must list channels, got {part!r}. "
                "Pass for instance 0,3,8-11."
            )
        found.extend(range(low, high + 1))
    return tuple(found)


def read_contents(path: Path, sense: str | None = None) -> Contents:
    """Return all that a file states, or standard input where it is called "-".

    Raises
    ------
    InvalidProblemError
        If the file is none that can be read.
    """
    from sirfp_opt.io.files import read_contents as read
    from sirfp_opt.io.files import standard_input

    return read(standard_input() if str(path) == "-" else path, sense=sense)


def the_graph(contents: Contents, path: Path, layer: str | None) -> ChannelGraph:
    """Return the one graph that is meant.

    Raises
    ------
    InvalidProblemError
        If there are several and none is named, or the name is not among them.
    """
    graphs = contents.graphs
    if layer is None and len(graphs) == 1:
        return next(iter(graphs.values()))
    if layer not in graphs:
        raise InvalidProblemError(
            f"`--layer` must name a graph of {path}, got {layer}. "
            f"It holds {', '.join(list(graphs)[:12])}."
        )
    return graphs[layer]


def read_json(path: Path, name: str) -> Any:
    """Return what a JSON file holds.

    Raises
    ------
    InvalidProblemError
        If it is no JSON.
    """
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InvalidProblemError(
            f"`{name}` must name a JSON file, got {path}: {error}. "
            "Pass what --out wrote."
        ) from None


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Read "name=value" pairs; values are Python literals, else text.

    Raises
    ------
    InvalidProblemError
        If a pair has no "=", or names what is no parameter of a method.

    Examples
    --------
    >>> parse_options(["direction=forward", "diagonal=True"])
    {'direction': 'forward', 'diagonal': True}
    """
    taken = set(inspect.signature(solve).parameters) - {"options"}
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.isidentifier():
            raise InvalidProblemError(
                f"`--option` must read name=value, got {pair!r}. "
                "Pass for instance -o direction=forward."
            )
        if name in taken or name in options:
            raise InvalidProblemError(
                f"`--option` must name a parameter of the method once, got {name!r}. "
                "What `solve` itself takes has an option of its own, see --help."
            )
        options[name] = parse_value(text)
    return options


def parse_value(text: str) -> Any:
    """Read a Python literal, or true, false and null; else it is a text.

    Examples
    --------
    >>> [parse_value(text) for text in ("0.5", "[1, 2]", "true", "null", "forward")]
    [0.5, [1, 2], True, None, 'forward']
    """
    words = {"true": True, "false": False, "null": None}
    if text in words:
        return words[text]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
