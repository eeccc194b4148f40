"""Cutting channels out of a network, and masking them instead."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch_pruning.ops import module2type
from torch_pruning.pruner.function import PrunerBox

from sirfp_opt.errors import InvalidProblemError

if TYPE_CHECKING:
    from sirfp_opt._validate import IntArray
    from sirfp_opt.network.plan import Attribute, PruningPlan, Side

__all__ = ["ZeroChannels", "apply_plan", "mask"]


def apply_plan(
    model: nn.Module, plan: PruningPlan, *, inplace: bool = False
) -> nn.Module:
    """Cut a network as a plan says.

    Everything is checked before the first cut.  Device, dtype, training mode and
    `requires_grad` of every layer stay as they are.  Parameters are new objects:
    build the optimizer afterwards.

    Parameters
    ----------
    model : nn.Module
        A network of the shape that the plan was made for, not pruned yet.
    plan : PruningPlan
        What is kept.
    inplace : bool
        Cut `model` itself instead of a copy.

    Returns
    -------
    nn.Module
        The pruned network.

    Raises
    ------
    InvalidProblemError
        If a layer of the plan is missing in `model` or has another number of channels.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from sirfp_opt.network.plan import PruningPlan, PruningUnit, Site
    >>> from sirfp_opt.pytorch import apply_plan
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1))
    >>> made = Site("0.weight", 0, 8), Site("0.bias", 0, 8)
    >>> sites = (*made, Site("1.weight", 1, 8, "in"))
    >>> plan = PruningPlan([PruningUnit("0", 8, sites)], {"0": [1, 5, 6]})
    >>> apply_plan(net, plan)
    Sequential(
      (0): Conv2d(3, 3, kernel_size=(1, 1), stride=(1, 1))
      (1): Conv2d(3, 2, kernel_size=(1, 1), stride=(1, 1))
    )
    """
    check_plan(model, plan)
    target = model if inplace else copy.deepcopy(model)
    cut(target, plan)
    return target


def mask(model: nn.Module, plan: PruningPlan) -> nn.Module:
    """Return the masked twin: a copy whose removed channels are zero, none cut.

    Every layer that makes or passes removed channels gives zeros there (a forward hook
    on it), so the twin computes what the pruned network computes, at the original
    shapes.  It can be trained, and compared with the pruned network layer by layer.

    Parameters
    ----------
    model : nn.Module
        The network before pruning.
    plan : PruningPlan
        What is kept.

    Returns
    -------
    nn.Module

    Raises
    ------
    InvalidProblemError
        If the plan does not fit the network.
    """
    check_plan(model, plan)
    twin = copy.deepcopy(model)
    modules = dict(twin.named_modules())
    for (layer, side), positions in plan.removed_positions().items():
        if side == "out":
            modules[layer].register_forward_hook(ZeroChannels(positions))
    return twin


def check_plan(model: nn.Module, plan: PruningPlan, *, cut: bool = False) -> None:
    """Raise unless every site of `plan` is found in `model`, at its full size.

    With `cut`, at the size that the plan leaves.
    """
    modules = dict(model.named_modules())
    removed = plan.removed_positions() if cut else {}
    for unit in plan.units:
        for one in unit.attributes:
            _check_attribute(modules.get(one.module), one, unit.name)
        for site in unit.sites:
            module = modules.get(site.layer)
            if module is None:
                raise InvalidProblemError(
                    f"`plan` must name layers of the network, got {site.layer!r} (unit "
                    f"{unit.name!r}), which it lacks. Apply it to a network of the "
                    "class that it was made for."
                )
            found = _channels(module, site.side)
            expected = site.channels - len(removed.get((site.layer, site.side), ()))
            if found != expected:
                raise InvalidProblemError(
                    f"`plan` must fit the network, got {expected} {site.side}put "
                    f"channels for {site.layer!r} (unit {unit.name!r}), which has "
                    f"{found}. A plan is applied once, to the network before pruning."
                )


def _check_attribute(owner: nn.Module | None, one: Attribute, unit: str) -> None:
    if not isinstance(getattr(owner, one.name, None), int):
        raise InvalidProblemError(
            f"`plan` must fit the network, got heads counted in {one.name!r} of "
            f"{one.module!r} (unit {unit!r}), which it lacks. "
            "Apply it to a network of the class that it was made for."
        )


def _channels(module: Any, side: Side) -> int | None:
    pruner = PrunerBox.get(module2type(module))
    if pruner is None:
        return None
    ask = pruner.get_in_channels if side == "in" else pruner.get_out_channels
    count = ask(module)
    return None if count is None else int(count)


def cut(model: nn.Module, plan: PruningPlan) -> None:
    """Remove what a plan removes from each layer, by Torch-Pruning's layer pruners.

    The positions are those of the network before any cut: each side of each layer is
    cut once, so none shifts under another.
    """
    modules: dict[str, Any] = dict(model.named_modules())
    removed = plan.removed_positions()
    # Before any cut: a grouped convolution left with one output a group would pass for
    # a depthwise one.
    pruners = {layer: PrunerBox[module2type(modules[layer])] for layer, _ in removed}
    for (layer, side), positions in removed.items():
        module, pruner = modules[layer], pruners[layer]
        frozen = {n: p.requires_grad for n, p in module.named_parameters(recurse=False)}
        act = pruner.prune_in_channels if side == "in" else pruner.prune_out_channels
        grouped = isinstance(module, nn.GroupNorm)
        width = module.num_channels // module.num_groups if grouped else 1
        act(module, positions.tolist())
        if grouped:  # whole groups go: the others keep their width
            module.num_groups = module.num_channels // width
        for name, parameter in module.named_parameters(recurse=False):
            parameter.requires_grad_(frozen[name])
    for unit in plan.units:
        for one in unit.attributes:
            owner, gone = modules[one.module], unit.size - len(plan[unit.name])
            found = getattr(owner, one.name)
            setattr(owner, one.name, found - one.loss(found, gone, unit.size))


class ZeroChannels:
    """Forward hook: the output with some channels set to zero."""

    def __init__(self, positions: IntArray) -> None:
        self.positions = torch.from_numpy(positions)

    def __call__(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        """Return `output` with zeros at the positions."""
        index = self.positions.to(output.device)
        return output.index_fill(channel_dim(module, output), index, 0.0)


def channel_dim(module: nn.Module, tensor: Tensor) -> int:
    """Return the dimension of a layer's input or output that counts channels."""
    if isinstance(module, nn.Linear):
        return tensor.dim() - 1
    if isinstance(module, nn.modules.conv._ConvNd):
        return tensor.dim() - len(module.kernel_size) - 1
    return 1


def largest_difference(one: list[Tensor], other: list[Tensor]) -> tuple[float, float]:
    """Return max |one - other| over all outputs, and max |other|; inf on NaN."""
    if [t.shape for t in one] != [t.shape for t in other]:
        return float("inf"), 0.0
    difference = scale = 0.0
    for left, right in zip(one, other, strict=True):
        if right.numel():
            gap = float((left.double() - right.double()).abs().max())
            difference = max(difference, gap if np.isfinite(gap) else float("inf"))
            scale = max(scale, float(right.double().abs().max()))
    return difference, scale
