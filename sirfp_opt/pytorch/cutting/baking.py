"""Weights that are computed from others: made plain, at their present values."""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from sirfp_opt.pytorch.cutting.standardised import make_ordinary, weight_made

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["bake", "computed", "duplicate", "mask_tensors"]

logger = logging.getLogger(__name__)


def duplicate(model: nn.Module) -> nn.Module:
    """Return a deep copy of a network, even after a run with weights it computes.

    `copy.deepcopy` refuses tensors with a history, which the old weight norm, spectral
    norm and pruning masks leave in a layer: those are copied without it.
    It also drops marks on parameters, which are kept here.
    """
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    twin = copy.deepcopy(model, memo)
    for old, new in zip(model.parameters(), twin.parameters(), strict=True):
        vars(new).update(vars(old))  # marks that people set, such as _no_weight_decay
    return twin


def computed(module: nn.Module) -> tuple[str, ...]:
    """Return the names of a layer's tensors that it computes from others.

    Examples
    --------
    >>> from torch import nn
    >>> from sirfp_opt.pytorch.cutting.baking import computed
    >>> computed(nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)))
    ('weight',)
    """
    found = []
    if parametrize.is_parametrized(module):
        found += list(module.parametrizations)  # type: ignore[arg-type]
    found += [hook.name for hook in _old_hooks(module).values()]
    if not found and weight_made(module) is not None:
        found.append("weight")
    return tuple(found)


def bake(model: nn.Module, layers: Collection[str] | None = None) -> tuple[str, ...]:
    """Make computed weights plain parameters, in place, at their present values.

    Weight norm and spectral norm (the old hooks and the new parametrizations), every
    other parametrization, and convolutions that standardise their weight in each pass
    (`standardised`): the network computes what it did in evaluation mode, and
    trains as one without them. Masks of ``torch.nn.utils.prune`` stay: these are cut
    along.

    Parameters
    ----------
    model : nn.Module
        Changed.
    layers : collection of str, optional
        Only these modules.

    Returns
    -------
    tuple of str
        The tensors that are plain now, by qualified name.

    Examples
    --------
    >>> from torch import nn
    >>> from sirfp_opt.pytorch.cutting.baking import bake
    >>> net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)))
    >>> bake(net), [name for name, _ in net.named_parameters()]
    (('0.weight',), ['0.bias', '0.weight'])
    """
    done = []
    for name, module in model.named_modules():
        if layers is not None and name not in layers:
            continue
        for tensor in computed(module):
            _bake(module, tensor)
            done.append(f"{name}.{tensor}" if name else tensor)
    if done:
        logger.info("made plain parameters: %s", ", ".join(done))
    return tuple(done)


def _bake(module: Any, tensor: str) -> None:
    if parametrize.is_parametrized(module, tensor):
        frozen = not any(
            p.requires_grad for p in module.parametrizations[tensor].parameters()
        )
        training = module.training
        module.eval()  # spectral norm would take a step of its power iteration
        module.__class__ = _own_class(type(module))
        parametrize.remove_parametrizations(module, tensor)
        module.train(training)
        parameter = getattr(module, tensor)
        if isinstance(parameter, nn.Parameter):
            parameter.requires_grad_(not frozen)
        return
    hooks = _old_hooks(module)
    if not hooks:
        made = weight_made(module)
        assert made is not None
        make_ordinary(module, made)
        return
    key, hook = next((k, h) for k, h in hooks.items() if h.name == tensor)
    frozen = not any(
        p.requires_grad
        for n, p in module.named_parameters(recurse=False)
        if n.startswith(f"{tensor}_")
    )
    with torch.no_grad():
        if isinstance(hook, WeightNorm):
            value = hook.compute_weight(module)
            names: tuple[str, ...] = (f"{tensor}_g", f"{tensor}_v")
        else:
            value = hook.compute_weight(module, do_power_iteration=False)
            names = (f"{tensor}_orig", f"{tensor}_u", f"{tensor}_v")
    del module._forward_pre_hooks[key]
    if isinstance(hook, SpectralNorm):
        _drop_state_hooks(module, tensor)
    for name in (*names, tensor):
        module._parameters.pop(name, None)
        module._buffers.pop(name, None)
        module.__dict__.pop(name, None)
    value = value.detach().clone()
    module.register_parameter(tensor, nn.Parameter(value, requires_grad=not frozen))


def _own_class(shared: type) -> type:
    """Return a copy of the class of a parametrized layer.

    Its deep copies share the class that holds the property, and to take it off one
    would take it off all of them.
    """
    gone = ("__dict__", "__weakref__")
    space = {name: value for name, value in vars(shared).items() if name not in gone}
    return type(shared.__name__, shared.__bases__, space)


def _old_hooks(module: nn.Module) -> dict[int, Any]:
    kinds = (WeightNorm, SpectralNorm)
    hooks = module._forward_pre_hooks
    return {k: hook for k, hook in hooks.items() if isinstance(hook, kinds)}


def _drop_state_hooks(module: Any, tensor: str) -> None:
    """Remove the hooks by which spectral norm reads and writes its state dict."""
    for hooks in (module._state_dict_hooks, module._load_state_dict_pre_hooks):
        for key, hook in list(hooks.items()):
            inner = getattr(hook, "hook", hook)  # torch wraps some of them
            inner = getattr(inner, "func", inner)
            if getattr(getattr(inner, "fn", None), "name", None) == tensor:
                del hooks[key]


def mask_tensors(module: nn.Module, tensor: str) -> tuple[str, ...]:
    """Return the tensors that stand behind one masked by ``torch.nn.utils.prune``."""
    names = (f"{tensor}_orig", f"{tensor}_mask")
    if all(isinstance(getattr(module, name, None), Tensor) for name in names):
        return names
    return ()
