"""Counting without values: what the real run counts, and no trace in the network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sirfp_opt.pytorch import count_macs, couple, prune, read_cost
from sirfp_opt.pytorch.batches import CORNER
from sirfp_opt.pytorch.cost import LARGE
from tests.pytorch.networks import SOUND, randomized

SIDE = 160
IMAGES = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def really(model: nn.Module, images: Tensor = IMAGES) -> int:
    """Count on values, by torch alone."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images)
    return int(counter.get_total_flops()) // 2


@pytest.mark.parametrize("name", ["deeplab", "unet", "segformer", "group_norms"])
def test_shapes_alone_count_as_values_do(name: str) -> None:
    """Strides, attention, concatenations, group norms: the same, by no value."""
    model = randomized(SOUND[name])
    seen = []

    def forward(model: nn.Module, images: Tensor) -> Any:
        seen.append(type(images) is Tensor and images.shape[-1] > CORNER)
        return model(images)

    assert IMAGES.numel() > LARGE
    units = couple(model, IMAGES[..., :32, :32]).units
    cost = read_cost(model, units, IMAGES, forward=forward)
    assert count_macs(model, IMAGES, forward) == cost.total("macs") == really(model)
    assert not any(seen)  # values are looked at in a corner of the picture alone


class Curious(nn.Module):
    """Keeps its last map, and repeats its layer as often as the picture says."""

    def __init__(self, *, curious: bool = True) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.second = nn.Conv2d(4, 4, 1)
        self.curious = curious
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Run twice or once."""
        y: Tensor = self.second(self.first(x))
        self.last = y
        if self.curious and y.abs().sum().item() > 0:
            y = self.second(y)
        return y.sum(dim=(1, 2, 3))


def test_a_network_that_looks_at_values_is_run_on_them() -> None:
    """It takes the way that its values say."""
    assert count_macs(Curious(), IMAGES) == really(Curious()) == SIDE**2 * (12 + 32)


def test_nothing_without_values_stays_in_the_network() -> None:
    """What a network keeps of its run is a tensor like any other, or not there."""
    model = Curious(curious=False)
    assert count_macs(model, IMAGES) == SIDE**2 * (12 + 16)
    assert model.last is None
    assert all(type(p) is nn.Parameter for p in model.parameters())


def test_prune_on_large_pictures() -> None:
    """The count of the plan is that of a real run of the cut network."""
    result = prune(randomized(SOUND["unet"]), [IMAGES], macs=0.5)
    assert result.report.pruned["macs"] == really(result.model)
    assert result.report.original["macs"] == really(randomized(SOUND["unet"]))
