"""In which precision, and on which pictures, trial cuts are judged."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sirfp_opt.pytorch import couple
from sirfp_opt.pytorch.coupling.labels.engine import trace
from sirfp_opt.pytorch.coupling.trial import Trials, plain_copy


class Plain(nn.Module):
    """Two convolutions; pictures of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 8, 3)
        self.two = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Classify each pixel."""
        y: Tensor = self.two(self.one(x).relu())
        return y


class OfItsSize(Plain):
    """Another road for large pictures."""

    def forward(self, x: Tensor) -> Tensor:
        """Smooth large pictures first."""
        return super().forward(
            nn.functional.avg_pool2d(x, 2) if len(x[0, 0]) > 99 else x
        )


class Single(Plain):
    """A constant in single precision: no product with doubles."""

    def forward(self, x: Tensor) -> Tensor:
        """Turn the colours."""
        return super().forward(torch.einsum("ij,njhw->nihw", torch.eye(3), x))


class Casting(Plain):
    """A part in single precision, whatever the rest is in."""

    def forward(self, x: Tensor) -> Tensor:
        """Squash in between."""
        y: Tensor = self.two(self.one(x).float().tanh().to(x.dtype))
        return y


def prepared(model: nn.Module, batch: Tensor) -> tuple[Trials, bool]:
    """Return the trials of a network after a look at what it does."""
    trials = Trials(plain_copy(model), batch, None, np.random.default_rng(0))
    tracker = trace(trials.base, [(trials.example, trials.base)])
    return trials, trials.prepare(tracker.steps[0])


@pytest.mark.parametrize(
    ("kind", "side", "dtype"),
    [
        (Plain, 64, torch.float64),
        (OfItsSize, 100, torch.float64),
        (Single, 64, torch.float32),
        (Casting, 64, torch.float64),
    ],
)
def test_trials_are_small_and_wide_where_the_network_does_the_same(
    kind: type[nn.Module], side: int, dtype: torch.dtype
) -> None:
    """64 pixels, float64; not where other code runs then, or none does."""
    trials, same = prepared(kind().eval(), torch.rand(1, 3, 100, 100))
    assert same
    assert trials.sample.shape[-1] == side
    assert trials.example.shape[-1] == 100
    assert {p.dtype for p in trials.base.parameters()} == {dtype}
    assert trials.sample.dtype == trials.example.dtype == dtype


def test_a_network_goes_back_to_its_own_numbers() -> None:
    """What is tied to its precision has the numbers that it had, to the last bit."""
    model = Single().eval()
    trials, _ = prepared(model, torch.rand(1, 3, 8, 8))
    for name in ("one.weight", "two.weight"):
        assert torch.equal(trials.base.get_parameter(name), model.get_parameter(name))


@pytest.mark.parametrize("kind", [Plain, OfItsSize, Single])
def test_the_units_are_the_same(kind: type[nn.Module]) -> None:
    """Whatever the trials are made on."""
    coupling = couple(kind().eval(), torch.rand(1, 3, 100, 100))
    assert [unit.name for unit in coupling.units] == ["one"]


def test_half_precision_is_traced_in_double() -> None:
    """An operation that a processor lacks for halves is no obstacle."""
    trials, same = prepared(Plain().eval().to(torch.bfloat16), torch.rand(1, 3, 8, 8))
    assert same
    assert trials.example.dtype == torch.float64
