"""Do the runs that are missing, then report: ``python -m examples.studies.accuracy``.

Stop it at any time; the same command goes on where it stopped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from joblib import Parallel, delayed
from rich.console import Console

from examples.studies.accuracy.execute import execute
from examples.studies.accuracy.page import fill
from examples.studies.accuracy.report import write_report
from examples.studies.accuracy.results import SHIPPED, Results
from examples.studies.accuracy.runs import (
    EXPERIMENTS,
    Run,
    full_list,
    members,
    quick_list,
)


def select(runs: list[Run], only: list[str]) -> list[Run]:
    """Return the runs that match every word: an experiment, or a value of a field."""
    for word in only:
        if word in EXPERIMENTS:
            asked = {_kind(run) for name in {r.network for r in runs}
                     for run in members(word, name)}  # fmt: skip
            runs = [run for run in runs if _kind(run) in asked]
        else:
            runs = [run for run in runs if word in run.key]
    return runs


def _kind(run: Run) -> tuple[str, ...]:
    return (run.network, run.criterion, run.allocation, run.solver, run.schedule)


def _done(run: Run) -> tuple[Run, dict[str, object]]:
    return run, execute(run)


def main(
    quick: Annotated[
        bool, typer.Option(help="A few tiny runs, to see it work.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(help="An experiment, or a value such as unet or 0.3; repeatable."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 5,
    jobs: Annotated[int, typer.Option(help="Processes, of one thread each.")] = 1,
    results: Annotated[Path | None, typer.Option(help="Table to go on with.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the report.")] = None,
    report_only: Annotated[bool, typer.Option(help="Run nothing.")] = False,
    page: Annotated[bool, typer.Option(help="Renew README.md's tables.")] = False,
) -> None:
    """Do the runs that are missing, then report."""
    console = Console()
    folder = out or Path("out/accuracy_quick" if quick else "out/accuracy")
    table = Results(results or (folder / "results.csv" if quick else SHIPPED))
    runs = select(quick_list() if quick else full_list(seeds), only or [])
    missing = [] if report_only else table.missing(runs)
    console.print(f"{len(runs)} runs, {len(missing)} of them to do")
    pool = Parallel(n_jobs=jobs, return_as="generator_unordered")
    for number, (run, figures) in enumerate(pool(map(delayed(_done), missing)), 1):
        table.add(run, figures)
        told = figures.get("miou", figures["status"])
        console.print(
            f"{number:4d} {' '.join(run.key)}: {told}", highlight=False, soft_wrap=True
        )
    write_report(table.frame(), folder)
    console.print(f"report: {folder / 'report.md'}")
    if page:
        fill(table.frame())


if __name__ == "__main__":
    typer.run(main)
