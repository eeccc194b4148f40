"""Convolutions that make their weight in each pass are cut as ordinary ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sirfp_opt.network.plan import PruningPlan
from sirfp_opt.pytorch import (
    apply_plan,
    count_macs,
    count_params,
    couple,
    mask,
    read_cost,
)
from sirfp_opt.pytorch.batches import frozen_outputs
from sirfp_opt.pytorch.cutting.standardised import weight_made
from tests.pytorch.test_coupling import IMAGES


class Standardised(nn.Conv2d):
    """A gain, and a weight of mean zero and variance one, as timm's NFNets have."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.gain = nn.Parameter(torch.rand(self.out_channels) + 0.5)

    def made(self) -> Tensor:
        """Return the weight of the pass."""
        variance, mean = torch.var_mean(
            self.weight, (1, 2, 3), keepdim=True, correction=0
        )
        scaled = (self.weight - mean) * torch.rsqrt(variance + 1e-5)
        made: Tensor = scaled * self.gain[:, None, None, None]
        return made

    def forward(self, input: Tensor) -> Tensor:
        """Convolve."""
        out: Tensor = self._conv_forward(input, self.made(), self.bias)
        return out


class OfTheInput(Standardised):
    """Its weight goes by the picture."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve."""
        out: Tensor = self._conv_forward(input, self.made() * input.mean(), self.bias)
        return out


class Padded(Standardised):
    """No ordinary convolution: its input is padded on one side."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve."""
        out: Tensor = self._conv_forward(
            F.pad(input, (0, 1, 0, 1)), self.made(), self.bias
        )
        return out


class Holding(Standardised):
    """Has a module in it, which is a part of the pass."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.observer = nn.Identity()


class Plain(nn.Conv2d):
    """Only a name for the ordinary one."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve."""
        return F.conv2d(input, self.weight, self.bias)


@pytest.mark.parametrize("kind", [OfTheInput, Padded, Holding, Plain, nn.Conv2d])
def test_what_makes_no_weight_of_its_own(kind: Any) -> None:
    """Weights of other inputs, other passes, and stored ones are left alone."""
    assert weight_made(kind(4, 6, 3)) is None


@pytest.mark.parametrize(
    "layer", [Standardised(4, 6, 3), Standardised(4, 8, (1, 3), groups=2, bias=False)]
)
def test_the_weight_is_that_of_the_pass(layer: Standardised) -> None:
    """Bit by bit what the forward pass takes; the layer stays as it was."""
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    found = weight_made(layer)
    assert found is not None
    assert torch.equal(found, layer.made())
    assert all(torch.equal(layer.state_dict()[key], before[key]) for key in before)


def test_standardised_networks_are_cut_exactly() -> None:
    """Cut = masked = what the original gives with zeros where its maps go."""
    torch.manual_seed(0)
    net = nn.Sequential(
        Standardised(3, 12, 3, padding=1),
        nn.ReLU(),
        Standardised(12, 12, 3, padding=1, groups=12, bias=False),
        Standardised(12, 8, 1),
        nn.ReLU(),
        nn.Conv2d(8, 2, 1),
    )
    net, images = net.double().eval(), IMAGES.double()
    units = couple(net, images).units
    assert [(unit.name, unit.size) for unit in units] == [("0", 12), ("3", 8)]
    plan = PruningPlan(units, {"0": [0, 3, 4, 7, 11], "3": [1, 2, 6]})
    pruned: Any = apply_plan(net, plan)
    assert [type(pruned[i]) for i in (0, 2, 3)] == [nn.Conv2d] * 3
    assert list(pruned[0].state_dict()) == ["weight", "bias"]
    (found,), (twin,) = (frozen_outputs(m, images) for m in (pruned, mask(net, plan)))
    kept = {unit: torch.zeros(1, n, 1, 1).double() for unit, n in (("0", 12), ("3", 8))}
    for unit, channels in kept.items():
        channels[:, list(plan[unit])] = 1
    with torch.no_grad():
        expected = net[2](net[:2](images) * kept["0"])
        expected = net[3](expected * kept["0"])
        expected = net[4:](expected * kept["3"])
    for other in (twin, expected):
        assert (found - other).abs().max() <= 1e-12 * expected.abs().max()
    cost = read_cost(net, units, images)
    assert cost.predict(plan.counts) == {
        "macs": count_macs(pruned, images[:1]),
        "params": count_params(pruned),
    }
