"""Scenes: some cut-outs on a photograph, and whose each pixel is."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from examples.studies.real.stamps.cutouts import BACKGROUND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from examples.studies.real.stamps.cutouts import Cutout, Photograph

__all__ = ["SIDE", "Scenes", "compose", "inputs", "varied"]

SIDE = 96
OBJECTS = 2, 5
LENGTH = 30, 72
"""Longest side of an object in a scene, in pixels."""
TURN = 30
"""Largest angle by which an object is turned, in degrees."""


@dataclass(frozen=True)
class Scenes:
    """Pictures, and whose each pixel is.

    Attributes
    ----------
    images : ndarray of uint8, (n, SIDE, SIDE, 3)
    owners : ndarray of int16, (n, SIDE, SIDE)
        Which of `names` a pixel shows: an object, or the photograph behind.
    names : list of str
        The cut-outs, then the photographs.
    classes : ndarray of int16, (len(names),)
        The class of each name.
    """

    images: NDArray[np.uint8]
    owners: NDArray[np.int16]
    names: list[str]
    classes: NDArray[np.int16]

    @property
    def labels(self) -> NDArray[np.int16]:
        """The class of each pixel, (n, SIDE, SIDE)."""
        return self.classes[self.owners]


def compose(
    objects: Sequence[Cutout],
    grounds: Sequence[Photograph],
    count: int,
    *,
    seed: int = 0,
    recolour: bool = False,
) -> Scenes:
    """Put cut-outs on photographs.

    Every class is as likely as any other. What is put later hides what was there; a
    pixel is an object's where its alpha is above one half, so masks are exact.

    Parameters
    ----------
    objects, grounds : sequence
        Of one part.
    count : int
        Number of scenes.
    seed : int
    recolour : bool
        Vary the colours of objects and of whole scenes: for training.
    """
    dice = random.Random(seed)
    kinds: dict[int, list[int]] = {}
    for place, one in enumerate(objects):
        kinds.setdefault(one.label, []).append(place)
    scenes = [_scene(objects, grounds, kinds, dice, recolour) for _ in range(count)]
    return Scenes(
        np.stack([image for image, _ in scenes]),
        np.stack([owners for _, owners in scenes]),
        [*(one.name for one in objects), *(one.name for one in grounds)],
        np.array(
            [*(one.label for one in objects), *[BACKGROUND] * len(grounds)], np.int16
        ),
    )


def varied(
    objects: Sequence[Cutout], grounds: Sequence[Photograph], count: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Return scenes of varied colours and their labels, for a step of training."""
    made = compose(objects, grounds, count, seed=seed, recolour=True)
    return inputs(made.images), torch.from_numpy(made.labels.astype(np.int64))


def inputs(images: NDArray[np.uint8]) -> Tensor:
    """Return images as the networks take them: (n, 3, SIDE, SIDE), in [-2, 2]."""
    turned = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return (torch.from_numpy(turned).float() / 255 - 0.5) / 0.25


def _scene(
    objects: Sequence[Cutout],
    grounds: Sequence[Photograph],
    kinds: dict[int, list[int]],
    dice: random.Random,
    recolour: bool,
) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
    from PIL import Image, ImageOps

    number = dice.randrange(len(grounds))
    image = _crop(grounds[number].image, dice)
    owners = np.full((SIDE, SIDE), len(objects) + number, dtype=np.int16)
    for _ in range(dice.randint(*OBJECTS)):
        place = dice.choice(kinds[dice.choice(sorted(kinds))])
        figure = objects[place].image
        scale = dice.uniform(*LENGTH) / max(figure.size)
        width, height = (max(1, round(side * scale)) for side in figure.size)
        figure = figure.resize((width, height), Image.Resampling.BILINEAR)
        if dice.random() < 0.5:
            figure = ImageOps.mirror(figure)
        figure = figure.rotate(
            dice.uniform(-TURN, TURN), Image.Resampling.BILINEAR, expand=True
        )
        if recolour:
            figure = _recoloured(figure, dice, 0.2)
        # Its centre is in the scene, and at most a third of it is not.
        x, y = (
            dice.randint(-(side // 3), max(SIDE - 2 * side // 3, 0))
            for side in figure.size
        )
        image.paste(figure, (x, y), figure)
        mask = Image.new("L", (SIDE, SIDE))
        mask.paste(figure.getchannel("A"), (x, y))
        owners[np.asarray(mask) > 127] = place
    if recolour:
        image = _recoloured(image, dice, 0.25)
    return np.asarray(image), owners


def _crop(ground: Any, dice: random.Random) -> Any:
    """Cut a square out of a photograph, at some scale, perhaps mirrored."""
    from PIL import Image, ImageOps

    side = dice.randint(SIDE, min(ground.size))
    x, y = (dice.randint(0, length - side) for length in ground.size)
    box = (x, y, x + side, y + side)
    image = ground.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box)
    return ImageOps.mirror(image) if dice.random() < 0.5 else image


def _recoloured(image: Any, dice: random.Random, spread: float) -> Any:
    """Scale each of the three colours, and shift them all."""
    gains = [dice.uniform(1 - spread, 1 + spread) for _ in range(3)]
    shift = 255 * dice.uniform(-spread / 2, spread / 2)
    levels = np.arange(256)
    tables = np.clip(np.outer(gains, levels) + shift, 0, 255).round().astype(int)
    alpha = levels.tolist() if image.mode == "RGBA" else []
    return image.point([*tables.ravel().tolist(), *alpha])
