"""The layers that read pruned channels: what stays of each, and which can be refitted.

Weights are handled in one form for all kinds of layers, (groups, outputs, inputs, taps)
with the outputs and inputs of a group: a linear layer has one tap, or those of the map
that was flattened in front of it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from sirfp_opt.pytorch.extraction.filters import folds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sirfp_opt.network.plan import PruningPlan

__all__ = [
    "Block",
    "Reader",
    "find_readers",
    "owners_of",
    "put_weight",
    "weight_of",
    "why_odd",
]

Convolution = nn.modules.conv._ConvNd
Transposed = nn.modules.conv._ConvTransposeNd
KINDS = (Convolution, nn.Linear)
FORWARDS = {
    kind.forward
    for kind in (
        nn.Linear,
        nn.Conv1d,
        nn.Conv2d,
        nn.Conv3d,
        nn.ConvTranspose1d,
        nn.ConvTranspose2d,
        nn.ConvTranspose3d,
    )
}


@dataclass(frozen=True)
class Block:
    """A group of a reader that stays: its channels, as positions of the whole layer.

    Attributes
    ----------
    group : int
        Its number before the cut.
    kept, gone, outputs : Tensor of int64
        Inputs that stay and that do not, outputs that stay.
    """

    group: int
    kept: Tensor
    gone: Tensor
    outputs: Tensor


@dataclass(frozen=True)
class Reader:
    """A layer that reads pruned channels, before and after the cut.

    Attributes
    ----------
    layer : str
    module, target : nn.Module
        In the original network, and in the pruned one.
    fold : int
        So many entries in a row are positions of one channel.
    blocks : tuple of Block
        One for each of its groups that stays; a layer without groups has one.
    reason : str
        Why it is left as it was cut; empty if it is not.
    """

    layer: str
    module: nn.Module
    target: nn.Module
    fold: int = 1
    blocks: tuple[Block, ...] = ()
    reason: str = ""

    @property
    def taps(self) -> int:
        """Weights for each pair of an input and an output channel."""
        return int(weight_of(self.module, self.fold).shape[3])

    @property
    def pointwise(self) -> bool:
        """Whether each output position reads one input position, and all are read."""
        if isinstance(self.module, Convolution):
            padding = self.module._reversed_padding_repeated_twice
            if set(self.module.stride) != {1} or any(padding):
                return False
        return self.taps == 1

    @property
    def width(self) -> int:
        """Inputs of a group, before the cut."""
        return int(weight_of(self.module, self.fold).shape[2])

    @property
    def unknowns(self) -> int:
        """Free weights to one output, in the largest group."""
        return max(len(block.kept) for block in self.blocks) * self.taps

    @property
    def cut(self) -> Tensor:
        """Its weights as they were cut, (blocks, outputs, kept inputs, taps)."""
        return torch.stack(self._parts("kept"))

    @property
    def lost(self) -> list[Tensor]:
        """The filters of what is gone, (outputs, gone inputs, taps) for each block."""
        return self._parts("gone")

    def _parts(self, side: Literal["kept", "gone"]) -> list[Tensor]:
        whole = weight_of(self.module, self.fold)
        height, width = whole.shape[1:3]
        parts = []
        for block in self.blocks:
            outputs = (block.outputs - block.group * height).to(whole.device)
            inputs = (getattr(block, side) - block.group * width).to(whole.device)
            parts.append(whole[block.group][outputs][:, inputs])
        return parts

    @property
    def outputs(self) -> Tensor:
        """The outputs that stay, in the order of the pruned layer."""
        return torch.cat([block.outputs for block in self.blocks])


def weight_of(module: nn.Module, fold: int = 1) -> Tensor:
    """Return a layer's weight as (groups, outputs, inputs, taps) of each group."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    weight = weight.detach()
    groups = int(getattr(module, "groups", 1))
    split = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
    if isinstance(module, Transposed):
        return split.transpose(1, 2)
    return split.reshape(groups, split.shape[1], split.shape[2] // fold, -1)


def put_weight(module: nn.Module, weight: Tensor) -> None:
    """Write a weight of that form into a layer."""
    if isinstance(module, Transposed):
        weight = weight.transpose(1, 2)
    own = module.weight
    assert isinstance(own, Tensor)
    with torch.no_grad():
        own.copy_(weight.reshape(own.shape))


def find_readers(
    model: nn.Module, pruned: nn.Module, plan: PruningPlan
) -> tuple[Reader, ...]:
    """Return every layer that lost inputs which no output of its own stands for.

    Depthwise convolutions lose none: what a kept channel reads is kept.
    """
    modules, targets = dict(model.named_modules()), dict(pruned.named_modules())
    removed = plan.removed_positions()
    fold = folds(plan.units, modules)
    owners = owners_of(modules)
    readers = []
    for layer in modules:  # in the network's order
        if (layer, "in") not in removed:
            continue
        module, target = modules[layer], targets[layer]
        gone, out = removed[layer, "in"], removed.get((layer, "out"))
        if isinstance(module, KINDS):
            reason = why_odd(module, target, owners)
            if reason:
                readers.append(Reader(layer, module, target, reason=reason))
                continue
            reader = _reader(layer, module, target, fold.get(layer, 1), gone, out)
            if reader is not None:
                readers.append(reader)
        elif out is None or not np.array_equal(gone, out):
            kind = type(module).__name__
            reason = f"no weight of a {kind} is refitted"
            readers.append(Reader(layer, module, target, reason=reason))
    return tuple(readers)


def owners_of(modules: Mapping[str, nn.Module]) -> Counter[int]:
    """Return by the identity of a parameter how many layers hold it."""
    return Counter(
        id(parameter)
        for module in modules.values()
        for parameter in module._parameters.values()
        if parameter is not None
    )


def why_odd(module: nn.Module, target: nn.Module, owners: Mapping[int, int]) -> str:
    """Say why a layer's weights are not simply what its inputs are multiplied with."""
    for one in (module, target):
        if type(one).forward not in FORWARDS or "forward" in vars(one):
            return f"{type(one).__name__} has a forward pass of its own"
    weight = target._parameters.get("weight")
    if parametrize.is_parametrized(target) or weight is None:
        return "its weight is parametrised"
    if not isinstance(module.weight, Tensor):
        return "its weight is no tensor"
    if not weight.is_floating_point():
        return f"its weight is of {weight.dtype}"
    if owners[id(module._parameters.get("weight"))] > 1:
        return "it shares its weight with another layer"
    return ""


def _reader(
    layer: str,
    module: nn.Module,
    target: nn.Module,
    fold: int,
    gone: np.ndarray,
    out: np.ndarray | None,
) -> Reader | None:
    weight = weight_of(module, fold)
    groups, outputs, inputs, _ = weight.shape
    if groups > 1 and inputs == 1:
        return None  # depthwise
    lost = np.zeros(groups * inputs * fold, dtype=bool)
    lost[gone] = True
    rows = lost.reshape(-1, fold)
    if not np.array_equal(rows.any(axis=1), rows.all(axis=1)):
        # Parts of a channel's positions went: entries are channels of their own.
        return _reader(layer, module, target, 1, gone, out)
    without = np.zeros(groups * outputs, dtype=bool)
    if out is not None:
        without[out] = True
    blocks = []
    for group in range(groups):
        mine = np.arange(group * outputs, (group + 1) * outputs)
        stay = mine[~without[mine]]
        reads = np.arange(group * inputs, (group + 1) * inputs)
        if stay.size:
            dead = rows[reads, 0]
            parts = (reads[~dead], reads[dead], stay)
            blocks.append(Block(group, *(torch.from_numpy(part) for part in parts)))
    reader = Reader(layer, module, target, fold, tuple(blocks))
    if not any(len(block.gone) for block in blocks):
        return None  # whole groups went, and with them all that they read
    if not _is_slice(reader):
        reason = "its weights after the cut are no part of those before it"
        return Reader(layer, module, target, reason=reason)
    return reader


def _is_slice(reader: Reader) -> bool:
    """Whether the pruned layer is made of the original's weights, as we read them."""
    cut = weight_of(reader.target, reader.fold)
    shapes = {(len(b.outputs), len(b.kept)) for b in reader.blocks}
    if len(shapes) != 1 or cut.shape[:3] != (len(reader.blocks), *shapes.pop()):
        return False
    return torch.equal(reader.cut, cut)
