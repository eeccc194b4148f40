"""Scores of single channels, read off the weights at a unit's sites."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from sirfp_opt.network.plan import PruningUnit

__all__ = ["scores"]


def scores(
    model: nn.Module,
    units: tuple[PruningUnit, ...],
    criterion: str,
    batches: list[tuple[Tensor, Tensor]],
    seed: int,
) -> dict[str, NDArray[np.float64]]:
    """Return the importance of every channel of every unit.

    The mean, over the weights that make the channel, of the L1 or L2 norm of its
    filter, of the filter's distance to the others (FPGM, He et al., CVPR 2019), or of
    the absolute sum of weight times gradient (Taylor, Molchanov et al., CVPR 2019; the
    loss is the cross-entropy with true labels of rendered text). Divided by the unit's
    mean, so that one ranking of all channels makes sense.
    """
    if criterion == "random":
        dice = np.random.default_rng(seed)
        return {unit.name: dice.random(unit.size) for unit in units}
    tensors = dict(model.named_parameters())
    if criterion == "taylor":
        model.zero_grad()
        for images, labels in batches:
            likely = model(images)[:, 0]
            loss = functional.binary_cross_entropy(likely, labels) / len(batches)
            torch.autograd.backward(loss)
    measure = MEASURES[criterion]
    found = {}
    for unit in units:
        terms = []
        for site in unit.sites:
            tensor = tensors.get(site.tensor)
            if site.side == "out" and tensor is not None and tensor.dim() > 1:
                rows = tensor.transpose(0, site.dim or 0).flatten(1)
                grad = tensor.grad
                slope = None if grad is None else grad.transpose(0, site.dim or 0)
                value = measure(rows.detach(), slope).double().numpy()
                terms.append(value[site.table(unit.size)].sum(1))
        total = np.mean(terms, axis=0)
        found[unit.name] = total / max(float(total.mean()), 1e-300)
    model.zero_grad()
    return found


def _fpgm(rows: Tensor, _: Tensor | None) -> Tensor:
    return torch.cdist(rows, rows).sum(1)


def _taylor(rows: Tensor, slope: Tensor | None) -> Tensor:
    if slope is None:
        return torch.zeros(len(rows))
    return (rows * slope.flatten(1)).sum(1).abs()


MEASURES: dict[str, Callable[[Tensor, Tensor | None], Tensor]] = {
    "l1": lambda rows, _: rows.abs().sum(1),
    "l2": lambda rows, _: rows.norm(dim=1),
    "fpgm": _fpgm,
    "taylor": _taylor,
}
