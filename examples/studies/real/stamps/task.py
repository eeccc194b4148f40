"""Segmentation of cut-outs: two networks of our own, and scenes with exact masks."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from examples.studies.real.pictures import unpack
from examples.studies.real.stamps import networks
from examples.studies.real.stamps.cutouts import (
    PACKAGES,
    cutouts,
    drawn,
    photographs,
    plain,
)
from examples.studies.real.stamps.judge import score
from examples.studies.real.stamps.scenes import Scenes, compose, inputs

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

__all__ = ["Data", "Stamps", "make", "predicted"]

FOLDER = Path("out/real")
CALIBRATION = 64
BATCH = 16
COUNTS = {
    "full": {"test": 192, "calibration": 128, "tuning": 128},
    "quick": {"test": 6, "calibration": 4, "tuning": 4},
}


@dataclass(frozen=True)
class Data:
    """Scenes of all parts; no object is in two, no photograph in the test and another.

    Attributes
    ----------
    test : Scenes
        Judged by the true masks.
    calibration : Scenes
        What is pruned and refitted on: no label of them is used.
    tuning : Scenes
        Of the objects that the networks were trained on.
    """

    test: Scenes
    calibration: Scenes
    tuning: Scenes


class Stamps:
    """The task of the stamps' networks; see `tasks.Task`."""

    def missing(self, network: str) -> list[str]:
        """Return what would have to be installed."""
        return [] if importlib.util.find_spec("PIL") else ["PIL"]

    def load(self, network: str) -> nn.Module:
        """Return a network, in evaluation mode."""
        return networks.load(network)

    def calibration(self, seed: int, pace: str) -> list[Tensor]:
        """Return scenes of objects that neither training nor test use."""
        return [images for images, _ in _drawn(make(pace).calibration, seed)]

    def labelled(self, seed: int, pace: str) -> list[tuple[Tensor, Tensor]]:
        """Return scenes of training objects, and their masks."""
        return _drawn(make(pace).tuning, seed)

    def tuning(self, pace: str) -> Tensor:
        """Return scenes of training objects."""
        return inputs(make(pace).tuning.images)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy of the pixels' classes."""
        return functional.cross_entropy(outputs, labels)

    def imitation(self, outputs: Tensor, told: Tensor) -> Tensor:
        """Return the cross-entropy with the dense network's probabilities."""
        return functional.cross_entropy(outputs, told.softmax(1))

    def judge(self, model: nn.Module, network: str, pace: str) -> dict[str, float]:
        """Compare with the true masks, class by class, and objects with the rest."""
        scenes = make(pace).test
        judged = score(predicted(model, scenes.images), scenes)
        share = judged.foreground
        return {
            "iou": judged.iou,
            "f1": judged.f1,
            "low": judged.low,
            "high": judged.high,
            "true_iou": share,
            "true_f1": 2 * share / (1 + share),
        }


@torch.no_grad()
def predicted(model: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the likeliest class at each pixel, (n, SIDE, SIDE)."""
    model.eval()
    parts = [
        model(inputs(images[first : first + BATCH])).argmax(1)
        for first in range(0, len(images), BATCH)
    ]
    return np.asarray(torch.cat(parts).numpy())


@lru_cache(maxsize=2)
def make(pace: str = "full", folder: Path = FOLDER) -> Data:
    """Return the scenes: from the folder if they are there, else made.

    The quick pace draws its objects, and needs no picture of anybody's.
    """
    counts = COUNTS[pace]
    if pace == "quick":
        return Data(
            **{
                part: compose(drawn(part), plain(part), count)
                for part, count in counts.items()
            }
        )
    stored = folder / "stamps.npz"
    if not stored.exists():
        _store(stored, _made(folder, counts))
    return _stored(stored)


def _made(folder: Path, counts: dict[str, int]) -> Data:
    pictures = folder / "pictures"
    if not unpack(pictures, PACKAGES):
        raise FileNotFoundError(
            f"these Debian packages cannot be had here: {', '.join(PACKAGES)}. Put "
            f"them into {folder / 'debs'} (apt-get download ...), or ask for the quick "
            "pace"
        )
    return Data(
        **{
            part: compose(cutouts(pictures, part), photographs(pictures, part), count)
            for part, count in counts.items()
        }
    )


def _drawn(scenes: Scenes, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Return batches of the scenes that a seed draws, with their labels."""
    dice = np.random.default_rng(seed)
    chosen = dice.permutation(len(scenes.images))[:CALIBRATION]
    images = torch.split(inputs(scenes.images[chosen]), BATCH)
    labels = torch.from_numpy(scenes.labels[chosen].astype(np.int64))
    return list(zip(images, torch.split(labels, BATCH), strict=True))


def _store(path: Path, data: Data) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {
        f"{part}_{field}": np.asarray(getattr(getattr(data, part), field))
        for part in Data.__dataclass_fields__
        for field in Scenes.__dataclass_fields__
    }
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def _stored(path: Path) -> Data:
    with np.load(path) as arrays:
        return Data(
            **{
                part: Scenes(
                    arrays[f"{part}_images"],
                    arrays[f"{part}_owners"],
                    arrays[f"{part}_names"].tolist(),
                    arrays[f"{part}_classes"],
                )
                for part in Data.__dataclass_fields__
            }
        )
