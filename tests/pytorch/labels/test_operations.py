"""Labels of each operation against the operation itself, on numbers.

The claim that rules make: what an operation gives at a place whose label is removed
depends on removed channels alone or is dropped with them, and what it gives at any
other place does not change when the removed channels' *inputs to products* are zero.
For operations that move elements it is stronger: the label at a place is the label of
the element that stands there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from sirfp_opt.pytorch.coupling.labels.engine import Tracker, trace

MOVES: dict[str, Callable[[Tensor], Tensor]] = {
    "permute": lambda x: x.permute(2, 0, 3, 1),
    "flatten": lambda x: x.flatten(1),
    "reshape of a transposed": lambda x: x.transpose(1, 2).reshape(2, -1),
    "split": lambda x: torch.split(x, [1, 3], 1)[1],
    "chunk and cat": lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
    "stack": lambda x: torch.stack([x, x.flip(1)], 2),
    "roll": lambda x: x.roll((1, 2), (1, 3)),
    "roll of channels": lambda x: x.roll(1, 1),
    "flip": lambda x: x.flip(1),
    "repeat": lambda x: x.repeat(1, 2, 1, 1),
    "repeat_interleave": lambda x: x.repeat_interleave(2, 1),
    "expand": lambda x: x[:, :, :1].expand(-1, -1, 5, -1),
    "index": lambda x: x[:, torch.tensor([2, 0, 3])],
    "index_select": lambda x: x.index_select(1, torch.tensor([1, 1])),
    "gather": lambda x: x.gather(
        1, torch.tensor([3, 0]).view(1, 2, 1, 1) + 0 * x[:, :2].long()
    ),
    "pixel shuffle": lambda x: F.pixel_shuffle(x, 2),
    "pixel unshuffle": lambda x: F.pixel_unshuffle(x, 2),
    "channel shuffle": lambda x: F.channel_shuffle(x, 2),
    "unfold": lambda x: F.unfold(x, 2, stride=2),
    "reflection": lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"),
    "clone, contiguous": lambda x: x.transpose(1, 3).contiguous().clone(),
    "write into a slice": lambda x: _written(x),
    "select": lambda x: x[:, 2],
    "squeeze and unsqueeze": lambda x: x[:, :1].squeeze(1).unsqueeze(3),
    "windows": lambda x: (
        x.view(2, 4, 2, 2, 2, 2).permute(0, 2, 4, 3, 5, 1).reshape(-1, 4, 4)
    ),
}  # fmt: skip


def _written(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 1:3] = x[:, :2]
    return y


def _labelled(function: Callable[[Tensor], Any], x: Tensor) -> tuple[Tracker, Any]:
    """Trace a function of a bare parameter, each of whose elements has a label."""

    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.p = nn.Parameter(x)
            self.out: Any = None
            self.label: Tensor | None = None

        def forward(self, _: Tensor) -> Tensor:
            self.out = function(self.p * 1.0)
            return torch.zeros(1)

    holder = Holder()
    tracker = trace(holder, [(torch.zeros(1), holder)])
    return tracker, tracker.get(holder.out)


@pytest.mark.parametrize("name", MOVES)
def test_labels_stand_where_the_elements_stand(name: str) -> None:
    """The label at each place is that of the element that was moved there."""
    x = torch.arange(2.0 * 4 * 4 * 4).view(2, 4, 4, 4) + 1
    tracker, label = _labelled(MOVES[name], x)
    (node,) = tracker.nodes
    result = MOVES[name](x)
    expected = result.long() - 1 + node.start
    assert torch.equal(label.expand(result.shape), expected)


def test_zeros_around_a_map_belong_to_its_channel() -> None:
    """Padding along positions leaves a channel one; along channels adds none."""
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ConstantPad2d(2, 0.5))
    _, out = _output(net, torch.rand(1, 3, 5, 5))
    assert out.shape == (1, 4, 1, 1)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ConstantPad3d((0, 0, 0, 0, 1, 2), 0.0))
    _, out = _output(net, torch.rand(1, 3, 5, 5))
    assert (out.flatten() > 0).tolist() == [False, *[True] * 4, False, False]


def _output(net: nn.Module, x: Tensor) -> tuple[Tracker, Tensor]:
    """Return the labels of a network's output, before it is fixed."""
    held: list[Tensor] = []

    def run(inputs: Tensor) -> Tensor:
        held.append(net(inputs))
        return torch.zeros(1)

    tracker = trace(net, [(x, run)])
    label = tracker.get(held[0])
    assert label is not None
    return tracker, label


KEEP: dict[str, Callable[[Tensor], Tensor]] = {
    "relu_": lambda y: y.relu_(),
    "sigmoid": torch.sigmoid,
    "hardswish": F.hardswish,
    "gelu": F.gelu,
    "leaky relu": F.leaky_relu,
    "elu": F.elu,
    "mish": F.mish,
    "hardsigmoid": F.hardsigmoid,
    "scalar": lambda y: (y * 2 + 0.5).pow(2),
    "addcmul": lambda y: torch.addcmul(y, y, y, value=0.5),
    "where": lambda y: torch.where(y > 0, y, 0.1),
    "clamp": lambda y: y.clamp(-1, 1),
    "lerp": lambda y: torch.lerp(y, y.relu(), 0.3),
    "masked_fill": lambda y: y.masked_fill(torch.eye(6).bool(), -1.0),
    "dropout": lambda y: F.dropout(y, 0.5, training=False),
    "max pool": lambda y: F.max_pool2d(y, 2),
    "average pool": lambda y: F.avg_pool2d(y, 2),
    "adaptive pool": lambda y: F.adaptive_avg_pool2d(y, 3),
    "bilinear": lambda y: F.interpolate(y, scale_factor=2, mode="bilinear"),
    "nearest": lambda y: F.interpolate(y, size=(9, 9)),
    "mean over positions": lambda y: y.mean((2, 3), keepdim=True),
    "norm over positions": lambda y: y.norm(dim=(2, 3), keepdim=True),
    "softmax over positions": lambda y: y.flatten(2).softmax(-1).view_as(y),
    "sort of positions": lambda y: y.sort(3).values,
    "cumsum of positions": lambda y: y.cumsum(2),
    "largest position": lambda y: y.max(3).values[..., None],
    "positions mixed": lambda y: y @ torch.ones(6, 4),
    "fold of unfold": lambda y: F.fold(F.unfold(y, 2, stride=2), (6, 6), 2, stride=2),
}  # fmt: skip


@pytest.mark.parametrize("name", KEEP)
def test_channels_stay_apart(name: str) -> None:
    """Each channel has its own label afterwards, and depends on its own values."""
    conv = nn.Conv2d(3, 4, 1)
    function = KEEP[name]

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv

        def forward(self, x: Tensor) -> Tensor:
            return function(self.conv(x))

    x = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    tracker, label = _output(Net(), x)
    start = {(n.name, n.dim): n.start for n in tracker.nodes}["conv.weight", 0]
    made = tracker.classes.find(start + torch.arange(4))
    assert torch.equal(label.flatten(), made)
    assert not set(made.tolist()) & set(tracker.classes.fixed())
    with torch.no_grad():
        y = conv(x)
        other = y.clone()
        other[:, 2] += 1.0
        same = (function(y.clone()) == function(other)).flatten(2).all(2)[0]
    assert same.tolist()[:2] == [True, True]
    assert same[3]


class _Two(nn.Module):
    """Two maps, and what joins them."""

    def __init__(
        self, join: Callable[[Tensor, Tensor], Tensor], n: int, m: int
    ) -> None:
        super().__init__()
        self.one, self.two, self.join = nn.Conv2d(3, n, 1), nn.Conv2d(3, m, 1), join

    def forward(self, x: Tensor) -> Tensor:
        return self.join(self.one(x), self.two(x))


def _classes(tracker: Tracker, *names: str) -> list[list[int]]:
    starts = {(n.name, n.dim): n for n in tracker.nodes}
    nodes = [starts[name, 0] for name in names]
    return [
        tracker.classes.find(n.start + torch.arange(n.size)).tolist() for n in nodes
    ]


def test_sums_unite_and_concatenations_do_not() -> None:
    """Channel by channel; behind a concatenation both keep their own."""
    x = torch.rand(1, 3, 4, 4)
    tracker, _ = _output(_Two(torch.add, 5, 5), x)
    one, two = _classes(tracker, "one.weight", "two.weight")
    assert one == two
    assert len(set(one)) == 5
    tracker, label = _output(_Two(lambda a, b: torch.cat([a, b], 1), 5, 2), x)
    one, two = _classes(tracker, "one.weight", "two.weight")
    assert label.flatten().tolist() == one + two
    assert len({*one, *two}) == 7


def _held(output: Tensor, held: list[Tensor]) -> Tensor:
    held.append(output)
    return torch.zeros(1)


def test_a_contraction_reads_and_ends_channels() -> None:
    """Q and k are one channel; what the product gives belongs to none."""
    x = torch.rand(1, 3, 4, 4)
    net = _Two(lambda a, b: a.flatten(2).mT @ b.flatten(2), 5, 5)
    held: list[Tensor] = []
    tracker = trace(net, [(x, lambda v: _held(net(v), held))])
    one, two = _classes(tracker, "one.weight", "two.weight")
    assert one == two
    assert tracker.get(held[0]) is None


@given(st.integers(1, 4), st.integers(1, 3), st.booleans(), st.booleans())
@settings(max_examples=25, deadline=None)
def test_convolutions_of_all_kinds(
    groups: int, width: int, transposed: bool, multiplied: bool
) -> None:
    """Which inputs an output depends on is what the labels say of groups."""
    inputs = groups * width
    outputs = groups * (2 if multiplied else 1) * width
    kind: Any = nn.ConvTranspose2d if transposed else nn.Conv2d
    net = nn.Sequential(
        nn.Conv2d(3, inputs, 1), kind(inputs, outputs, 1, groups=groups)
    )
    tracker, label = _output(net, torch.rand(1, 3, 4, 4))
    made = label.flatten().expand(outputs) if outputs > 1 else label.flatten()
    (read,) = _classes(tracker, "0.weight")
    if groups > 1 and width == 1:  # each channel makes its own: they are one
        expected = [read[o * groups // outputs] for o in range(outputs)]
        assert made.tolist() == expected
    else:
        assert len(set(made.tolist())) == outputs
        assert not set(made.tolist()) & set(read)


def test_what_is_unknown_stays_whole_and_says_so() -> None:
    """No error: the channels are fixed, with the operation and the user's module."""
    net = nn.Sequential(nn.Conv2d(3, 4, 1), _Determinant(), nn.Conv2d(4, 2, 1))
    tracker = trace(net, [(torch.rand(1, 3, 5, 5), net)])
    (made,) = _classes(tracker, "0.weight")
    where, why = tracker.classes.fixed()[made[0]]
    assert where == "1"
    assert "cannot be followed through" in why


class _Determinant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x * torch.linalg.det(x)[:, :, None, None]
        return y


def test_several_runs_are_united() -> None:
    """A branch that only another input takes is a part of the same channels."""

    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (nn.Conv2d(3, 4, 1) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.a(x) + (self.b(x) if x.mean() > 0.5 else self.c(x))
            return y

    net = Branch()
    dark, bright = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    tracker = trace(net, [(dark, net), (bright, net)])
    a, b, c = _classes(tracker, "a.weight", "b.weight", "c.weight")
    assert a == b == c
