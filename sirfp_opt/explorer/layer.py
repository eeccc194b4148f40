"""What the explorer shows of one layer, as plain data: sets, values, bounds, pictures.

Every value is that of the set beside it, priced by the layer's problem.
"""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sirfp_opt.objective import Objective
from sirfp_opt.problem import PruningProblem
from sirfp_opt.reconstruction import ReconstructionProblem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sirfp_opt._validate import FloatArray, IntArray
    from sirfp_opt.network.curve import ValueCurve
    from sirfp_opt.set_problem import SetProblem

__all__ = ["MOST_DRAWN", "ExploredLayer"]

MOST_DRAWN = 128
"""Up to so many channels the graph is drawn and the matrix is whole."""

_LARGEST_MAP = {MOST_DRAWN: 32, 512: 16}
"""Sides of the small maps, in pixels, by how many channels there are at most."""

_LEAST_MAP = 8


@dataclass(frozen=True, eq=False, kw_only=True)
class ExploredLayer:
    """A layer's curves, with one set of interest and its maps.

    Attributes
    ----------
    greedy : ValueCurve
        The paper's nested path.
    best : ValueCurve
        The best sets known at the same counts, with what is proved.
    counts : tuple of int
        The counts that the page steps through.
    start : int
        The one at which it opens.
    searched : mapping of int to str
        By count at which a method has run, the status of what it found.
    chosen : ndarray of int64, optional
        A set of interest: that of a solution, or of a plan.
    maps : ndarray of shape (n, height, width), optional
        One map a channel.
    """

    greedy: ValueCurve
    best: ValueCurve
    counts: tuple[int, ...]
    start: int
    searched: Mapping[int, str] = field(default_factory=dict)
    chosen: IntArray | None = None
    maps: FloatArray | None = None

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.best.problem.title

    def to_dict(self, *, most: int = MOST_DRAWN) -> dict[str, Any]:
        """Return what the page reads: plain values, arrays in base 64.

        Parameters
        ----------
        most : int
            Rows that the matrix may have; channels are averaged beyond. Maps shrink
            along.
        """
        problem, n = self.best.problem, self.best.n
        order = self.greedy.order
        order = np.concatenate([order, np.setdiff1d(np.arange(n), order)])
        labels = problem.channel_labels
        return {
            "name": self.name,
            "n": n,
            "sense": problem.sense.value,
            "refit": problem.objective is Objective.REFIT,
            "labels": None if labels is None else list(labels),
            "order": order.tolist(),
            "start": self.start,
            "rows": [self._row(k) for k in self.counts],
            "chosen": None if self.chosen is None else self._priced(self.chosen),
            "matrix": self._matrix(order, most),
            "maps": None if self.maps is None else _small_maps(self.maps, most),
        }

    def _row(self, k: int) -> dict[str, Any]:
        bound = self.best.bound(k)
        return {
            "k": k,
            "greedy": self._priced(self.greedy.selected(k)),
            "best": self._priced(self.best.selected(k)),
            "bound": bound if math.isfinite(bound) else None,
            "status": self.searched.get(k),
        }

    def _priced(self, selected: IntArray) -> dict[str, Any]:
        """Return a set, as bits, and its value."""
        bits = np.zeros(self.best.n, dtype=bool)
        bits[selected] = True
        packed = _base64(np.packbits(bits, bitorder="little"))
        return {"set": packed, "value": self.best.problem.evaluate(selected)}

    def _matrix(self, order: IntArray, most: int) -> dict[str, Any]:
        """Return the edge weights above the diagonal, those missing as NaN.

        Of more than `most` channels, neighbours in the order of the path are averaged.
        """
        weights, n = _edges(self.best.problem), self.best.n
        side = min(n, most)
        if side < n:
            weights = _averaged(weights[np.ix_(order, order)], side)
        rows = np.triu_indices(side, 0 if side < n else 1)
        shown = weights[rows]
        known = shown[np.isfinite(shown)]
        low, high = (0.0, 1.0) if known.size == 0 else np.percentile(known, [0, 99])
        return {
            "side": side,
            "weights": _base64(shown.astype("<f4")),
            "low": float(low),
            "high": float(high),
            "strongest": float(np.abs(known).max(initial=0.0)),
        }


def _edges(problem: SetProblem) -> FloatArray:
    """Return what stands on the edges, NaN where there is none.

    Where readers are refitted no edges add up to the objective; shown is how well one
    channel rebuilds another: the size of their correlation, averaged over the readers.
    """
    if isinstance(problem, ReconstructionProblem):
        spread = np.sqrt(np.einsum("rii->ri", problem.covariances))
        spread = np.where(spread > 0, spread, np.inf)
        scaled = np.abs(problem.covariances) / (spread[:, :, None] * spread[:, None, :])
        weights: FloatArray = scaled.mean(axis=0)
    else:
        assert isinstance(problem, PruningProblem)
        weights = problem.graph.weights.copy()
        if problem.graph.adjacency is not None:
            weights[~problem.graph.adjacency] = np.nan
    np.fill_diagonal(weights, np.nan)
    return weights


def _averaged(matrix: FloatArray, side: int) -> FloatArray:
    """Return a smaller matrix of the means of blocks, missing entries left out."""
    edges = np.linspace(0, len(matrix), side + 1).round().astype(int)
    known = np.isfinite(matrix)

    def sums(values: Any) -> FloatArray:
        by_rows = np.add.reduceat(values, edges[:-1], axis=0)
        total: FloatArray = np.add.reduceat(by_rows, edges[:-1], axis=1)
        return total

    counted = sums(known.astype(np.float64))
    with np.errstate(invalid="ignore"):
        return np.where(
            counted > 0, sums(np.where(known, matrix, 0.0)) / counted, np.nan
        )


def _small_maps(maps: FloatArray, most: int) -> dict[str, Any]:
    """Return maps of few pixels, each over its own range, in 256 shades.

    Where matrices are made smaller, so are maps.
    """
    n = len(maps)
    limits = [side for limit, side in _LARGEST_MAP.items() if n <= limit]
    side = (limits[0] if limits else _LEAST_MAP) * min(most, MOST_DRAWN) // MOST_DRAWN
    step = max(1, -(-max(maps.shape[1:]) // side))
    high, wide = (-(-size // step) for size in maps.shape[1:])
    padding = (
        (0, 0),
        (0, high * step - maps.shape[1]),
        (0, wide * step - maps.shape[2]),
    )
    blocks = np.pad(maps, padding, mode="edge").reshape(n, high, step, wide, step)
    small = blocks.mean(axis=(2, 4))
    low = small.min(axis=(1, 2), keepdims=True)
    span = small.max(axis=(1, 2), keepdims=True) - low
    shades = np.where(span > 0, (small - low) / np.where(span > 0, span, 1.0), 0.5)
    pixels = np.round(255 * shades).astype(np.uint8)
    return {"height": high, "width": wide, "pixels": _base64(pixels)}


def _base64(array: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
