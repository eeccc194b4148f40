"""Claims about the digit scenes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sirfp_opt.demo import scenes
from sirfp_opt.demo.scenes import (
    NUM_CLASSES,
    SceneStyle,
    make_scenes,
    scene_batches,
    split_indices,
)


def test_shapes_types_and_ranges() -> None:
    """Images are float32 in [0, 1] and labels int64 classes, at the asked size."""
    style = SceneStyle(size=112)
    images, labels = make_scenes(3, style=style)
    assert images.shape == (3, 3, 112, 112)
    assert images.dtype == torch.float32
    assert 0 <= images.min() < images.max() <= 1
    assert labels.shape == (3, 112, 112)
    assert labels.dtype == torch.int64
    assert 0 <= labels.min() <= labels.max() < NUM_CLASSES


def test_same_seed_same_scenes() -> None:
    """A seed fixes the scenes, another seed or split changes them."""
    images, labels = make_scenes(4, seed=5)
    again_images, again_labels = make_scenes(4, seed=5)
    assert torch.equal(images, again_images)
    assert torch.equal(labels, again_labels)
    assert not torch.equal(images, make_scenes(4, seed=6)[0])
    assert not torch.equal(images, make_scenes(4, seed=5, split="validation")[0])


def test_more_scenes_keep_the_first() -> None:
    """Asking for more scenes leaves the first ones as they are."""
    few, few_labels = make_scenes(5, seed=2)
    many, many_labels = make_scenes(40, seed=2)
    assert torch.equal(few, many[:5])
    assert torch.equal(few_labels, many_labels[:5])


def test_batches_are_fresh_and_repeatable() -> None:
    """Batches differ from one another and from made scenes; a second pass repeats."""
    first, second = (images for images, _ in scene_batches(2, 4, seed=1))
    again, _ = next(scene_batches(2, 4, seed=1))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert not torch.equal(first, make_scenes(4, seed=1)[0])


def test_no_digit_is_in_both_splits() -> None:
    """No sample, nor an equal picture, serves both training and validation."""
    images, targets = scenes._digits()
    train, validation = split_indices("train"), split_indices("validation")
    assert len(train) + len(validation) == len(targets)
    assert set(train.tolist()).isdisjoint(validation.tolist())
    flat = images.reshape(len(images), -1)
    seen = {row.tobytes() for row in flat[train]}
    assert not any(row.tobytes() in seen for row in flat[validation])
    assert set(targets[validation]) == set(targets[train]) == set(range(10))


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_cut_is_where_a_form_begins(split: scenes.Split) -> None:
    """A split opens with the run 0 to 9 that opens every writer's form."""
    first = split_indices(split)[0]
    opening = scenes._digits()[1][first : first + 10]
    assert opening.tolist() == [*range(10)]


def test_calibration_and_test_are_the_two_parts_of_validation() -> None:
    """What is chosen by the one part is judged by digits of other hands."""
    parts = [split_indices("calibration"), split_indices("test")]
    assert np.array_equal(np.concatenate(parts), split_indices("validation"))
    targets = scenes._digits()[1]
    assert all(set(targets[part]) == set(range(10)) for part in parts)
    one, other = (make_scenes(4, split=s)[0] for s in ("calibration", "test"))
    assert not torch.equal(one, other)


@pytest.mark.parametrize("split", ["train", "validation", "calibration", "test"])
def test_scenes_draw_from_their_split_only(
    split: scenes.Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the other split's digits blanked out, the very same scenes come out."""
    images, labels = make_scenes(8, split=split, seed=3)
    digits, targets = scenes._digits()
    blanked = np.zeros_like(digits)
    own = split_indices(split)
    blanked[own] = digits[own]
    monkeypatch.setattr(scenes, "_digits", lambda: (blanked, targets))
    only_own, own_labels = make_scenes(8, split=split, seed=3)
    assert torch.equal(images, only_own)
    assert torch.equal(labels, own_labels)


def test_labels_lie_where_the_ink_is() -> None:
    """On a plain ground, labelled pixels and only those near them are painted."""
    style = SceneStyle(
        digits=(1, 1), texture=(0.0, 0.0), clutter=0, noise=0.0, contrast=(0.3, 0.3)
    )
    images, labels = make_scenes(16, style=style)
    ground = images[:, :, :1, :1]
    painted = (images - ground).abs().amax(dim=1)
    on_ink = labels > 0
    assert on_ink.flatten(1).any(dim=1).all()
    assert (painted[on_ink] > 0.1).all()
    near = torch.nn.functional.max_pool2d(on_ink[:, None].float(), 11, 1, 5)[:, 0] > 0
    assert (painted[~near] < 1e-6).all()


def test_every_class_appears() -> None:
    """A few dozen scenes hold all ten digits and ground."""
    _, labels = make_scenes(48)
    assert np.unique(labels).tolist() == list(range(NUM_CLASSES))


def test_the_number_of_digits_is_kept() -> None:
    """One digit asked for is one class beside the ground; none is possible too."""
    _, single = make_scenes(8, style=SceneStyle(digits=(1, 1)))
    assert all(len(np.unique(label)) == 2 for label in single)
    _, some = make_scenes(16, style=SceneStyle(digits=(0, 1)))
    assert {len(np.unique(label)) for label in some} == {1, 2}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "`count` must be at least 1, got 0"),
        ({"count": 1, "seed": -1}, "`seed` must not be negative"),
        ({"count": 1, "split": "all"}, "`split` must be one of"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    """Nonsense raises and names the rule."""
    with pytest.raises(ValueError, match=message):
        make_scenes(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "arguments",
    [
        {"size": 8},
        {"digits": (5, 2)},
        {"digits": (0, 0)},
        {"height": (-1.0, 4.0)},
        {"clutter": -1},
    ],
)
def test_bad_styles_are_refused(arguments: dict[str, object]) -> None:
    """A style with an empty range or a number out of its domain does not exist."""
    with pytest.raises(ValueError, match=next(iter(arguments))):
        SceneStyle(**arguments)  # type: ignore[arg-type]
