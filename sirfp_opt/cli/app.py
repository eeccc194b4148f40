"""The `sirfp-opt` program: its commands and how it ends."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from sirfp_opt.cli import comparing, demonstrating, pruning, solving, warming
from sirfp_opt.cli.common import EXIT_CODES, ExitCode, exit_code, print_error
from sirfp_opt.errors import InvalidProblemError, SirfpError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["app", "main"]

app = typer.Typer(
    name="sirfp-opt",
    help="Neural-network pruning as graph optimization.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (solving, comparing, pruning, demonstrating, warming):
    module.add_commands(app)


def _print_version(asked: bool) -> None:
    if asked:
        from sirfp_opt import __version__

        print(f"sirfp-opt {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version and end.",
        ),
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and end it with an `ExitCode`; a traceback is never printed.

    Parameters
    ----------
    arguments : sequence of str, optional
        What stands behind the program's name; by default the process's own.
    """
    hook = sys.excepthook
    try:
        code = _flushed(_run(arguments))
    finally:
        sys.excepthook = hook  # typer sets its own
    sys.exit(code)


def _run(arguments: Sequence[str] | None) -> int:
    """Run the program; return how the process should end."""
    try:
        if sys.stdout is None:
            raise InvalidProblemError(
                "standard output must be open, got a closed one. Redirect it to a file."
            )
        app(args=None if arguments is None else list(arguments), prog_name="sirfp-opt")
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer calls that 1
            return ExitCode.OUTPUT_CLOSED
        return end.code if isinstance(end.code, int) else ExitCode.DONE
    except (SirfpError, OSError, MemoryError) as error:
        print_error(error)
        return exit_code(error)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Exception as error:
        print_error(RuntimeError(f"{type(error).__name__}: {error}"))
        return ExitCode.BUG
    return ExitCode.DONE


def _flushed(code: int) -> int:
    """Write out what is still to be written: only then is it known to have arrived."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        code = ExitCode.OUTPUT_CLOSED
    except OSError as error:
        print_error(error)
        code = code or exit_code(error)
    else:
        return code
    # The interpreter flushes once more as it ends: give it somewhere to write to.
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    return code
