"""Read a network's cost model off one run of it."""

from __future__ import annotations

import copy
import logging
import math
import re
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode

from sirfp_opt.network.cost import Affine, CostForm, CostModel
from sirfp_opt.pytorch.batches import (
    CORNER,
    Forward,
    evaluating,
    one_sample,
    run,
    to_model,
)
from sirfp_opt.pytorch.coupling.tracing import is_depthwise

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sirfp_opt.network.plan import PruningUnit

__all__ = ["count_macs", "count_params", "read_cost"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

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

    Half of what `torch.utils.flop_counter.FlopCounterMode` counts: convolutions and
    matrix products, without biases, norms and activations. On large pictures nothing
    is computed: a copy of the network whose tensors have a shape and no values is run
    (torch's `FakeTensorMode`), unless the network looks at values on its way.

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

    def count(model: nn.Module, batch: Any) -> int:
        return _count(model, batch, forward, FlopCounterMode(display=False))

    return _on_shapes(count, model, to_model(batch, model))


def _count(
    model: nn.Module, batch: Any, forward: Forward | None, counter: FlopCounterMode
) -> int:
    with evaluating(model), torch.no_grad(), counter:
        run(model, batch, forward)
    return int(counter.get_total_flops()) // 2


def _on_shapes(count: Callable[[nn.Module, Any], T], model: nn.Module, batch: Any) -> T:
    """Return ``count(model, batch)``; without values if the batch is large."""
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
                return count(twin, example)
        except Exception as error:  # whatever: an operation asks for a value
            logger.info("counted on values: %s", error)
    return count(model, batch)


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
    sample = one_sample(to_model(batch, model))
    attention = {unit.heads: unit for unit in units if unit.heads}
    counted, positions, products = _on_shapes(
        lambda network, example: _run_counting(
            network, layers, list(attention), example, forward
        ),
        model,
        sample,
    )
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
            macs.append((positions[layer] * kernel / divisor, reads, makes))
            params.append((kernel / divisor, reads, makes))
            if module.bias is not None:
                params.append((1.0, one, makes))
        else:
            own = list(module.parameters(recurse=False))
            params.append((float(len(own)), one, width("out", 0)))

    for name, unit in attention.items():  # each head costs the same
        macs.append((products[name] / unit.size, one, Affine(0.0, {unit.name: 1.0})))

    sizes = np.array([unit.size for unit in units], dtype=np.int64)

    def form(total: int, products: list[tuple[float, Affine, Affine]]) -> CostForm:
        known = CostForm.from_products(names, products)(sizes)
        return CostForm.from_products(names, products, total - round(known))

    forms = {"macs": form(counted, macs), "params": form(count_params(model), params)}
    return CostModel(tuple(names), sizes, forms)


def _run_counting(
    model: nn.Module,
    layers: list[str],
    attention: list[str],
    batch: Any,
    forward: Forward | None,
) -> tuple[int, dict[str, float], dict[str, float]]:
    """Count one run.

    Returns
    -------
    int
        The network's MACs.
    dict of str to float
        How often each layer applies its kernel.
    dict of str to float
        MACs of the products between activations in each attention module.
    """
    counter = FlopCounterMode(display=False)
    products = dict.fromkeys(attention, 0.0)
    positions = dict.fromkeys(layers, 0.0)
    modules = dict(model.named_modules())
    hooks = []
    for layer in layers:

        def count(
            module: nn.Module, args: Any, output: Tensor, layer: str = layer
        ) -> None:
            if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)):
                _, _, inputs, outputs = _shape(module)
                # A transposed convolution applies its kernel at each input position.
                scattered = getattr(module, "transposed", False)
                positions[layer] += (
                    args[0].numel() / inputs if scattered else output.numel() / outputs
                )

        hooks.append(modules[layer].register_forward_hook(count))
    for name in attention:

        def before(module: nn.Module, args: Any, name: str = name) -> None:
            products[name] -= _product_macs(counter)

        def after(module: nn.Module, args: Any, output: Any, name: str = name) -> None:
            products[name] += _product_macs(counter)

        hooks.append(modules[name].register_forward_pre_hook(before))
        hooks.append(modules[name].register_forward_hook(after))
    try:
        total = _count(model, batch, forward, counter)
    finally:
        for hook in hooks:
            hook.remove()
    return total, positions, products


def _product_macs(counter: FlopCounterMode) -> float:
    """Return the MACs so far of batched products; linear layers are plain ones."""
    counts = counter.get_flop_counts().get("Global", {})
    return sum(n for op, n in counts.items() if re.search("bmm|scaled", str(op))) / 2


def _shape(module: Any) -> tuple[float, int, int, int]:
    """Return a layer's kernel positions, groups, inputs and outputs."""
    if isinstance(module, nn.Linear):
        return 1.0, 1, module.in_features, module.out_features
    kernel = float(math.prod(module.kernel_size))
    return kernel, module.groups, module.in_channels, module.out_channels
