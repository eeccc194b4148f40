"""What is used of torch beyond its public interface, in one place.

Each of these has a test of its own (``tests/pytorch/labels/test_internals.py``), so
that a new torch that changes one of them says which.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "DispatchMode",
    "StorageReference",
    "arguments_of",
    "broadcast_shape",
    "eagerly",
    "is_pointwise",
    "name_of",
    "storage_key",
]


class DispatchMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation below autograd, once composite ones are taken apart."""

    def __init_subclass__(cls) -> None:
        """Leave the method as it is: torch's wrapper imports the compiler first."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]


class StorageReference:
    """A reference to a tensor's storage that does not keep it alive."""

    def __init__(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        self._weak: Any = StorageWeakRef(storage)  # type: ignore[no-untyped-call]

    def expired(self) -> bool:
        """Tell whether the storage is gone, and another may have its address."""
        return bool(self._weak.expired())


def broadcast_shape(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the sizes of tensors of these sizes broadcast together."""
    return tuple(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]


def storage_key(tensor: Tensor) -> int:
    """Return a number that tensors have in common if they share their storage."""
    if tensor.layout is not torch.strided:
        return id(tensor)
    return int(tensor.untyped_storage()._cdata)


def name_of(func: Any) -> str:
    """Return an operator's name without namespace and overload."""
    return str(func._schema.name).rpartition("::")[2]


def arguments_of(func: Any, args: tuple[Any, ...], kwargs: Any) -> dict[str, Any]:
    """Return an operator's arguments by their names, defaults included."""
    found: dict[str, Any] = {}
    for place, argument in enumerate(func._schema.arguments):
        if place < len(args):
            found[argument.name] = args[place]
        elif argument.name in kwargs:
            found[argument.name] = kwargs[argument.name]
        elif argument.has_default_value():
            found[argument.name] = argument.default_value
    return found


@cache
def is_pointwise(name: str) -> bool:
    """Tell whether an operator works element by element, by torch's own tag."""
    packet = getattr(torch.ops.aten, name, None)
    overloads = packet.overloads() if packet is not None else ()
    return any(torch.Tag.pointwise in getattr(packet, o).tags for o in overloads)


@contextmanager
def eagerly() -> Iterator[None]:
    """Run attention and compiled parts by ordinary operators, which can be followed."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    # To import the compiler takes seconds; who has compiled a part has it already.
    compiler = "torch._dynamo" in sys.modules
    stance = torch.compiler.set_stance("force_eager") if compiler else nullcontext()
    try:
        with stance:
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
