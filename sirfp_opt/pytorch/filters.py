"""Weights read as channels: the filters that make them, and the scales of norms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sirfp_opt.pytorch.coupling import Member

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sirfp_opt.plan import PruningUnit

__all__ = ["filters", "makers", "scale_of", "widened", "width_of"]


def makers(unit: PruningUnit, modules: Mapping[str, nn.Module]) -> tuple[Member, ...]:
    """Return the convolutions and linear layers that make a unit's channels."""
    kinds = (nn.modules.conv._ConvNd, nn.Linear)
    return tuple(
        Member(site.layer, site.offset)
        for site in unit.sites
        if site.side == "out"
        and site.repeat == 1
        and isinstance(modules[site.layer], kinds)
    )


def filters(module: nn.Module) -> Tensor:
    """Return a layer's weights with one row for each channel that it makes."""
    weight = module.weight
    assert isinstance(weight, Tensor)  # only layers of `makers` come here
    weight = widened(weight)
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        # (in, out / groups, ...): of each group the inputs go behind its outputs.
        groups = module.groups
        weight = weight.reshape(groups, -1, *weight.shape[1:]).transpose(1, 2)
        return weight.reshape(module.out_channels, -1)
    return weight.reshape(weight.shape[0], -1)


def widened(parameter: Tensor) -> Tensor:
    """Return a parameter's values in float32 or more."""
    wide = torch.promote_types(parameter.dtype, torch.float32)
    return parameter.detach().to(wide)


def scale_of(module: nn.Module) -> nn.Parameter | None:
    """Return the γ of a norm; None where it has none, or the layer is no norm."""
    weight = getattr(module, "weight", None)
    return weight if isinstance(weight, nn.Parameter) and weight.dim() == 1 else None


def width_of(module: nn.Module) -> int | None:
    """Return how many channels a layer gives; None where it does not say."""
    names = ("num_features", "out_channels", "out_features")
    sizes = [getattr(module, name) for name in names if hasattr(module, name)]
    return int(sizes[0]) if sizes else None
