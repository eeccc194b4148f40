"""Scores of single channels, read off the weights at a unit's sites."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from sirfp_opt.network.plan import PruningUnit

__all__ = ["scores"]


def scores(
    model: nn.Module,
    units: tuple[PruningUnit, ...],
    criterion: str,
    batches: list[tuple[Tensor, Tensor]],
    loss: Callable[[Tensor, Tensor], Tensor],
    seed: int,
) -> dict[str, NDArray[np.float64]]:
    """Return the importance of every channel of every unit.

    The mean, over the weights that make the channel, of the L1 or L2 norm of its
    filter, of the filter's distance to the others (FPGM, He et al., CVPR 2019), or of
    the absolute sum of weight times gradient (Taylor, Molchanov et al., CVPR 2019; the
    loss is that of the task with true labels). "gamma": over its batch norms, of the
    absolute scale (network slimming, Liu et al., ICCV 2017). Divided by the unit's
    mean, so that one ranking of all channels makes sense.
    """
    if criterion == "random":
        dice = np.random.default_rng(seed)
        return {unit.name: dice.random(unit.size) for unit in units}
    tensors = dict(model.named_parameters())
    if criterion == "taylor":
        model.zero_grad()
        for images, labels in batches:
            torch.autograd.backward(loss(model(images), labels) / len(batches))
    measure, asked = MEASURES[criterion], _tensors(model, criterion)
    found = {}
    for unit in units:
        terms = []
        for site in unit.sites:
            if site.side == "out" and site.tensor in asked:
                tensor = tensors[site.tensor]
                rows = _rows(tensor.detach(), site.dim)
                slope = None if tensor.grad is None else _rows(tensor.grad, site.dim)
                value = measure(rows, slope).double().numpy()
                terms.append(value[site.table(unit.size)].sum(1))
        if not terms:
            raise ValueError(f"{criterion} has no word on the channels of {unit.name}")
        total = np.mean(terms, axis=0)
        found[unit.name] = total / max(float(total.mean()), 1e-300)
    model.zero_grad()
    return found


def _tensors(model: nn.Module, criterion: str) -> set[str]:
    """Return the names of the weights that a criterion looks at."""
    if criterion == "gamma":
        modules = model.named_modules()
        return {f"{n}.weight" for n, one in modules if isinstance(one, nn.BatchNorm2d)}
    return {name for name, one in model.named_parameters() if one.dim() > 1}


def _rows(tensor: Tensor, dim: int | None) -> Tensor:
    """Return a row for each channel."""
    turned = tensor.transpose(0, dim or 0)
    return turned.reshape(len(turned), -1)


def _fpgm(rows: Tensor, _: Tensor | None) -> Tensor:
    return torch.cdist(rows, rows).sum(1)


def _taylor(rows: Tensor, slope: Tensor | None) -> Tensor:
    if slope is None:
        return torch.zeros(len(rows))
    return (rows * slope).sum(1).abs()


MEASURES: dict[str, Callable[[Tensor, Tensor | None], Tensor]] = {
    "l1": lambda rows, _: rows.abs().sum(1),
    "l2": lambda rows, _: rows.norm(dim=1),
    "fpgm": _fpgm,
    "taylor": _taylor,
    "gamma": lambda rows, _: rows.abs().sum(1),
}
