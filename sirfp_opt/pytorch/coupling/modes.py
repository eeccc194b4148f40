"""Parts of a network that run while it is trained only: auxiliary heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from sirfp_opt.pytorch.batches import evaluating, outputs_of, run
from sirfp_opt.pytorch.coupling.evidence import Operations, kinds
from sirfp_opt.pytorch.coupling.labels.internals import eagerly

if TYPE_CHECKING:
    from sirfp_opt.pytorch.batches import Forward

__all__ = ["in_every_mode"]


def in_every_mode(
    model: nn.Module, example: Any, forward: Forward | None
) -> tuple[Forward | None, list[str]]:
    """Return how to call a network so that heads of its training mode run, too.

    In evaluation mode, and once more with the training flag set on whatever has
    children: that is what asks for it to take another road, while batch norms and
    dropout stay as they are. The outputs of both runs are returned.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; left as it is.
    example : Any
        One batch of one sample.
    forward : callable, optional
        ``forward(model, batch)``.

    Returns
    -------
    forward : callable or None
        `forward` itself where the second run reaches no further layer, fails, or is
        not the same twice.
    names : list of str
        The operations of a run by the first `forward`, as `evidence.kinds` tells them;
        empty where it is not the one returned, or fails.
    """

    def asked_to_train(network: nn.Module, batch: Any) -> list[Tensor]:
        holders = [m for m in network.modules() if any(True for _ in m.children())]
        modes = [module.training for module in holders]
        try:
            for module in holders:
                module.training = True
            return outputs_of(run(network, batch, forward))
        finally:
            for module, mode in zip(holders, modes, strict=True):
                module.training = mode

    def both(network: nn.Module, batch: Any) -> Any:
        again = _copied(batch)
        first = run(network, batch, forward)
        return [outputs_of(first), asked_to_train(network, again)]

    layers = [m for m in model.modules() if m._parameters and not m._modules]
    called: set[nn.Module] = set()
    hooks = [m.register_forward_hook(lambda m, *_: called.add(m)) for m in layers]
    names: list[str] = []
    try:
        with evaluating(model), torch.no_grad():
            batch = _copied(example)
            with eagerly(), Operations() as seen:
                run(model, batch, forward)
            names = kinds(seen.names)
            before = len(called)
            if before == len(layers):
                return forward, names
            once = asked_to_train(model, _copied(example))
            if len(called) == before or not once:  # others are used, and not called
                return forward, names
            twice = asked_to_train(model, _copied(example))
        same = all(torch.equal(a, b) for a, b in zip(once, twice, strict=True))
        return (both, []) if same else (forward, names)
    except Exception:  # whatever: it runs in evaluation mode only, or not at all
        return forward, names
    finally:
        for hook in hooks:
            hook.remove()


def _copied(batch: Any) -> Any:
    return pytree.tree_map_only(Tensor, torch.clone, batch)
