"""What the projection of an attention module reads: the heads' values, side by side."""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from sirfp_opt.pytorch.cutting.attention import SlimMultiheadAttention

__all__ = ["is_attention", "leading_batch", "values_of"]


def is_attention(module: nn.Module) -> TypeGuard[nn.MultiheadAttention]:
    """Whether a module is an `nn.MultiheadAttention`, with a forward pass we know."""
    known = (nn.MultiheadAttention.forward, SlimMultiheadAttention.forward)
    return isinstance(module, nn.MultiheadAttention) and type(module).forward in known


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
        width = weight.shape[1]
        eye = torch.eye(width, dtype=weight.dtype, device=weight.device)
        projection._parameters["weight"] = nn.Parameter(eye, requires_grad=False)
        zero = weight.new_zeros(width)
        projection._parameters["bias"] = nn.Parameter(zero, requires_grad=False)
        values: Tensor = module.forward(*args, **kwargs)[0]
    finally:
        projection._parameters.update(held)
        torch.backends.mha.set_fastpath_enabled(fast)
    return values


def leading_batch(module: nn.MultiheadAttention, tokens: Tensor) -> Tensor:
    """Return what an attention reads or makes with its batch, if any, in front."""
    swapped = tokens.dim() == 3 and not module.batch_first
    return tokens.transpose(0, 1) if swapped else tokens
