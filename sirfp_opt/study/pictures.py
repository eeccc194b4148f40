"""Pictures of a study: many runs against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.plotting._style import DARK, LIGHT, axes_or_new, line_style
from sirfp_opt.study.profile import performance_profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sirfp_opt.study.result import Study

__all__ = ["plot_gaps", "plot_performance_profile", "plot_value_curve"]


def plot_performance_profile(
    study: Study, metric: str = "time_to_best", *, ax: Axes | None = None
) -> Axes:
    """Draw the performance profile of Dolan and Moré.

    For each method, the share of runs on which it is within a factor τ of the best
    method. At τ = 1 stands how often it wins, at the right end how often it solves.

    Parameters
    ----------
    study : Study
    metric : {"time_to_best", "seconds", "primal_integral"}
        See `sirfp_opt.study.performance_profile`.
    ax : matplotlib Axes, optional

    Returns
    -------
    Axes
    """
    from matplotlib.ticker import LogFormatter

    profile = performance_profile(study, metric)
    ax = axes_or_new(ax)
    taus = profile.index.to_numpy(dtype=np.float64)
    for number, method in enumerate(profile.columns):
        style = line_style(number) | {"markevery": max(1, len(taus) // 8)}
        ax.step(taus, 100 * profile[method], where="post", label=method, **style)
    ax.set_xscale("log")
    # 1, 2, 5, 10 instead of powers of ten, and no more of them than there is room for
    plain = LogFormatter(labelOnlyBase=False, minor_thresholds=(2.0, 0.6))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(plain)
    ax.set_xlim(1.0, max(float(taus[-1]), 1.1))
    ax.set_ylim(-2, 102)
    names = {
        "time_to_best": "time to the best known set",
        "seconds": "time to proof",
        "primal_integral": "primal integral",
    }
    ax.set_xlabel(f"factor τ of the best method's {names[metric]}")
    ax.set_ylabel("runs within the factor [%]")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


def plot_gaps(study: Study, *, ax: Axes | None = None) -> Axes:
    """Draw each method's gaps to the best of all methods, as boxes.

    A box holds the middle half of the runs, its line is the median, whiskers reach to
    the last run within 1.5 boxes; circles lie beyond. The axis is linear below 0.01 %
    and logarithmic above. Runs without a solution are left out and counted.

    Parameters
    ----------
    study : Study
    ax : matplotlib Axes, optional

    Returns
    -------
    Axes
    """
    frame = study.to_frame()
    percent = 100 * frame["gap_to_best"].where(frame["objective"].notna())
    groups, labels = [], []
    for method in study.methods:
        mine = percent[frame["method"] == method]
        groups.append(mine.dropna().to_numpy())
        lost = int(mine.isna().sum())
        labels.append(f"{method}\n({lost} without)" if lost else method)
    ax = axes_or_new(ax, (5.0, 1.2 + 0.5 * len(groups)))
    ax.boxplot(
        groups,
        orientation="horizontal",
        widths=0.55,
        patch_artist=True,
        boxprops={"facecolor": LIGHT, "edgecolor": DARK},
        medianprops={"color": DARK, "linewidth": 2.0},
        flierprops={"marker": "o", "markersize": 3, "markeredgecolor": "#7a7a7a"},
    )
    ax.set_yticks(range(1, len(labels) + 1), labels)
    ax.invert_yaxis()
    ax.set_xscale("symlog", linthresh=0.01)
    ax.set_xlim(left=-0.001)
    ax.set_xlabel("gap to the best known set [%]")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def plot_value_curve(
    study: Study,
    instance: str | None = None,
    *,
    relative: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Draw the objective of one graph against the number of channels kept.

    Parameters
    ----------
    study : Study
        Of one graph at several k; the best seed counts.
    instance : str, optional
        Which graph; may be left out if there is only one.
    relative : bool
        Draw how far each method and the bound are from the best set, in percent, on
        an axis that is linear up to 0.1 % and logarithmic beyond.
    ax : matplotlib Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    InvalidProblemError
        If the graph is not in the study, or none is named of several.
    """
    frame = study.to_frame()
    names = list(dict.fromkeys(frame["instance"]))
    name = names[0] if instance is None and len(names) == 1 else str(instance)
    if name not in names:
        raise InvalidProblemError(
            f"`instance` must name one of the study's graphs, got {instance!r}. "
            f"They are {names[:10]}."
        )
    mine = frame[(frame["instance"] == name) & frame["k"].notna()]
    larger_is_better = bool((mine["sense"] == "maximize").any())
    pick = "max" if larger_is_better else "min"
    best = mine.groupby("k")["objective"].agg(pick)
    curves = mine.groupby(["method", "k"])["objective"].agg(pick)
    bounds = mine.groupby("k")["bound"].agg("min" if larger_is_better else "max")
    ax = axes_or_new(ax)
    for number, method in enumerate(study.methods):
        if method in curves.index.get_level_values("method"):
            curve = curves[method].dropna()
            values = _distance(curve, best) if relative else curve
            ax.plot(curve.index, values, label=method, **line_style(number))
    bounds = bounds.dropna()
    if not bounds.empty:
        values = _distance(bounds, best) if relative else bounds
        ax.plot(
            bounds.index, values, color="#7a7a7a", linestyle=":", label="proven bound"
        )
    if relative:
        ax.set_yscale("symlog", linthresh=0.1)
    ax.set_xlabel("channels kept, k")
    ax.set_ylabel("from the best known [%]" if relative else "objective")
    ax.set_title(name)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8)
    return ax


def _distance(curve: Any, best: Any) -> Any:
    reference = best.reindex(curve.index)
    return 100 * (curve - reference) / reference.abs().where(reference != 0, 1.0)
