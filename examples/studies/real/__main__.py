"""Do the runs that are missing, then report: ``python -m examples.studies.real``.

Stop it at any time; the same command goes on where it stopped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from joblib import Parallel, delayed
from rich.console import Console

from examples.studies.real.execute import FIGURES, execute
from examples.studies.real.report import SHIPPED_TABLE, fill, time_networks, write
from examples.studies.real.runs import KEYS, Run, full_list, quick_list
from examples.studies.real.tasks import task_of
from examples.studies.results import Results


def _done(run: Run) -> tuple[Run, dict[str, object]]:
    return run, execute(run)


def main(
    quick: Annotated[
        bool,
        typer.Option(help="A few tiny runs on pictures made here, to see it work."),
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(help="A value of a field, such as ppocr4 or 0.3; repeatable."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 3,
    jobs: Annotated[int, typer.Option(help="Processes, of one thread each.")] = 1,
    results: Annotated[Path | None, typer.Option(help="Table to go on with.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the report.")] = None,
    report_only: Annotated[bool, typer.Option(help="Run nothing.")] = False,
    latency: Annotated[bool, typer.Option(help="Time the main networks, too.")] = False,
    page: Annotated[bool, typer.Option(help="Renew README.md's tables.")] = False,
) -> None:
    """Do the runs that are missing, then report."""
    console = Console()
    folder = out or Path("out/real_quick" if quick else "out/real")
    place = results or (folder / "results.csv" if quick else SHIPPED_TABLE)
    table = Results(place, KEYS, FIGURES)
    runs = quick_list() if quick else full_list(seeds)
    for word in only or []:
        runs = [run for run in runs if word in run.key]
    todo = [] if report_only else table.missing(runs)
    names = dict.fromkeys(run.network for run in todo)
    lacking = [one for name in names for one in task_of(name).missing(name)]
    if lacking:
        console.print(f"missing: {', '.join(dict.fromkeys(lacking))}")
        console.print("pip install --group real")
        raise typer.Exit(2)
    console.print(f"{len(runs)} runs, {len(todo)} of them to do")
    pool = Parallel(n_jobs=jobs, return_as="generator_unordered")
    for number, (run, figures) in enumerate(pool(map(delayed(_done), todo)), 1):
        table.add(run, figures)
        told = figures.get("iou", figures["status"])
        console.print(
            f"{number:4d} {' '.join(run.key)}: {told}", highlight=False, soft_wrap=True
        )
    if latency:
        time_networks(folder)
    write(table.frame(), folder)
    if page:
        fill(table.frame())
    console.print(f"the report is in {folder}")


if __name__ == "__main__":
    typer.run(main)
