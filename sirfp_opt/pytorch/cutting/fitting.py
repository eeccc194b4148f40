"""A plan laid beside a network: all found, all sizes checked, nothing changed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from sirfp_opt.errors import InvalidProblemError, UnsupportedError
from sirfp_opt.network.plan import PruningPlan
from sirfp_opt.pytorch.admission import refuse_wrappers
from sirfp_opt.pytorch.cutting.baking import mask_tensors
from sirfp_opt.pytorch.cutting.layers import CONTAINERS, COUNTED, sides_of, width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sirfp_opt._validate import IntArray
    from sirfp_opt.network.plan import Attribute, PruningUnit, Site

__all__ = ["Fitted", "check_plan", "check_units", "fit", "folded"]

COUNTS = ("normalized_shape", "num_channels", "num_features")
"""Counts that stand for the tensors of a norm without any."""

WAY_OUT = "Apply it to a network of the class that it was made for."


@dataclass
class Fitted:
    """A plan's cuts by tensor, for one network.

    Attributes
    ----------
    removed : dict of str to dict of int to ndarray
        By tensor, then by dimension: the positions that go.
    lengths : dict of (str, int) to int
        How many positions there are before the cut.
    attributes : dict of (str, str, int or None) to int
        By module, attribute and index: the value after the cut.
    layers : set of str
        The modules that hold the tensors.
    """

    removed: dict[str, dict[int, IntArray]] = field(default_factory=dict)
    lengths: dict[tuple[str, int], int] = field(default_factory=dict)
    attributes: dict[tuple[str, str, int | None], int] = field(default_factory=dict)
    layers: set[str] = field(default_factory=set)


def check_plan(model: nn.Module, plan: PruningPlan, *, cut: bool = False) -> None:
    """Raise unless `plan` fits the network; with `cut`, unless it has cut it."""
    fit(model, plan, cut=cut)


def check_units(model: nn.Module, units: Sequence[PruningUnit], argument: str) -> None:
    """Raise unless units that were found before, in an `argument`, are of this network.

    Raises
    ------
    InvalidProblemError
        If a tensor or an attribute is missing, or has another size.
    UnsupportedError
        If the network is wrapped, scripted or without values.
    """
    for unit in units:
        try:
            fit(model, PruningPlan([unit], {}))
        except InvalidProblemError as error:
            raise InvalidProblemError(
                f"`{argument}` must be of this network, got those of another: the unit "
                f"{unit.name!r} of {unit.size} channels has no place in it. "
                "Make them anew, from the network that you pass."
            ) from error


def fit(model: nn.Module, plan: PruningPlan, *, cut: bool = False) -> Fitted:
    """Find every site and attribute of a plan in a network, and check its size.

    Parameters
    ----------
    model : nn.Module
        Not touched.
    plan : PruningPlan
        Sites that name layers (format 1) are replaced by those of their tensors.
    cut : bool
        Whether the sizes are to be those that the plan leaves.

    Raises
    ------
    InvalidProblemError
        If a tensor or an attribute is missing, or has another size.
    UnsupportedError
        If the network is wrapped, scripted or without values.
    """
    refuse_wrappers(model)
    modules = dict(model.named_modules())
    fitted = Fitted()
    pieces: dict[tuple[str, int], list[IntArray]] = {}
    for unit in plan.units:
        gone = plan.removed(unit.name)
        for site in unit.sites:
            for one in _by_tensor(site, modules, unit.name):
                assert one.dim is not None
                key = (one.tensor, one.dim)
                fitted.layers.add(one.layer)
                if fitted.lengths.setdefault(key, one.channels) != one.channels:
                    raise InvalidProblemError(
                        f"`plan` must tell one length of {one.tensor!r} along "
                        f"dimension {one.dim}, got {fitted.lengths[key]} and "
                        f"{one.channels} (unit {unit.name!r}). Trace the network again."
                    )
                if gone.size:
                    pieces.setdefault(key, []).append(one.positions(gone))
    for (tensor, dim), some in pieces.items():
        fitted.removed.setdefault(tensor, {})[dim] = np.unique(np.concatenate(some))
    for (tensor, dim), length in fitted.lengths.items():
        positions = fitted.removed.get(tensor, {}).get(dim)
        lost = 0 if positions is None else len(positions)
        if lost == length:
            raise InvalidProblemError(
                f"`plan` must leave something of {tensor!r} along dimension {dim}, got "
                f"all of its {length} positions removed. Keep more channels."
            )
        _check_length(modules, tensor, dim, length - lost if cut else length)
    _fit_attributes(fitted, modules, plan, cut=cut)
    return fitted


def _by_tensor(site: Site, modules: dict[str, nn.Module], unit: str) -> list[Site]:
    """Return the site itself, or those of a layer's tensors in place of the layer's."""
    if site.dim is not None:
        return [site]
    module = modules.get(site.tensor)
    found = None if module is None else width(module, site.side)
    if module is None or found is None:
        raise InvalidProblemError(
            f"`plan` must name layers of the network, got {site.tensor!r} (unit "
            f"{unit!r}), which it lacks. {WAY_OUT}"
        )
    entries = sides_of(module, site.side)
    if not entries and site.side == "out":
        entries = [(name, 0) for name in COUNTS if hasattr(module, name)]
    prefix = f"{site.tensor}." if site.tensor else ""
    return [replace(site, tensor=prefix + name, dim=dim) for name, dim in entries]


def folded(module: Any, leaf: str, dim: int) -> int:
    """Return how many times a dimension counts: a grouped convolution's inner one."""
    grouped = isinstance(module, nn.modules.conv._ConvNd) and leaf == "weight"
    return int(module.groups) if grouped and dim == 1 else 1


def _length(module: Any, leaf: str, dim: int) -> int | None:
    """Return a tensor's positions along a dimension, None without such a tensor."""
    if leaf in COUNTS and not isinstance(getattr(module, leaf, None), Tensor):
        found = getattr(module, leaf, None)
        found = found if isinstance(found, (tuple, list)) else (found,)
        known = isinstance(module, COUNTED) and dim < len(found)
        return found[dim] if known and isinstance(found[dim], int) else None
    shape = _shape(module, leaf)
    if shape is None or dim >= len(shape):
        return None
    return int(shape[dim]) * folded(module, leaf, dim)


def _shape(module: Any, leaf: str) -> torch.Size | None:
    masked = mask_tensors(module, leaf)
    if masked:
        stored: Tensor = getattr(module, masked[0])
        return stored.shape
    if parametrize.is_parametrized(module, leaf):
        computed = module.parametrizations[leaf]
        modes = [(m, m.training) for m in computed.modules()]
        computed.eval()  # spectral norm would take a step of its power iteration
        try:
            with torch.no_grad():
                value: Tensor = computed()
                return value.shape
        finally:
            for m, training in modes:
                m.training = training
    found = getattr(module, leaf, None)
    return found.shape if isinstance(found, Tensor) else None


def _check_length(
    modules: dict[str, nn.Module], tensor: str, dim: int, expected: int
) -> None:
    layer, _, leaf = tensor.rpartition(".")
    module = modules.get(layer)
    found = None if module is None else _length(module, leaf, dim)
    if found is None:
        raise InvalidProblemError(
            f"`plan` must name tensors of the network, got {tensor!r} (dimension "
            f"{dim}), which it lacks. {WAY_OUT}"
        )
    if found != expected:
        raise InvalidProblemError(
            f"`plan` must fit the network, got {expected} positions for {tensor!r} "
            f"(dimension {dim}), which has {found}. "
            "A plan is applied once, to the network before pruning."
        )
    own = type(module).__module__.startswith("torch.nn.")
    if (
        own
        and type(module) not in CONTAINERS
        and not isinstance(module, (*COUNTED, nn.MultiheadAttention))
    ):
        raise UnsupportedError(
            f"`plan` must not cut a {type(module).__name__}, got {tensor!r} in it: its "
            "counts are not known here. Leave the unit out (`ignore=`)."
        )


def _fit_attributes(
    fitted: Fitted, modules: dict[str, nn.Module], plan: PruningPlan, *, cut: bool
) -> None:
    before: dict[tuple[str, str, int | None], int] = {}
    losses: dict[tuple[str, str, int | None], int] = {}
    for unit in plan.units:
        lost = unit.size - len(plan[unit.name])
        for one in unit.attributes:
            found = _attribute(modules.get(one.module), one, unit.name)
            key = (one.module, one.name, one.index)
            full = found if one.value is None else one.value
            if before.setdefault(key, full) != full:
                raise InvalidProblemError(
                    f"`plan` must tell one value of {one.name!r} of {one.module!r}, "
                    f"got {before[key]} and {full}. Trace the network again."
                )
            if cut and one.value is None:
                continue  # what it was is not known
            losses[key] = losses.get(key, 0) + one.loss(full, lost, unit.size)
    for key, loss in losses.items():
        module, name, index = key
        left = before[key] - loss
        if left < 1:
            raise InvalidProblemError(
                f"`plan` must leave something in {name!r} of {module!r}, got "
                f"{before[key]} less {loss}. Trace the network again."
            )
        found = _value(modules[module], name, index)
        expected = left if cut else before[key]
        if found != expected:
            raise InvalidProblemError(
                f"`plan` must fit the network, got {expected} in {name!r} of "
                f"{module!r}, which is {found}. "
                "A plan is applied once, to the network before pruning."
            )
        if loss:
            fitted.attributes[key] = left


def _value(module: nn.Module, name: str, index: int | None) -> Any:
    found = vars(module).get(name)
    if index is None:
        return found
    entries = found if isinstance(found, (tuple, list)) else ()
    return entries[index] if index < len(entries) else None


def _attribute(module: nn.Module | None, one: Attribute, unit: str) -> int:
    """Return an attribute's value, if a plan may set it."""
    found = None if module is None else _value(module, one.name, one.index)
    if module is None or not isinstance(found, int) or isinstance(found, bool):
        raise InvalidProblemError(
            f"`plan` must fit the network, got channels counted in {one.name!r} of "
            f"{one.module!r} (unit {unit!r}), which it lacks. {WAY_OUT}"
        )
    known = (*COUNTED, nn.MultiheadAttention)
    if isinstance(module, known) and type(module).__module__.startswith("torch.nn."):
        raise InvalidProblemError(
            f"`plan` must not set counts of PyTorch's own layers, got {one.name!r} of "
            f"{one.module!r} (unit {unit!r}): these follow from the tensors. "
            "Trace the network again."
        )
    return found
