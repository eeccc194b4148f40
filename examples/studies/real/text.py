"""Text segmentation: two networks of wheels, and real crops with text."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from examples.studies.real import weights
from examples.studies.real.data import inputs, make, probabilities
from examples.studies.real.judge import score
from examples.studies.real.pictures import TEXT, rendered

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Text"]

CALIBRATION = 24
BATCH = 8


class Text:
    """The task of PP-OCR's networks; see `tasks.Task`."""

    def missing(self, network: str) -> list[str]:
        """Return what would have to be installed."""
        return weights.missing(network)

    def load(self, network: str) -> nn.Module:
        """Return a network, in evaluation mode."""
        return weights.load(network)

    def calibration(self, seed: int, pace: str) -> list[Tensor]:
        """Return crops, real ones and rendered ones."""
        images = make(pace).calibration.images
        chosen = np.random.default_rng(seed).permutation(len(images))[:CALIBRATION]
        return list(torch.split(inputs(images[chosen]), BATCH))

    def labelled(self, seed: int, pace: str) -> list[tuple[Tensor, Tensor]]:
        """Return rendered text with its true labels.

        It is of the files that the test does not use; so is what is tuned on.
        """
        crops = rendered(None, "tuning", CALIBRATION, seed=100 + seed)
        assert crops.labels is not None
        images = torch.split(inputs(crops.images), BATCH)
        labels = torch.split(torch.from_numpy(crops.labels).float(), BATCH)
        return list(zip(images, labels, strict=True))

    def tuning(self, pace: str) -> Tensor:
        """Return crops, real ones and rendered ones."""
        return inputs(make(pace).tuning.images)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy of the probability of text."""
        return functional.binary_cross_entropy(outputs[:, 0], labels)

    def imitation(self, outputs: Tensor, told: Tensor) -> Tensor:
        """Return the cross-entropy with the dense network's probability."""
        return functional.binary_cross_entropy(outputs.clamp(1e-6, 1 - 1e-6), told)

    def judge(self, model: nn.Module, network: str, pace: str) -> dict[str, float]:
        """Compare with the dense network on real crops, with the truth on rendered."""
        data = make(pace)
        seen = probabilities(model, data.test.images) > TEXT
        real = score(seen, _dense(network, pace) > TEXT, data.test.files)
        assert data.written.labels is not None
        written = probabilities(model, data.written.images) > TEXT
        true = score(written, data.written.labels, data.written.files)
        return {
            "iou": real.iou,
            "f1": real.f1,
            "low": real.low,
            "high": real.high,
            "true_iou": true.iou,
            "true_f1": true.f1,
        }


@lru_cache(maxsize=4)
def _dense(network: str, pace: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    return probabilities(weights.load(network), make(pace).test.images)
