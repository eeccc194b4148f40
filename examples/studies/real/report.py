"""From the tables of results to the page; nothing is left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from examples.studies import page as page_of_study
from examples.studies.real.execute import pruned_network
from examples.studies.real.latency import latencies
from examples.studies.real.runs import ARMS, BUDGETS, SHIPPED
from examples.studies.real.stamps.networks import NAMES

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "LATENCY",
    "PAGE",
    "SHIPPED_TABLE",
    "fill",
    "pages",
    "tables",
    "time_networks",
    "write",
]

HERE = Path(__file__).parent
PAGE = HERE / "README.md"
STAMPS_PAGE = HERE / "stamps" / "README.md"
SHIPPED_TABLE = HERE / "results.csv"
LATENCY = HERE / "latency.csv"
ARM = [name for name in ARMS if name != "network"]
PLAIN = ["criterion", "split", "solver", "refit", "multiple_of"]


def means(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each arm and budget: means over seeds, and what failed."""
    told = frame.assign(
        refit=frame["refit"].fillna("none"), ok=frame["status"].eq("ok")
    )
    grouped = told.groupby(["network", "budget", *ARM], dropna=False, sort=False)
    return grouped.agg(
        seeds=("ok", "sum"),
        failed=("ok", lambda ok: int((~ok).sum())),
        macs=("macs", "mean"),
        params=("params", "mean"),
        iou=("iou", "mean"),
        low=("low", "mean"),
        high=("high", "mean"),
        least=("iou", "min"),
        most=("iou", "max"),
        f1=("f1", "mean"),
        true_iou=("true_iou", "mean"),
        true_f1=("true_f1", "mean"),
        seconds=("prune_seconds", "mean"),
    ).reset_index()


def tables(frame: pd.DataFrame) -> dict[str, str]:
    """Return the page's tables by heading, in Markdown."""
    every = means(frame)
    found: dict[str, str] = {}
    for name in every["network"].unique():
        here = every[every["network"] == name]
        plain = here[(here["steps"] == 0) & (here["multiple_of"] < 2)]
        for budget in (1.0, *sorted(BUDGETS, reverse=True)):
            some = plain[plain["budget"] == budget]
            if len(some):
                title = f"{name}: {budget:.0%} of the MACs, no labels, no tuning"
                found[title] = _arms(some, PLAIN)
        tuned = here[here["steps"] > 0]
        if len(tuned):
            keys = ["budget", "criterion", "split", "refit", "steps"]
            found[f"{name}: distilled from the dense network"] = _arms(tuned, keys)
        rounded = here[(here["multiple_of"] != 1) & (here["steps"] == 0)]
        if len(rounded):
            keys = ["budget", "criterion", "refit", "multiple_of"]
            found[f"{name}: numbers of channels are multiples"] = _arms(rounded, keys)
    if LATENCY.exists() and SHIPPED.network in set(frame["network"]):
        times = pd.read_csv(LATENCY)
        found["Latency, CPU time of one thread, 320 x 320, and its ratio to dense"] = (
            times.to_markdown(index=False)
        )
    failed = frame[frame["status"] != "ok"]
    if len(failed):
        shown = failed.groupby(["network", "criterion", "split", "budget", "status"])
        found["What failed"] = (
            shown.size().rename("runs").reset_index().to_markdown(index=False)
        )
    return found


def _arms(rows: pd.DataFrame, keys: list[str]) -> str:
    shown = rows.sort_values("iou", ascending=False, kind="stable")
    columns = [*keys, "seeds", "failed", "macs", "iou", "low", "high", "least", "most",
               "f1", "true_iou", "seconds"]  # fmt: skip
    digits = {name: 3 for name in columns if name not in (*keys, "seconds")}
    return str(shown[columns].round(digits | {"seconds": 1}).to_markdown(index=False))


def time_networks(folder: Path) -> None:
    """Time the dense network and what is shipped, by budget and multiple."""
    models: dict[str, nn.Module] = {}
    dense = replace(SHIPPED, criterion="dense", split="uniform", budget=1.0)
    models["dense"] = pruned_network(dense)[0]
    for budget in sorted(BUDGETS, reverse=True):
        for multiple in (0, 1, 8, 16):
            run = replace(SHIPPED, budget=budget, multiple_of=multiple)
            told = f"multiples of {multiple}" if multiple else "as shipped"
            models[f"{budget:.0%}, {told}"] = pruned_network(run)[0]
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(latencies(models)).to_csv(LATENCY, index=False)


def write(frame: pd.DataFrame, folder: Path) -> None:
    """Write the tables into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(page_of_study.rendered(tables(frame)), "utf-8")


def pages(frame: pd.DataFrame) -> dict[Path, dict[str, str]]:
    """Return each page's tables: that of the networks of wheels, and that of ours."""
    ours = frame["network"].isin(NAMES)
    return {
        page: tables(some)
        for page, some in ((PAGE, frame[~ours]), (STAMPS_PAGE, frame[ours]))
        if len(some)
    }


def fill(frame: pd.DataFrame) -> None:
    """Put the tables into the pages, between their marks."""
    for page, some in pages(frame).items():
        page_of_study.fill(page, some)
