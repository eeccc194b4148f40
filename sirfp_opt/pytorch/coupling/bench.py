"""One network that is masked, or cut, for a while: a trial needs no copy of it."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sirfp_opt.pytorch.cutting.masking import zeros_of
from sirfp_opt.pytorch.cutting.surgery import cut

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

    from sirfp_opt.network.plan import PruningPlan
    from sirfp_opt.pytorch.cutting.fitting import Fitted

__all__ = ["as_before", "cut_for_a_while", "masked_for_a_while"]

CONTAINERS = (dict, OrderedDict, list, set)


@contextmanager
def masked_for_a_while(
    model: nn.Module,
    plan: PruningPlan,
    fitted: Fitted | None = None,
    room: dict[int, Tensor] | None = None,
) -> Iterator[None]:
    """Set what makes and what reads removed channels to zero in the block.

    Parameters
    ----------
    model : nn.Module
    plan : PruningPlan
    fitted : Fitted, optional
        The plan laid beside the network, where that has been done already.
    room : dict of int to Tensor, optional
        As for `Zeros.set_on`.
    """
    zeros = zeros_of(model, plan, fitted)
    with as_before(model), zeros.set_on(model, room):
        yield


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
