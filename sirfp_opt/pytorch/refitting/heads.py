"""What the projection of an attention module reads: the heads' values, side by side."""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

__all__ = ["is_attention", "values_of"]


def is_attention(module: nn.Module) -> TypeGuard[nn.MultiheadAttention]:
    """Whether a module is an `nn.MultiheadAttention`, with PyTorch's forward pass."""
    return (
        isinstance(module, nn.MultiheadAttention)
        and type(module).forward is nn.MultiheadAttention.forward
    )


def values_of(module: nn.MultiheadAttention, args: Any, kwargs: Any) -> Tensor:
    """Return what a call has multiplied with the weight of ``module.out_proj``.

    The call is made once more, with the identity in that weight's place.
    """
    projection = module.out_proj
    held = dict(projection._parameters)
    weight = projection.weight
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        eye = torch.eye(len(weight), dtype=weight.dtype, device=weight.device)
        projection._parameters["weight"] = nn.Parameter(eye, requires_grad=False)
        zero = weight.new_zeros(len(weight))
        projection._parameters["bias"] = nn.Parameter(zero, requires_grad=False)
        values: Tensor = module.forward(*args, **kwargs)[0]
    finally:
        projection._parameters.update(held)
        torch.backends.mha.set_fastpath_enabled(fast)
    return values
