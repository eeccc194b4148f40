"""Do the runs that are missing, then report: ``python -m examples.studies.refit``.

Stop it at any time; the same command goes on where it stopped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from joblib import Parallel, delayed
from rich.console import Console

from examples.studies.refit.execute import execute
from examples.studies.refit.page import fill
from examples.studies.refit.results import SHIPPED, Results
from examples.studies.refit.runs import Run, full_list, quick_list


def _done(run: Run) -> tuple[Run, dict[str, object]]:
    return run, execute(run)


def main(
    quick: Annotated[
        bool, typer.Option(help="A few tiny runs, to see it work.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(help="A value of a field, such as unet or 0.3; repeatable."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 5,
    jobs: Annotated[int, typer.Option(help="Processes, of one thread each.")] = 1,
    results: Annotated[Path | None, typer.Option(help="Table to go on with.")] = None,
    page: Annotated[bool, typer.Option(help="Renew README.md's tables.")] = False,
    run: Annotated[bool, typer.Option(help="Do what is missing.")] = True,
) -> None:
    """Do the runs that are missing."""
    console = Console()
    scratch = Path("out/refit_quick/results.csv")
    table = Results(results or (scratch if quick else SHIPPED))
    runs = quick_list() if quick else full_list(seeds)
    runs = [one for one in runs if all(word in one.key for word in only or [])]
    missing = table.missing(runs) if run else []
    console.print(f"{len(runs)} runs, {len(missing)} of them to do")
    pool = Parallel(n_jobs=jobs, return_as="generator_unordered")
    for number, (one, figures) in enumerate(pool(map(delayed(_done), missing)), 1):
        table.add(one, figures)
        told = figures.get("miou", figures["status"])
        text = f"{number:4d} {' '.join(one.key)}: {told}"
        console.print(text, highlight=False, soft_wrap=True)
    if page:
        fill(table.frame())


if __name__ == "__main__":
    typer.run(main)
