"""A network masked or cut for a while is what it was before, and was cut meanwhile."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from sirfp_opt.network.plan import PruningPlan
from sirfp_opt.pytorch import apply_plan, couple, mask
from sirfp_opt.pytorch.coupling.bench import (
    as_before,
    cut_for_a_while,
    masked_for_a_while,
    same_in,
)


class Remembering(nn.Module):
    """A network with everything that a cut changes, which notes what it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.norm = nn.GroupNorm(4, 8)
        self.token = nn.Linear(8, 8)
        self.layer_norm = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 4, batch_first=True)
        self.head = nn.Linear(8, 2)
        self.seen: dict[str, list[int]] = {"widths": []}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Classify each position."""
        x = self.norm(self.grouped(self.stem(x).relu()))
        x = self.token(x.flatten(2).mT)
        self.seen["widths"].append(x.shape[-1])
        x = self.layer_norm(x)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        out: torch.Tensor = self.head(x)
        return out


@pytest.fixture(scope="module")
def case() -> tuple[nn.Module, torch.Tensor, PruningPlan]:
    """Return the network in float64, a picture, a plan that cuts half of each unit."""
    torch.manual_seed(0)
    model = Remembering().double().eval()
    x = torch.rand(1, 3, 4, 4, dtype=torch.float64)
    units = couple(model, x).units
    assert len(units) >= 3
    kept = {u.name: np.sort(np.concatenate(u.classes[::2])) for u in units}
    return model, x, PruningPlan(units, kept)


def test_it_is_cut_in_the_block(case) -> None:  # type: ignore[no-untyped-def]
    """Inside it computes what the pruned copy computes, and says whose class is new."""
    model, x, plan = case
    with cut_for_a_while(model, plan) as others:
        assert torch.equal(model(x), apply_plan(model_like(model), plan)(x))
        assert others == {"attention", "layer_norm"}


def model_like(model: nn.Module) -> nn.Module:
    """Return a network of the class before the cut, with the same numbers."""
    torch.manual_seed(0)
    return Remembering().double().eval()


def test_it_is_masked_in_the_block(case) -> None:  # type: ignore[no-untyped-def]
    """Inside it computes what the masked twin computes."""
    model, x, plan = case
    expected = mask(model, plan)(x)
    with masked_for_a_while(model, plan):
        assert torch.equal(model(x), expected)


@pytest.mark.parametrize("how", [cut_for_a_while, masked_for_a_while])
def test_it_is_as_before_afterwards(case, how) -> None:  # type: ignore[no-untyped-def]
    """Objects, numbers, classes, attributes, notes: also after an error inside."""
    model, x, plan = case
    before = {name: id(p) for name, p in model.named_parameters()}
    numbers = copy.deepcopy(model.state_dict())
    kinds = [type(m) for m in model.modules()]
    seen, shown = copy.deepcopy(model.seen), repr(model)

    def spoil() -> None:
        with how(model, plan):
            model(x)
            model.extra = 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        spoil()
    assert {name: id(p) for name, p in model.named_parameters()} == before
    assert all(torch.equal(v, numbers[k]) for k, v in model.state_dict().items())
    assert [type(m) for m in model.modules()] == kinds
    assert (model.seen, repr(model)) == (seen, shown)
    assert not hasattr(model, "extra")


def test_containers_keep_their_identity() -> None:
    """A list that somebody else holds, too, is the same list with its old entries."""
    model = Remembering()
    widths = model.seen["widths"]
    with as_before(model):
        widths.append(3)
        model.seen["other"] = []
    assert model.seen == {"widths": []}
    assert model.seen["widths"] is widths


def test_masked_in_place_it_is_masked_and_put_back_to_the_bit(case) -> None:  # type: ignore[no-untyped-def]
    """With the original at hand no tensor is made: same outputs, same numbers after."""
    _, x, plan = case
    torch.manual_seed(1)
    original = Remembering().eval()  # float32, the copy is wider
    wide = copy.deepcopy(original)
    with torch.no_grad():
        wide.stem.weight.add_(0.5)  # another number than the original's
    kept_apart = wide.stem.weight.detach().clone().double()
    originals = same_in(wide, original)
    assert "stem.weight" not in originals
    assert {"token.weight", "attention.in_proj_weight"} <= originals.keys()
    wide.double()
    expected = mask(wide, plan)(x)
    numbers = copy.deepcopy(wide.state_dict())
    theirs = copy.deepcopy(original.state_dict())
    place = wide.token.weight.data_ptr()

    def spoil() -> None:
        with masked_for_a_while(wide, plan, None, originals):
            assert torch.equal(wide(x), expected)
            assert wide.token.weight.data_ptr() == place
            assert not torch.equal(wide.token.weight, numbers["token.weight"])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        spoil()
    assert all(torch.equal(v, numbers[k]) for k, v in wide.state_dict().items())
    assert all(torch.equal(v, theirs[k]) for k, v in original.state_dict().items())
    assert torch.equal(wide.stem.weight, kept_apart)


def test_only_memory_of_its_own_is_masked_in_place() -> None:
    """Not what others see as well, nor what is narrower than the original's numbers."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    twin = copy.deepcopy(model)
    assert len(same_in(twin, model)) == 6
    first, second, third = twin.children()
    first.__dict__["seen"] = first.get_parameter("weight").detach()
    bias = second.get_parameter("bias")
    bias.data = torch.zeros(8)[::2].copy_(bias.data)
    third.half()
    assert same_in(twin, model).keys() == {"0.bias", "1.weight"}
    assert same_in(model, model) == {}
