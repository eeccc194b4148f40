"""Passes of a network over the pictures, while somebody watches."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from sirfp_opt.pytorch.batches import (
    Forward,
    counted,
    evaluating,
    first_and_all,
    run,
    to_model,
)
from sirfp_opt.pytorch.refitting.gather import count_pictures

if TYPE_CHECKING:
    from sirfp_opt._parallel import Clock

__all__ = ["run_over", "some_of"]


class Watcher(AbstractContextManager[Any], Protocol):
    """Has its hooks on the network in a ``with`` block."""

    def begin(self, pictures: int) -> None:
        """Say how many pictures the next batch has."""


def run_over(
    model: nn.Module,
    batches: Any,
    watcher: Watcher,
    forward: Forward | None,
    clock: Clock,
    stage: str = "gather",
) -> None:
    """Run a network over all batches in evaluation mode, a watcher looking on."""
    _, every = first_and_all(batches)
    with evaluating(model), torch.no_grad(), watcher:
        for batch in counted(every, None, stage, clock.tell):
            here = to_model(batch, model)
            watcher.begin(count_pictures(here))
            run(model, here, forward)


def some_of(batch: Any, pictures: int, *, whole: bool = False) -> list[Any]:
    """Return an eighth of so many pictures, of one batch: enough to judge a merge by.

    The `whole` batch where its first dimension does not count pictures.
    """
    if whole:
        return [batch]
    most = max(1, pictures // 8)

    def cut(tensor: Tensor) -> Tensor:
        return tensor[:most] if tensor.dim() else tensor

    return [pytree.tree_map_only(Tensor, cut, batch)]
