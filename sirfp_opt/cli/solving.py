"""`solve`, `bound`, `inspect`, `solvers`: one layer at a time."""

from __future__ import annotations

import warnings

import typer  # noqa: TC002  (typer reads the annotations)

from sirfp_opt.cli.common import AsJson, print_json, print_table
from sirfp_opt.registry import available_solvers

__all__ = ["add_commands"]


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command(epilog="Example: sirfp-opt solvers --json")(solvers)


def solvers(as_json: AsJson = False) -> None:
    """List the methods: what they are, what they honour, whether they can run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the table says it too
        table = available_solvers()
    if as_json:
        print_json(table.to_frame().to_dict(orient="records"))
        return
    print_table(
        "",
        ("method", "kind", "limits", "options", "what it does"),
        [
            (
                row.name,
                row.kind,
                ", ".join(row.limits),
                ", ".join(row.options),
                row.summary if row.installed else f"not installed: {row.reason}",
            )
            for row in table
        ],
    )
