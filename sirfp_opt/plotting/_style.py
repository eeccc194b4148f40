"""One look for all pictures: told apart by shape first, by colour second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sirfp_opt._extras import require_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sirfp_opt._validate import FloatArray, IntArray

__all__ = ["DARK", "LIGHT", "SHADES", "axes_or_new", "join", "line_style"]

DARK = "#1a1a1a"
LIGHT = "#c8c8c8"
SHADES = "cividis"  # lightness grows with the value, so it survives a grey printer

# Okabe and Ito's colours, safe for colour-blind readers, dark ones first.
_COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
_MARKERS = "osD^vP*X<>"


def axes_or_new(ax: Axes | None, size: tuple[float, float] = (5.0, 4.0)) -> Axes:
    """Return `ax`, or the axes of a new figure of `size` inches.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    if ax is not None:
        return ax
    require_extra("plot", "matplotlib")
    from matplotlib import pyplot

    return pyplot.subplots(figsize=size, layout="constrained")[1]


def join(
    ax: Axes, points: FloatArray, rows: IntArray, columns: IntArray, **look: Any
) -> None:
    """Draw lines from points to points.

    Parameters
    ----------
    ax : matplotlib Axes
    points : ndarray of shape (n, 2)
    rows, columns : ndarray of int, shape (m,)
        The ends of each line.
    **look
        For `matplotlib.collections.LineCollection`.
    """
    from matplotlib.collections import LineCollection

    lines = np.stack([points[rows], points[columns]], axis=1)
    ax.add_collection(LineCollection(list(lines), **look))


def line_style(number: int) -> dict[str, Any]:
    """Return colour, dashes and marker of the `number`-th of several lines."""
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "linestyle": _LINES[number % len(_LINES)],
        "marker": _MARKERS[number % len(_MARKERS)],
        "markersize": 4.5,
        "linewidth": 1.4,
    }
