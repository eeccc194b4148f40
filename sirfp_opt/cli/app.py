"""The `sirfp-opt` program: its commands and how it ends."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from sirfp_opt.cli import comparing, demonstrating, pruning, solving
from sirfp_opt.cli.common import EXIT_CODES, ExitCode, exit_code, print_error
from sirfp_opt.errors import SirfpError

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
for module in (solving, comparing, pruning, demonstrating):
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
        app(args=None if arguments is None else list(arguments), prog_name="sirfp-opt")
    except (SirfpError, OSError) as error:
        print_error(error)
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    except Exception as error:
        print_error(RuntimeError(f"{type(error).__name__}: {error}"))
        sys.exit(ExitCode.BUG)
    finally:
        sys.excepthook = hook  # typer sets its own
