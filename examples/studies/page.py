"""The page of a study: prose by hand, tables from the results between two marks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["fill", "rendered", "split"]

BEGIN, END = "<!-- tables: begin -->\n", "<!-- tables: end -->\n"


def rendered(tables: Mapping[str, str]) -> str:
    """Return Markdown tables under their titles."""
    parts = [f"### {title}\n\n{table}\n" for title, table in tables.items()]
    return "\n".join(parts)


def fill(page: Path, tables: Mapping[str, str]) -> None:
    """Put tables, by title, into a page."""
    before, after = split(page)
    text = f"{before}{BEGIN}\n{rendered(tables)}\n{END}{after}"
    page.write_text(text, encoding="utf-8")


def split(page: Path) -> tuple[str, str]:
    """Return what stands before and after the tables."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    return before, rest.partition(END)[2]
