"""The crops of a study, made once and kept; what a network sees of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from examples.studies.real.pictures import Crops, real_crops, rendered, unpack
from examples.studies.real.weights import load

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

__all__ = ["FOLDER", "Data", "inputs", "make", "probabilities"]

FOLDER = Path("out/real")


@dataclass(frozen=True)
class Data:
    """Crops of all parts.

    Attributes
    ----------
    test, written : Crops
        Real pictures, judged by the dense network's word, and rendered text, judged by
        the true one.
    calibration, tuning : Crops
        What is pruned, refitted and tuned on: no label of them is used.
    """

    test: Crops
    written: Crops
    calibration: Crops
    tuning: Crops


def inputs(images: NDArray[np.uint8]) -> Tensor:
    """Return images as PaddleOCR feeds them: BGR, in [-1, 1]."""
    turned = np.ascontiguousarray(images[..., ::-1].transpose(0, 3, 1, 2))
    return (torch.from_numpy(turned).float() / 255 - 0.5) / 0.5


@torch.no_grad()
def probabilities(model: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the probability of text at each pixel, (n, SIDE, SIDE)."""
    model.eval()
    parts = [model(inputs(images[i : i + 8]))[:, 0] for i in range(0, len(images), 8)]
    found: NDArray[np.float32] = torch.cat(parts).numpy()
    return found


@lru_cache(maxsize=2)
def make(pace: str = "full", folder: Path = FOLDER) -> Data:
    """Return the crops: from the folder if they are there, else made.

    The quick pace renders all of them, and needs no picture of anybody's.
    """
    if pace == "quick":
        parts = {"test": 6, "written": 4, "calibration": 4, "tuning": 4}
        return Data(
            **{
                name: rendered(None, part, count, seed=number)
                for number, (name, count) in enumerate(parts.items())
                for part in ["test" if name in ("test", "written") else "tuning"]
            }
        )
    stored = folder / "crops.npz"
    if not stored.exists():
        _store(stored, _made(folder))
    return _stored(stored)


def _made(folder: Path) -> Data:
    pictures = folder / "pictures"
    if not unpack(pictures):
        raise FileNotFoundError(
            "the Debian packages of the study cannot be had here: run on a machine "
            "with apt-get, or ask for the quick pace"
        )
    dense = load("ppocr4")

    def is_text(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return probabilities(dense, images)

    parts = {"test": 160, "calibration": 48, "tuning": 128}
    real = {
        part: real_crops(pictures, part, count, is_text)
        for part, count in parts.items()
    }
    drawn = {
        part: rendered(pictures, part, count, seed=1)
        for part, count in {"test": 48, "calibration": 24, "tuning": 64}.items()
    }
    return Data(
        real["test"],
        drawn["test"],
        _joined(real["calibration"], drawn["calibration"]),
        _joined(real["tuning"], drawn["tuning"]),
    )


def _joined(one: Crops, other: Crops) -> Crops:
    images = np.concatenate([one.images, other.images])
    return Crops(images, [*one.files, *other.files])


def _store(path: Path, data: Data) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, NDArray[np.generic]] = {}
    for name in Data.__dataclass_fields__:
        crops: Crops = getattr(data, name)
        arrays[f"{name}_images"] = crops.images
        arrays[f"{name}_files"] = np.array(crops.files)
        if crops.labels is not None:
            arrays[f"{name}_labels"] = np.packbits(crops.labels, axis=-1)
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def _stored(path: Path) -> Data:
    with np.load(path) as arrays:
        return Data(
            **{
                name: Crops(
                    arrays[f"{name}_images"],
                    arrays[f"{name}_files"].tolist(),
                    np.unpackbits(arrays[f"{name}_labels"], axis=-1).astype(bool)
                    if f"{name}_labels" in arrays
                    else None,
                )
                for name in Data.__dataclass_fields__
            }
        )
