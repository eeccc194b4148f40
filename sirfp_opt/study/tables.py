"""Tables of a study as a paper prints them: by method, by instance, by pair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from sirfp_opt.errors import InvalidProblemError

if TYPE_CHECKING:
    import pandas as pd

    from sirfp_opt.study.result import Study

__all__ = ["TABLES", "Table", "as_latex", "by_instance", "readable"]

Table = Literal["summary", "instances", "pairs"]
TABLES: tuple[Table, ...] = ("summary", "instances", "pairs")


def by_instance(study: Study) -> pd.DataFrame:
    """Return one row a problem: its best objective, and each method's gap to it.

    Parameters
    ----------
    study : Study

    Returns
    -------
    pandas.DataFrame
        Index (instance, k); columns n, best (objective), bound (the tightest proven by
        any run), proved (whether they agree), and a column for each method: its mean
        gap to the best over the seeds, 1 for a run without a solution.
    """
    import pandas as pd

    frame = study.to_frame()
    gaps = frame.groupby(["problem", "method"])["gap_to_best"].mean().unstack("method")
    gaps = gaps.reindex(columns=list(study.methods))
    rows = []
    for problem, runs in study.by_problem.items():
        first = runs[0]
        bounds = [run.bound for run in runs if run.bound is not None]
        tightest = min if first.sense == "maximize" else max
        rows.append(
            {
                "instance": first.instance,
                "k": first.k,
                "n": first.n,
                "best": study.best[problem],
                "bound": tightest(bounds) if bounds else None,
                "proved": any(run.status == "optimal" for run in runs),
            }
            | gaps.loc[problem].to_dict()
        )
    return pd.DataFrame(rows).set_index(["instance", "k"])


def readable(study: Study, table: Table = "summary") -> pd.DataFrame:
    """Return a table as text, numbers cut to what a reader can use.

    Parameters
    ----------
    study : Study
    table : {"summary", "instances", "pairs"}
        A row a method, a row a problem, or a row a pair of methods (`wilcoxon`).

    Raises
    ------
    InvalidProblemError
        If there is no such table.
    """
    if table == "summary":
        return study.readable_summary()
    if table == "instances":
        frame = by_instance(study)
        shown = frame.astype("object")
        for method in study.methods:
            shown[method] = [_percent(gap) for gap in frame[method]]
        for column in ("best", "bound"):
            shown[column] = [_number(value) for value in frame[column]]
        shown["proved"] = ["yes" if proved else "no" for proved in frame["proved"]]
        return shown.reset_index().set_index("instance")
    if table == "pairs":
        frame = study.wilcoxon()
        shown = frame.astype("object")
        for column in ("pvalue", "pvalue_holm"):
            shown[column] = [f"{value:.3g}" for value in frame[column]]
        names = {"pvalue": "p", "pvalue_holm": "p (Holm)"}
        return shown.rename(columns=names).set_index("better")
    raise InvalidProblemError(
        f"`table` must be one of {list(TABLES)}, got {table!r}. "
        "'instances' has a row a problem, 'pairs' a row a pair of methods."
    )


def as_latex(table: pd.DataFrame) -> str:
    """Return a table of text as LaTeX (booktabs), its index the first column."""
    named = table.reset_index().rename(columns=lambda name: _escaped(str(name)))
    style = named.style.format(_escaped).hide(axis="index")
    columns = "l" + "r" * (named.shape[1] - 1)
    return str(style.to_latex(hrules=True, column_format=columns))


def _percent(value: float) -> str:
    return "-" if value != value else f"{100 * value:.3g} %"


def _number(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.8g}"


def _escaped(value: object) -> str:
    """Escape what LaTeX reads as a command."""
    text = str(value)
    for sign in "_%&#$":
        text = text.replace(sign, f"\\{sign}")
    return text
