"""One network that is masked, or cut, for a while: a trial needs no copy of it."""

from __future__ import annotations

from collections import Counter, OrderedDict
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sirfp_opt.pytorch.cutting.masking import zeros_of
from sirfp_opt.pytorch.cutting.surgery import cut

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import nn

    from sirfp_opt.network.plan import PruningPlan
    from sirfp_opt.pytorch.cutting.fitting import Fitted

__all__ = ["as_before", "cut_for_a_while", "masked_for_a_while", "same_in"]

CONTAINERS = (dict, OrderedDict, list, set)


@contextmanager
def masked_for_a_while(
    model: nn.Module,
    plan: PruningPlan,
    fitted: Fitted | None = None,
    originals: Mapping[str, Tensor] | None = None,
) -> Iterator[None]:
    """Set what makes and what reads removed channels to zero in the block.

    Parameters
    ----------
    model : nn.Module
    plan : PruningPlan
    fitted : Fitted, optional
        The plan laid beside the network, where that has been done already.
    originals : mapping of str to Tensor, optional
        As for `Zeros.set_on`.
    """
    zeros = zeros_of(model, plan, fitted)
    with as_before(model), zeros.set_on(model, originals):
        yield


def same_in(twin: nn.Module, model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters of a network whose numbers its copy holds, too, by name.

    Those alone whose memory in the copy is their own: to write there changes nothing
    else.

    Parameters
    ----------
    twin : nn.Module
        A copy of `model`, changed since.
    model : nn.Module
    """
    own: dict[int, Tensor] = {}  # by id: a tied tensor counts once
    for module in twin.modules():
        for value in chain(
            module._parameters.values(), module._buffers.values(), vars(module).values()
        ):
            if isinstance(value, Tensor) and value.layout == torch.strided:
                own[id(value)] = value
    users = Counter(tensor.untyped_storage().data_ptr() for tensor in own.values())
    theirs = dict(model.named_parameters(remove_duplicate=False))
    found: dict[str, Tensor] = {}
    for name, mine in twin.named_parameters(remove_duplicate=False):
        other = theirs.get(name)
        if (
            other is not None
            and id(mine) in own
            and users[mine.untyped_storage().data_ptr()] == 1
            and mine.untyped_storage().nbytes() == mine.numel() * mine.element_size()
            and (type(mine), mine.device, mine.shape)
            == (type(other), other.device, other.shape)
            and torch.promote_types(mine.dtype, other.dtype) == mine.dtype
            and mine.untyped_storage().data_ptr() != other.untyped_storage().data_ptr()
            and torch.equal(mine, other.to(mine.dtype))
        ):
            found[name] = other
    return found


@contextmanager
def cut_for_a_while(
    model: nn.Module, plan: PruningPlan, fitted: Fitted | None = None
) -> Iterator[set[str]]:
    """Cut a network in the block; its tensors are others there.

    Parameters
    ----------
    model : nn.Module
    plan : PruningPlan
    fitted : Fitted, optional
        As for `masked_for_a_while`.

    Yields
    ------
    set of str
        The modules that are of another class now.
    """
    before = {name: type(module) for name, module in model.named_modules()}
    with as_before(model):
        cut(model, plan, fitted)
        yield {
            name
            for name, module in model.named_modules()
            if before.get(name) is not type(module)
        }


@contextmanager
def as_before(model: nn.Module) -> Iterator[None]:
    """Give modules their classes and attributes back after the block.

    Tensors are put back, not their numbers: a cut makes new ones. What a run has kept
    in lists and dicts of a module goes, too.
    """
    saved = []
    for module in model.modules():
        held: list[tuple[Any, Any]] = []
        for value in vars(module).values():
            if type(value) in CONTAINERS:
                _note(value, held)
        saved.append((module, type(module), dict(vars(module)), held))
    try:
        yield
    finally:
        for module, kind, attributes, held in saved:
            if type(module) is not kind:
                module.__class__ = kind
            vars(module).clear()
            vars(module).update(attributes)
            for value, content in held:
                if isinstance(value, list):
                    value[:] = content
                else:
                    value.clear()
                    value.update(content)


def _note(value: Any, held: list[tuple[Any, Any]]) -> None:
    """Note what a container holds, and those within it; modules are seen anyway."""
    if not value:
        held.append((value, ()))
        return
    is_dict = isinstance(value, dict)
    held.append((value, list(value.items() if is_dict else value)))
    for inner in value.values() if is_dict else value:
        if type(inner) in CONTAINERS:
            _note(inner, held)
