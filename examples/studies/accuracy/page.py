"""The page of the study: prose by hand, tables and pictures from the results."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from examples.studies.accuracy.report import draw, tables

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PAGE", "fill", "prose", "rendered"]

PAGE = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- tables: begin -->\n", "<!-- tables: end -->\n"


def rendered(frame: pd.DataFrame) -> str:
    """Return all tables with their headings."""
    parts = [f"### {title}\n\n{table}\n" for title, table in tables(frame).items()]
    return "\n".join(parts)


def fill(frame: pd.DataFrame, page: Path = PAGE) -> None:
    """Put the tables of `frame` into a page, and the pictures beside it."""
    before, _, after = _split(page)
    page.write_text(f"{before}{BEGIN}\n{rendered(frame)}\n{END}{after}", "utf-8")
    draw(frame, page.parent)


def prose(page: Path = PAGE) -> str:
    """Return what was written by hand, without code."""
    before, _, after = _split(page)
    return re.sub(r"```.*?```|`[^`]*`", " ", before + after, flags=re.DOTALL)


def _split(page: Path) -> tuple[str, str, str]:
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    between, _, after = rest.partition(END)
    return before, between, after
