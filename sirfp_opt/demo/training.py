"""Training and judging a segmentation network: as much as the demo needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from sirfp_opt.demo.scenes import NUM_CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor, nn


def train(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    steps: int,
    *,
    learning_rate: float = 3e-3,
    weight_decay: float = 1e-2,
    warm_up: float = 0.1,
    on_step: Callable[[int, float], None] | None = None,
) -> None:
    """Train in place: AdamW on the pixels' cross-entropy, one cycle of its rate.

    Parameters
    ----------
    model : nn.Module
        Maps images (N, 3, H, W) to scores (N, classes, H, W); left in training mode.
    batches : iterable of (images, labels)
        At least `steps` of them.
    steps : int
        Number of optimiser steps, one per batch.
    learning_rate : float
        Largest rate; it rises linearly over the first `warm_up` of the steps and falls
        to zero along a cosine.
    weight_decay : float
        Of AdamW (I. Loshchilov and F. Hutter, ICLR 2019), on all but vectors.
    warm_up : float
        Fraction of the steps in which the rate rises.
    on_step : callable, optional
        Called after each step with its number (from 1) and its loss.
    """
    parameters = list(model.parameters())
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.dim() > 1]},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        learning_rate,
        total_steps=steps,
        pct_start=warm_up,
        anneal_strategy="cos",
        cycle_momentum=False,
    )
    model.train()
    for step, (images, labels) in zip(range(1, steps + 1), batches, strict=False):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        if on_step is not None:
            on_step(step, float(loss.detach()))


def evaluate(
    model: nn.Module, images: Tensor, labels: Tensor, *, batch_size: int = 32
) -> NDArray[np.int64]:
    """Count what a network predicts for every pixel; its mode is restored.

    Parameters
    ----------
    model : nn.Module
        Maps images (N, 3, H, W) to scores (N, classes, H, W).
    images, labels : Tensor
        Scenes of :func:`sirfp_opt.demo.scenes.make_scenes`.
    batch_size : int
        Scenes per forward pass.

    Returns
    -------
    ndarray of int64, shape (classes, classes)
        The confusion matrix, rows by truth; see :func:`mean_iou`.
    """
    was_training = model.training
    model.eval()
    counts = np.zeros((NUM_CLASSES, NUM_CLASSES), dtype=np.int64)
    try:
        with torch.inference_mode():
            parts = (torch.split(part, batch_size) for part in (images, labels))
            for pictures, truth in zip(*parts, strict=True):
                counts += confusion_matrix(truth, model(pictures).argmax(dim=1))
    finally:
        model.train(was_training)
    return counts


def confusion_matrix(
    truth: ArrayLike, prediction: ArrayLike, classes: int = NUM_CLASSES
) -> NDArray[np.int64]:
    """Pixels by true class (row) and predicted class (column).

    Parameters
    ----------
    truth, prediction : array_like of int, same shape
        Class numbers in ``range(classes)``.
    classes : int
        Number of classes.

    Returns
    -------
    ndarray of int64, shape (classes, classes)

    Examples
    --------
    >>> confusion_matrix([0, 0, 1, 1], [0, 1, 1, 1], classes=2).tolist()
    [[1, 1], [0, 2]]
    """
    pairs = np.asarray(truth).ravel() * classes + np.asarray(prediction).ravel()
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def iou(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Intersection over union of every class.

    ``IoU_c = C_cc / (sum_j C_cj + sum_i C_ic - C_cc)``

    Parameters
    ----------
    confusion : ndarray of int64, shape (classes, classes)
        Of :func:`confusion_matrix`.

    Returns
    -------
    ndarray of float64, shape (classes,)
        NaN for a class that is neither there nor predicted.
    """
    hits = np.diag(confusion).astype(np.float64)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hits
    ratio = np.full_like(hits, np.nan)
    np.divide(hits, union, out=ratio, where=union > 0)
    return ratio


def mean_iou(confusion: NDArray[np.int64]) -> float:
    """Mean of :func:`iou` over the classes that are there or predicted.

    Parameters
    ----------
    confusion : ndarray of int64, shape (classes, classes)
        Of :func:`confusion_matrix`.

    Returns
    -------
    float
        In [0, 1]; NaN if there is no pixel at all.

    Examples
    --------
    >>> round(mean_iou(confusion_matrix([0, 0, 1, 1], [0, 1, 1, 1], classes=2)), 4)
    0.5833
    """
    return float(np.nanmean(iou(confusion))) if confusion.any() else float("nan")
