"""Runs of a network whose random numbers are all the expected one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Loaded"]


def _uniform_(x: Any, low: float = 0.0, high: float = 1.0, **_: Any) -> Any:
    return x.fill_((low + high) / 2)


def _constant(make: Callable[..., Any], value: float) -> Callable[..., Any]:
    def made(*args: Any, **kwargs: Any) -> Any:
        kwargs.pop("generator", None)
        return make(*args, **kwargs).fill_(value)

    return made


ANSWERS: dict[str, Callable[..., Any]] = {
    # nothing is dropped; both ways in which torch draws a dropout
    "aten::native_dropout": lambda x, p, train: (x.clone(), torch.ones_like(x).bool()),
    "aten::bernoulli_": lambda x, *_, **__: x.fill_(1.0),
    "aten::bernoulli": lambda x, *_, **__: torch.ones_like(x),
    "aten::uniform_": _uniform_,
    "aten::normal_": lambda x, mean=0.0, std=1.0, **_: x.fill_(mean),
    "aten::rand": _constant(torch.empty, 0.5),
    "aten::rand_like": _constant(torch.empty_like, 0.5),
    "aten::randn": _constant(torch.empty, 0.0),
    "aten::randn_like": _constant(torch.empty_like, 0.0),
}
"""What to answer, by operation. Others draw as they do."""


class Loaded(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Dice that always fall alike, whatever the shape that is drawn.

    A pruned network draws fewer numbers for its dropouts than the masked one, so no
    seed makes their training modes comparable. Here nothing is dropped (what is left
    is scaled all the same), noise is its mean, and no generator moves.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        answer = ANSWERS.get(func._schema.name)
        if answer is None:
            return func(*args, **(kwargs or {}))
        return answer(*args, **(kwargs or {}))
