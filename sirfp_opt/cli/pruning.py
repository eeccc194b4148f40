"""`prune`: somebody's network in, a smaller one and its report out."""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from sirfp_opt.cli.common import (
    AsJson,
    parse_options,
    print_json,
    print_pairs,
    print_table,
)
from sirfp_opt.cli.runs import read_run
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
    method: Annotated[
        str | None,
        typer.Option("--method", "-m", help="See `sirfp-opt solvers`. [greedy]"),
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
            "optimal, lagrangian, threshold or uniform. [measured, with a refit]",
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="What is measured: refit, reconstruction, spatial, ..."),
    ] = None,
    refit: Annotated[
        str | None,
        typer.Option(
            help="How layers that read what was cut are refitted, without labels: "
            "full (the default), merge or none."
        ),
    ] = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="Do as the authors' code does.")
    ] = False,
    time_limit: Annotated[
        float | None,
        typer.Option("--time-limit", "-t", help="Seconds for each unit's solver."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same plan. [0]")] = None,
    batches: Annotated[
        int | None, typer.Option(help="Read at most so many batches.", min=1)
    ] = None,
    min_keep: Annotated[
        float | None, typer.Option(help="Least share of each unit that stays. [0.1]")
    ] = None,
    multiple_of: Annotated[
        int | None, typer.Option(help="Keep multiples of so many. [1]")
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
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", help="Units solved at a time; -1: all cores. [1]"),
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
    from sirfp_opt._page import need_pages
    from sirfp_opt._parallel import progress_stages

    need_pages()  # before any work
    stated = {
        "model": model,
        "data": data,
        "out": None if out is None else str(out),
        "batches": batches,
        "forward": forward,
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
        "certify": certify or None,
        "n_jobs": jobs,
    }
    import torch

    from sirfp_opt import pytorch  # first: it says what to install
    from sirfp_opt.pytorch.request import as_request

    asked: dict[str, Any] = {k: v for k, v in settings.items() if v is not None}
    if refit is not None:
        asked["refit"] = None if refit == "none" else refit
    request = as_request(base, asked)
    with _current_folder(), progress_stages(sys.stderr.isatty()) as tell:
        network = _network(run["model"])
        how = None if run["forward"] is None else _forward(run["forward"])
        first: list[Any] = []  # the first batch, whose maps the explorer shows
        result = pytorch.prune(
            network,
            _counted(_batches(run["data"]), run["batches"], tell, first),
            request,
            forward=how,
            progress=tell,
        )
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
            batch=first[0],
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


def _network(spec: str) -> Any:
    from torch import nn

    made = _named(spec, "--model")
    if not isinstance(made, nn.Module):
        made = _called(made, spec, "--model")
    if not isinstance(made, nn.Module):
        raise InvalidProblemError(
            f"`--model` must build a torch.nn.Module, got {type(made).__name__} from "
            f"{spec}. Return the network itself."
        )
    return made


def _forward(spec: str) -> Callable[[Any, Any], Any]:
    found = _named(spec, "--forward")
    if not callable(found):
        raise InvalidProblemError(
            f"`--forward` must name a function of network and batch, got "
            f"{type(found).__name__} at {spec}. Write one that returns the outputs."
        )
    return found  # type: ignore[no-any-return]


def _batches(spec: str) -> Iterable[Any]:
    made = _named(spec, "--data")
    if callable(made):
        made = _called(made, spec, "--data")
    if not isinstance(made, Iterable):
        raise InvalidProblemError(
            f"`--data` must give batches, got {type(made).__name__} from {spec}. "
            "Return a DataLoader, a list of tensors or a generator."
        )
    return made


def _named(spec: str, flag: str) -> Any:
    """Import what "package.module:name" names.

    Raises
    ------
    InvalidProblemError
        If it does not read so, or there is no such module or name.
    """
    module_name, colon, name = spec.partition(":")
    if not (colon and module_name and name):
        raise InvalidProblemError(
            f"`{flag}` must read package.module:name, got {spec!r}. "
            "Pass for instance mine:network for `network` in mine.py."
        )
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # whatever somebody's module raises
        raise InvalidProblemError(
            f"`{flag}` must name a module that can be imported, got {module_name!r}: "
            f"{_told(error)}. Searched are the current folder and Python's path."
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            public = [n for n in vars(found) if not n.startswith("_")]
            raise InvalidProblemError(
                f"`{flag}` must name something in {module_name}, got {name!r}. "
                f"There are {', '.join(public[:12]) or 'no names'}."
            )
        found = getattr(found, part)
    return found


def _called(function: Any, spec: str, flag: str) -> Any:
    """Call somebody's factory or loader."""
    if not callable(function):
        raise InvalidProblemError(
            f"`{flag}` must name a function without arguments, got "
            f"{type(function).__name__} at {spec}. Write one that returns it."
        )
    try:
        return function()
    except Exception as error:  # whatever somebody's code raises
        raise InvalidProblemError(
            f"`{flag}` must name what runs without arguments, got {_told(error)} "
            f"from {spec}. Try it by hand first."
        ) from error


def _told(error: BaseException) -> str:
    """Return an error in one line, with the place where it was raised."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f" ({Path(last.filename).name}, line {last.lineno})"
    return f"{type(error).__name__}: {error}{where}"


def _counted(
    batches: Iterable[Any],
    most: int | None,
    tell: Callable[[str, int, int], None],
    first: list[Any],
) -> Any:
    """Return the batches, telling how many were read; keep the first in a list."""
    if isinstance(batches, Mapping) or hasattr(batches, "requires_grad"):
        first.append(batches)
        return batches  # a single one
    total = len(batches) if isinstance(batches, Sized) else None
    if most is not None:
        total = most if total is None else min(total, most)

    def read() -> Iterator[Any]:
        done = 0
        for batch in islice(batches, most):
            tell("batches", done, total or done + 1)
            if not first:
                first.append(batch)
            yield batch
            done += 1
        tell("batches", done, done)

    return read()


@contextmanager
def _current_folder() -> Iterator[None]:
    """Let modules of the current folder be imported, as `python -m` does."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
