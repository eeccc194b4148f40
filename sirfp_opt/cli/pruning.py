"""`prune`: somebody's network in, a smaller one and its report out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from operator import length_hint
from pathlib import Path
from typing import Annotated, Any

import typer

from sirfp_opt.cli.common import (
    AsJson,
    Effort,
    parse_options,
    print_json,
    print_pairs,
    print_table,
)
from sirfp_opt.cli.naming import batches_of, current_folder, forward_of, network_of
from sirfp_opt.cli.runs import read_cost, read_run, with_paths
from sirfp_opt.errors import InvalidProblemError

__all__ = ["add_commands"]

FILES = {
    "network": "network.pt",
    "plan": "plan.json",
    "report": "report.json",
    "page": "report.html",
}


def add_commands(app: typer.Typer) -> None:
    """Add `prune` to the program."""
    app.command(
        epilog="Example: sirfp-opt prune --model mine:network --data mine:scenes "
        "--macs 0.4 --method tabu --time-limit 2 --out out/pruned"
    )(prune)


def prune(
    model: Annotated[
        str | None,
        typer.Option(
            help="What builds the network, as package.module:factory; the current "
            "folder is searched, too."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="What gives the batches, as package.module:loader: an iterable, or "
            "a function that returns one."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the network, the plan and the reports."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="A run as a TOML or JSON file, for instance the report.json of "
            "another; options beside it take the place of what it says."
        ),
    ] = None,
    macs: Annotated[
        float | None,
        typer.Option(help="MACs that may remain: a share, or a number above 1."),
    ] = None,
    params: Annotated[
        float | None,
        typer.Option(help="Parameters that may remain: a share, or a number above 1."),
    ] = None,
    keep: Annotated[
        float | None,
        typer.Option(help="Instead of a budget: the share of each unit that stays."),
    ] = None,
    latency: Annotated[
        float | None,
        typer.Option(help="Time that may remain, as --cost predicts it."),
    ] = None,
    cost: Annotated[
        Path | None,
        typer.Option(
            help="A cost model as JSON, with a latency or costs of your own: what "
            "CostModel.to_dict gave."
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method", "-m", help="See `sirfp-opt solvers`.", show_default="greedy"
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", help="A parameter of the method: name=value."),
    ] = None,
    allocation: Annotated[
        str | None,
        typer.Option(
            "--allocation",
            "-a",
            help="How a budget becomes numbers of channels: measured, balanced, "
            "optimal, lagrangian, threshold or uniform.",
            show_default="measured where layers are refitted, else balanced",
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="What is measured: refit, reconstruction, spatial, cosine, pooled, "
            "filter; the middle three with _relu behind them, too.",
            show_default="what suits the refit",
        ),
    ] = None,
    refit: Annotated[
        str | None,
        typer.Option(
            help="How layers that read what was cut are refitted, without labels: "
            "full, merge or none.",
            show_default="full",
        ),
    ] = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="Do as the authors' code does.")
    ] = False,
    time_limit: Annotated[
        float | None,
        typer.Option("--time-limit", "-t", help="Seconds for each unit's solver."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Same seed, same plan.", show_default="0")
    ] = None,
    batches: Annotated[
        int | None, typer.Option(help="Read at most so many batches.", min=1)
    ] = None,
    min_keep: Annotated[
        float | None,
        typer.Option(help="Least share of each unit that stays.", show_default="0.1"),
    ] = None,
    multiple_of: Annotated[
        int | None,
        typer.Option(
            help="Keep multiples of so many.", show_default="8 where units are wide"
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(help="Pattern of layers that stay whole.")
    ] = None,
    forward: Annotated[
        str | None,
        typer.Option(
            help="How the network is called, as package.module:function of network "
            "and batch, where network(batch) does not do."
        ),
    ] = None,
    certify: Annotated[
        bool, typer.Option("--certify", help="Give each unit's set a proven bound.")
    ] = False,
    effort: Effort = None,
    request: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any other part of the request, as path=value: "
            "extraction.on_nan=skip, refit.ridge=0.01, limits.gap=0.01, "
            "tolerance=1e-4, constraints.'backbone.*'.k_min=8, ...",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="Where the network is moved first, for instance cuda."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            help="Units solved at a time; -1: all cores.",
            show_default="1",
        ),
    ] = None,
    explorer: Annotated[
        bool,
        typer.Option(
            "--explorer",
            help="Write explorer.html, too: a page to move k in each unit.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Cut the most redundant channels out of a network."""
    from sirfp_opt import __version__
    from sirfp_opt._extras import require_extra

    require_extra(
        "torch,plot,study", "torch", "jinja2", "matplotlib"
    )  # before any work
    stated = {
        "model": model,
        "data": data,
        "out": None if out is None else str(out),
        "batches": batches,
        "forward": forward,
        "device": device,
        "cost": None if cost is None else str(cost),
    }
    run, base = read_run(config, stated)
    out = Path(run["out"])
    if out.exists() and not out.is_dir():
        raise InvalidProblemError(
            f"`--out` must name a folder, got the file {out}. Pass a folder; it is "
            "made if it is not there."
        )
    settings = {
        "macs": macs,
        "params": params,
        "keep": keep,
        "latency": latency,
        "method": method,
        "options": parse_options(option) if option else None,
        "allocation": allocation,
        "metric": metric,
        "reference": reference or None,
        "time_limit": time_limit,
        "seed": seed,
        "min_keep": min_keep,
        "multiple_of": multiple_of,
        "ignore": ignore or None,
        "certify": effort or certify or None,
        "n_jobs": jobs,
    }
    import torch

    from sirfp_opt import pytorch  # first: it says what to install
    from sirfp_opt.pytorch.request import as_request

    asked: dict[str, Any] = {k: v for k, v in settings.items() if v is not None}
    paths = [] if refit is None else [f"refit={refit}"]
    wanted = as_request(*with_paths(base, [*paths, *(request or ())], asked))
    costs = read_cost(run["cost"])
    with current_folder():
        network = _placed(network_of(run["model"]), run["device"])
        how = None if run["forward"] is None else forward_of(run["forward"])
        read = _Batches(batches_of(run["data"]), run["batches"])
        result = pytorch.prune(network, read, wanted, cost=costs, forward=how)
    out.mkdir(parents=True, exist_ok=True)
    names = FILES | ({"explorer": "explorer.html"} if explorer else {})
    files = {name: out / file for name, file in names.items()}
    pytorch.save_pruned(files["network"], result)
    result.plan.to_json(files["plan"])
    told = {
        **run,
        "files": {name: str(path) for name, path in files.items()},
        "versions": {"sirfp-opt": __version__, "torch": torch.__version__},
        **result.report.to_dict(),
    }
    files["report"].write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    if explorer:
        seen = result.explore(
            model=network,
            batch=read.first,
            forward=how,
            title=f"{run['model']}: what was kept",
        )
        seen.save(files["explorer"])
    result.to_html(
        files["page"],
        title=f"{run['model']}, pruned",
        explorer=names.get("explorer"),
    )
    if as_json:
        print_json(told)
        return
    report = result.report
    print_table(
        "",
        ("cost", "before", "after", "reached", "asked"),
        [
            (
                name,
                f"{total:,}",
                f"{report.pruned[name]:,}",
                f"{report.reached[name]:.2%}",
                f"{report.asked[name]:.2%}" if name in report.asked else "",
            )
            for name, total in report.original.items()
        ],
    )
    print_pairs(
        {
            "channels": f"{sum(result.plan.counts.values())} of "
            f"{sum(result.plan.sizes.values())} kept, units: {len(result.plan)}",
            "reached": " ".join(report.reasons),
            "left_whole": ", ".join(e["unit"] for e in report.exclusions) or "no unit",
            "difference": "not compared with the masked original"
            if report.max_difference is None  # the request in a file may say so
            else f"{report.max_difference:.2g} to the masked original, at "
            f"outputs up to {report.output_scale:.3g}",
            **({"split": "stopped by its time limit"} if report.out_of_time else {}),
            **({"notes": "; ".join(report.notes)} if report.notes else {}),
            "written": ", ".join(map(str, files.values())),
            "load": f"load_pruned({str(files['network'])!r}, "
            f"{run['model'].replace(':', '.')})",
        }
    )


def _placed(network: Any, device: str | None) -> Any:
    """Move a network to a device."""
    if device is None:
        return network
    try:
        return network.to(device)
    except (RuntimeError, AssertionError) as error:
        raise InvalidProblemError(
            f"`--device` must name a device of this machine, got {device!r}: "
            f"{str(error).splitlines()[0]}. Pass for instance cpu or cuda:0."
        ) from error


class _Batches(Iterator[Any]):
    """At most so many batches of a source; the first is kept, for the explorer."""

    def __init__(self, batches: Iterable[Any], most: int | None) -> None:
        single = isinstance(batches, Mapping) or hasattr(batches, "requires_grad")
        source = [batches] if single else batches
        total = length_hint(source)
        self.first: Any = None
        self._left = total if most is None else min(total, most)
        self._batches = islice(source, most)

    def __next__(self) -> Any:
        batch = next(self._batches)
        if self.first is None:
            self.first = batch
        self._left -= 1
        return batch

    def __length_hint__(self) -> int:
        return max(self._left, 0)
