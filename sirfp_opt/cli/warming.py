"""`warm-up`: kernels are compiled ahead of time."""

from __future__ import annotations

import typer

__all__ = ["add_commands"]


def add_commands(app: typer.Typer) -> None:
    """Add `warm-up` to the program."""
    app.command("warm-up", epilog="Example: sirfp-opt warm-up")(warm_up)


def warm_up() -> None:
    """Compile the solvers' kernels now, so that no later run has to.

    They are kept beside the kernels' source, or in the folder that NUMBA_CACHE_DIR
    names. Where nothing is left to compile, this takes a second or two.
    """
    from sirfp_opt_solvers._local import compilation

    for method in compilation.COMPILED:
        seconds = compilation.warm_up(method)
        said = f"compiled for {seconds:.1f} s" if seconds else "nothing to compile"
        typer.echo(f"{method:<12}  {said}")
