"""`compare`: every method on every problem, as tables and a page."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003  (typer reads the annotations)
from typing import Annotated

import typer

from sirfp_opt.cli.common import (
    AsJson,
    Effort,
    ExitCode,
    parse_count,
    parse_options,
    print_json,
    print_table,
)
from sirfp_opt.cli.config import Config  # noqa: TC001  (typer reads it)

__all__ = ["add_commands"]


def add_commands(app: typer.Typer) -> None:
    """Add `compare` to the program."""
    app.command(
        epilog="Example: sirfp-opt compare graphs/ -k 0.25 -k 0.5 -m greedy -m tabu "
        "-m anneal:coolings=2 -t 2 --results out/study --html report.html"
    )(compare)


def compare(
    problems: Annotated[
        list[Path], typer.Argument(help="Files of graphs, or folders of such files.")
    ],
    method: Annotated[
        list[str],
        typer.Option(
            "--method", "-m", help="A method, with options as name:option=value,..."
        ),
    ],
    k: Annotated[
        list[str] | None,
        typer.Option("-k", help="Channels to keep: 16, or a share 0.5, or 8:16."),
    ] = None,
    seeds: Annotated[
        int, typer.Option(help="Runs of each method, seeds 0, 1, ...")
    ] = 1,
    time_limit: Annotated[
        float | None, typer.Option("--time-limit", "-t", help="Seconds for each run.")
    ] = None,
    certify: Annotated[
        bool, typer.Option("--certify", help="Ask every run for a proven bound.")
    ] = False,
    effort: Effort = None,
    iterations: Annotated[
        int | None, typer.Option(help="Limit of each run, in the method's own unit.")
    ] = None,
    gap: Annotated[float | None, typer.Option(help="Stop a run at this gap.")] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", help="Runs at a time; -1: one on each core.")
    ] = 1,
    results: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps each finished run; rerun to resume."),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Repeat stored runs that failed.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page to look at.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write every run as CSV.")] = None,
    parquet: Annotated[
        Path | None, typer.Option(help="Write every run as Parquet.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the summary as Markdown.")
    ] = None,
    latex: Annotated[
        Path | None, typer.Option(help="Write the summary as LaTeX.")
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Compare methods on many problems; finished runs survive a crash."""
    from sirfp_opt import study
    from sirfp_opt._extras import require_extra
    from sirfp_opt.limits import Limits

    needs = {
        "joblib": True,
        "jinja2": html or latex,
        "matplotlib": html,
        "tabulate": markdown,
        "pyarrow": parquet,
    }
    # Before any run, and all at once.
    require_extra("study,plot,parquet", *(name for name in needs if needs[name]))
    done = study.compare(
        problems,
        [_method(text) for text in method],
        k=None if not k else [count for text in k if (count := parse_count(text))],
        seeds=seeds,
        limits=Limits(time=time_limit, iterations=iterations, gap=gap),
        certify=effort or certify,
        n_jobs=jobs,
        results=results,
        retry_failed=retry_failed,
    )
    for path, write in (
        (html, done.to_html),
        (csv, done.to_csv),
        (parquet, done.to_parquet),
        (markdown, done.to_markdown),
        (latex, done.to_latex),
    ):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path)
    if as_json:
        table = done.summary().reset_index()
        print_json(
            {
                "summary": json.loads(table.to_json(orient="records")),
                "failures": [
                    {"instance": r.instance, "method": r.method, "seed": r.seed}
                    | {"status": r.status, "error": r.error}
                    for r in done.failures
                ],
            }
        )
    else:
        table = done.readable_summary()
        columns = [str(table.index.name), *map(str, table.columns)]
        print_table(repr(done), columns, table.reset_index().to_numpy().tolist())
        for run in done.failures:
            print(f"failed: {run.instance} {run.method} seed {run.seed}: {run.error}")
    if done.failures:
        raise typer.Exit(ExitCode.RUNS_FAILED)


def _method(text: str) -> str | tuple[str, dict[str, object]]:
    """Read "name" or "name:option=value,option=value"."""
    name, _, options = text.partition(":")
    return (name, parse_options(options.split(","))) if options else name
