"""What a run of a network does: its products, its random draws, what has no formula."""

from __future__ import annotations

import math
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from sirfp_opt.pytorch.batches import Forward, evaluating, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Product", "Tally", "tally"]


@dataclass(frozen=True)
class Product:
    """One operation that multiplies and adds.

    Attributes
    ----------
    operation : str
        Its name in torch.
    module : str
        The module whose forward called it.
    macs : int
        Multiply-accumulates.
    weights : tuple of View
        The operands that are (parts of) parameters or buffers; none for a product of
        two activations.
    """

    operation: str
    module: str
    macs: int
    weights: tuple[View, ...] = ()


@dataclass(frozen=True)
class View:
    """A parameter or buffer, or a part of one, as an operation sees it.

    Attributes
    ----------
    name : str
        Qualified name of the parameter or buffer.
    shape, stride : tuple of int
    offset : int
        Of the view, in elements of the storage.
    """

    name: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int


@dataclass
class Tally:
    """What one run did.

    Attributes
    ----------
    products : list of Product
        In the order in which they ran.
    uncounted : dict of str to str
        Operations that multiply and have no formula, each with the first module that
        called it. They are not in `macs`.
    random : dict of str to str
        Operations that draw random numbers, likewise.
    """

    products: list[Product] = field(default_factory=list)
    uncounted: dict[str, str] = field(default_factory=dict)
    random: dict[str, str] = field(default_factory=dict)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all products that have a formula."""
        return sum(product.macs for product in self.products)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the MACs leave out, in words."""
        return tuple(
            f"MACs are without {name!r} (first in {module or 'the network'!r}): "
            "it has no formula"
            for name, module in self.uncounted.items()
        )


def _attention(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> int:
    flops: Any = sdpa_flop_count  # untyped in torch
    return int(flops(q.shape, k.shape, v.shape)) // 2


def _recurrent(x: Tensor, inner: Tensor, outer: Tensor, *_: Any, **__: Any) -> int:
    return x.shape[0] * x.shape[1] * (inner.numel() + outer.numel())


def _deformed(x: Tensor, weight: Tensor, *_: Any, out: Tensor, **__: Any) -> int:
    return out.numel() * math.prod(weight.shape[1:])


FORMULAS: dict[str, Callable[..., int]] = {
    # torch counts the attention of every device but this one
    "aten::_scaled_dot_product_flash_attention_for_cpu": _attention,
    "aten::_scaled_dot_product_fused_attention_overrideable": _attention,
    "aten::mkldnn_rnn_layer": _recurrent,
    "aten::mv": lambda a, b, **_: a.numel(),
    "aten::addmv": lambda c, a, b, **_: a.numel(),
    "aten::dot": lambda a, b, **_: a.numel(),
    "aten::vdot": lambda a, b, **_: a.numel(),
    "aten::addbmm": lambda c, a, b, **_: a.numel() * b.shape[2],
    "aten::_cdist_forward": lambda a, b, *_, out, **__: out.numel() * a.shape[-1],
    "torchvision::deform_conv2d": _deformed,
}
"""MACs of operations that torch's own registry lacks, by (*arguments, out=result)."""

MULTIPLIES = re.compile(
    r"mm\b|mm_|matmul|conv|linear|attention|transformer|rnn|lstm|gru|fft|cdist"
    r"|linalg|trilinear|tensordot|einsum|outer"
)
"""Names of operations that multiply, for those without a formula."""

HARMLESS = re.compile(r"upsample|backward|_fw_primal")
KNOWN = ("aten", "prims", "prim", "inductor", "profiler", "rngprims")
"""Namespaces whose operations are judged by their name; others are not known at all."""


QUERIES = (
    "is_contiguous",
    "sym_is_contiguous",
    "is_strides_like_format",
    "is_non_overlapping_and_dense",
    "size",
    "sym_size",
    "stride",
    "sym_stride",
    "storage_offset",
    "sym_storage_offset",
    "numel",
    "sym_numel",
    "dim",
)
"""Questions to a tensor, which a dispatch mode has to leave to the tensor."""


def tally(model: nn.Module, batch: Any, forward: Forward | None = None) -> Tally:
    """Run a network once, in evaluation mode, and note what it does.

    Multiply-accumulates are those of `torch.utils.flop_counter`, half of its floating
    point operations, and the formulas above for what that lacks. No fused inference
    path is taken, so they are the same on every device.

    Parameters
    ----------
    model : nn.Module
    batch : Any
        One batch, on the model's device.
    forward : callable, optional
        ``forward(model, batch)``.
    """
    counter = _Counter(model)
    # A network may write into its input: hand it a copy.
    batch = pytree.tree_map_only(Tensor, torch.clone, batch)
    with evaluating(model), torch.no_grad(), counter.following(model), counter:
        run(model, batch, forward)
    return counter.tally


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation of a run below autograd."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tally = Tally()
        self.stack: list[str] = [""]
        tensors = {**dict(model.named_buffers()), **dict(model.named_parameters())}
        self.names = {_storage(t): name for name, t in tensors.items() if t.numel()}

    @contextmanager
    def following(self, model: nn.Module) -> Iterator[None]:
        """Know which module's forward is running."""
        hooks = []
        for name, module in model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue

            def enter(module: nn.Module, args: Any, name: str = name) -> None:
                self.stack.append(name)

            def leave(module: nn.Module, args: Any, output: Any) -> None:
                self.stack.pop()

            hooks.append(module.register_forward_pre_hook(enter, prepend=True))
            hooks.append(module.register_forward_hook(leave, always_call=True))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        packet = func._overloadpacket
        if func.namespace == "prim" or name.removeprefix("aten::") in QUERIES:
            return NotImplemented if name != "prim::device" else func(*args, **kwargs)
        if name not in FORMULAS and packet not in flop_registry:
            # What is only a name for other operations is counted by those.
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if name in FORMULAS:
            macs = FORMULAS[name](*args, **kwargs, out=result)
        elif packet in flop_registry:
            macs = flop_registry[packet](*args, **kwargs, out_val=result) // 2
        else:
            self._note(func, name, args, kwargs)
            return result
        views = (self._view(tensor) for tensor in pytree.tree_leaves((args, kwargs)))
        weights = tuple(view for view in views if view is not None)
        self.tally.products.append(Product(name, self.stack[-1], int(macs), weights))
        self._note(func, name, args, kwargs, counted=True)
        return result

    def _view(self, tensor: Any) -> View | None:
        if not isinstance(tensor, Tensor) or tensor.dim() < 2:
            return None  # a vector beside a product is its bias
        name = self.names.get(_storage(tensor))
        if name is None:
            return None
        offset = int(tensor.storage_offset())
        return View(name, tuple(tensor.shape), tensor.stride(), offset)

    def _note(
        self, func: Any, name: str, args: Any, kwargs: Any, *, counted: bool = False
    ) -> None:
        if torch.Tag.nondeterministic_seeded in func.tags and _draws(
            func, args, kwargs
        ):
            self.tally.random.setdefault(name, self.stack[-1])
        if counted or HARMLESS.search(name):
            return
        if func.namespace not in KNOWN or MULTIPLIES.search(name):
            self.tally.uncounted.setdefault(name, self.stack[-1])


def _storage(tensor: Tensor) -> Any:
    try:
        return tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):  # a tensor without a storage
        return id(tensor)


def _draws(func: Any, args: Any, kwargs: Any) -> bool:
    """Tell whether a seeded operation draws at all: attention does with dropout."""
    for place, argument in enumerate(func._schema.arguments):
        if argument.name in ("dropout_p", "p", "dropout", "attn_dropout"):
            value = args[place] if place < len(args) else kwargs.get(argument.name)
            return bool(argument.default_value if value is None else value)
    return True
