"""Weights as channels see them: filters that make or read them, scales of norms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sirfp_opt.pytorch.coupling.units import Member

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sirfp_opt.network.plan import PruningUnit, Side, Site

__all__ = [
    "filters",
    "folds",
    "makers",
    "reader_products",
    "readers",
    "scale_of",
    "widened",
    "width_of",
]

KINDS = (nn.modules.conv._ConvNd, nn.Linear)


def makers(unit: PruningUnit, modules: Mapping[str, nn.Module]) -> tuple[Member, ...]:
    """Return the convolutions and linear layers that make a unit's channels.

    And attentions, which make the values of their heads.
    """
    found: dict[Member, None] = {}
    for site in unit.ports:
        made = isinstance(modules[site.layer], (*KINDS, nn.MultiheadAttention))
        if site.side == "out" and made:
            found |= dict.fromkeys(Member.columns(unit, site, modules))
    return tuple(found)


def reading_sites(
    unit: PruningUnit, modules: Mapping[str, nn.Module]
) -> tuple[Site, ...]:
    """Return where convolutions and linear layers read a unit's channels.

    Not those that hand them on channel by channel, and so make them, too.
    """
    made = {site.layer for site in unit.ports if site.side == "out"}
    return tuple(
        site
        for site in unit.ports
        if site.side == "in"
        and site.layer not in made
        and isinstance(modules[site.layer], KINDS)
    )


def folds(
    units: Iterable[PruningUnit], modules: Mapping[str, nn.Module]
) -> dict[str, int]:
    """Return how many entries of a reading layer are one channel's, by layer.

    More than one behind a flattened map, where all that a layer reads is flattened
    alike; such a layer is a convolution with a kernel of the map's size. Convolutions
    themselves have taps of their own: their entries are channels.
    """
    sites: dict[str, list[Site]] = {}
    for unit in units:
        for site in reading_sites(unit, modules):
            sites.setdefault(site.layer, []).append(site)
    return {
        layer: repeat
        if isinstance(modules[layer], nn.Linear)
        and all(
            s.contiguous and s.repeat == repeat and s.offset % repeat == 0 for s in some
        )
        and some[0].channels % repeat == 0
        else 1
        for layer, some in sites.items()
        for repeat in [some[0].repeat]
    }


def readers(
    unit: PruningUnit, modules: Mapping[str, nn.Module], fold: Mapping[str, int]
) -> tuple[Member, ...]:
    """Return the layers that read a unit's channels, `fold` entries taken as one."""
    return tuple(
        Member.at(s, unit.size, fold[s.layer]) for s in reading_sites(unit, modules)
    )


def filters(module: nn.Module) -> Tensor:
    """Return a layer's weights with one row for each channel that it makes."""
    if isinstance(module, nn.MultiheadAttention):
        if module.in_proj_weight is None:
            return widened(module.v_proj_weight)
        return widened(module.in_proj_weight[-module.out_proj.weight.shape[1] :])
    weight = module.weight
    assert isinstance(weight, Tensor)  # only layers of `makers` come here
    weight = widened(weight)
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        # (in, out / groups, ...): of each group the inputs go behind its outputs.
        groups = module.groups
        weight = weight.reshape(groups, -1, *weight.shape[1:]).transpose(1, 2)
        return weight.reshape(module.out_channels, -1)
    return weight.reshape(weight.shape[0], -1)


def reader_products(module: nn.Module, fold: int = 1) -> Tensor:
    """Return the inner products of the filters by which a layer reads its channels.

    Entry (i, j) is Σ over outputs and taps of W_oi W_oj; channels of different groups
    meet in no output. With `fold`, so many entries in a row are the taps of a channel.
    """
    weight = module.weight
    assert isinstance(weight, Tensor)  # only layers of `readers` come here
    weight = widened(weight)
    groups = getattr(module, "groups", 1)
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        rows = weight.reshape(weight.shape[0], -1)
    else:
        # (out, in / groups, ...): one group's outputs behind each of its inputs.
        split = weight.reshape(groups, -1, *weight.shape[1:]).transpose(1, 2)
        rows = split.reshape(groups * weight.shape[1], -1)
    rows = rows.reshape(len(rows) // fold, -1)
    products = rows @ rows.T
    if groups > 1:
        group = torch.arange(len(rows), device=rows.device) // (len(rows) // groups)
        products *= group[:, None] == group[None, :]
    return products


def widened(parameter: Tensor) -> Tensor:
    """Return a parameter's values in float32 or more."""
    wide = torch.promote_types(parameter.dtype, torch.float32)
    return parameter.detach().to(wide)


def scale_of(module: nn.Module) -> nn.Parameter | None:
    """Return the γ of a norm; None where it has none, or the layer is no norm."""
    weight = getattr(module, "weight", None)
    return weight if isinstance(weight, nn.Parameter) and weight.dim() == 1 else None


def width_of(module: nn.Module | None, side: Side = "out") -> int | None:
    """Return how many channels a layer gives or reads; None where it does not say."""
    if isinstance(module, nn.MultiheadAttention):
        return int(module.out_proj.weight.shape[1]) if side == "out" else None
    names = ("num_features", f"{side}_channels", f"{side}_features")
    sizes = [getattr(module, name) for name in names if hasattr(module, name)]
    return int(sizes[0]) if sizes else None
