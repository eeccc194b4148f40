"""What cannot be pruned is refused with the way out; what is looked at stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune as masks

from sirfp_opt.errors import InvalidProblemError, SirfpError, UnsupportedError
from sirfp_opt.pytorch import extract, prune
from sirfp_opt.pytorch.batches import evaluating

IMAGES = torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def network(act: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Return three convolutions."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), act(), nn.Conv2d(8, 8, 3), act(), nn.Conv2d(8, 2, 1)
    )


def masked() -> nn.Module:
    """Return a network with one layer under a mask of torch.nn.utils.prune."""
    model = network()
    apply: Any = masks.l1_unstructured  # untyped in torch
    apply(model[0], "weight", amount=0.3)
    return model


def old_norm(how: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """Return a network one of whose weights an old-style hook computes."""
    model = network()
    how(model[0])
    return model


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "nothing": (lambda: None, "must be a torch.nn.Module"),
    "a function": (lambda: functional.relu, "must be a torch.nn.Module"),
    "without parameters": (nn.ReLU, "must have parameters"),
    "data parallel": (lambda: nn.DataParallel(network()), "Pass model.module"),
    "compiled": (lambda: torch.compile(network()), "model._orig_mod"),
    "scripted": (lambda: torch.jit.script(network()), "scripted"),
    "a scripted part": (
        lambda: network(lambda: torch.jit.script(nn.ReLU())),
        "'1' as a scripted",
    ),
    "a compiled part": (
        lambda: network(lambda: cast("nn.Module", torch.compile(nn.ReLU()))),
        "Put model.1._orig_mod",
    ),
    "meta": (lambda: network().to("meta"), "meta device"),
    "lazy": (lambda: nn.Sequential(nn.LazyConv2d(8, 3)), "lazy parameter"),
    "a mask": (masked, "torch.nn.utils.prune.remove"),
    "old weight norm": (
        lambda: old_norm(torch.nn.utils.weight_norm),
        "remove_weight_norm",
    ),
    "old spectral norm": (
        lambda: old_norm(torch.nn.utils.spectral_norm),
        "remove_spectral_norm",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_pruned_is_refused_with_the_way_out(name: str) -> None:
    """An error of ours, before the network runs, that says what to pass instead."""
    make, message = REFUSED[name]
    with pytest.raises((UnsupportedError, InvalidProblemError), match="`model`") as e:
        prune(make(), [IMAGES], macs=0.5)
    assert message in str(e.value)


BATCHES: dict[str, tuple[list[Tensor], str]] = {
    "empty": ([IMAGES[:0]], "must hold samples"),
    "of other channels": ([IMAGES[:, :2]], "must be what `model` takes"),
    "second of other channels": ([IMAGES, IMAGES[:, :2]], "batch 1"),
    "all NaN": ([IMAGES * float("nan")], "finite sample"),
}


@pytest.mark.parametrize("name", BATCHES)
def test_batches_that_do_not_fit_are_refused(name: str) -> None:
    """The message says which batch, and what was wrong with it."""
    batches, message = BATCHES[name]
    with pytest.raises(SirfpError, match=message):
        prune(network(), batches, macs=0.5)


@pytest.mark.parametrize("allocation", ["measured", "optimal"])
@pytest.mark.parametrize("refit", [None, "merge", "full"])
def test_a_picture_without_a_batch_is_a_batch_of_one(
    refit: str | None, allocation: str
) -> None:
    """Convolutions take it, and its first dimension counts channels, not samples."""
    model, settings = network(), {"refit": refit, "allocation": allocation}
    alone, one = (
        prune(model, [picture], macs=0.5, **cast("Any", settings))
        for picture in (IMAGES[0], IMAGES[:1])
    )
    assert alone.plan.counts == one.plan.counts
    assert all((alone.plan[u] == one.plan[u]).all() for u in one.plan)
    torch.testing.assert_close(alone.model(IMAGES), one.model(IMAGES))


class Dropping(nn.Module):
    """Drops at random, in evaluation mode, too."""

    def forward(self, x: Tensor) -> Tensor:
        """Drop."""
        return functional.dropout(x, 0.3)


def test_randomness_in_evaluation_mode_is_said() -> None:
    """Two runs differ: the operation and its module are named."""
    with pytest.raises(UnsupportedError, match=r"same outputs twice .*in '1'"):
        prune(network(Dropping), [IMAGES], macs=0.5)


class Bank(nn.Module):
    """Writes into its buffers whenever it runs: adds, replaces, resizes."""

    seen: Tensor
    last: Tensor
    sizes: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("last", torch.zeros(2))
        self.register_buffer("sizes", torch.zeros(0))

    def forward(self, x: Tensor) -> Tensor:
        """Count and keep."""
        self.seen += len(x)
        self.last = x.mean((0, 2, 3))[:2]
        self.sizes.resize_(2).fill_(1.0)
        out: Tensor = self.inner(x)
        return out


@pytest.mark.parametrize("act", [prune, extract])
def test_the_users_network_is_untouched(act: Any) -> None:
    """Buffers that forward writes are what and which they were."""
    model = Bank().train()
    buffers = dict(model.named_buffers())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    act(model, [IMAGES, IMAGES], **({"macs": 0.5} if act is prune else {}))
    assert model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(model.get_buffer(name) is tensor for name, tensor in buffers.items())


def test_an_error_inside_leaves_no_trace_either() -> None:
    """Modes and buffers are put back when the block fails."""
    model = Bank().train()

    def fail() -> None:
        with evaluating(model):
            model(IMAGES)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert model.training
    assert float(model.seen) == 0.0
    assert model.sizes.numel() == 0
