"""How well classes are found: mean IoU, with intervals over objects and photographs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from examples.studies.real.judge import RESAMPLES, interval
from examples.studies.real.stamps.cutouts import BACKGROUND, CLASSES
from sirfp_opt.demo.training import iou

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from examples.studies.real.stamps.scenes import Scenes

__all__ = ["Score", "score"]


@dataclass(frozen=True)
class Score:
    """Agreement of predicted classes with the true ones.

    Attributes
    ----------
    iou, f1 : float
        |A and B| / |A or B| and 2 |A and B| / (|A| + |B|) of a class's pixels in all
        scenes, mean over the classes.
    low, high : float
        95 % bootstrap interval of the mean IoU (Efron's percentiles). What is drawn are
        the objects of each class, and the photographs: the scenes show the same ones
        again and again.
    foreground : float
        IoU of objects, whatever their class, against what is behind them.
    by_class : dict
        IoU of each class.
    """

    iou: float
    f1: float
    low: float
    high: float
    foreground: float
    by_class: dict[str, float]


def score(found: NDArray[np.integer], scenes: Scenes, *, seed: int = 0) -> Score:
    """Judge predicted classes.

    Parameters
    ----------
    found : ndarray of int, (n, SIDE, SIDE)
    scenes : Scenes
    seed : int
        Of the bootstrap.
    """
    many, kinds = len(scenes.names), len(CLASSES)
    pairs = scenes.owners.astype(np.int64) * kinds + found
    told = np.bincount(pairs.ravel(), minlength=many * kinds).reshape(many, kinds)
    confusion = _by_class(np.ones((1, many)), told, scenes.classes)
    shares = iou(confusion[0])
    dice = np.random.default_rng(seed)
    weights = np.zeros((RESAMPLES, many))
    for kind in np.unique(scenes.classes):
        mine = np.flatnonzero(scenes.classes == kind)
        even = np.full(len(mine), 1 / len(mine))
        weights[:, mine] = dice.multinomial(len(mine), even, RESAMPLES)
    drawn = [np.nanmean(iou(one)) for one in _by_class(weights, told, scenes.classes)]
    objects = [kind for kind in range(kinds) if kind != BACKGROUND]
    hits = confusion[0][np.ix_(objects, objects)].sum()
    either = confusion[0].sum() - confusion[0][BACKGROUND, BACKGROUND]
    return Score(
        float(np.nanmean(shares)),
        float(np.nanmean(2 * shares / (1 + shares))),
        *interval(np.array(drawn)),
        float(hits / max(1.0, either)),
        dict(zip(CLASSES, map(float, shares), strict=True)),
    )


def _by_class(
    weights: NDArray[np.float64], told: NDArray[np.int64], classes: NDArray[np.integer]
) -> NDArray[np.int64]:
    """Return a confusion matrix, rows by truth, for each row of weights of the names.

    All names are weighed by whole numbers, so the sums are whole, too.
    """
    parts = [
        weights[:, classes == kind] @ told[classes == kind]
        for kind in range(len(CLASSES))
    ]
    return np.stack(parts, axis=1).astype(np.int64)
