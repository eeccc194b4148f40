"""Read a network's cost model off one run of it."""

from __future__ import annotations

import copy
import logging
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from sirfp_opt.network.cost import Affine, CostForm, CostModel
from sirfp_opt.pytorch.batches import CORNER, Forward, first_sample, to_model
from sirfp_opt.pytorch.counting import Tally, tally
from sirfp_opt.pytorch.cutting.layers import is_depthwise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sirfp_opt.network.plan import PruningUnit

__all__ = ["count_macs", "count_params", "read_cost"]

logger = logging.getLogger(__name__)

LARGE = 4 * CORNER**2
"""Numbers in a batch above which shapes alone are cheaper to run than values."""


def count_params(model: nn.Module) -> int:
    """Count the parameters of a network, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(
    model: nn.Module,
    batch: Any,
    forward: Forward | None = None,
) -> int:
    """Count the multiply-accumulates of one forward pass.

    Convolutions, matrix products and attention, whichever kernel runs it, without
    biases, norms and activations; see `sirfp_opt.pytorch.counting`. On large pictures
    nothing is computed: a copy of the network whose tensors have a shape and no values
    is run (torch's `FakeTensorMode`), unless the network looks at values on its way.

    Parameters
    ----------
    model : nn.Module
        Run in evaluation mode, without gradients.
    batch : Any
        One batch; the count is for all of its samples.
    forward : callable, optional
        ``forward(model, batch)``.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> count_macs(nn.Conv2d(3, 8, 3, padding=1), torch.rand(1, 3, 10, 10))
    21600
    """
    return tally_of(model, to_model(batch, model), forward).macs


def tally_of(model: nn.Module, batch: Any, forward: Forward | None = None) -> Tally:
    """Return what a run on `batch` does; without values if the batch is large."""
    tensors = [t for t in pytree.tree_leaves(batch) if isinstance(t, Tensor)]
    if sum(tensor.numel() for tensor in tensors) > LARGE:
        from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode

        shapes = FakeTensorMode(allow_non_fake_inputs=True)
        try:
            # A copy: a network may keep what it computes, and this is worth nothing.
            with FakeCopyMode(shapes):
                twin = copy.deepcopy(model)
            example = pytree.tree_map_only(Tensor, shapes.from_tensor, batch)
            with shapes:
                return tally(twin, example, forward)
        except Exception as error:  # whatever: an operation asks for a value
            logger.info("counted on values: %s", error)
    return tally(model, batch, forward)


def read_cost(
    model: nn.Module,
    units: Sequence[PruningUnit],
    batch: Any,
    *,
    forward: Forward | None = None,
) -> CostModel:
    """Return MACs (of one sample) and parameters by kept channels, exactly.

    Parameters
    ----------
    model : nn.Module
        The network before pruning.
    units : sequence of PruningUnit
        What may be pruned; everything else goes into the constant.
    batch : Any
        One batch; its first sample is run.
    forward : callable, optional
        ``forward(model, batch)``.

    Returns
    -------
    CostModel
        With the forms "macs" and "params".

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from sirfp_opt.pytorch import couple, read_cost
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 2, 1))
    >>> image = torch.rand(1, 3, 4, 4)
    >>> read_cost(net, couple(net, image).units, image).predict({"0": 5})
    {'macs': 400, 'params': 32}
    """
    names = [unit.name for unit in units]
    sides: dict[tuple[str, str], dict[str, float]] = {}
    whole: dict[tuple[str, str], float] = {}
    for unit in units:
        for site in unit.ports:
            key = (site.layer, site.side)
            terms = sides.setdefault(key, {})
            terms[unit.name] = terms.get(unit.name, 0.0) + site.repeat
            whole[key] = whole.get(key, site.channels) - site.repeat * unit.size

    modules: dict[str, Any] = dict(model.named_modules())
    layers = list(dict.fromkeys(layer for layer, _ in sides))
    sample = first_sample(model, to_model(batch, model), forward)
    attention = {unit.heads: unit for unit in units if unit.heads}
    done = tally_of(model, sample, forward)
    counted = done.macs
    applied = _times_applied(model, done)
    macs: list[tuple[float, Affine, Affine]] = []
    params: list[tuple[float, Affine, Affine]] = []
    one = Affine(1.0)
    for layer in layers:
        module = modules[layer]

        def width(side: str, otherwise: float, layer: str = layer) -> Affine:
            terms = sides.get((layer, side))
            if terms is None:
                return Affine(float(otherwise))
            return Affine(float(whole[layer, side]), terms)

        if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)):
            kernel, groups, inputs, outputs = _shape(module)
            makes = width("out", outputs)
            reads = one if is_depthwise(module) else width("in", inputs)
            divisor = 1 if is_depthwise(module) else groups
            times = applied.get(f"{layer}.weight", 0.0)
            macs.append((times * kernel / divisor, reads, makes))
            params.append((kernel / divisor, reads, makes))
            if module.bias is not None:
                params.append((1.0, one, makes))
        else:
            own = list(module.parameters(recurse=False))
            params.append((float(len(own)), one, width("out", 0)))

    for name, unit in attention.items():  # each head costs the same
        inside = sum(
            product.macs
            for product in done.products
            if not product.weights and f"{product.module}.".startswith(f"{name}.")
        )
        macs.append((inside / unit.size, one, Affine(0.0, {unit.name: 1.0})))

    sizes = np.array([unit.size for unit in units], dtype=np.int64)

    def form(total: int, products: list[tuple[float, Affine, Affine]]) -> CostForm:
        known = CostForm.from_products(names, products)(sizes)
        return CostForm.from_products(names, products, total - round(known))

    forms = {"macs": form(counted, macs), "params": form(count_params(model), params)}
    return CostModel(tuple(names), sizes, forms)


def _times_applied(model: nn.Module, done: Tally) -> dict[str, float]:
    """Return, by parameter, how often each of its numbers is multiplied."""
    sizes = {name: tensor.numel() for name, tensor in model.named_parameters()}
    times: dict[str, float] = {}
    for product in done.products:
        for view in product.weights:
            if view.name in sizes and math.prod(view.shape) == sizes[view.name]:
                share = product.macs / sizes[view.name]
                times[view.name] = times.get(view.name, 0.0) + share
    return times


def _shape(module: Any) -> tuple[float, int, int, int]:
    """Return a layer's kernel positions, groups, inputs and outputs."""
    if isinstance(module, nn.Linear):
        return 1.0, 1, module.in_features, module.out_features
    kernel = float(math.prod(module.kernel_size))
    return kernel, module.groups, module.in_channels, module.out_channels
