"""Photographic cut-outs and photographs, read from Debian packages; split for good."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from examples.studies.real.pictures import part_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "BACKGROUND",
    "CLASSES",
    "PACKAGES",
    "Cutout",
    "Photograph",
    "cutouts",
    "drawn",
    "kind_of",
    "photographs",
    "plain",
]

PACKAGES = (
    "tuxpaint-stamps-default",
    "mate-backgrounds",
    "opencv-doc",
    "gimp-help-en",
)

BACKGROUND = 0
CLASSES = ("background", "bird", "mammal", "food", "plant", "thing")
"""What a pixel can be; the folders of the stamps say which a cut-out is."""

STAMPS = "usr/share/tuxpaint/stamps"
FOLDERS = {
    "animals/birds": "bird",
    "animals/mammals": "mammal",
    "animals/marsupials": "mammal",
    "food": "food",
    "plants": "plant",
    "household": "thing",
    "hobbies": "thing",
    "vehicles": "thing",
}
DRAWN = re.compile(r"cartoon|toys|/(echidna|hedgehog|pizza|holly_leaves|balloon360)\b")
"""Stamps that are drawn, or no photograph of the thing itself."""

SIDE = 96
"""Longest side at which a cut-out is kept, in pixels."""
GROUND = 320
"""Shortest side at which a photograph is kept, in pixels."""

SCENERY = (
    "usr/share/backgrounds/mate/abstract/Elephants.jpg",
    "usr/share/backgrounds/mate/desktop/Float-into-MATE.png",
    *(
        f"usr/share/backgrounds/mate/nature/{name}.jpg"
        for name in ("Aqua", "Blinds", "Dune", "GreenMeadow", "RainDrops", "Storm",
                     "TwoWings", "Wood")
    ),
    *(
        f"usr/share/doc/opencv-doc/examples/data/{name}.jpg"
        for name in ("aero1", "board", "building", "ela_original", "home", "leuvenA",
                     "starry_night", "stuff")
    ),
    *(
        f"usr/share/doc/opencv-doc/examples/text/scenetext0{number}.jpg"
        for number in range(1, 7)
    ),
    *(
        f"usr/share/doc/opencv-doc/opencv4/html/{name}.jpg"
        for name in ("HDRtoneMapping_memorialSample", "budapest", "corridor_fld",
                     "demo", "detect_test2", "feature_building", "fusion_mertens",
                     "newspaper", "perspective", "sagrada_familia_input")
    ),
    *(
        f"usr/share/gimp/2.0/help/en/images/{name}.jpg"
        for name in ("filters/examples/map/little_planet-equirect",
                     "filters/examples/map/pan-project-origin",
                     "filters/examples/taj_orig", "tutorials/quickie-scale-example",
                     "tutorials/tone-mapping/power-lines")
    ),
)  # fmt: skip
"""Photographs that show none of the classes large in front, chosen by hand."""


@dataclass(frozen=True)
class Cutout:
    """One object: its name, class number and picture with alpha, (h, w) at most SIDE.

    `image` is a PIL image of mode RGBA.
    """

    name: str
    label: int
    image: Any


@dataclass(frozen=True)
class Photograph:
    """One background: its name and a PIL image of mode RGB."""

    name: str
    image: Any


def kind_of(stem: str) -> str:
    """Return what is common to the names of one thing: its first word.

    Two rabbits, or the colours of an apple, are in one part of the data.

    Examples
    --------
    >>> kind_of("rabbit-2"), kind_of("pig_golden2"), kind_of("flower10")
    ('rabbit', 'pig', 'flower10')
    """
    if re.fullmatch(r"flower\d+", stem):  # ten flowers of ten kinds
        return stem
    found = re.match(r"[A-Za-z]+", stem)
    return (found.group() if found else stem).lower()


def cutouts(folder: Path, part: str) -> list[Cutout]:
    """Return the cut-outs of one part, by name.

    Parameters
    ----------
    folder : Path
        Of the unpacked packages.
    part : {"test", "calibration", "tuning"}
    """
    from PIL import Image

    found = []
    root = folder / STAMPS
    for top, kind in FOLDERS.items():
        for path in sorted((root / top).rglob("*.png")):
            name = path.relative_to(root).as_posix()
            mirrored = path.stem.endswith(("_mirror", "_flip"))
            if DRAWN.search(name) or mirrored or part_of(kind_of(path.stem)) != part:
                continue
            image = Image.open(path).convert("RGBA")
            box = image.getchannel("A").point(lambda a: 255 * (a > 127)).getbbox()
            if box is None:
                continue
            image = image.crop(box)
            image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
            found.append(Cutout(name, CLASSES.index(kind), image))
    return found


def photographs(folder: Path, part: str) -> list[Photograph]:
    """Return the backgrounds of one part; calibration shares those of tuning."""
    from PIL import Image

    found = []
    for name in SCENERY:
        mine = part_of(name.rsplit("/", 1)[1])
        if (mine == "test") != (part == "test"):
            continue
        opened = Image.open(folder / name)
        opened.draft("RGB", (GROUND, GROUND))
        image = opened.convert("RGB")
        scale = GROUND / min(image.size)
        width, height = (round(length * scale) for length in image.size)
        size = (max(GROUND, width), max(GROUND, height))
        found.append(Photograph(name, image.resize(size, Image.Resampling.LANCZOS)))
    return found


def drawn(part: str, each: int = 2) -> list[Cutout]:
    """Return cut-outs that are made here, for where there are none: ellipses.

    Parameters
    ----------
    part : str
        Other parts have other ones.
    each : int
        How many of each class.
    """
    from PIL import Image, ImageDraw

    dice = random.Random(part)
    found = []
    for label, kind in enumerate(CLASSES[1:], 1):
        for number in range(each):
            size = dice.randint(SIDE // 3, SIDE), dice.randint(SIDE // 3, SIDE)
            image = Image.new("RGBA", size)
            colour = (40 * label, 255 - 40 * label, dice.randint(0, 255), 255)
            ImageDraw.Draw(image).ellipse((0, 0, size[0] - 1, size[1] - 1), colour)
            found.append(Cutout(f"{part}/{kind}-{number}", label, image))
    return found


def plain(part: str, count: int = 3) -> list[Photograph]:
    """Return backgrounds that are made here: each of one grey."""
    from PIL import Image

    dice = random.Random(part)
    return [
        Photograph(
            f"{part}/plain-{number}",
            Image.new("RGB", (GROUND, GROUND), (dice.randint(0, 255),) * 3),
        )
        for number in range(count)
    ]
