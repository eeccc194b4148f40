"""`demo`: the whole way from a trained network to a smaller one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["add_commands"]


def add_commands(app: typer.Typer) -> None:
    """Add `demo` to the program."""
    app.command(epilog="Example: sirfp-opt demo --out out/demo")(demo)


def demo(
    out: Annotated[
        Path, typer.Option(help="Folder for the picture, the plan and the figures.")
    ] = Path("out/demo"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer scenes, less fine-tuning.")
    ] = False,
) -> None:
    """Prune a trained segmentation network, and look at what comes out."""
    from sirfp_opt._extras import require_extra

    require_extra("demo", "torch", "torch_pruning", "matplotlib", "sklearn")
    from rich.console import Console

    from sirfp_opt.demo.story import run_demo

    run_demo(out, quick=quick, console=Console())
