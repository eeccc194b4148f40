"""Segmentation scenes composed of handwritten digits on textured grounds.

Each scene is an RGB picture with several digits of random size, pose, colour and
contrast, painted over one another and over clutter (bars and discs that belong to no
class).  The label of a pixel is 0 on the ground and ``1 + d`` on the ink of a digit
``d``, so a network has to find *what* is *where*.

The digits are the 1797 samples of 8 x 8 pixels of :func:`sklearn.datasets.load_digits`
(E. Alpaydin and C. Kaynak, *Optical Recognition of Handwritten Digits*, UCI repository,
1998, doi:10.24432/C50P49).  They are stored form by form, each form filled in by one
hand and opening with the same run 0 1 2 ... 9.  The two splits are cut where such a
form begins: the validation scenes hold digits, and hands, that training never saw.
Where something is chosen by held-out scenes, and judged by others, the validation
split is itself cut between two hands: into "calibration" and "test".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from sirfp_opt._extras import require_extra

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from numpy.typing import NDArray

Split = Literal["train", "validation", "calibration", "test"]

NUM_CLASSES = 11
"""The ground (0) and the ten digits (1 to 10)."""

CLASS_NAMES = ("ground", *"0123456789")

_FIRST_VALIDATION_SAMPLE = 1415  # a form begins here; three forms (21 %) follow
_FIRST_TEST_SAMPLE = 1545  # the second of them begins
_STREAMS = {"train": 0, "validation": 1, "calibration": 2, "test": 3}
_CHUNK = 16  # scenes per random stream, so that more scenes never change the first


@dataclass(frozen=True, kw_only=True)
class SceneStyle:
    """What the scenes look like; every range is inclusive and drawn uniformly.

    Parameters
    ----------
    size : int
        Height and width of a scene in pixels.
    digits : (int, int)
        Digits per scene; at least one must be possible.
    height : (float, float)
        Height of a digit's 8 x 8 field in pixels.
    rotation : float
        Largest rotation to either side, in radians.
    contrast : (float, float)
        Distance of the ink from the mean colour of the ground (images lie in [0, 1]).
    texture : (float, float)
        Standard deviation of the ground's texture.
    clutter : int
        Largest number of bars and discs per scene.
    noise : float
        Largest standard deviation of the white noise of a scene.

    Raises
    ------
    ValueError
        If a range is empty or a number is out of its domain.
    """

    size: int = 96
    digits: tuple[int, int] = (2, 5)
    height: tuple[float, float] = (24.0, 48.0)
    rotation: float = 0.25
    contrast: tuple[float, float] = (0.18, 0.6)
    texture: tuple[float, float] = (0.02, 0.10)
    clutter: int = 8
    noise: float = 0.04

    def __post_init__(self) -> None:
        if self.size < 16:
            raise ValueError(f"`size` must be at least 16 pixels, got {self.size}.")
        for name in ("digits", "height", "contrast", "texture"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(
                    f"`{name}` must be a range (low, high) with 0 <= low <= high, "
                    f"got {(low, high)}."
                )
        if self.digits[1] < 1:
            raise ValueError(f"`digits` must allow for a digit, got {self.digits}.")
        for name in ("rotation", "clutter", "noise"):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"`{name}` must not be negative, got {getattr(self, name)}."
                )


def split_indices(split: Split) -> NDArray[np.int64]:
    """Give the indices into ``load_digits()`` that a split may use.

    Parameters
    ----------
    split : {"train", "validation", "calibration", "test"}
        "train" and "validation" are disjoint; "calibration" (one hand) and "test" (two
        others) are the two parts of "validation".

    Returns
    -------
    ndarray of int64, shape (samples,)

    Raises
    ------
    ValueError
        If there is no such split.
    """
    last = len(_digits()[1])
    ranges = {
        "train": (0, _FIRST_VALIDATION_SAMPLE),
        "validation": (_FIRST_VALIDATION_SAMPLE, last),
        "calibration": (_FIRST_VALIDATION_SAMPLE, _FIRST_TEST_SAMPLE),
        "test": (_FIRST_TEST_SAMPLE, last),
    }
    if split not in ranges:
        raise ValueError(f"`split` must be one of {list(ranges)}, got {split!r}.")
    return np.arange(*ranges[split])


def make_scenes(
    count: int,
    *,
    split: Split = "train",
    seed: int = 0,
    style: SceneStyle | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compose scenes and their labels.

    The same seed gives the same scenes, and asking for more of them leaves the first
    ones as they are.

    Parameters
    ----------
    count : int
        Number of scenes N.
    split : {"train", "validation", "calibration", "test"}
        Which digits may appear.  Each split has random streams of its own.
    seed : int
        Seed of the scenes.
    style : SceneStyle, optional
        What they look like.

    Returns
    -------
    images : Tensor of float32, shape (N, 3, H, W)
        In [0, 1].
    labels : Tensor of int64, shape (N, H, W)
        0 on the ground, 1 + d on the ink of digit d.

    Raises
    ------
    ValueError
        If `count` is not positive, `seed` is negative, or there is no such split.

    Examples
    --------
    >>> images, labels = make_scenes(4, seed=1)
    >>> tuple(images.shape), tuple(labels.shape)
    ((4, 3, 96, 96), (4, 96, 96))
    """
    import torch

    if count < 1:
        raise ValueError(f"`count` must be at least 1, got {count}.")
    if seed < 0:
        raise ValueError(f"`seed` must not be negative, got {seed}.")
    style = style or SceneStyle()
    samples = split_indices(split)
    parts = []
    for chunk in range(-(-count // _CHUNK)):
        rng = np.random.default_rng([seed, _STREAMS[split], chunk])
        parts.append(_compose(rng, _CHUNK, samples, style))
    images, labels = (torch.cat(part)[:count] for part in zip(*parts, strict=True))
    return images, labels


def scene_batches(
    steps: int,
    batch_size: int,
    *,
    split: Split = "train",
    seed: int = 0,
    style: SceneStyle | None = None,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield `steps` batches of fresh scenes: a data set that never repeats itself.

    Parameters
    ----------
    steps, batch_size : int
        Number of batches and scenes in each.
    split, seed, style
        As in :func:`make_scenes`; its scenes are not among these.

    Yields
    ------
    images, labels : Tensor, Tensor
        As from :func:`make_scenes`.
    """
    samples = split_indices(split)
    for step in range(steps):
        # Five numbers here, three in make_scenes: the streams cannot meet.
        key = [seed, _STREAMS[split], step, 0, 1]
        yield _compose(
            np.random.default_rng(key), batch_size, samples, style or SceneStyle()
        )


@cache
def _digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """All digits as (1797, 8, 8) ink in [0, 1] with a digit 0 to 9 for each."""
    require_extra("demo", "sklearn")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = (bunch.images / 16.0).astype(np.float32)
    targets = bunch.target.astype(np.int64)
    images.setflags(write=False)
    targets.setflags(write=False)
    return images, targets


def _compose(
    rng: np.random.Generator, n: int, samples: NDArray[np.int64], style: SceneStyle
) -> tuple[torch.Tensor, torch.Tensor]:
    """Paint ground, clutter and digits, from back to front."""
    import torch

    colour = rng.uniform(0.3, 0.7, (n, 3, 1, 1))
    images = torch.from_numpy(colour.astype(np.float32)) + _texture(rng, n, style)
    for alpha in _clutter(rng, n, style):
        ink = _ink(rng, colour, style)
        images += alpha * (ink - images)

    labels = torch.zeros((n, style.size, style.size), dtype=torch.int64)
    glyphs, digits = _glyphs(rng, n, samples, style)
    for alpha, digit in zip(glyphs, digits, strict=True):
        images += alpha * (_ink(rng, colour, style) - images)
        on_ink = alpha[:, 0] >= 0.5
        labels = torch.where(on_ink, 1 + digit[:, None, None], labels)

    sigma = rng.uniform(0, style.noise, (n, 1, 1, 1))
    noise = sigma * rng.standard_normal(images.shape, dtype=np.float32)
    images += torch.from_numpy(noise.astype(np.float32))
    return images.clamp_(0, 1), labels


def _ink(
    rng: np.random.Generator, ground: NDArray[np.float64], style: SceneStyle
) -> torch.Tensor:
    """Draw a colour (n, 3, 1, 1) at the asked contrast, lighter or darker."""
    import torch

    n = len(ground)
    hue = rng.uniform(0.3, 1.0, (n, 3, 1, 1))
    hue /= np.sqrt((hue**2).mean(axis=1, keepdims=True))
    sign = rng.choice([-1.0, 1.0], (n, 1, 1, 1))
    ink = ground + sign * rng.uniform(*style.contrast, (n, 1, 1, 1)) * hue
    return torch.from_numpy(np.clip(ink, 0, 1).astype(np.float32))


def _texture(rng: np.random.Generator, n: int, style: SceneStyle) -> torch.Tensor:
    """Smooth noise at four scales and a grating, scaled to the drawn deviation."""
    import torch
    from torch.nn import functional as F

    size = (style.size, style.size)
    texture = torch.zeros((n, 3, *size))
    for cells in (3, 6, 12, 24):
        shared = rng.standard_normal((n, 1, cells, cells), dtype=np.float32)
        own = rng.standard_normal((n, 3, cells, cells), dtype=np.float32)
        strength = rng.uniform(0, 1, (n, 1, 1, 1)).astype(np.float32)
        coarse = torch.from_numpy(strength * (shared + 0.5 * own))
        texture += F.interpolate(coarse, size, mode="bicubic", align_corners=False)

    angle, phase = rng.uniform(0, 2 * np.pi, (2, n, 1, 1))
    waves = rng.uniform(3, 16, (n, 1, 1))
    axis = np.linspace(0, 1, style.size)
    along = axis * np.cos(angle) + axis[:, None] * np.sin(angle)
    grating = np.sin(2 * np.pi * waves * along + phase)
    grating *= rng.choice([0.0, 1.0], (n, 1, 1)) * rng.uniform(0.3, 1.5, (n, 1, 1))
    texture += torch.from_numpy(grating.astype(np.float32))[:, None]

    deviation = rng.uniform(*style.texture, (n, 1, 1, 1)).astype(np.float32)
    spread = texture.std(dim=(1, 2, 3), keepdim=True)
    texture *= torch.from_numpy(deviation) / (spread + 1e-6)
    return texture


def _clutter(
    rng: np.random.Generator, n: int, style: SceneStyle
) -> Iterator[torch.Tensor]:
    """Yield the coverage (n, 1, H, W) of bars; a bar without length is a disc."""
    import torch

    pixels = torch.arange(style.size, dtype=torch.float32) + 0.5
    present = rng.integers(0, style.clutter, n, endpoint=True)
    for j in range(style.clutter):
        centre = rng.uniform(0, style.size, (2, n, 1, 1))
        angle = rng.uniform(0, np.pi, (n, 1, 1))
        half = np.maximum(0, rng.uniform(-6, 18, (n, 1, 1)))
        radius = rng.uniform(0.8, 3.5, (n, 1, 1))
        drawn = (j < present)[:, None, None]
        x0, y0, cos, sin, half_t, radius_t, drawn_t = (
            torch.from_numpy(a.astype(np.float32))
            for a in (*centre, np.cos(angle), np.sin(angle), half, radius, drawn)
        )
        dx, dy = pixels - x0, pixels[:, None] - y0
        beyond = ((dx * cos + dy * sin).abs() - half_t).clamp_min(0)
        distance = torch.hypot(beyond, dy * cos - dx * sin)
        yield (drawn_t * (radius_t - distance + 0.5).clamp(0, 1))[:, None]


def _glyphs(
    rng: np.random.Generator, n: int, samples: NDArray[np.int64], style: SceneStyle
) -> tuple[torch.Tensor, torch.Tensor]:
    """Coverage (J, n, 1, H, W) and digits (J, n) of the J glyphs of every scene.

    A scene with fewer than J digits has empty glyphs for the rest.
    """
    import torch
    from torch.nn import functional as F

    images, targets = _digits()
    most = style.digits[1]
    drawn = samples[rng.integers(0, len(samples), (most, n))]
    present = np.arange(most)[:, None] < rng.integers(*style.digits, n, endpoint=True)
    height = rng.uniform(*style.height, (most, n))
    x, y = _places(rng, height, style)

    # affine_grid wants the map from scene to glyph, both in [-1, 1].
    angle = rng.uniform(-style.rotation, style.rotation, (most, n))
    shear = rng.uniform(-0.2, 0.2, (most, n))
    width = height * rng.uniform(0.85, 1.15, (most, n))
    cos, sin = np.cos(angle), np.sin(angle)
    sx, sy = style.size / width, style.size / height
    theta = np.empty((most, n, 2, 3))
    theta[..., 0, 0] = sx * (cos + shear * sin)
    theta[..., 0, 1] = sx * (sin - shear * cos)
    theta[..., 1, 0] = -sy * sin
    theta[..., 1, 1] = sy * cos
    centre = 2 * np.stack([x, y], axis=-1)[..., None] / style.size - 1
    theta[..., 2:] = -theta[..., :2] @ centre

    flat = theta.reshape(-1, 2, 3).astype(np.float32)
    shape = [len(flat), 1, style.size, style.size]
    grid = F.affine_grid(torch.from_numpy(flat), shape, align_corners=False)
    glyphs = torch.from_numpy(images[drawn].reshape(-1, 1, 8, 8))
    ink = F.grid_sample(glyphs, grid, "bicubic", align_corners=False)
    # The stroke's rim is where the ink falls to 0.4; it is two cells of grey wide.
    alpha = ((ink - 0.2) / 0.4).clamp_(0, 1).reshape(most, n, *shape[1:])
    alpha *= torch.from_numpy(present.astype(np.float32))[..., None, None, None]
    return alpha, torch.from_numpy(targets[drawn])


def _places(
    rng: np.random.Generator, height: NDArray[np.float64], style: SceneStyle
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres (J, n) in pixels; each is the emptiest of a dozen random proposals."""
    most, n = height.shape
    centres = np.empty((most, 2, n))
    for j in range(most):
        margin = np.minimum(0.45 * height[j], 0.5 * style.size)
        proposals = rng.uniform(margin, style.size - margin, (12, 2, n))
        offset = proposals[:, None] - centres[None, :j]
        distance = np.hypot(offset[:, :, 0], offset[:, :, 1])
        reach = 0.45 * (height[:j] + height[j])
        overlap = np.maximum(0, reach - distance).sum(axis=1)
        best = overlap.argmin(axis=0)
        centres[j] = np.take_along_axis(proposals, best[None, None], axis=0)[0]
    return centres[:, 0], centres[:, 1]
