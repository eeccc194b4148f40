"""Claims about the demo's network and the weights that ship with it."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

import pytest
import torch

from sirfp_opt.demo.network import (
    CHECKPOINT,
    build_network,
    checkpoint_figures,
    load_checkpoint,
    save_checkpoint,
)
from sirfp_opt.demo.scenes import make_scenes
from sirfp_opt.demo.training import evaluate, mean_iou

if TYPE_CHECKING:
    from pathlib import Path


def test_the_output_has_the_size_of_the_picture() -> None:
    """Odd sizes too: no size is written into the network."""
    model = build_network(seed=0).eval()
    with torch.inference_mode():
        assert model(torch.zeros(2, 3, 70, 91)).shape == (2, 11, 70, 91)


def test_a_seed_fixes_the_weights_and_leaves_the_global_generator() -> None:
    """Building a network by seed has no side effect."""
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    one, two = build_network(seed=1), build_network(seed=1)
    assert torch.equal(torch.rand(3), expected)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_batch_of_one_can_be_trained_on() -> None:
    """The image-level branch normalises maps, not single numbers."""
    build_network(seed=0).train()(torch.rand(1, 3, 32, 32)).sum().backward()


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    """Half-precision storage changes a weight by at most a two-thousandth part."""
    model = build_network(seed=3)
    save_checkpoint(model, tmp_path / "c.pt")
    state = load_checkpoint(tmp_path / "c.pt").state_dict()
    for name, value in model.state_dict().items():
        assert state[name].dtype == value.dtype
        torch.testing.assert_close(state[name], value, rtol=2**-11, atol=1e-7)


def test_the_shipped_checkpoint_is_small() -> None:
    """At most 4 MB."""
    assert len((files("sirfp_opt.demo") / CHECKPOINT).read_bytes()) <= 4_000_000


def test_the_shipped_checkpoint_reaches_its_recorded_figure() -> None:
    """On a part of its validation scenes the mIoU is what was measured, +- 0.05."""
    recorded = checkpoint_figures()
    model = load_checkpoint()
    assert not model.training
    assert sum(p.numel() for p in model.parameters()) == recorded["parameters"]
    images, labels = make_scenes(
        64, split="validation", seed=recorded["validation_seed"]
    )
    miou = mean_iou(evaluate(model, images, labels))
    assert miou == pytest.approx(recorded["miou"], abs=0.05)
