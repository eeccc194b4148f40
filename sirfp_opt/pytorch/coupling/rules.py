"""Why a group of channels may not be pruned, as far as can be read off the trace.

Each rule answers with the layer and the reason, or with nothing.  What no rule knows
is left to the probe in `coupling`, which runs the network.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse.csgraph import connected_components
from torch import nn
from torch.nn.utils import parametrize

from sirfp_opt.network.plan import Site
from sirfp_opt.pytorch.coupling.heads import PRODUCT
from sirfp_opt.pytorch.coupling.tracing import Group, Operation, Touch, is_depthwise

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sirfp_opt._validate import IntArray

__all__ = ["conv_groups", "hazard", "sites_of", "tied_channels"]

Hazard = tuple[str, str]
"""(layer, reason)"""

_BY_NAME = (
    (r"PixelShuffle|PixelUnshuffle|ChannelShuffle", "moves channels into positions"),
    (r"GroupNorm|LayerNorm|RMSNorm", "normalises across channels"),
    (r"LocalResponseNorm", "normalises across channels"),
    (r"Convolution", "is a functional convolution, whose weight no layer owns"),
    (r"Embedding|LSTM|GRU|RNN", "is a layer whose channels are not cut"),
)
_REDUCTIONS = re.compile(r"^(Mean|Sum|Amax|Amin|Max|Min|Prod|Var|Std|LogSumExp)\w*")
_HUGE = 1 << 32  # autograd saves negative dimensions and open ends as huge unsigned


def hazard(
    group: Group,
    outputs: Mapping[str, str],
    shared: Mapping[str, str],
    *,
    heads: bool = False,
) -> Hazard | None:
    """Return the first reason not to prune `group`, None if there is none to see.

    Parameters
    ----------
    group : Group
        What goes together with a layer's output channels.
    outputs : mapping of str to str
        Layers whose output stays whole, and what it is.
    shared : mapping of str to str
        Layers that share a parameter with another, and that one.
    heads : bool
        Whether the group is to be cut by whole attention heads.
    """
    for operation in group.operations:
        found = _operation_hazard(operation, heads=heads)
        if found is not None:
            return found
    for touch in group.touches:
        if touch.side == "out" and touch.layer in outputs:
            return touch.layer, f"its channels are {outputs[touch.layer]}"
        found = _layer_hazard(touch, shared)
        if found is not None:
            return found
    return None


def _operation_hazard(operation: Operation, *, heads: bool) -> Hazard | None:
    where, name = operation.after, operation.name
    if operation.kind == "output":
        return where, f"its channels are {name}"
    if operation.kind == "lost":
        if operation.grad_fn is None:
            return where, "the channels are broadcast or rearranged on the way to it"
        return where, f"its channels cannot be followed through {name}"
    if operation.kind == "input":
        return where, "its channels are added to the network's input"
    if operation.kind == "parameter":
        return where, f"its channels meet the bare parameter {name!r}"
    for pattern, verb in _BY_NAME:
        if re.search(pattern, name):
            return where, f"{name} {verb}"
    if heads:
        return None  # products, softmax and sums go over tokens; the probe checks
    if PRODUCT.search(name):
        return where, f"{name} multiplies activations with each other"
    grad_fn = operation.grad_fn
    if re.match(r"Split|Unbind|Unsafe_?Split", name) and _on_channels(grad_fn):
        return where, f"{name} splits the channels at fixed positions"
    if name.startswith("Slice") and _on_channels(grad_fn) and not _whole(grad_fn):
        return where, f"{name} slices the channels at fixed positions"
    if re.match(r"_?(Log)?Softmax", name) and _on_channels(grad_fn):
        return where, f"{name} normalises across channels"
    if _REDUCTIONS.match(name) and _on_channels(grad_fn):
        return where, f"{name} reduces over the channels"
    return None


def _on_channels(grad_fn: Any) -> bool:
    """Tell whether an operation works along dimension 1 of a map with positions."""
    rank = _rank(grad_fn)
    dims = getattr(grad_fn, "_saved_dim", None)
    if rank is None or dims is None:
        return False
    dims = dims if isinstance(dims, (tuple, list)) else (dims,)
    signed = [d - (1 << 64) if d > _HUGE else d for d in dims]
    # Tokens (N, L, C) and vectors (N, C) have their channels last.
    channels = 1 if rank >= 4 else rank - 1
    return channels in [d % rank for d in signed]


def _rank(grad_fn: Any) -> int | None:
    for name in ("_saved_self_sym_sizes", "_saved_self_sizes"):
        sizes = getattr(grad_fn, name, None)
        if sizes is not None:
            return len(sizes)
    for name in ("_saved_result", "_saved_self"):
        tensor = getattr(grad_fn, name, None)
        if tensor is not None:
            return int(tensor.dim())
    return None


def _whole(grad_fn: Any) -> bool:
    """Tell whether a slice takes everything."""
    size = grad_fn._saved_self_sym_sizes[1]
    start, end, step = grad_fn._saved_start, grad_fn._saved_end, grad_fn._saved_step
    return bool(start == 0 and end >= size and step == 1)


def _layer_hazard(touch: Touch, shared: Mapping[str, str]) -> Hazard | None:
    layer, module = touch.layer, touch.module
    if touch.layer in shared:
        return layer, f"it shares a parameter with {shared[touch.layer]!r}"
    if parametrize.is_parametrized(module) or hasattr(module, "weight_g"):
        return layer, "its weight is computed from other parameters (weight norm?)"
    instance_norm = isinstance(module, nn.modules.instancenorm._InstanceNorm)
    if instance_norm and module.track_running_stats:
        return layer, "an instance norm with running statistics is not cut"
    limit = channels_of(touch)
    if touch.positions.size and int(touch.positions.max()) >= limit:
        return layer, (
            f"it has only {limit} channels there: the sum or product is broadcast, or "
            "the channels are rearranged on the way"
        )
    if isinstance(module, nn.GroupNorm) and module.num_groups == 1:
        return layer, "a group norm of one group normalises across all channels"
    if conv_groups(module) > 1:
        conv: Any = module
        if conv.transposed:
            return layer, "a grouped transposed convolution is not cut"
        if conv.groups in (conv.in_channels, conv.out_channels):
            return layer, "a depthwise convolution with a multiplier is not cut"
    return None


def channels_of(touch: Touch) -> int:
    """Count the channels of a layer on the side that a group touches."""
    module: Any = touch.module
    if isinstance(module, nn.modules.conv._ConvNd):
        return module.in_channels if touch.side == "in" else module.out_channels
    if isinstance(module, nn.Linear):
        return module.in_features if touch.side == "in" else module.out_features
    if isinstance(module, nn.PReLU):
        return module.num_parameters
    if isinstance(module, nn.GroupNorm):
        return module.num_channels
    return int(module.num_features)


def sites_of(group: Group) -> tuple[list[Site], Hazard | None]:
    """Write a group's touches as sites, or say which layer does not fit one.

    A site needs each channel of the group to be the same number of positions, at a
    constant distance.
    """
    sites: list[Site] = []
    for touch in group.touches:
        if isinstance(touch.module, nn.PReLU) and touch.module.num_parameters == 1:
            continue
        found = _affine(touch, group.size)
        if found is None:
            return [], (
                touch.layer,
                "only a part of its channels belongs to the group, or they are "
                "rearranged on the way",
            )
        sites += found
    return sites, None


def _affine(touch: Touch, size: int) -> list[Site] | None:
    order = np.lexsort((touch.positions, touch.channels))
    channels, positions = touch.channels[order], touch.positions[order]
    repeat, rest = divmod(positions.size, size)
    if rest or repeat == 0:
        return None
    if not np.array_equal(channels, np.repeat(np.arange(size), repeat)):
        return None
    rows = positions.reshape(size, repeat)
    count = channels_of(touch)

    def site(offset: int, times: int) -> Site:
        return Site.of_layer(touch.layer, touch.side, count, offset, times)

    first = int(rows[0, 0])
    if np.array_equal(rows.ravel(), first + np.arange(rows.size)):
        return [site(first, repeat)]
    steps = rows - np.arange(size)[:, None]
    if (steps == steps[0]).all():  # the same channels at several places of a cat
        return [site(int(offset), 1) for offset in steps[0]]
    return None


def conv_groups(module: nn.Module) -> int:
    """Return the number of groups of a grouped convolution, 1 for any other layer."""
    if isinstance(module, nn.modules.conv._ConvNd) and not is_depthwise(module):
        return int(module.groups)
    return 1


def tied_channels(
    size: int, sites: Collection[Site], modules: Mapping[str, nn.Module], block: int = 1
) -> list[IntArray] | Hazard:
    """Return the classes of channels that only go together.

    Positions j, j + B, j + 2B, ... of a convolution with G groups of B channels: then
    each group loses one channel and the rest keeps its place.  All the channels of a
    group of a group norm: then the statistics of the other groups stay.

    Parameters
    ----------
    size : int
        Channels of the unit.
    sites : collection of Site
        Where these are.
    modules : mapping of str to nn.Module
        The layers of the sites.
    block : int
        Consecutive channels that go together besides (an attention head).

    Returns
    -------
    list of ndarray, or (layer, reason)
        Classes of one size each; an empty list where nothing is tied.
    """
    links = np.zeros((size, size), dtype=bool)
    channels = np.arange(size)
    links[channels, channels - channels % block] = True
    tie = ""
    for site in sites:
        module: Any = modules[site.layer]
        groups = conv_groups(module)
        if groups > 1:
            if site.offset or site.repeat != 1 or site.channels != size:
                return site.layer, "a grouped convolution reads a concatenation"
            links[channels, channels % (size // groups)] = True
            tie = site.layer
        elif isinstance(module, nn.GroupNorm) and site.side == "out":
            width = module.num_channels // module.num_groups
            if site.repeat != 1 or site.offset % width or size % width:
                return site.layer, "its groups reach across parts of a concatenation"
            links[channels, channels - channels % width] = True
            tie = site.layer if width > 1 else tie
    if not tie and block == 1:
        return []
    count, label = connected_components(links, directed=False)
    classes = [np.flatnonzero(label == value) for value in range(count)]
    if len({len(members) for members in classes}) > 1:
        return tie, "grouped layers tie its channels in sets of unequal size"
    return classes
