"""The frame of every HTML page written here: one file that needs nothing beside it."""

from __future__ import annotations

import base64
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sirfp_opt._extras import require_extra

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["as_svg", "as_table", "need_pages", "render_page", "write_page"]

_FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
  body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 72rem;
         margin: 2rem auto; padding: 0 1rem; }
  h1 { font-size: 1.5rem; margin-bottom: 0; overflow-wrap: anywhere; }
  h2 { font-size: 1.15rem; }
  p.facts { color: #555; margin-top: .2rem; }
  .wide { overflow-x: auto; }
  table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
  th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #ddd; }
  th { font-weight: 600; } thead th { border-bottom: 2px solid #888; }
  th:first-child, td:first-child, .words th, .words td { text-align: left; }
  figure { margin: 1rem 0; } figure img { max-width: 100%; height: auto; }
  figcaption { color: #555; max-width: 46rem; }
  .pictures { display: grid; gap: 1.5rem;
              grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); }
  details { margin: 1rem 0; } summary { cursor: pointer; font-weight: 600; }
  @media (prefers-color-scheme: dark) {
    body { background: #16181c; color: #e6e6e6; } figure img { background: white; }
    th, td { border-color: #444; } p.facts, figcaption { color: #aaa; } }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p class="facts">{{ facts }}</p>
{% include "body" %}
<p class="facts">Made {{ now }} UTC by sirfp-opt{{ made }}.</p>
</body>
</html>
"""


def need_pages() -> None:
    """Raise `MissingExtraError` unless pages and their pictures can be made."""
    require_extra("study,plot", "jinja2", "matplotlib")


def render_page(
    body: str, *, title: str, facts: str, made: str = "", **values: Any
) -> str:
    """Return a page as text.

    Parameters
    ----------
    body : str
        Jinja template of what stands below the title; values are escaped.
    title, facts : str
        Heading, and the line below it.
    made : str
        What else to say at the end, after the date.
    **values
        For the template.

    Raises
    ------
    MissingExtraError
        If jinja2 is not installed.
    """
    require_extra("study", "jinja2")
    import jinja2

    pages = jinja2.Environment(
        loader=jinja2.DictLoader({"frame": _FRAME, "body": body}),
        autoescape=True,
        trim_blocks=True,
    )
    return pages.get_template("frame").render(
        title=title,
        facts=facts,
        made=made,
        now=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        **values,
    )


def write_page(path: str | Path, body: str, **values: Any) -> None:
    """Write a page with pictures; arguments are those of `render_page`.

    Raises
    ------
    MissingExtraError
        If jinja2 or matplotlib is not installed.
    """
    need_pages()
    Path(path).write_text(render_page(body, **values), encoding="utf-8")


def as_table(frame: pd.DataFrame, *, words: bool = False, digits: int = 6) -> Any:
    """Return a table as markup; `words` sets its columns to the left."""
    from markupsafe import Markup

    html = frame.to_html(
        border=0,
        index=False,
        na_rep="",
        float_format=f"{{:.{digits}g}}".format,
        classes="words" if words else None,
    )
    return Markup(html)  # pandas has escaped it


def as_svg(figure: Figure) -> str:
    """Return a figure as a data URI."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
