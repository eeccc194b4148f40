"""What is noted of a traced run: where labels start, and what each operation did."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from sirfp_opt.pytorch.coupling.labels import internals
from sirfp_opt.pytorch.coupling.labels.shadows import layout_of

if TYPE_CHECKING:
    from sirfp_opt._validate import IntArray
    from sirfp_opt.network.sites import Side

__all__ = ["Call", "Node", "Param", "Score", "Step", "place_of_user"]


@dataclass
class Node:
    """The labels of the positions along one dimension of a parameter, or of all of it.

    Attributes
    ----------
    name : str
        Of the parameter or buffer.
    dim : int, optional
        None for every element by itself.
    start : int
        The first label.
    shape : tuple of int
        Positions; ``(channels,)`` with a dimension. Of a grouped convolution's inputs
        all of them are counted, not those of one group.
    side : "in" or "out"
        Whether the parameter is summed over that dimension.
    """

    name: str
    dim: int | None
    start: int
    shape: tuple[int, ...]
    side: Side = "out"

    @property
    def size(self) -> int:
        """Number of labels."""
        return int(np.prod(self.shape))


@dataclass
class Param:
    """A parameter or buffer, and the labels that it has been given."""

    name: str
    tensor: Tensor
    why_fixed: str = ""
    bare: bool = False
    axes: dict[int, Node] = field(default_factory=dict)

    @property
    def layer(self) -> str:
        """The module that holds it."""
        return self.name.rpartition(".")[0]

    def same_as(self, tensor: Tensor) -> bool:
        """Tell whether a tensor is this one, under another name perhaps."""
        return layout_of(tensor) == layout_of(self.tensor)


@dataclass
class Call:
    """One operation: what it was called with, and what it made."""

    name: str
    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    tensors: list[Tensor]
    out: Any
    where: str
    _bound: dict[str, Any] | None = None

    def __getitem__(self, argument: str) -> Any:
        if self._bound is None:
            self._bound = internals.arguments_of(self.func, self.args, self.kwargs)
        return self._bound.get(argument)


@dataclass(frozen=True)
class Step:
    """What one operation of the run did to labels; kept to find out what fails."""

    name: str
    where: str
    line: tuple[str, int]
    touched: IntArray
    label: Tensor | None
    shape: tuple[int, ...]
    followed: bool = True
    owner: object = None  # whose method it stands in, be that `where` or not

    @property
    def told(self) -> str:
        """The operation, and where it stands."""
        return f"{self.name} ({self.where}, line {self.line[1]})"


@dataclass(frozen=True)
class Score:
    """A product of two activations over channels of both: queries times keys.

    Attributes
    ----------
    left, right : ndarray of shape (products, K)
        The labels over which each product sums, as they were before it united them:
        those of the weights that make the channels first.
    """

    left: IntArray
    right: IntArray


def place_of_user() -> tuple[tuple[str, int], object]:
    """Return file and line of the innermost code that is neither torch's nor this.

    And whose method that is: a module may be asked for more than its forward.
    """
    frame: Any = sys._getframe(2)
    while frame is not None:
        path = frame.f_code.co_filename
        if not path.startswith(_OTHERS):
            own = frame.f_code.co_varnames[: min(1, frame.f_code.co_argcount)]
            owner = frame.f_locals.get(own[0]) if own else None
            return (path, int(frame.f_lineno)), owner if _is_module(owner) else None
        frame = frame.f_back
    return ("", 0), None


def _is_module(value: object) -> bool:
    return isinstance(value, nn.Module)


_OTHERS = (os.path.dirname(torch.__file__), os.path.dirname(os.path.dirname(__file__)))
