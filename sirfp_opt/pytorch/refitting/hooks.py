"""Watching some layers in forward passes that end when all have been seen."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sirfp_opt.pytorch.cutting.heads import is_attention, leading_batch, values_of

__all__ = ["Enough", "Take", "outside_of_modes", "watching"]

Take = Callable[[str, Tensor, "Tensor | None"], None]
"""Is handed a layer's name, what it reads, and what it has made of it, if it has."""


class Enough(BaseException):
    """All that was to be seen in a forward pass has been; no `except` stops it."""


@contextmanager
def outside_of_modes(tensor: Tensor) -> Iterator[None]:
    """Compute in a hook as if the loop around it had no modes of its own.

    Sums of a loop in inference mode must not be inference tensors, nor rounded by one
    in mixed precision.
    """
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        torch.autocast(tensor.device.type, enabled=False),
    ):
        yield


@contextmanager
def watching(
    network: nn.Module, layers: Collection[str], take: Take, *, before: bool
) -> Iterator[set[str]]:
    """Hand on what layers read and make, and stop a forward pass after the last.

    Parameters
    ----------
    network : nn.Module
    layers : collection of str
        Projections of an attention module, which it never calls, among them.
    take : callable
        Is called outside of the loop's own modes, once a pass for each layer.
    before : bool
        Before the layer runs, without its output; else after it.

    Yields
    ------
    set of str
        To be filled before each pass with the layers that are to be seen in it.

    Raises
    ------
    Enough
        Out of the forward pass.
    """
    modules = dict(network.named_modules())
    left: set[str] = set()

    def see(layer: str, tensor: Tensor, output: Tensor | None) -> None:
        with outside_of_modes(tensor):
            take(layer, tensor, output)
        left.discard(layer)
        if not left:
            raise Enough

    def seeing(layer: str) -> Callable[..., None]:
        def seen(_: nn.Module, args: Any, kwargs: Any, output: Any = None) -> None:
            if layer in left:
                see(layer, args[0] if args else kwargs["input"], output)

        return seen

    def attending(layer: str) -> Callable[..., None]:
        def seen(module: Any, args: Any, kwargs: Any, output: Any = None) -> None:
            if layer in left:
                heads = leading_batch(module, values_of(module, args, kwargs))
                made = None if output is None else leading_batch(module, output[0])
                see(layer, heads, made)

        return seen

    handles = []
    for layer in layers:
        parent = modules[layer.rpartition(".")[0]]
        inside = layer.endswith("out_proj") and is_attention(parent)
        module = parent if inside else modules[layer]
        hook: Any = attending(layer) if inside else seeing(layer)
        handles.append(
            module.register_forward_pre_hook(hook, with_kwargs=True)
            if before
            else module.register_forward_hook(hook, with_kwargs=True)
        )
    try:
        yield left
    finally:
        for handle in handles:
            handle.remove()
