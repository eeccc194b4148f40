"""Critical differences: which methods' mean ranks lie further apart than chance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sirfp_opt._validate import as_real
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.plotting._style import DARK, axes_or_new
from sirfp_opt.study.statistics import ranks

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from sirfp_opt.study.result import Study

__all__ = ["CriticalDifference", "critical_difference", "plot_critical_difference"]


@dataclass(frozen=True)
class CriticalDifference:
    """Answer of the Nemenyi test.

    Attributes
    ----------
    difference : float
        Mean ranks that differ by less are not told apart.
    ranks : pandas.Series
        Mean rank of each method, best first.
    groups : tuple of tuple of str
        Methods that are not told apart, largest groups only, each of two or more.
    problems : int
        How many problems the test rests on.
    alpha : float
    """

    difference: float
    ranks: pd.Series[float]
    groups: tuple[tuple[str, ...], ...]
    problems: int
    alpha: float


def critical_difference(
    study: Study, metric: str = "gap_to_best", *, alpha: float = 0.05
) -> CriticalDifference:
    """Compare all methods with each other by their mean ranks.

    With k methods on N problems, mean ranks differ if they lie further apart than
    CD = q_α √(k (k + 1) / (6 N)), q_α being the α point of the studentized range for
    infinitely many degrees of freedom, divided by √2.

    Parameters
    ----------
    study : Study
        Of two or more methods on two or more problems.
    metric : str
        See `sirfp_opt.study.ranks`.
    alpha : float
        Chance of calling equal methods different.

    Raises
    ------
    InvalidProblemError
        If there are too few methods or problems, or `alpha` is no probability.

    Notes
    -----
    P. B. Nemenyi, "Distribution-free multiple comparisons", Princeton University
    (1963); J. Demsar, "Statistical comparisons of classifiers over multiple data
    sets", JMLR 7 (2006), section 3.2.2.
    """
    from scipy import stats

    level = as_real(alpha, "alpha")
    if not 0.0 < level < 1.0:
        raise InvalidProblemError(
            f"`alpha` must lie between 0 and 1, got {alpha!r}. Pass for instance 0.05."
        )
    table = ranks(study, metric)
    problems, methods = table.shape
    if methods < 2 or problems < 2:
        raise InvalidProblemError(
            f"`study` must compare 2 or more methods on 2 or more problems, got "
            f"{methods} and {problems}. Add some."
        )
    means = table.mean().sort_values(kind="stable")
    point = float(stats.studentized_range.ppf(1 - level, methods, math.inf))
    apart = point / math.sqrt(2) * math.sqrt(methods * (methods + 1) / (6 * problems))
    groups: list[tuple[str, ...]] = []
    for first, rank in enumerate(means):
        group = tuple(means.index[first:][means.iloc[first:] - rank < apart])
        inside = groups and set(group) <= set(groups[-1])
        if len(group) > 1 and not inside:
            groups.append(group)
    return CriticalDifference(apart, means, tuple(groups), problems, level)


def plot_critical_difference(
    study: Study,
    metric: str = "gap_to_best",
    *,
    alpha: float = 0.05,
    ax: Axes | None = None,
) -> Axes:
    """Draw mean ranks on a line, methods that are not told apart joined by bars.

    Parameters
    ----------
    study : Study
    metric : str
        See `critical_difference`.
    alpha : float
    ax : matplotlib Axes, optional

    Returns
    -------
    Axes
    """
    found = critical_difference(study, metric, alpha=alpha)
    count = len(found.ranks)
    rows = (count + 1) // 2
    ax = axes_or_new(ax, (6.4, 1.2 + 0.25 * (rows + len(found.groups))))
    low, high = 1.0, float(count)
    bars = 0.35 * len(found.groups)
    for number, (method, rank) in enumerate(found.ranks.items()):
        left = number < rows
        row = number if left else count - 1 - number
        y = -bars - 0.8 - 0.8 * row
        edge = low - 0.1 if left else high + 0.1
        ax.plot([rank, rank, edge], [0, y, y], color=DARK, linewidth=0.9)
        told = f"{method}  {rank:.2f}" if left else f"{rank:.2f}  {method}"
        ax.text(
            edge,
            y,
            f" {told} ",
            ha="right" if left else "left",
            va="center",
            fontsize=8,
        )
    for level, group in enumerate(found.groups):
        ends = [float(found.ranks[group[0]]), float(found.ranks[group[-1]])]
        y = -0.35 * (level + 1)
        ax.plot([ends[0] - 0.03, ends[1] + 0.03], [y, y], color=DARK, linewidth=3.5)
    top = 0.9
    ax.plot([low, low + found.difference], [top, top], color=DARK, linewidth=1.4)
    ax.text(low, top + 0.15, f"critical difference {found.difference:.2f}", fontsize=8)
    ax.plot([low, high], [0, 0], color=DARK, linewidth=1.0)
    for tick in range(1, count + 1):
        ax.plot([tick, tick], [0, 0.15], color=DARK, linewidth=1.0)
        ax.text(tick, 0.2, str(tick), ha="center", va="bottom", fontsize=8)
    width = 0.45 * (high - low)
    ax.set_xlim(low - width, max(high, low + found.difference) + width)
    ax.set_ylim(-bars - 0.8 * rows - 0.5, top + 0.8)
    ax.set_axis_off()
    ax.set_title(
        f"Mean ranks over {found.problems} problems (Nemenyi, α = {found.alpha:g})",
        fontsize=9,
    )
    return ax
