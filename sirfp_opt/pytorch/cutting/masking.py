"""The masked twin: a network whose removed channels are zero, none cut."""

from __future__ import annotations

import re
from contextlib import contextmanager
from functools import reduce
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sirfp_opt.pytorch.cutting.baking import bake, duplicate, mask_tensors
from sirfp_opt.pytorch.cutting.fitting import COUNTS, Fitted, fit, folded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sirfp_opt._validate import IntArray
    from sirfp_opt.network.plan import PruningPlan

__all__ = ["mask", "zero", "zeros_of"]

_DIVIDES = re.compile(r"(^|_)(var|variance|std|sigma)$")
"""Tensors that something is divided by: zeros there would make it infinite."""


def mask(model: nn.Module, plan: PruningPlan) -> nn.Module:
    """Return the masked twin: a copy whose removed channels are zero, none cut.

    Whatever makes a removed channel (rows of weights, biases, scales, embeddings) is
    zero there, and so is whatever reads it (columns of weights). Between the two an
    operation may turn zero into something else (a sigmoid, a constant padding, a layer
    norm): nobody reads it, as nobody reads a channel that is not there. So the twin
    computes what the pruned network computes, at the original shapes: a norm over
    channels sums zeros, and divides by their former number.

    It can be trained: before each run its zeros are set again, if a step has moved
    them. With ``norms="own"`` in the plan the pruned network is another one.

    Parameters
    ----------
    model : nn.Module
        The network before pruning.
    plan : PruningPlan
        What is kept.

    Returns
    -------
    nn.Module

    Raises
    ------
    InvalidProblemError
        If the plan does not fit the network.
    UnsupportedError
        If the network is wrapped, scripted or without values.
    """
    fit(model, plan)
    twin = duplicate(model)
    zeros = zero(twin, plan)
    twin.register_forward_pre_hook(zeros)
    return twin


def zero(model: nn.Module, plan: PruningPlan) -> Zeros:
    """Set what makes and what reads removed channels to zero, in place.

    Returns
    -------
    Zeros
        Calling it on the network sets the zeros again.
    """
    zeros = zeros_of(model, plan)
    zeros(model)
    return zeros


def zeros_of(
    model: nn.Module, plan: PruningPlan, fitted: Fitted | None = None
) -> Zeros:
    """Return the zeros of removed channels, not set yet.

    Weights that layers compute become plain ones.

    Parameters
    ----------
    model : nn.Module
    plan : PruningPlan
    fitted : Fitted, optional
        What `fit` says of both.
    """
    fitted = fitted or fit(model, plan)
    bake(model, fitted.layers)
    modules = dict(model.named_modules())
    places = []
    for tensor, removed in fitted.removed.items():
        layer, _, leaf = tensor.rpartition(".")
        if leaf in COUNTS or _DIVIDES.search(leaf):
            continue
        names = mask_tensors(modules[layer], leaf)
        name = tensor[: len(tensor) - len(leaf)] + (names[0] if names else leaf)
        places += [(name, dim, positions) for dim, positions in removed.items()]
    return Zeros(places)


class Zeros:
    """Sets positions of a network's tensors to zero; a forward pre-hook of it.

    Parameters
    ----------
    places : list of (str, int, ndarray)
        Tensor, dimension, positions.
    """

    def __init__(self, places: list[tuple[str, int, IntArray]]) -> None:
        self.places = [(name, dim, torch.from_numpy(p)) for name, dim, p in places]

    def __call__(self, model: nn.Module, args: Any = None) -> None:
        """Set them, where they are not zero already.

        A write, even of what is there, would spoil the gradients of a run before.
        """
        with torch.no_grad():
            for _, tensor, dim, index, groups in self._found(model):
                if groups > 1:
                    gone = _by_group(tensor, index, groups)
                    if bool((tensor * gone).any()):
                        tensor.masked_fill_(gone, 0.0)
                elif bool(tensor.index_select(dim, index).any()):
                    tensor.index_fill_(dim, index, 0.0)

    @contextmanager
    def set_on(
        self, model: nn.Module, originals: Mapping[str, Tensor] | None = None
    ) -> Iterator[None]:
        """Set them in the block, and put back what was there.

        Where the same numbers are kept elsewhere, they are set in place, and put back
        from there: that takes no memory. Else other numbers stand in for the tensor's
        own meanwhile; these are not touched.

        Parameters
        ----------
        model : nn.Module
        originals : mapping of str to Tensor, optional
            By the name of a tensor of `model`: another one of the same numbers, which
            are no wider (float32 for float64). Only read.
        """
        gone: dict[int, tuple[Tensor, Tensor | None, list[Tensor]]] = {}
        for name, tensor, dim, index, groups in self._found(model):
            here = _gone(tensor, dim, index, groups)
            original = None if originals is None else originals.get(name)
            gone.setdefault(id(tensor), (tensor, original, []))[2].append(here)
        changed: list[tuple[Tensor, Tensor, Tensor | None]] = []
        try:
            for tensor, original, places in gone.values():
                numbers = tensor.data
                changed.append((tensor, numbers, original))
                if original is None:
                    everywhere = reduce(torch.logical_or, places)
                    tensor.data = numbers.masked_fill(everywhere, 0.0)
                else:
                    for here in places:
                        numbers.masked_fill_(here, 0.0)
            yield
        finally:
            for tensor, numbers, original in changed:
                tensor.data = numbers
                if original is not None:
                    numbers.copy_(original.data)

    def _found(
        self, model: nn.Module
    ) -> Iterator[tuple[str, Tensor, int, Tensor, int]]:
        """Yield each tensor after its name; dimension, positions, a weight's groups."""
        for name, dim, positions in self.places:
            layer, _, leaf = name.rpartition(".")
            module = model.get_submodule(layer)
            tensor = getattr(module, leaf)
            groups = folded(module, leaf.removesuffix("_orig"), dim)
            yield name, tensor, dim, positions.to(tensor.device), groups


def _gone(tensor: Tensor, dim: int, index: Tensor, groups: int) -> Tensor:
    """Return where a tensor holds positions of a dimension, to be broadcast to it."""
    if groups > 1:
        return _by_group(tensor, index, groups)
    gone = torch.zeros(tensor.shape[dim], dtype=torch.bool, device=tensor.device)
    gone[index] = True
    return gone.view(-1, *[1] * (tensor.dim() - 1 - dim))


def _by_group(weight: Tensor, positions: Tensor, groups: int) -> Tensor:
    """Return where a grouped convolution's weight holds positions of its inner side."""
    rows, columns = weight.shape[:2]
    gone = torch.zeros(groups * columns, dtype=torch.bool, device=weight.device)
    gone[positions] = True
    gone = gone.view(groups, columns).repeat_interleave(rows // groups, 0)
    return gone.view(rows, columns, *[1] * (weight.dim() - 2))
