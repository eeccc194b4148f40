"""Claims about the measure and the training loop."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sirfp_opt.demo.network import build_network
from sirfp_opt.demo.scenes import SceneStyle, make_scenes, scene_batches
from sirfp_opt.demo.training import (
    confusion_matrix,
    evaluate,
    iou,
    mean_iou,
    train,
)


def test_mean_iou_by_hand() -> None:
    """Six pixels of three classes, worked out on paper."""
    truth = [[0, 0, 0], [1, 1, 2]]
    prediction = [[0, 0, 1], [1, 2, 2]]
    counts = confusion_matrix(truth, prediction, classes=4)
    expected = [[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert counts.tolist() == expected
    # Unions: {0,1,2} = 3; one hit + one miss + one false = 3; one hit + one false = 2.
    np.testing.assert_allclose(iou(counts)[:3], [2 / 3, 1 / 3, 1 / 2])
    assert math.isnan(iou(counts)[3])
    assert mean_iou(counts) == pytest.approx((2 / 3 + 1 / 3 + 1 / 2) / 3)


def test_mean_iou_of_nothing_is_nan() -> None:
    """Without a pixel there is nothing to measure."""
    assert math.isnan(mean_iou(np.zeros((3, 3), dtype=np.int64)))


def test_evaluate_restores_the_mode_and_ignores_the_batch_size() -> None:
    """The counts are a property of the network and the scenes alone."""
    model = build_network(seed=0)
    images, labels = make_scenes(6)
    whole = evaluate(model, images, labels)
    assert model.training
    assert whole.sum() == labels.numel()
    assert np.array_equal(whole, evaluate(model, images, labels, batch_size=4))
    model.eval()
    evaluate(model, images, labels)
    assert not model.training


def test_training_lowers_the_loss_and_repeats_itself() -> None:
    """A dozen steps lower the loss, and the same seeds give the same losses."""

    def losses() -> list[float]:
        seen: list[float] = []
        batches = scene_batches(12, 4, seed=0, style=SceneStyle(size=48))
        train(build_network(seed=0), batches, 12, on_step=lambda _, x: seen.append(x))
        return seen

    first = losses()
    assert len(first) == 12
    assert np.mean(first[-3:]) < 0.8 * np.mean(first[:3])
    np.testing.assert_allclose(first, losses(), rtol=1e-4)
