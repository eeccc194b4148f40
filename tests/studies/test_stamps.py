"""Scenes of cut-outs: masks are exact, parts are apart, and judges count rightly."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

pytest.importorskip("PIL")

from examples.studies.real.criteria import scores
from examples.studies.real.pictures import part_of, unpack
from examples.studies.real.stamps.cutouts import (
    BACKGROUND,
    CLASSES,
    PACKAGES,
    SCENERY,
    cutouts,
    drawn,
    kind_of,
    photographs,
    plain,
)
from examples.studies.real.stamps.judge import score
from examples.studies.real.stamps.networks import NAMES, build, checkpoint, load
from examples.studies.real.stamps.scenes import SIDE, Scenes, compose, inputs, varied
from examples.studies.real.stamps.task import FOLDER
from examples.studies.real.stamps.training import learn
from sirfp_opt.pytorch import couple


def scenes(count: int = 4, seed: int = 0, *, recolour: bool = False) -> Scenes:
    """Compose ellipses on greys."""
    return compose(drawn("a"), plain("a"), count, seed=seed, recolour=recolour)


def test_masks_are_where_the_cut_outs_are() -> None:
    """Each opaque pixel has its object's colour; the photograph is bare elsewhere."""
    objects, grounds = drawn("a"), plain("a")
    made = compose(objects, grounds, 12)
    colours = [np.asarray(one.image).reshape(-1, 4).max(0)[:3] for one in objects]
    colours += [np.asarray(one.image)[0, 0] for one in grounds]
    expected = np.array(colours)[made.owners].astype(int)
    away = np.abs(made.images.astype(int) - expected).max(-1)
    # Along an edge the alpha is between: there and only there colours are mixed.
    inside = np.ones(made.owners.shape, dtype=bool)
    for axis in (1, 2):
        for step in (-2, -1, 1, 2):
            inside &= np.roll(made.owners, step, axis) == made.owners
    assert inside.mean() > 0.5
    assert away[inside].max() <= 16
    shown = [len(np.unique(owners)) - 1 for owners in made.owners]
    assert max(shown) <= 5
    assert sum(shown) >= 12


def test_labels_are_those_of_the_owners() -> None:
    """A pixel's class is its object's, and the photograph's is background."""
    made = scenes()
    assert made.labels.max() < len(CLASSES)
    assert set(np.unique(made.classes)) == set(range(len(CLASSES)))
    ground = made.owners >= len(drawn("a"))
    assert (made.labels[ground] == BACKGROUND).all()
    assert (made.labels[~ground] != BACKGROUND).all()


def test_a_seed_makes_the_same_scenes() -> None:
    """Varied or not; and another seed makes other ones."""
    for recolour in (False, True):
        one, same = scenes(recolour=recolour), scenes(recolour=recolour)
        assert np.array_equal(one.images, same.images)
        assert np.array_equal(one.owners, same.owners)
    assert not np.array_equal(scenes().images, scenes(seed=1).images)
    assert np.array_equal(scenes().owners[:2], scenes(2).owners)
    images, labels = varied(drawn("a"), plain("a"), 3, 0)
    assert images.shape == (3, 3, SIDE, SIDE)
    assert labels.shape == (3, SIDE, SIDE)


def test_things_of_one_name_are_in_one_part() -> None:
    """Two rabbits, or the colours of an apple, are never in training and test."""
    pairs = ["rabbit-2 rabbit", "apple_red apple_green", "pig_golden2 pig", "Pear pear"]
    for one, other in map(str.split, pairs):
        assert part_of(kind_of(one)) == part_of(kind_of(other))
    assert kind_of("flower1") != kind_of("flower2")
    assert len(set(SCENERY)) == len(SCENERY)
    parts = [part_of(name.rsplit("/", 1)[1]) for name in SCENERY]
    assert 8 <= parts.count("test") <= len(parts) // 3


UNPACKED = FOLDER / "pictures"
LACKING = [name for name in PACKAGES if not (UNPACKED / f".{name}").exists()]


@pytest.mark.skipif(bool(LACKING), reason=f"not unpacked: {', '.join(LACKING)}")
def test_no_object_is_in_two_parts() -> None:
    """Nor is a photograph of the test in another part; every class is in each."""
    parts = ("test", "calibration", "tuning")
    found = {part: cutouts(UNPACKED, part) for part in parts}
    kinds = {
        part: {kind_of(Path(one.name).stem) for one in found[part]} for part in parts
    }
    assert not kinds["test"] & (kinds["calibration"] | kinds["tuning"])
    assert not kinds["calibration"] & kinds["tuning"]
    labels = set(range(1, len(CLASSES)))
    assert all({one.label for one in some} == labels for some in found.values())
    seen = {one.name for one in photographs(UNPACKED, "test")}
    assert not seen & {one.name for one in photographs(UNPACKED, "tuning")}


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="missing: dpkg-deb")
def test_archives_that_lie_beside_are_unpacked_once(tmp_path: Path) -> None:
    """Nothing is downloaded for them; what cannot be had is told."""
    source = tmp_path / "source"
    (source / "DEBIAN").mkdir(parents=True)
    (source / "DEBIAN" / "control").write_text(
        "Package: pictures\nVersion: 1\nArchitecture: all\nMaintainer: nobody <n@n.n>\n"
        "Description: a picture\n"
    )
    (source / "picture").write_text("here")
    (tmp_path / "debs").mkdir()
    archive = tmp_path / "debs" / "pictures_1_all.deb"
    command = ["dpkg-deb", "--build", str(source), str(archive)]
    subprocess.run(command, check=True, capture_output=True)
    assert unpack(tmp_path / "unpacked", ["pictures"])
    assert (tmp_path / "unpacked" / "picture").read_text() == "here"
    archive.unlink()
    assert unpack(tmp_path / "unpacked", ["pictures"])
    assert not unpack(tmp_path / "unpacked", ["pictures", "no-such-package-of-ours"])


def test_scores_are_those_of_the_definition() -> None:
    """Mean IoU by class over all pixels; the interval holds it; truth scores one."""
    made = scenes(8)
    dice = np.random.default_rng(0)
    found = np.where(
        dice.random(made.labels.shape) < 0.3,
        dice.integers(0, len(CLASSES), made.labels.shape),
        made.labels,
    )
    got = score(found, made)
    shares = [
        ((found == kind) & (made.labels == kind)).sum()
        / ((found == kind) | (made.labels == kind)).sum()
        for kind in range(len(CLASSES))
    ]
    assert got.iou == pytest.approx(np.mean(shares))
    assert got.f1 == pytest.approx(np.mean([2 * s / (1 + s) for s in shares]))
    objects, truth = found != BACKGROUND, made.labels != BACKGROUND
    either = (objects | truth).sum()
    assert got.foreground == pytest.approx((objects & truth).sum() / either)
    assert 0 < got.low < got.iou < got.high < 1
    perfect = score(made.labels, made)
    assert perfect.iou == perfect.low == perfect.high == perfect.foreground == 1


def test_objects_are_what_is_drawn() -> None:
    """One object of a class gives it no spread, in however many scenes it is."""
    one = compose(drawn("a", each=1), plain("a", 1), 6)
    flipped = np.where(np.arange(SIDE) < SIDE // 2, one.labels, BACKGROUND)
    got = score(flipped, one)
    assert got.low == pytest.approx(got.iou)
    assert got.high == pytest.approx(got.iou)


@pytest.mark.parametrize("name", NAMES)
def test_stored_networks_are_read_back(name: str) -> None:
    """They fit their shapes, are small files, and give a score for every class."""
    with torch.no_grad():
        found = load(name)(inputs(scenes(2).images))
    assert found.shape == (2, len(CLASSES), SIDE, SIDE)
    assert torch.isfinite(found).all()
    assert checkpoint(name).stat().st_size < 4 * 2**20


def test_training_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """In two sittings, and ended later than planned, the weights are the same."""

    def trained(steps: int, state: Path) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 6, 1)
        )
        learn(model, lambda step: varied(drawn("a"), plain("a"), 1, step), steps, 2,
              state, every=3)  # fmt: skip
        return model.state_dict()

    whole = trained(8, tmp_path / "one.pt")
    trained(5, tmp_path / "two.pt")
    again = trained(8, tmp_path / "two.pt")
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_batch_norm_scales_rank_channels() -> None:
    """Gamma is the absolute scale of a unit's norms, divided by their mean."""
    model = build("stamps_unet").eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.weight)
    units = couple(model, [inputs(scenes(1).images)]).units
    found = scores(model, units, "gamma", [], functional.cross_entropy, 0)
    own = dict(model.named_parameters())["down.0.first.1.weight"].abs()
    assert found["down.0.first.0"] == pytest.approx((own / own.mean()).detach().numpy())
    assert set(found) == {unit.name for unit in units}
