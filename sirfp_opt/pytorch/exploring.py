"""What pruning chose, to play with: an explorer of every unit, with its maps."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.explorer import ExploredLayer, Explorer
from sirfp_opt.explorer.searching import stepped_through
from sirfp_opt.pytorch.batches import evaluating, leading, run, to_model

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sirfp_opt._validate import FloatArray
    from sirfp_opt.network.plan import PruningUnit
    from sirfp_opt.pytorch.batches import Forward
    from sirfp_opt.pytorch.result import PruneResult

__all__ = ["explore_result", "unit_maps"]

_MOST_COUNTS = 32
"""Counts shown of a unit of more than 128 channels: each set is priced anew."""


def explore_result(
    result: PruneResult,
    *,
    model: nn.Module | None,
    batch: Any,
    forward: Forward | None = None,
    title: str = "",
) -> Explorer:
    """Make an explorer of a pruned network's units; see `PruneResult.explore`."""
    if (model is None) != (batch is None):
        raise InvalidProblemError(
            "`model` and `batch` must be given together, got one of them. Pass the "
            "network as it was before, and a batch to look at."
        )
    solution = result.solution
    units = {unit.name: unit for unit in result.graphs.coupling.units}
    maps: dict[str, FloatArray] = {}
    if model is not None:
        maps = unit_maps(model, batch, units.values(), forward=forward)
    layers = {}
    for name in solution:
        path, chosen = solution.problem.curves[name], solution[name]
        found = solution.solutions.get(name)
        layers[name] = ExploredLayer(
            greedy=path,
            best=solution.curves[name],
            counts=stepped_through(path, _MOST_COUNTS, chosen.size),
            start=chosen.size,
            searched={} if found is None else {found.k: found.status.value},
            chosen=chosen,
            maps=maps.get(name),
        )
    return Explorer.of(layers, title=title)


def unit_maps(
    model: nn.Module,
    batch: Any,
    units: Iterable[PruningUnit],
    *,
    forward: Forward | None = None,
) -> dict[str, FloatArray]:
    """Return the units' maps of one sample, by name, shape (channels, height, width).

    They are taken where a convolution reads the unit, else where one makes it. Units
    that no convolution in two dimensions touches have none.

    Parameters
    ----------
    model : nn.Module
        The network before it is cut; it is left as it was.
    batch : Tensor or anything
        A batch as for `prune`; its first sample is shown.
    units : iterable of PruningUnit
    forward : callable, optional
        ``forward(model, batch)``.
    """
    modules = dict(model.named_modules())
    maps: dict[str, FloatArray] = {}
    with ExitStack() as hooks:
        for unit in units:
            ports = [
                port
                for side in ("in", "out")
                for port in unit.ports
                if port.side == side
                and isinstance(modules.get(port.layer), nn.Conv2d)
                and len(port.table(unit.size)[0]) == 1
            ]
            if not ports:
                continue
            places = torch.as_tensor(ports[0].table(unit.size)[:, 0])

            def take(
                tensor: Tensor, name: str = unit.name, at: Tensor = places
            ) -> None:
                shown = tensor.detach()[0, at.to(tensor.device)]
                maps.setdefault(name, shown.double().cpu().numpy())

            module = modules[ports[0].layer]
            if ports[0].side == "in":
                hook = module.register_forward_pre_hook(
                    lambda _, inputs, take=take: take(inputs[0])
                )
            else:
                hook = module.register_forward_hook(
                    lambda _, __, output, take=take: take(output)
                )
            hooks.callback(hook.remove)
        with evaluating(model), torch.no_grad():
            run(model, to_model(leading(batch, 1), model), forward)
    return {name: shown for name, shown in maps.items() if np.isfinite(shown).all()}
