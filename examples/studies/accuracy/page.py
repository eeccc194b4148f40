"""The page of the study: prose by hand, tables and pictures from the results."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from examples.studies import page as page_of_study
from examples.studies.accuracy.report import draw, tables

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PAGE", "fill", "prose", "rendered"]

PAGE = Path(__file__).with_name("README.md")


def rendered(frame: pd.DataFrame) -> str:
    """Return all tables with their headings."""
    return page_of_study.rendered(tables(frame))


def fill(frame: pd.DataFrame, page: Path = PAGE) -> None:
    """Put the tables of `frame` into a page, and the pictures beside it."""
    page_of_study.fill(page, tables(frame))
    draw(frame, page.parent)


def prose(page: Path = PAGE) -> str:
    """Return what was written by hand, without code."""
    by_hand = "".join(page_of_study.split(page))
    return re.sub(r"```.*?```|`[^`]*`", " ", by_hand, flags=re.DOTALL)
