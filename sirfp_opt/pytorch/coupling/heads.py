"""Attention heads: found on the trace, cut as wholes.

Queries, keys and values of h heads are h blocks of consecutive channels of three
layers, and of the input of a fourth.  Cutting the same blocks of all four removes
heads; it equals masking them, since a head of zeros attends evenly to zeros (P. Michel
et al., *Are Sixteen Heads Really Better than One?*, NeurIPS 2019, arXiv:1905.10650).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from sirfp_opt.network.plan import Attribute

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from sirfp_opt.pytorch.coupling.tracing import Group, Operation

__all__ = ["PRODUCT", "find_heads"]

PRODUCT = re.compile(
    r"Bmm|^Mm|Addmm|Addbmm|Baddbmm|ScaledDot|Einsum|MultiheadAttention"
)
"""Names of operations that multiply activations with each other."""

_COUNTS_HEADS = re.compile(r"^(n|num|n_attention|num_attention)?_?heads?$")
_COUNTS_CHANNELS = re.compile(r"^(all_head_size|inner_dim|inner_size|attn_dim)$")


def find_heads(
    group: Group, modules: Mapping[str, nn.Module]
) -> tuple[int, str, tuple[Attribute, ...]] | None:
    """Return one head's channels, the heads' module and what counts them there.

    Parameters
    ----------
    group : Group
        What goes together with a layer's output channels.
    modules : mapping of str to nn.Module
        The network's modules by name.

    Returns
    -------
    (int, str, tuple of Attribute) or None
        None where the group is not one of queries, keys and values with two heads or
        more.  Whether the code around them works with fewer is for the probe to see.
    """
    products = [o for o in group.operations if PRODUCT.search(o.name)]
    makers = [touch.layer for touch in group.touches if touch.side == "out"]
    if len(makers) < 3 or not products:
        return None
    if any(
        not np.array_equal(touch.positions, np.arange(group.size))
        for touch in group.touches
    ):
        return None
    name = _common_module(makers)
    owner: Any = modules.get(name)
    numbers = {k: v for k, v in vars(owner).items() if isinstance(v, int)}
    sizes = _head_sizes(products, group.size)
    told = {v for k, v in numbers.items() if _COUNTS_HEADS.match(k)}
    if len(sizes) > 1:  # a number of tokens may happen to look like a head's channels
        sizes = {size for size in sizes if group.size // size in told}
    if len(sizes) != 1:
        return None
    size = sizes.pop()
    attributes = tuple(
        Attribute(name, k, v)
        for k, v in numbers.items()
        if (_COUNTS_HEADS.match(k) and v == group.size // size)
        or (_COUNTS_CHANNELS.match(k) and v == group.size)
    )
    return size, name, attributes


def _common_module(layers: list[str]) -> str:
    """Return the innermost module that holds all of the layers."""
    paths = [layer.split(".")[:-1] for layer in layers]
    shared = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared)


def _head_sizes(products: list[Operation], channels: int) -> set[int]:
    """Return the channels of one head that agree with all the products' shapes."""
    found: set[int] | None = None
    summed: set[int] = set()  # over what the products sum, in one of them a head
    for operation in products:
        query = getattr(operation.grad_fn, "_saved_query", None)
        if query is not None:
            here = {int(query.shape[-1])}
            summed |= here
        else:
            left, right = _factors(operation.grad_fn)
            if left is None or right is None:
                return set()
            summed.add(left.shape[-1])
            here = {left.shape[-1], left.shape[-2], right.shape[-1]}
            here = {
                size
                for size in here
                if channels % size == 0 and left.shape[0] % (channels // size) == 0
            }
        found = here if found is None else found & here
    return {s for s in (found or set()) & summed if s < channels and channels % s == 0}


def _factors(grad_fn: Any) -> tuple[Any, Any]:
    for one, other in (("self", "mat2"), ("batch1", "batch2")):
        left = getattr(grad_fn, f"_saved_{one}", None)
        right = getattr(grad_fn, f"_saved_{other}", None)
        if left is not None and right is not None:
            return left, right
    return None, None
