"""Whether the methods of a study differ by more than chance."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt._validate import brief, require
from sirfp_opt.errors import InvalidProblemError

if TYPE_CHECKING:
    import pandas as pd

    from sirfp_opt.study.result import Study

__all__ = [
    "FriedmanResult",
    "against",
    "friedman",
    "holm",
    "ranks",
    "table_of",
    "wilcoxon",
]

METRICS = ("gap_to_best", "seconds", "time_to_best", "primal_integral", "gap")


@dataclass(frozen=True)
class FriedmanResult:
    """Answer of the Friedman test.

    Attributes
    ----------
    statistic, pvalue : float
    ranks : pandas.Series
        Mean rank of each method, 1 is best.
    problems : int
        How many problems the test rests on.
    """

    statistic: float
    pvalue: float
    ranks: pd.Series[float]
    problems: int


def table_of(study: Study, metric: str = "gap_to_best") -> pd.DataFrame:
    """Return a metric with one row a problem and one column a method.

    Parameters
    ----------
    study : Study
    metric : {"gap_to_best", "seconds", "time_to_best", "primal_integral", "gap"}
        All of them: less is better. Seeds are averaged, since runs of one problem are
        not independent. A run without an answer counts as worse than any other.

    Returns
    -------
    pandas.DataFrame
        Rounded to 9 decimals. Problems that some method was not run on are left out.

    Raises
    ------
    InvalidProblemError
        If the metric is not known.
    """
    from sirfp_opt.study.result import Study

    require(study, Study, "study")
    if not isinstance(metric, str) or metric not in METRICS:
        raise InvalidProblemError(
            f"`metric` must be one of {METRICS}, got {brief(metric)}. "
            "Less is better in all."
        )
    frame = study.to_frame()
    failed = [run.objective is None for run in study]
    answered = frame[metric].where(~np.asarray(failed))
    worst = answered.max()
    filled = answered.fillna(1.0 if np.isnan(worst) else 2 * worst + 1.0)
    means = filled.groupby([frame["problem"], frame["method"]], sort=False).mean()
    table = means.unstack("method")[list(study.methods)].dropna()
    # The same set priced in another order differs in the last digits: no difference.
    return table.round(9)


def ranks(study: Study, metric: str = "gap_to_best") -> pd.DataFrame:
    """Return each method's rank on each problem: 1 is best, ties share the mean.

    Parameters
    ----------
    study : Study
    metric : str
        See `table_of`.
    """
    return table_of(study, metric).rank(axis=1)


def friedman(study: Study, metric: str = "gap_to_best") -> FriedmanResult:
    """Test whether at least one method differs from the others.

    Parameters
    ----------
    study : Study
        Of three or more methods on two or more problems.
    metric : str
        See `table_of`.

    Returns
    -------
    FriedmanResult

    Raises
    ------
    InvalidProblemError
        If there are too few methods or problems.

    Notes
    -----
    `scipy.stats.friedmanchisquare` on the problems as blocks; J. Demsar, "Statistical
    comparisons of classifiers over multiple data sets", JMLR 7 (2006).
    """
    from scipy import stats

    table = table_of(study, metric)
    if table.shape[1] < 3 or table.shape[0] < 2:
        raise InvalidProblemError(
            f"`study` must compare 3 or more methods on 2 or more problems, got "
            f"{table.shape[1]} and {table.shape[0]}. For two methods use wilcoxon."
        )
    means = table.rank(axis=1).mean().sort_values()
    if bool((table.nunique(axis=1) == 1).all()):  # nothing but ties: 0/0 in the formula
        return FriedmanResult(0.0, 1.0, means, len(table))
    found = stats.friedmanchisquare(*(table[method] for method in table))
    return FriedmanResult(
        float(found.statistic), float(found.pvalue), means, len(table)
    )


def wilcoxon(study: Study, metric: str = "gap_to_best") -> pd.DataFrame:
    """Test each pair of methods by the signed ranks of their differences.

    Parameters
    ----------
    study : Study
    metric : str
        See `table_of`.

    Returns
    -------
    pandas.DataFrame
        One row a pair: better, worse (by mean rank sum), problems, differing (problems
        on which they differ), pvalue (two-sided), pvalue_holm (corrected for the
        number of pairs).

    Notes
    -----
    `scipy.stats.wilcoxon`, ties dropped; S. Holm, "A simple sequentially rejective
    multiple test procedure", Scand. J. Statistics 6 (1979).
    """
    import pandas as pd
    from scipy import stats

    table = table_of(study, metric)
    rows = []
    for a, b in itertools.combinations(table.columns, 2):
        difference = (table[a] - table[b]).to_numpy()
        differing = int(np.count_nonzero(difference))
        pvalue = _wilcoxon_p(table[a] - table[b])
        signed = np.sign(difference) * stats.rankdata(np.abs(difference))
        better, worse = (a, b) if signed.sum() <= 0 else (b, a)
        rows.append((better, worse, len(table), differing, pvalue))
    columns = ["better", "worse", "problems", "differing", "pvalue"]
    frame = pd.DataFrame(rows, columns=columns)
    frame["pvalue_holm"] = holm(frame["pvalue"].to_numpy())
    return frame.sort_values("pvalue", kind="stable", ignore_index=True)


def against(study: Study, method: str, metric: str = "gap_to_best") -> pd.Series[float]:
    """Return Holm-corrected p-values of each method's difference to one of them.

    Parameters
    ----------
    study : Study
    method : str
        Label of the method to compare with.
    metric : str
        See `table_of`.

    Returns
    -------
    pandas.Series
        By method; NaN for `method` itself, and for all with fewer than two problems.
    """
    import pandas as pd

    table = table_of(study, metric)
    found = pd.Series(np.nan, index=list(study.methods), dtype="float64")
    others = [other for other in study.methods if other != method]
    if len(table) < 2 or not others:
        return found
    found[others] = holm(
        [_wilcoxon_p(table[other] - table[method]) for other in others]
    )
    return found


def _wilcoxon_p(differences: pd.Series[float]) -> float:
    """Return the two-sided p-value, 1 where nothing differs."""
    from scipy import stats

    values = differences.to_numpy()
    return float(stats.wilcoxon(values).pvalue) if values.any() else 1.0


def holm(pvalues: np.typing.ArrayLike) -> np.typing.NDArray[np.float64]:
    """Return p-values corrected for their number by Holm's step-down rule.

    Parameters
    ----------
    pvalues : array_like of shape (m,)

    Returns
    -------
    ndarray of shape (m,)
        max over the smaller ones of (m - rank) · p, at most 1.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(pvalues, dtype=np.float64)
    order = values.argsort()
    steps = values[order] * np.arange(values.size, 0, -1)
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected
