"""A pruned network is the masked one on every batch, in both modes, at any scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sirfp_opt import InvalidProblemError, LayerConstraints
from sirfp_opt.network.plan import PruningPlan, PruningUnit, Site
from sirfp_opt.pytorch import apply_plan, couple, prune
from sirfp_opt.pytorch.verification import Verdict, Verifier
from tests.pytorch.cuts import random_plan
from tests.pytorch.networks import SOUND, randomized

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def layer(name: str, reader: str, size: int = 12) -> PruningUnit:
    """Return the unit of one convolution's channels that another one reads."""
    sites = (
        Site(f"{name}.weight", 0, size),
        Site(f"{name}.bias", 0, size),
        Site(f"{reader}.weight", 1, size, "in"),
    )
    return PruningUnit(name, size, sites)


def verify(model: nn.Module, units: list[PruningUnit], batches: Any) -> Verdict:
    """Cut half of each unit, whatever it is, and verify."""
    plan = PruningPlan(units, {unit.name: range(unit.size // 2) for unit in units})
    first = batches[0] if isinstance(batches, list) else IMAGES
    return Verifier(model, first, batches)(apply_plan(model, plan), plan)


class Counting(nn.Module):
    """Divides by the number of its channels, and gives outputs of many sizes."""

    def __init__(self, shape: str) -> None:
        super().__init__()
        self.a, self.o = nn.Conv2d(3, 12, 3), nn.Conv2d(12, 3, 1)
        self.shape = shape

    def forward(self, x: Tensor) -> Any:
        """Run."""
        y = self.a(x)
        y = self.o(y * y.shape[1] ** -0.5)
        if self.shape == "small":
            return y * 1e-6
        if self.shape == "a banned class":
            return torch.cat([y, torch.full_like(y[:, :1], -1e9)], 1)
        if self.shape == "boxes in pixels":
            return torch.cat([y, y.sigmoid() * 640], 1)
        if self.shape == "coordinates":
            return y, torch.arange(9.0) * 1e4
        return y


@pytest.mark.parametrize(
    "shape", ["plain", "small", "a banned class", "boxes in pixels", "coordinates"]
)
def test_a_wrong_factor_is_seen_at_any_scale(shape: str) -> None:
    """A factor that depends on the number of channels, behind whatever outputs."""
    torch.manual_seed(0)
    verdict = verify(Counting(shape), [layer("a", "o")], [IMAGES])
    assert "not the masked one" in verdict.failed["a"]


class Auxiliary(nn.Module):
    """A head that runs in training mode only."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 12, 3), nn.Conv2d(12, 12, 3)
        self.head, self.aux = nn.Conv2d(12, 3, 1), nn.Conv2d(12, 3, 1)

    def forward(self, x: Tensor) -> Any:
        """Run one head or two."""
        y = torch.relu(self.a(x))
        out = self.head(torch.relu(self.b(y)))
        return (out, self.aux(y)) if self.training else out


@pytest.mark.parametrize("training", [False, True])
def test_heads_of_training_mode_are_seen(training: bool) -> None:
    """What feeds a head that was not traced fails; what does not is sound."""
    model = Auxiliary().train(training)
    verdict = verify(model, [layer("a", "b"), layer("b", "head")], [IMAGES])
    assert list(verdict.failed) == ["a"]
    assert "in training mode" in verdict.failed["a"]
    assert model.training is training


class Branching(nn.Module):
    """Takes another layer for bright pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.o = (
            nn.Conv2d(i, 12, 3, padding=1) for i in (3, 12, 12, 12)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Take one branch."""
        y = torch.relu(self.a(x))
        out: Tensor = self.o(torch.relu(self.b(y) if x.mean() > 0.5 else self.c(y)))
        return out


def test_every_batch_is_a_road() -> None:
    """A branch that the first batch does not take is taken by the second."""
    batches = [IMAGES * 0.4, IMAGES * 0.4 + 0.6]
    units = [layer("a", "c"), layer("c", "o")]
    assert verify(Branching(), units, batches[:1]).failed == {}
    verdict = verify(Branching(), units, batches)
    assert set(verdict.failed) == {"a", "c"}
    assert all("batch 1" in reason for reason in verdict.failed.values())


def test_what_was_asked_of_a_unit_that_fails_is_left_aside() -> None:
    """It stays whole with its reason; of what was found whole before, that is told."""
    torch.manual_seed(0)
    model = nn.Sequential(Branching(), nn.ReLU(), nn.Conv2d(12, 2, 1)).eval()
    batches = [IMAGES * 0.4, IMAGES * 0.4 + 0.6]
    rules = {"0.a": LayerConstraints(must_keep=[0])}
    asked = {"0.a": 6, "0.o": 4}
    result = prune(model, batches, keep=asked, constraints=rules)
    assert result.plan.counts == {"0.c": 12, "0.o": 4}
    assert "the code of '0' goes by values" in str(result.report)
    reasons = {e["unit"]: e["reason"] for e in result.report.exclusions}
    assert "on batch 1 the cut network" in reasons["0.a"]
    with pytest.raises(InvalidProblemError, match=r"'2', which stays whole .* output"):
        prune(model, batches, keep={"2": 1})


def test_what_is_not_verified_is_said() -> None:
    """A generator is read once; a network that fails or rolls dice when it trains."""
    verdict = verify(Branching(), [], (x for x in [IMAGES]))
    assert any("generator" in note for note in verdict.notes)
    noisy = nn.Sequential(nn.Conv2d(3, 4, 3), Noise())
    assert any("random" in note for note in verify(noisy, [], [IMAGES]).notes)
    broken = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(4)
    )
    assert any("fails" in note for note in verify(broken, [], [IMAGES[:1]]).notes)


class Noise(nn.Module):
    """Adds noise in training mode, from numpy: no dice of torch's."""

    def __init__(self) -> None:
        super().__init__()
        self.dice = np.random.default_rng(0)

    def forward(self, x: Tensor) -> Tensor:
        """Add."""
        return x + self.dice.random() * self.training


@pytest.mark.parametrize("name", ["deeplab", "unet", "group_norms"])
def test_sound_networks_pass(name: str) -> None:
    """Random halves of all units at once, no unit is accused, and dropout is off."""
    model = nn.Sequential(nn.Dropout(0.5), randomized(SOUND[name]))
    units = couple(model, IMAGES).units
    plan = PruningPlan(units, random_plan(units, np.random.default_rng(0)))
    verdict = Verifier(model, IMAGES, [IMAGES])(apply_plan(model, plan), plan)
    assert verdict.failed == {}
    assert verdict.worst is not None


class Dropping(nn.Module):
    """Drops in every way that there is, and adds noise, while it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.o = nn.Conv2d(3, 12, 3), nn.Conv2d(12, 3, 1)
        self.drop = nn.Dropout2d(0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Run."""
        y = self.drop(functional.dropout(self.a(x), 0.3, self.training))
        if self.training:
            path = y.new_empty(len(y), 1, 1, 1).bernoulli_(0.7)
            y = y * path + torch.randn_like(y) + torch.rand(y.shape) * 0.1
        out: Tensor = self.o(y)
        return out


def test_dropouts_and_noise_do_not_hide_or_accuse() -> None:
    """Training mode is compared though a smaller network draws fewer numbers."""
    model = Dropping()
    state = torch.get_rng_state()
    verdict = verify(model, [layer("a", "o")], [IMAGES])
    assert verdict.failed == {}
    assert verdict.notes == ()
    assert torch.equal(torch.get_rng_state(), state)
