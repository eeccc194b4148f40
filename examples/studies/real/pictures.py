"""Crops of real pictures, and photographs with rendered text, split by file for good.

The pictures are those of Debian packages, downloaded and unpacked at run time. Where
that cannot be done, the text is rendered on backgrounds that are made here.
"""

from __future__ import annotations

import hashlib
import random
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

__all__ = ["PACKAGES", "SIDE", "Crops", "part_of", "real_crops", "rendered", "unpack"]

PACKAGES = {
    "gimp-help-en": "GFDL-1.2+: screenshots and figures of GIMP's manual",
    "opencv-doc": "Apache-2.0 and BSD: figures of OpenCV's tutorials",
    "mate-backgrounds": "GPL-2+ and CC-BY-SA-4.0: photographs",
    "tuxpaint-stamps-default": "GPL-2: photographic cut-outs",
}
"""Debian packages and their licences; nothing of them is stored in this project."""

TEXT_PACKAGES = ("gimp-help-en", "opencv-doc", "mate-backgrounds")
"""What the pictures with text are made of."""

SIDE = 192
TEXT = 0.3
"""Probability above which a pixel is text: the threshold the networks ship with."""
SHRINK = 0.4
"""By how much DBNet's labels are shrunk (Liao et al., AAAI 2020)."""

FIGURES = (
    "usr/share/gimp/2.0/help/en/images",
    "usr/share/doc/opencv-doc/opencv4/html",
)
PHOTOGRAPHS = (
    "usr/share/backgrounds/mate",
    "usr/share/gimp/2.0/help/en/images/filters/examples",
)
GENERATED = re.compile(r"^(class|struct|dir_|graph_|form_)|__graph|_inherit")
"""Names of diagrams that documentation tools draw: hundreds that look alike."""


@dataclass(frozen=True)
class Crops:
    """Pictures of one part.

    Attributes
    ----------
    images : ndarray of uint8, (n, SIDE, SIDE, 3)
    files : list of str
        Which file each one is of: what intervals are drawn over.
    labels : ndarray of bool, (n, SIDE, SIDE), or None
        True text, where it was rendered.
    """

    images: NDArray[np.uint8]
    files: list[str]
    labels: NDArray[np.bool_] | None = None


def unpack(folder: Path, packages: Sequence[str] = TEXT_PACKAGES) -> bool:
    """Unpack Debian packages into `folder`; tell whether they are there.

    Archives that lie in the folder "debs" beside it are taken; the others are
    downloaded by apt-get.
    """
    wanted = [name for name in packages if not (folder / f".{name}").exists()]
    if not wanted:
        return True
    if shutil.which("dpkg") is None:
        return False
    archives = folder / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    try:
        for name in wanted:
            archive = next(folder.parent.glob(f"debs/{name}_*.deb"), None)
            if archive is None:
                command = ["apt-get", "download", name]
                subprocess.run(command, cwd=archives, check=True, capture_output=True)
                archive = next(archives.glob(f"{name}_*.deb"))
            subprocess.run(["dpkg", "-x", str(archive), str(folder)], check=True)
            (folder / f".{name}").touch()
    except (subprocess.CalledProcessError, OSError):
        return False
    shutil.rmtree(archives)
    return True


def part_of(name: str) -> str:
    """Return the part that a file belongs to, by its name alone.

    A quarter is for the test, a tenth for calibration, the rest for tuning.
    """
    number = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100
    return "test" if number < 25 else "calibration" if number < 35 else "tuning"


def real_crops(
    folder: Path,
    part: str,
    count: int,
    is_text: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    *,
    seed: int = 0,
) -> Crops:
    """Return crops of real pictures that hold text, in the eyes of the dense network.

    Parameters
    ----------
    folder : Path
        Of the unpacked packages.
    part : {"test", "calibration", "tuning"}
    count : int
        At most; at most two crops of a file.
    is_text : callable
        From images to the probability of text.
    seed : int
    """
    from PIL import Image

    files = [
        path
        for root in FIGURES
        for path in _pictures(folder / root, 200, 150)
        if part_of(path.name) == part and not GENERATED.search(path.name)
    ]
    order = sorted({path.name: path for path in files}.values())
    dice = random.Random(seed)
    dice.shuffle(order)
    images: list[Any] = []
    names: list[str] = []
    for path in [*order, *order]:
        if len(images) == count:
            break
        image = Image.open(path).convert("RGB")
        zoom = max(1.0, SIDE / min(image.size))
        width, height = (max(SIDE, round(side * zoom)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        x, y = dice.randint(0, width - SIDE), dice.randint(0, height - SIDE)
        crop = np.asarray(image.crop((x, y, x + SIDE, y + SIDE)))
        if crop.std() >= 25 and (is_text(crop[None])[0] > TEXT).mean() > 0.004:
            images.append(crop)
            names.append(path.name)
    return Crops(np.stack(images), names)


def rendered(folder: Path | None, part: str, count: int, *, seed: int = 0) -> Crops:
    """Return photographs with words written on them, and where the words are.

    Parameters
    ----------
    folder : Path or None
        Of the unpacked packages; None for backgrounds that are made here.
    part, count, seed
        As for `real_crops`.
    """
    dice = random.Random(f"{part}{seed}")
    grounds = _photographs(folder, part) if folder else _made(dice)
    words, fonts = _words(), _fonts()
    images: list[Any] = []
    labels: list[Any] = []
    names: list[str] = []
    while len(images) < count:
        name, ground = grounds[dice.randrange(len(grounds))]
        image, label = _written(ground, dice, words, fonts)
        if label.any():
            images.append(image)
            labels.append(label)
            names.append(name)
    return Crops(np.stack(images), names, np.stack(labels))


def _written(
    ground: Any, dice: random.Random, words: Sequence[str], fonts: Sequence[str]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    from PIL import ImageDraw, ImageFont

    width, height = ground.size
    x, y = dice.randint(0, width - SIDE), dice.randint(0, height - SIDE)
    image = ground.crop((x, y, x + SIDE, y + SIDE)).copy()
    draw = ImageDraw.Draw(image)
    label = np.zeros((SIDE, SIDE), dtype=bool)
    taken: list[tuple[float, ...]] = []
    for _ in range(dice.randint(2, 6)):
        font = ImageFont.truetype(dice.choice(fonts), dice.randint(12, 34))
        text = " ".join(dice.choice(words) for _ in range(dice.randint(1, 3)))
        place = dice.randint(2, SIDE - 60), dice.randint(2, SIDE - 40)
        box = draw.textbbox(place, text, font=font)
        if box[2] > SIDE - 2 or box[3] > SIDE - 2 or _meets(box, taken):
            continue
        taken.append(box)
        bright = np.asarray(image.crop(box)).mean() > 127
        low, high = (0, 80) if bright else (175, 255)
        draw.text(place, text, font=font, fill=_colour(dice, low, high))
        w, h = box[2] - box[0], box[3] - box[1]
        off = w * h * (1 - SHRINK**2) / (2 * (w + h))
        rows = slice(round(box[1] + off), round(box[3] - off))
        label[rows, round(box[0] + off) : round(box[2] - off)] = True
    return np.asarray(image), label


def _colour(dice: random.Random, low: int, high: int) -> tuple[int, int, int]:
    return dice.randint(low, high), dice.randint(low, high), dice.randint(low, high)


def _meets(box: tuple[float, ...], others: Iterable[tuple[float, ...]]) -> bool:
    return any(
        box[0] < o[2] + 8 and o[0] < box[2] + 8
        and box[1] < o[3] + 8 and o[1] < box[3] + 8
        for o in others
    )  # fmt: skip


def _pictures(root: Path, width: int, height: int) -> list[Path]:
    from PIL import Image, UnidentifiedImageError

    found = []
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() not in (".png", ".jpg", ".jpeg") or path.is_symlink():
            continue
        try:
            size = Image.open(path).size
        except (UnidentifiedImageError, OSError):
            continue
        if size[0] >= width and size[1] >= height:
            found.append(path)
    return found


def _photographs(folder: Path, part: str) -> list[tuple[str, Any]]:
    from PIL import Image

    side = "test" if part == "test" else "other"
    grounds = []
    for root in PHOTOGRAPHS:
        for path in _pictures(folder / root, 150, 150):
            if (part_of(path.name) == "test") != (side == "test"):
                continue
            image = Image.open(path).convert("RGB")
            scale = max(SIDE, min(min(image.size), 900)) / min(image.size)
            size = [max(SIDE, round(length * scale)) for length in image.size]
            grounds.append((path.name, image.resize((size[0], size[1]))))
    return grounds


def _made(dice: random.Random) -> list[tuple[str, Any]]:
    """Return smooth random backgrounds, for where there are no photographs."""
    from PIL import Image

    grounds = []
    for number in range(16):
        rng = np.random.default_rng(dice.randrange(2**32))
        coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((256, 256), Image.Resampling.BICUBIC)
        grounds.append((f"made-{number}", image))
    return grounds


def _words() -> list[str]:
    root = Path(__file__).parents[3]
    text = "".join(
        (root / name).read_text("utf-8") for name in ("README.md", "LICENSE")
    )
    return re.findall(r"[A-Za-z]{3,12}", text)


def _fonts() -> list[str]:
    import matplotlib as mpl

    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    names = ("Sans", "Sans-Bold", "Serif", "SansMono", "Serif-Italic")
    return [str(folder / f"DejaVu{name}.ttf") for name in names]
