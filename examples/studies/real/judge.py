"""How well text is found: IoU and F1, with intervals over files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["RESAMPLES", "Score", "interval", "score"]

RESAMPLES = 2000


@dataclass(frozen=True)
class Score:
    """Agreement of two sets of pixels.

    Attributes
    ----------
    iou, f1 : float
        |A and B| / |A or B|, and 2 |A and B| / (|A| + |B|), all crops together.
    low, high : float
        95 % bootstrap interval of the IoU: files are drawn, not crops, since crops of
        one file are alike (Efron's percentiles).
    """

    iou: float
    f1: float
    low: float
    high: float


def score(
    found: NDArray[np.bool_],
    true: NDArray[np.bool_],
    files: Sequence[str],
    *,
    seed: int = 0,
) -> Score:
    """Compare pixels found with the true ones.

    Parameters
    ----------
    found, true : ndarray of bool, (n, height, width)
    files : sequence of str
        Which file each crop is of.
    seed : int
        Of the bootstrap.
    """
    both = (found & true).sum((1, 2))
    either = (found | true).sum((1, 2))
    _, group = np.unique(np.array(files), return_inverse=True)
    both = np.bincount(group, weights=both)
    either = np.bincount(group, weights=either)
    dice = np.random.default_rng(seed)
    drawn = dice.integers(0, len(both), (RESAMPLES, len(both)))
    shares = both[drawn].sum(1) / np.maximum(1.0, either[drawn].sum(1))
    iou = float(both.sum() / max(1.0, either.sum()))
    return Score(iou, 2 * iou / (1 + iou), *interval(shares))


def interval(drawn: NDArray[np.float64]) -> tuple[float, float]:
    """Return the middle 95 % of what was drawn."""
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)
