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
from sirfp_opt.pytorch.batches import (
    CORNER,
    Forward,
    first_sample,
    small_sample,
    to_model,
)
from sirfp_opt.pytorch.counting import Tally, tally
from sirfp_opt.pytorch.cutting.baking import bake, computed, duplicate
from sirfp_opt.pytorch.products import activation_products

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sirfp_opt._validate import IntArray
    from sirfp_opt.network.plan import PruningUnit
    from sirfp_opt.pytorch.counting import View

    _Widths = dict[str, dict[int, tuple[int, list[tuple[str, IntArray]]]]]

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
    if any(computed(module) for module in model.modules()):
        model = duplicate(model)  # as surgery leaves it: plain weights where it cuts
        bake(model, {site.layer for unit in units for site in unit.sites})
    sample = first_sample(model, to_model(batch, model), forward)
    done = tally_of(model, sample, forward)
    widths = _widths(units)
    tensors = {
        name: tensor.numel()
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
    }
    params = [
        (tensors[name] / whole, *sides)
        for name, _ in model.named_parameters()
        for whole, sides in [_sides(name, widths, None)]
        if sides
    ]
    macs = []
    for product in done.products:
        whole, sides = _of_weights(model, product.weights, widths)
        if sides:
            macs.append((product.macs / whole, *sides))
    small = small_sample(model, sample, forward)
    macs += activation_products(
        model, units, done.products, lambda network: tally_of(network, small, forward)
    )

    sizes = np.array([unit.size for unit in units], dtype=np.int64)

    def form(total: int, products: list[tuple[float, Affine, Affine]]) -> CostForm:
        known = CostForm.from_products(names, products)(sizes)
        return CostForm.from_products(names, products, total - round(known))

    forms = {"macs": form(done.macs, macs), "params": form(count_params(model), params)}
    return CostModel(tuple(names), sizes, forms)


def _of_weights(
    model: nn.Module, weights: Sequence[View], widths: _Widths
) -> tuple[float, tuple[Affine, Affine] | tuple[()]]:
    """Return what a product with weights depends on, as `_sides` does.

    Of two weights (learned queries that a linear layer reads) one tells it all, if both
    of its sides are cut; otherwise each tells one side, unless they share it.
    """
    found: list[tuple[float, tuple[Affine, Affine]]] = []
    for view in weights:
        shape = _shape_of(model, view.name)
        part = None if math.prod(view.shape) == math.prod(shape) else view
        covered = None if part is None else _covered(part, shape)
        whole, sides = _sides(view.name, widths, covered)
        if sides and sides[1] != Affine(1.0):
            return whole, sides
        if sides and sides not in [known for _, known in found]:
            found.append((whole, sides))
    if len(found) < 2:
        return found[0] if found else (1.0, ())
    (one, (left, _)), (other, (right, _)) = found[:2]
    return one * other, (left, right)


def _widths(
    units: Sequence[PruningUnit],
) -> _Widths:
    """Return, by tensor and dimension: its positions, and those of each unit."""
    found: _Widths = {}
    for unit in units:
        for site in unit.sites:
            if site.dim is None:
                continue
            dims = found.setdefault(site.tensor, {})
            _, tables = dims.setdefault(site.dim, (site.channels, []))
            tables.append((unit.name, site.table(unit.size)))
    return found


def _sides(
    name: str,
    widths: _Widths,
    covered: dict[int, IntArray] | None,
) -> tuple[float, tuple[Affine, Affine] | tuple[()]]:
    """Return a tensor's positions along the dimensions that are cut, and their counts.

    Of a part of a tensor only the positions that it covers.
    """
    affines, whole = [], 1.0
    for dim, (channels, tables) in widths.get(name, {}).items():
        inside = np.ones(channels, dtype=bool)
        if covered is not None and dim in covered:
            inside[:] = False
            inside[covered[dim]] = True
        total = int(inside.sum())
        terms: dict[str, float] = {}
        for unit, table in tables:
            terms[unit] = terms.get(unit, 0.0) + inside[table].sum() / len(table)
        const = total - sum(
            times * len(table)
            for unit, times in terms.items()
            for table in [next(t for u, t in tables if u == unit)]
        )
        affines.append(Affine(float(const), terms))
        whole *= total
    if not affines:
        return 1.0, ()
    left, right = [*affines, Affine(1.0)][:2]
    return whole, (left, right)


def _covered(view: View, shape: tuple[int, ...]) -> dict[int, IntArray]:
    """Return which positions of a tensor's dimensions a part of it covers."""
    places = np.array([view.offset])
    for size, stride in zip(view.shape, view.stride, strict=True):
        places = (places[:, None] + np.arange(size) * stride).ravel()
    index = np.unravel_index(places, shape)
    return {dim: np.unique(along) for dim, along in enumerate(index)}


def _shape_of(model: nn.Module, name: str) -> tuple[int, ...]:
    layer, _, leaf = name.rpartition(".")
    return tuple(getattr(model.get_submodule(layer), leaf).shape)
