"""Parts of a network that run while it is trained only: auxiliary heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from sirfp_opt.pytorch.batches import evaluating, outputs_of, run

if TYPE_CHECKING:
    from sirfp_opt.pytorch.batches import Forward

__all__ = ["in_every_mode"]


def in_every_mode(
    model: nn.Module, example: Any, forward: Forward | None
) -> Forward | None:
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
    callable or None
        `forward` itself where the second run reaches no further layer, fails, or is
        not the same twice.
    """

    def both(network: nn.Module, batch: Any) -> Any:
        again = pytree.tree_map_only(Tensor, torch.clone, batch)
        first = run(network, batch, forward)
        holders = [m for m in network.modules() if any(True for _ in m.children())]
        modes = [module.training for module in holders]
        try:
            for module in holders:
                module.training = True
            second = run(network, again, forward)
        finally:
            for module, mode in zip(holders, modes, strict=True):
                module.training = mode
        return [outputs_of(first), outputs_of(second)]

    layers = [m for m in model.modules() if m._parameters and not m._modules]
    called: set[nn.Module] = set()
    hooks = [m.register_forward_hook(lambda m, *_: called.add(m)) for m in layers]
    try:
        with evaluating(model), torch.no_grad():
            run(model, _copied(example), forward)
            if len(called) == len(layers):
                return forward
            before = len(called)
            once, twice = (both(model, _copied(example))[1] for _ in range(2))
        same = all(torch.equal(a, b) for a, b in zip(once, twice, strict=True))
        return both if len(called) > before and same and once else forward
    except Exception:  # whatever: it runs in evaluation mode only, or not at all
        return forward
    finally:
        for hook in hooks:
            hook.remove()


def _copied(batch: Any) -> Any:
    return pytree.tree_map_only(Tensor, torch.clone, batch)
