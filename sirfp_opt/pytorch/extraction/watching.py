"""Hooks that hand what a layer reads, makes or learns to a record of averages."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sirfp_opt.pytorch.cutting.heads import is_attention, leading_batch, values_of
from sirfp_opt.pytorch.cutting.layers import channel_dim

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.utils.hooks import RemovableHandle

    from sirfp_opt.network.plan import Side
    from sirfp_opt.pytorch.extraction.averages import LayerStatistics

__all__ = ["watch", "watch_gradient"]


def watch(
    module: nn.Module,
    side: Side,
    record: LayerStatistics,
    ran: Callable[[], None],
    *,
    fold: int = 1,
    owner: nn.Module | None = None,
) -> RemovableHandle:
    """Record what a layer reads ("in") or makes ("out") at each forward pass.

    An `nn.MultiheadAttention` does not call its projection, only multiplies with its
    weight: what that reads and makes is then taken from the attention itself. Its own
    outputs are the values of its heads, side by side.

    Parameters
    ----------
    module : nn.Module
    side : {"in", "out"}
    record : LayerStatistics
    ran : callable
        Told at each pass.
    fold : int
        So many entries in a row are positions of one channel.
    owner : nn.Module, optional
        The module that holds it.
    """

    def take(maps: Tensor) -> None:
        if torch._C._current_graph_task_id() != -1:
            return  # a backward pass that recomputes what was seen before
        ran()
        maps = maps.detach()
        tokens = is_attention(module)
        dim = maps.dim() - 1 if tokens else channel_dim(module, maps)
        maps = maps if dim == 1 else maps.movedim(dim, 1)
        if fold > 1:
            maps = maps.reshape(len(maps), maps.shape[1] // fold, -1)
        kind = maps.device.type
        if torch.is_inference_mode_enabled() or torch.is_autocast_enabled(kind):
            # Averages of an inference-mode loop must not be inference tensors.
            with torch.inference_mode(False), torch.autocast(kind, enabled=False):
                record.update(maps)
        else:
            record.update(maps)

    def read(_: nn.Module, args: Any, kwargs: Any) -> None:
        take(args[0] if args else kwargs["input"])

    def made(_: nn.Module, __: Any, output: Tensor) -> None:
        take(output)

    def attended(attention: Any, args: Any, kwargs: Any, output: Any) -> None:
        heads = attention is module or side == "in"
        maps = values_of(attention, args, kwargs) if heads else output[0]
        take(leading_batch(attention, maps))

    attention = module if is_attention(module) else owner
    if (
        attention is not None
        and is_attention(attention)
        and module in (attention, attention.out_proj)
    ):
        hook = _uncompiled(attended)
        return attention.register_forward_hook(hook, with_kwargs=True)
    if side == "in":
        return module.register_forward_pre_hook(_uncompiled(read), with_kwargs=True)
    return module.register_forward_hook(_uncompiled(made))


def watch_gradient(
    scale: nn.Parameter, record: LayerStatistics, scaler: torch.amp.GradScaler | None
) -> RemovableHandle:
    """Record γ and ∂L/∂γ at each backward pass, the scaler's factor taken out."""

    def learn(gradient: Tensor) -> None:
        factor = 1.0 if scaler is None else scaler.get_scale()
        record.update_term(scale, gradient.float() / factor)

    handle: RemovableHandle = scale.register_hook(learn)  # type: ignore[no-untyped-call]
    return handle


def _uncompiled(hook: Any) -> Any:
    # A compiled network calls its hooks, but need not compile them as well.
    # Without dynamo loaded nothing is compiled, and loading it takes seconds.
    loaded = "torch._dynamo" in sys.modules
    return torch.compiler.disable(hook) if loaded else hook  # type: ignore[no-untyped-call]
