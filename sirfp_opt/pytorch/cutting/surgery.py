"""Cutting channels out of a network, tensor by tensor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from sirfp_opt.errors import InvalidProblemError, UnsupportedError
from sirfp_opt.pytorch.cutting.attention import (
    blocks_left,
    heads_left,
    keep_unnested,
    slim,
)
from sirfp_opt.pytorch.cutting.baking import bake, duplicate, mask_tensors
from sirfp_opt.pytorch.cutting.fitting import COUNTS, Fitted, check_plan, fit
from sirfp_opt.pytorch.cutting.layers import sync
from sirfp_opt.pytorch.cutting.norms import PYTORCH, narrow, norm_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from sirfp_opt._validate import IntArray
    from sirfp_opt.network.plan import PruningPlan

__all__ = ["apply_plan", "cut"]


def apply_plan(
    model: nn.Module, plan: PruningPlan, *, inplace: bool = False
) -> nn.Module:
    """Cut a network as a plan says.

    Everything is checked before the first cut. Device, dtype, training mode, hooks of
    modules, tied parameters and the `requires_grad` of every parameter stay as they
    are. Parameters are new objects: build the optimizer afterwards.

    A weight that a layer computes from others (weight norm, spectral norm, another
    parametrization) becomes a plain parameter at its present value; masks of
    ``torch.nn.utils.prune`` are cut along. Norms over channels go on dividing by their
    former number of channels, which makes the cut network exactly the masked one; a
    plan with ``norms="own"`` leaves ordinary norms.

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
        If a tensor of the plan is missing in `model` or has another size.
    UnsupportedError
        If the network is wrapped (DataParallel, torch.compile), scripted or without
        values.

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
    target = model
    if not inplace:
        check_plan(model, plan)  # before anything is copied
        target = duplicate(model)
    cut(target, plan)
    return target


def cut(model: nn.Module, plan: PruningPlan, fitted: Fitted | None = None) -> None:
    """Remove what a plan removes from each tensor, in place.

    The positions are those of the network before any cut: each dimension of each tensor
    is cut once, so none shifts under another.

    Parameters
    ----------
    model : nn.Module
    plan : PruningPlan
    fitted : Fitted, optional
        What `fit` says of both, where it has been asked.

    Raises
    ------
    InvalidProblemError, UnsupportedError
        As `apply_plan`, before anything is changed.
    """
    fitted = fitted or fit(model, plan)
    operation = _Operation(model, fitted, former=plan.norms == "former")
    operation.prepare()
    bake(model, fitted.layers)
    operation.perform()


@dataclass
class _Operation:
    """A cut, worked out whole before it is performed."""

    model: nn.Module
    fitted: Fitted
    former: bool
    modules: dict[str, Any] = field(default_factory=dict)
    # New tensors by name, made from the present ones.
    slices: dict[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    # What follows once all tensors are cut.
    after: list[Callable[[], None]] = field(default_factory=list)

    def prepare(self) -> None:
        """Work out every slice and every count; raises where they do not fit."""
        self.modules = dict(self.model.named_modules())
        self._refuse_other_names()
        for tensor, removed in self.fitted.removed.items():
            layer, _, leaf = tensor.rpartition(".")
            module = self.modules[layer]
            if leaf in COUNTS:
                self.after.append(self._recount(module, leaf, removed))
                continue
            self.slices[tensor] = self._slice(module, tensor, leaf, removed)
        cuts: dict[str, dict[str, dict[int, IntArray]]] = {}
        for tensor, removed in self.fitted.removed.items():
            layer, _, leaf = tensor.rpartition(".")
            cuts.setdefault(layer, {})[leaf] = removed
        for layer in sorted(self.fitted.layers):
            self._layer(layer, cuts)

    def _refuse_other_names(self) -> None:
        """Raise if a tied tensor is cut in one way under each of its names."""
        seen: dict[int, str] = {}
        for tensor in self.fitted.removed:
            layer, _, leaf = tensor.rpartition(".")
            module = self.modules[layer]
            found = module._parameters.get(leaf, module._buffers.get(leaf))
            if found is None:
                continue
            other = seen.setdefault(id(found), tensor)
            if other != tensor and not _same(
                self.fitted.removed[other], self.fitted.removed[tensor]
            ):
                raise InvalidProblemError(
                    f"`plan` must cut a tied tensor in one way, got others for "
                    f"{other!r} and {tensor!r}. Trace the network again."
                )

    def _lengths(self, tensor: str, dim: int) -> int:
        return self.fitted.lengths[tensor, dim]

    def _kept(self, tensor: str, dim: int) -> IntArray:
        gone = self.fitted.removed.get(tensor, {}).get(dim)
        kept = np.ones(self._lengths(tensor, dim), dtype=bool)
        if gone is not None:
            kept[gone] = False
        return np.flatnonzero(kept)

    def _slice(
        self, module: Any, tensor: str, leaf: str, removed: dict[int, IntArray]
    ) -> Callable[[Tensor], Tensor]:
        grouped = isinstance(module, nn.modules.conv._ConvNd) and module.groups > 1
        if grouped and leaf == "weight":
            return self._grouped(module, tensor)
        kept = {dim: self._kept(tensor, dim) for dim in removed}
        return lambda t: _selected(t, kept)

    def _grouped(self, conv: Any, tensor: str) -> Callable[[Tensor], Tensor]:
        """Cut a grouped convolution: whole groups, or equally many of each.

        Its weight has one row a channel of the first side, in groups, and one column a
        channel of the other side *within* its group.
        """
        groups = conv.groups
        rows, columns = conv.out_channels, conv.in_channels
        if conv.transposed:
            rows, columns = columns, rows
        known = self.fitted.lengths
        first = self._kept(tensor, 0) if (tensor, 0) in known else np.arange(rows)
        left = blocks_left(first, rows, groups)
        if (tensor, 1) in known:
            second = self._kept(tensor, 1)
        else:  # a group's only column goes with the group
            second = np.arange(columns)
            if left is not None and (columns == groups or rows == groups):
                of = second // (columns // groups)
                second = second[np.isin(of, left[0])]
        other = blocks_left(second, columns, groups)
        if left is None or other is None or not np.array_equal(left[0], other[0]):
            raise InvalidProblemError(
                f"`plan` must remove whole groups of {tensor!r}, or equally many "
                f"channels of each of its {groups} groups, got other sets. "
                "Trace the network again."
            )
        number, wide = len(left[0]), other[1]
        inner = torch.from_numpy(second % (columns // groups)).view(number, wide)
        chosen = torch.from_numpy(first)

        def cut_groups(t: Tensor) -> Tensor:
            t = t.index_select(0, chosen.to(t.device))
            places = inner.to(t.device).repeat_interleave(left[1], 0)
            shape = (*places.shape, *t.shape[2:])
            places = places.view(*places.shape, *[1] * (t.dim() - 2)).expand(shape)
            return t.gather(1, places)

        self.after.append(lambda: setattr(conv, "groups", number))
        return cut_groups

    def _recount(
        self, module: Any, leaf: str, removed: dict[int, IntArray]
    ) -> Callable[[], None]:
        """Return what lowers the count of a norm without tensors."""
        found = getattr(module, leaf)
        if isinstance(found, tuple):
            new: Any = tuple(
                n - len(removed.get(dim, ())) for dim, n in enumerate(found)
            )
        else:
            new = found - len(removed[0])
        return lambda: setattr(module, leaf, new)

    def _layer(
        self, layer: str, cuts: dict[str, dict[str, dict[int, IntArray]]]
    ) -> None:
        """Note what else changes in a module some of whose tensors are cut."""
        module = self.modules[layer]
        own = cuts.get(layer, {})
        if isinstance(module, nn.MultiheadAttention):
            if own or (f"{layer}.out_proj" if layer else "out_proj") in cuts:
                rows = {leaf: dims[0] for leaf, dims in own.items() if 0 in dims}
                left = heads_left(module, rows)
                self.after.append(lambda: slim(module, left))
                self.after.append(lambda: keep_unnested(self.model))
            return
        if not own:
            return
        norm = norm_of(module)
        if norm is None and isinstance(module, PYTORCH):
            raise UnsupportedError(
                f"`plan` must not cut a norm over channels of an unknown kind, got "
                f"{layer!r} ({type(module).__name__}): it is not what its base class "
                "computes. Leave the unit out (`ignore=`)."
            )
        if isinstance(module, nn.GroupNorm) and norm is not None:
            self._group_norm(module, norm, next(iter(own.values()))[0])
            return
        before = 0
        if norm is not None:
            if norm.scale is not None:
                before = getattr(module, norm.scale).numel()
            else:
                before = int(np.prod(module.normalized_shape))
        self.after.append(lambda: sync(module))
        if norm is not None:
            self.after.append(lambda: narrow(module, norm, before, former=self.former))

    def _group_norm(self, module: Any, norm: Any, removed: IntArray) -> None:
        wide = module.num_channels // module.num_groups
        kept = np.setdiff1d(np.arange(module.num_channels), removed)
        left = blocks_left(kept, module.num_channels, module.num_groups)
        if left is None:
            raise InvalidProblemError(
                "`plan` must remove whole groups of a group norm, or equally many "
                f"channels of each of its {module.num_groups} groups, got other sets. "
                "Trace the network again."
            )
        number, total = len(left[0]), len(kept)

        def count() -> None:
            module.num_groups, module.num_channels = number, total
            narrow(module, norm, wide, former=self.former)

        self.after.append(count)

    def perform(self) -> None:
        """Replace the tensors, then set the counts."""
        holders: dict[int, list[tuple[Any, str]]] = {}
        for module in self.modules.values():
            for store in (module._parameters, module._buffers):
                for leaf, value in store.items():
                    if value is not None:
                        holders.setdefault(id(value), []).append((module, leaf))
        done: set[int] = set()
        for tensor, act in self.slices.items():
            layer, _, leaf = tensor.rpartition(".")
            module = self.modules[layer]
            for name in mask_tensors(module, leaf) or (leaf,):
                old = getattr(module, name)
                if id(old) in done:
                    continue  # tied: cut under its other name
                new = _like(old, act(old.detach()))
                done.add(id(new))
                for owner, key in holders.get(id(old), [(module, name)]):
                    setattr(owner, key, new)
                    if owner is not module:
                        self.after.append(lambda owner=owner: sync(owner))  # type: ignore[misc]
            if mask_tensors(module, leaf):
                orig, own_mask = (
                    getattr(module, n) for n in mask_tensors(module, leaf)
                )
                setattr(module, leaf, (orig * own_mask).detach())
        for follow in self.after:
            follow()
        for (layer, name, index), value in self.fitted.attributes.items():
            module = self.modules[layer]
            if index is not None:
                entries = list(getattr(module, name))
                entries[index] = value
                setattr(module, name, type(getattr(module, name))(entries))
            else:
                setattr(module, name, value)


def _same(one: dict[int, IntArray], other: dict[int, IntArray]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[dim], other[dim]) for dim in one
    )


def _selected(t: Tensor, kept: dict[int, IntArray]) -> Tensor:
    for dim, positions in kept.items():
        t = t.index_select(dim, torch.from_numpy(positions).to(t.device))
    return t


def _like(old: Tensor, new: Tensor) -> Tensor:
    """Return the new values as the old object was: parameter or buffer, its layout."""
    last = torch.channels_last
    if old.dim() == 4 and old.is_contiguous(memory_format=last):
        new = new.contiguous(memory_format=last)
    if isinstance(old, nn.Parameter):
        made: Tensor = nn.Parameter(new, requires_grad=old.requires_grad)
        vars(made).update(vars(old))  # marks that people set, such as _no_weight_decay
        return made
    return new
