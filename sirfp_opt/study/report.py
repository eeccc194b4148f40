"""A study as one HTML page that needs nothing beside itself."""

from __future__ import annotations

import base64
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sirfp_opt._extras import require_extra
from sirfp_opt.errors import InvalidProblemError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from matplotlib.figure import Figure

    from sirfp_opt.study.result import Study

__all__ = ["write_report"]

_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
  body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 72rem;
         margin: 2rem auto; padding: 0 1rem; }
  h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.15rem; }
  p.facts { color: #555; margin-top: .2rem; }
  .wide { overflow-x: auto; }
  table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
  th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #ddd; }
  th { font-weight: 600; } thead th { border-bottom: 2px solid #888; }
  th:first-child, td:first-child, .words th, .words td { text-align: left; }
  figure { margin: 1rem 0; } figure img { max-width: 100%; height: auto; }
  figcaption { color: #555; max-width: 46rem; }
  .pictures { display: grid; gap: 1.5rem;
              grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); }
  details { margin: 1rem 0; } summary { cursor: pointer; font-weight: 600; }
  @media (prefers-color-scheme: dark) {
    body { background: #16181c; color: #e6e6e6; } figure img { background: white; }
    th, td { border-color: #444; } p.facts, figcaption { color: #aaa; } }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p class="facts">{{ facts }}</p>

<h2>Methods</h2>
<div class="wide">{{ summary }}</div>
<p>Gap to best: relative distance of a run's objective to the best of all runs of its
problem, 100 % without a solution. Rank: mean over the problems, 1 is best. Times are
means in seconds; the primal integral is the gap integrated over time.</p>

<h2>Pictures</h2>
<div class="pictures">
{% for picture in pictures %}<figure>
<img alt="{{ picture.caption }}" src="data:image/svg+xml;base64,{{ picture.data }}">
<figcaption>{{ picture.caption }}</figcaption>
</figure>
{% endfor %}</div>

{% if tests %}<h2>Do the methods differ by more than chance?</h2>
<p>{{ friedman }}</p>
<div class="wide">{{ tests }}</div>
<p>Wilcoxon's signed-rank test on the gap to best, seeds averaged, one pair of methods
a row; Holm's correction for the number of pairs.</p>
{% endif %}
{% if failures %}<h2>Runs that failed</h2>
<div class="wide">{{ failures }}</div>
{% endif %}
<h2>Problems</h2>
<div class="wide">{{ problems }}</div>

<details><summary>All {{ runs_count }} runs</summary>
<div class="wide">{{ runs }}</div></details>
<p class="facts">{{ made }}</p>
</body>
</html>
"""


def write_report(study: Study, path: str | Path, *, title: str) -> None:
    """Write a self-contained page: tables, tests, pictures, failures.

    Parameters
    ----------
    study : Study
    path : str or Path
    title : str

    Raises
    ------
    MissingExtraError
        If jinja2 or matplotlib is not installed.
    """
    require_extra("study", "jinja2")
    require_extra("plot", "matplotlib")
    import jinja2
    from markupsafe import Markup

    frame = study.to_frame()
    friedman, tests = _tests(study)
    failures = frame[[run.failed for run in study]]
    columns = ["instance", "k", "method", "seed", "status", "error"]
    runs = frame.drop(columns=["options", "versions", "machine", "problem", "error"])
    page = jinja2.Environment(autoescape=True, trim_blocks=True).from_string(_TEMPLATE)
    versions = {f"{k} {v}" for run in study for k, v in run.versions.items()}
    text = page.render(
        title=title,
        facts=repr(study).removeprefix("Study(").removesuffix(")"),
        summary=Markup(_table(study.readable_summary().reset_index())),
        pictures=[
            {"caption": caption, "data": _as_svg(figure)}
            for caption, figure in _pictures(study)
        ],
        friedman=friedman,
        tests=Markup(_table(tests, words=True, digits=3)) if tests is not None else "",
        failures=Markup(_table(failures[columns], words=True)) if len(failures) else "",
        problems=Markup(_table(_problems(frame), digits=9)),
        runs=Markup(_table(runs)),
        runs_count=len(study),
        made=(
            f"Made {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by sirfp-opt; runs made with "
            f"{', '.join(sorted(versions))} on {'; '.join({r.machine for r in study})}."
        ),
    )
    Path(path).write_text(text, encoding="utf-8")


def _table(frame: pd.DataFrame, *, words: bool = False, digits: int = 6) -> str:
    html: str = frame.to_html(
        border=0,
        index=False,
        na_rep="",
        float_format=f"{{:.{digits}g}}".format,
        classes="words" if words else None,
    )
    return html


def _problems(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row a problem: its best objective, tightest bound, best method."""
    rows = []
    for _, runs in frame.groupby("problem", sort=False):
        first = runs.iloc[0]
        larger_is_better = first["sense"] == "maximize"
        best = runs["objective"].max() if larger_is_better else runs["objective"].min()
        bounds = runs["bound"]
        found = runs.loc[runs["gap_to_best"].le(1e-9), "method"]
        rows.append(
            {
                "instance": first["instance"],
                "n": first["n"],
                "k": first["k"],
                "sense": first["sense"],
                "best objective": best,
                "tightest bound": bounds.min() if larger_is_better else bounds.max(),
                "found by": ", ".join(dict.fromkeys(found)),
            }
        )
    import pandas

    return pandas.DataFrame(rows)


def _tests(study: Study) -> tuple[str, pd.DataFrame | None]:
    if len(study.methods) < 2 or len(study.by_problem) < 2:
        return "", None
    pairs = study.wilcoxon()
    try:
        found = study.friedman()
    except InvalidProblemError:  # two methods: the pair says it all
        return "", pairs
    told = (
        f"Friedman's test on the gap to best over {found.problems} problems: "
        f"χ² = {found.statistic:.4g}, p = {found.pvalue:.3g}."
    )
    return told, pairs


def _pictures(study: Study) -> Iterator[tuple[str, Figure]]:
    """Yield caption and figure; figures are made without pyplot, so none stays open."""
    from matplotlib.figure import Figure

    from sirfp_opt import plotting

    if all(run.objective is None for run in study):
        return
    wide = (6.4, 3.8)
    figure = Figure(figsize=(6.4, 1.2 + 0.5 * len(study.methods)), layout="constrained")
    plotting.plot_gaps(study, ax=figure.subplots())
    yield "Gap of each run to the best known set of its problem.", figure
    figure = Figure(figsize=wide, layout="constrained")
    plotting.plot_performance_profile(study, ax=figure.subplots())
    yield (
        "Performance profile: on how many runs a method finds the best known set "
        "within τ times the time of the fastest method.",
        figure,
    )
    slowest = max((r for r in study if r.trace), key=lambda run: run.seconds)
    shown = [
        run
        for run in study.by_problem[slowest.problem]
        if run.seed == slowest.seed and run.trace
    ]
    figure = Figure(figsize=wide, layout="constrained")
    plotting.plot_anytime(shown, log_time=True, ax=figure.subplots())
    told = f"k = {slowest.k}" if slowest.k is not None else "no set"
    yield f"Incumbents and bounds over time on {slowest.instance}, {told}.", figure
    counts = {run.k for run in study if run.instance == slowest.instance}
    if len(counts) > 2:
        figure = Figure(figsize=wide, layout="constrained")
        plotting.plot_value_curve(study, slowest.instance, ax=figure.subplots())
        yield f"Objective against the channels kept on {slowest.instance}.", figure


def _as_svg(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    return base64.b64encode(buffer.getvalue()).decode()
