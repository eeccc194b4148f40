"""What a layer multiplies its weights with: the inputs under each of its taps."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sirfp_opt.pytorch.cutting.layers import channel_dim
from sirfp_opt.pytorch.refitting.readers import Convolution, Transposed

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Source", "as_maps", "padded", "patches", "sources"]

Source = tuple[Tensor, Tensor | None]
"""For one tap: where each position of the output reads (P,), and where it reads
something at all (P,); None means everywhere."""


def as_maps(module: nn.Module, tensor: Tensor, fold: int = 1) -> Tensor:
    """Return a layer's input or output as (N, C, ...), a batch of maps."""
    tensor = tensor.detach()
    wide = torch.promote_types(tensor.dtype, torch.float32)
    tensor = tensor.to(wide)
    if isinstance(module, Convolution):
        unbatched = tensor.dim() == len(module.kernel_size) + 1
        return tensor.unsqueeze(0) if unbatched else tensor
    maps = tensor.unsqueeze(0) if tensor.dim() == 1 else tensor
    maps = maps.movedim(channel_dim(module, maps), 1)
    if fold > 1:
        maps = maps.reshape(len(maps), maps.shape[1] // fold, fold, -1).flatten(2)
    return maps if maps.dim() > 2 else maps.unsqueeze(2)


def padded(module: nn.Module, maps: Tensor) -> tuple[Tensor, bool]:
    """Return maps (N, C, ...) with padding that is not of zeros, and whether it is."""
    if isinstance(module, Convolution) and module.padding_mode != "zeros":
        around = module._reversed_padding_repeated_twice
        return F.pad(maps, around, mode=module.padding_mode), True
    return maps, False


def sources(
    module: nn.Module,
    fold: int,
    inputs: Sequence[int],
    outputs: Sequence[int],
    chosen: Tensor,
    *,
    done: bool,
) -> list[Source]:
    """Return where the taps of each chosen output position lie in the flat input.

    Parameters
    ----------
    module : nn.Module
    fold : int
        Positions of a flattened map, which are the taps of a linear layer.
    inputs, outputs : sequence of int
        Sizes of the maps.
    chosen : Tensor of shape (P,)
        Flat positions of the output.
    done : bool
        The input is padded already.
    """
    if not isinstance(module, Convolution):
        if fold == 1:
            return [(chosen, None)]
        # (fold, positions) were laid out one behind the other.
        each = prod(inputs) // fold
        return [(chosen + tap * each, None) for tap in range(fold)]
    dims = range(len(inputs))
    rest = chosen
    at: list[Tensor] = []
    for dim in reversed(dims):
        at.insert(0, rest % outputs[dim])
        rest = rest // outputs[dim]
    around = module._reversed_padding_repeated_twice
    before = [0 if done else around[2 * (len(inputs) - 1 - dim)] for dim in dims]
    found: list[Source] = []
    for tap in product(*(range(n) for n in module.kernel_size)):
        index = torch.zeros_like(chosen)
        valid = torch.ones_like(chosen, dtype=torch.bool)
        for dim in dims:
            stride = module.stride[dim]
            along = tap[dim] * module.dilation[dim]
            if isinstance(module, Transposed):
                scaled = at[dim] + int(module.padding[dim]) - along
                valid &= scaled % stride == 0
                place = torch.div(scaled, stride, rounding_mode="floor")
            else:
                place = at[dim] * stride + along - before[dim]
            valid &= (place >= 0) & (place < inputs[dim])
            index = index * inputs[dim] + place.clamp(0, inputs[dim] - 1)
        found.append((index, None if bool(valid.all()) else valid))
    return found


def patches(maps: Tensor, taps: Sequence[Source], channels: Tensor | None) -> Tensor:
    """Return what each tap sees, of shape (C, taps, N, P).

    Parameters
    ----------
    maps : Tensor of shape (N, C, ...)
    taps : sequence of Source
    channels : Tensor, optional
        Only these.
    """
    flat = maps.flatten(2)
    if channels is not None:
        flat = flat.index_select(1, channels.to(flat.device))
    images, width = flat.shape[:2]
    count = len(taps[0][0])
    out = flat.new_empty(width, len(taps), images, count)
    for number, (index, valid) in enumerate(taps):
        seen = flat.index_select(2, index.to(flat.device)).transpose(0, 1)
        if valid is None:
            out[:, number] = seen
        else:
            torch.mul(seen, valid.to(flat.device), out=out[:, number])
    return out
