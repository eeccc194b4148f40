"""`--config`: a command's options, from a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from sirfp_opt._rules import check_names
from sirfp_opt.cli.runs import read_table

__all__ = ["Config"]

OWN = {"config", "help"}


def _as_defaults(context: typer.Context, path: Path | None) -> Path | None:
    """Let the options that a file states be a command's defaults.

    Raises
    ------
    InvalidProblemError
        If the file cannot be read, or has a name that is no option of the command.
    """
    if path is None or context.resilient_parsing:
        return path
    known = {}
    for parameter in context.command.params:
        longest = max(parameter.opts, key=len).lstrip("-").replace("-", "_")
        if longest not in OWN:
            known[longest] = parameter
    stated = {name.replace("-", "_"): v for name, v in read_table(path).items()}
    check_names(stated, known, str(path))
    context.default_map = {
        str(known[name].name): _as_words(
            value,
            several=known[name].nargs != 1 or getattr(known[name], "multiple", False),
        )
        for name, value in stated.items()
        if value is not None
    }
    return path


def _as_words(value: Any, *, several: bool) -> Any:
    """Return a value as it would be written on the command line."""
    if isinstance(value, Mapping):
        return [f"{name}={each!r}" for name, each in value.items()]
    if isinstance(value, list):
        return value if several else ",".join(map(str, value))
    return [value] if several else value


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        callback=_as_defaults,
        is_eager=True,
        help="A TOML or JSON file of these options, by their long names; what stands "
        "beside it takes precedence.",
    ),
]
