"""What a network must be, and do on a sample, before anything is asked of it."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils import _pytree as pytree

from sirfp_opt.errors import InvalidProblemError, UnsupportedError
from sirfp_opt.pytorch.batches import frozen_outputs
from sirfp_opt.pytorch.comparison import compare
from sirfp_opt.pytorch.counting import tally

if TYPE_CHECKING:
    from sirfp_opt.pytorch.batches import Forward

__all__ = ["admit", "check_model", "refuse_wrappers"]

SAME = 1e-4
"""Share of a channel's size up to which two runs on one sample are the same."""

WRAPPERS = {
    "DataParallel": "{}.module, and wrap what comes back",
    "DistributedDataParallel": "{}.module, and wrap what comes back",
    "FullyShardedDataParallel": "the network before it was sharded",
    "OptimizedModule": "{}._orig_mod, and compile the result",
}
"""Modules of torch that hold a network, and what to take in their place."""

REPARAMETRIZED = {
    "BasePruningMethod": "torch.nn.utils.prune.remove(module, 'weight')",
    "WeightNorm": "torch.nn.utils.remove_weight_norm(module)",
    "SpectralNorm": "torch.nn.utils.remove_spectral_norm(module)",
}
"""Hooks that compute a weight before each run, and how to be rid of them."""


def check_model(model: Any) -> None:
    """Refuse what cannot be traced and cut, with the way out.

    Raises
    ------
    InvalidProblemError
        If `model` is no network, or holds no parameter.
    UnsupportedError
        If it is wrapped, scripted, without values, or prepared for quantization; if a
        hook computes a weight.
    """
    if not isinstance(model, nn.Module):
        raise InvalidProblemError(
            f"`model` must be a torch.nn.Module, got {type(model).__name__}. "
            "Pass the network itself."
        )
    refuse_wrappers(model)
    for name, module in model.named_modules():
        for hook in module._forward_pre_hooks.values():
            for kind in {base.__name__ for base in type(hook).__mro__}:
                if kind in REPARAMETRIZED:
                    raise UnsupportedError(
                        f"`model` must hold its weights as parameters, got {name!r}, "
                        f"whose weight a hook computes ({type(hook).__name__}). Make "
                        f"it one first: {REPARAMETRIZED[kind]}."
                    )
        home = type(module).__module__
        if ".quantized" in home or ".qat" in home or _fake_quantizes(module):
            raise UnsupportedError(
                f"`model` must have floating-point layers, got {_place(name)}, a "
                f"{type(module).__name__} of {home}. Prune first, then prepare the "
                "pruned network for quantization."
            )
    if not [*model.parameters(), *model.buffers()]:
        raise InvalidProblemError(
            "`model` must have parameters, got none. Pass a network with layers."
        )


def refuse_wrappers(model: nn.Module) -> None:
    """Refuse a network that no plan can be laid beside, with the way out.

    Raises
    ------
    UnsupportedError
        If it, or a part of it, is wrapped, scripted or without values.
    """
    for name, module in model.named_modules():
        for base in type(module).__mro__:
            if base.__name__ in WRAPPERS and base.__module__.startswith("torch."):
                inner = WRAPPERS[base.__name__].format(f"model.{name}".rstrip("."))
                raise UnsupportedError(
                    f"`model` must be the network itself, got {_place(name)} in a "
                    f"{type(module).__name__}. "
                    + (f"Put {inner}, in its place." if name else f"Pass {inner}.")
                )
        if isinstance(module, torch.jit.ScriptModule):
            raise UnsupportedError(
                f"`model` must be written in Python, got {_place(name)} as a scripted "
                "or traced module. Prune before torch.jit.script or torch.jit.trace, "
                "and script the result."
            )
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise UnsupportedError(
                f"`model` must have values, got the lazy parameter {name!r}. "
                "Give it a shape first: run lazy layers on one batch."
            )
        if tensor.is_meta:
            raise UnsupportedError(
                f"`model` must have values, got {name!r} on the meta device. "
                "Load its weights, or call model.to_empty(device='cpu')."
            )


def _place(name: str) -> str:
    return repr(name) if name else "it"


def admit(model: nn.Module, sample: Any, forward: Forward | None = None) -> None:
    """Refuse a network that does not run on `sample`, or not twice alike.

    Parameters
    ----------
    model : nn.Module
    sample : Any
        What it is to be traced and verified on.
    forward : callable, optional
        ``forward(model, batch)``.

    Raises
    ------
    InvalidProblemError
        If the run fails, `sample` is empty or not finite, or there is no output.
    UnsupportedError
        If two runs in evaluation mode give different outputs: nothing could be
        verified. The operation that draws is named.
    """
    for tensor in _tensors(sample):
        if not tensor.numel():
            raise InvalidProblemError(
                f"`batches` must hold samples, got a tensor of shape "
                f"{tuple(tensor.shape)}. Leave empty batches out."
            )
        if not bool(tensor.isfinite().all()):
            raise InvalidProblemError(
                "`batches` must have a first batch with a finite sample, got NaN or "
                "infinity in all of them. Leave such pictures out."
            )
    try:
        once, again = (frozen_outputs(model, sample, forward) for _ in range(2))
    except Exception as error:  # whatever the network raises is the finding
        text = (str(error).strip().splitlines() or [""])[0]
        shapes = [tuple(tensor.shape) for tensor in _tensors(sample)]
        raise InvalidProblemError(
            "`batches` must be what `model` takes, got "
            f"{type(error).__name__} on tensors of shapes {shapes}: {text}. "
            "Batches come with a leading dimension of samples; where the network is "
            "called in another way, pass forward=lambda model, batch: ..."
        ) from error
    if not once:
        raise InvalidProblemError(
            "`model` must return floating-point tensors, got none in evaluation mode. "
            "Pass forward= to return what counts."
        )
    found = compare(again, once)
    if found.relative > SAME:
        drawn = tally(model, sample, forward).random
        named = "; ".join(
            f"{operation} in {module or 'the network'!r}"
            for operation, module in drawn.items()
        )
        raise UnsupportedError(
            "`model` must give the same outputs twice in evaluation mode, got outputs "
            f"that differ by {found}. It draws random numbers: {named or 'unseen'}. "
            "Switch that off while pruning, for instance by "
            "dropout(x, p, training=self.training)."
        )


def _fake_quantizes(module: nn.Module) -> bool:
    return any("FakeQuantize" in base.__name__ for base in type(module).__mro__)


def _tensors(batch: Any) -> list[Tensor]:
    leaves = chain(pytree.tree_leaves(batch))
    return [
        leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()
    ]
