"""The page of the study: prose by hand, tables from the results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from examples.studies import page as page_of_study
from examples.studies.refit.runs import KEYS, full_list

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PAGE", "fill", "tables"]

PAGE = Path(__file__).with_name("README.md")

ARM = ["sets", "split", "repair", "steps"]
CELL = ["network", "budget"]


def tables(frame: pd.DataFrame) -> dict[str, str]:
    """Return the tables, as Markdown, by title: mIoU, mean over seeds."""
    place = {run.key: number for number, run in enumerate(full_list())}
    keys = frame[list(KEYS)].astype(str).agg(tuple, axis=1)
    frame = frame.iloc[keys.map(place).fillna(len(place)).argsort(kind="stable")]
    done = frame[frame["status"] == "ok"]
    usual = done[done["pictures"] == 64]
    main = usual[usual["steps"] == 0]
    found = {"Without any label: mean IoU on the test scenes": _pivot(main, ARM[:3])}
    tuned = usual[usual["steps"] > 0]
    if len(tuned):
        found["With labelled steps afterwards"] = _pivot(tuned, ARM)
    same = (done["sets"] == "refit") & (done["split"] == "measured")
    same &= (done["repair"] == "full") & (done["steps"] == 0) & (done["seed"] == 0)
    few = done[same & (done["budget"] == 0.15)]
    if few["pictures"].nunique() > 1:
        title = "By the number of pictures (refit sets, measured split, full, 15 %)"
        found[title] = _pivot(few, ["pictures"])
    found["CPU seconds of the repair"] = _pivot(main, ["repair"], "repair_s")
    return found


def fill(frame: pd.DataFrame, page: Path = PAGE) -> None:
    """Put the tables of `frame` into a page."""
    page_of_study.fill(page, tables(frame))


def _pivot(frame: pd.DataFrame, rows: list[str], value: str = "miou") -> str:
    """Return means over seeds, with how many there were where it is more than one."""
    columns = sorted(
        {tuple(pair) for pair in frame[CELL].itertuples(index=False)},
        key=lambda pair: (pair[0], -pair[1]),
    )
    head = [*rows, *(f"{name} {budget:.0%}" for name, budget in columns)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for key, some in frame.groupby(rows, sort=False):
        entries = []
        for name, budget in columns:
            cell = some[(some["network"] == name) & (some["budget"] == budget)][value]
            many = f" ({len(cell)})" if len(cell) > 1 else ""
            form = ".3f" if value == "miou" else ".1f"
            entries.append(f"{cell.mean():{form}}{many}" if len(cell) else "")
        lines.append("| " + " | ".join([*map(str, key), *entries]) + " |")
    return "\n".join(lines)
