"""Pictures of runs over time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.plotting._style import axes_or_new, line_style
from sirfp_opt.solution import Solution
from sirfp_opt.trace import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_anytime"]


def plot_anytime(runs: Any, *, log_time: bool = False, ax: Axes | None = None) -> Axes:
    """Draw incumbent (solid steps) and bound (dashed steps) over time.

    Parameters
    ----------
    runs
        A Solution, a RunRecord or a Trace; several of them; or a mapping of labels
        to them.
    log_time : bool
        Logarithmic time, for runs whose first improvements take milliseconds.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes

    Raises
    ------
    InvalidProblemError
        If there is no trace to draw.
    """
    traces = dict(_labelled(runs))
    if not any(len(trace) for trace in traces.values()):
        raise InvalidProblemError(
            f"`runs` must hold at least one trace with events, got {runs!r}. "
            "Pass what solve returned."
        )
    ax = axes_or_new(ax)
    for number, (label, trace) in enumerate(traces.items()):
        style = line_style(number)
        seconds = np.array([event.seconds for event in trace])
        for name, dashes, width in (("incumbent", "-", 1.6), ("bound", "--", 1.0)):
            values = [getattr(event, name) for event in trace]
            known = np.array([v is not None for v in values], dtype=bool)
            if known.any():
                ax.step(
                    seconds[known],
                    np.array([v for v in values if v is not None]),
                    where="post",
                    color=style["color"],
                    linestyle=dashes,
                    linewidth=width,
                    marker=style["marker"],
                    markersize=4,
                    markevery=[0, int(known.sum()) - 1],
                    label=label if name == "incumbent" else f"{label}, bound",
                )
    if log_time:
        ax.set_xscale("log")
    ax.set_xlabel("seconds")
    ax.set_ylabel("objective")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


def _labelled(runs: Any) -> Iterable[tuple[str, Trace]]:
    """Yield (label, trace) for all that `plot_anytime` understands."""
    if isinstance(runs, Mapping):
        for label, run in runs.items():
            yield str(label), _trace_of(run)
        return
    single = isinstance(runs, (Solution, Trace)) or hasattr(runs, "as_trace")
    many = [runs] if single else list(runs)
    names = [_name_of(run) for run in many]
    for number, (name, run) in enumerate(zip(names, many, strict=True)):
        unique = names.count(name) == 1
        yield (name if unique else f"{name} #{number + 1}"), _trace_of(run)


def _trace_of(run: Any) -> Trace:
    if isinstance(run, Trace):
        return run
    if isinstance(run, Solution):
        return run.trace
    if hasattr(run, "as_trace"):
        trace: Trace = run.as_trace()
        return trace
    raise InvalidProblemError(
        f"`runs` must hold Solutions, RunRecords or Traces, got {type(run).__name__}. "
        "Pass what solve returned, or the runs of a Study."
    )


def _name_of(run: Any) -> str:
    return str(getattr(run, "method", None) or getattr(run, "solver", None) or "run")
