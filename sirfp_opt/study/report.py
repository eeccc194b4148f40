"""A study as one HTML page that needs nothing beside itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sirfp_opt._page import as_svg, as_table, need_pages, write_page
from sirfp_opt.errors import InvalidProblemError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd
    from matplotlib.figure import Figure

    from sirfp_opt.study.result import Study

__all__ = ["write_report"]

_BODY = """
<h2>Methods</h2>
<div class="wide">{{ summary }}</div>
<p>Gap to best: relative distance of a run's objective to the best of all runs of its
problem, 100 % without a solution. Rank: mean over the problems, 1 is best. Times are
means in seconds; the primal integral is the gap integrated over time.</p>

<h2>Pictures</h2>
<div class="pictures">
{% for picture in pictures %}<figure>
<img alt="{{ picture.caption }}" src="{{ picture.data }}">
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
    need_pages()
    frame = study.to_frame()
    friedman, tests = _tests(study)
    failures = frame[[run.failed for run in study]]
    columns = ["instance", "k", "method", "seed", "status", "error"]
    runs = frame.drop(columns=["options", "versions", "machine", "problem", "error"])
    versions = {f"{k} {v}" for run in study for k, v in run.versions.items()}
    write_page(
        path,
        _BODY,
        title=title,
        facts=repr(study).removeprefix("Study(").removesuffix(")"),
        summary=as_table(study.readable_summary().reset_index()),
        pictures=[
            {"caption": caption, "data": as_svg(figure)}
            for caption, figure in _pictures(study)
        ],
        friedman=friedman,
        tests=as_table(tests, words=True, digits=3) if tests is not None else "",
        failures=as_table(failures[columns], words=True) if len(failures) else "",
        problems=as_table(_problems(frame), digits=9),
        runs=as_table(runs),
        runs_count=len(study),
        made=(
            f"; runs made with {', '.join(sorted(versions))} on "
            + "; ".join({r.machine for r in study})
        ),
    )


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
    from sirfp_opt.study import pictures

    if all(run.objective is None for run in study):
        return
    wide = (6.4, 3.8)
    figure = Figure(figsize=(6.4, 1.2 + 0.5 * len(study.methods)), layout="constrained")
    pictures.plot_gaps(study, ax=figure.subplots())
    yield "Gap of each run to the best known set of its problem.", figure
    figure = Figure(figsize=wide, layout="constrained")
    pictures.plot_performance_profile(study, ax=figure.subplots())
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
        pictures.plot_value_curve(study, slowest.instance, ax=figure.subplots())
        yield f"Objective against the channels kept on {slowest.instance}.", figure
