"""`nn.MultiheadAttention` with fewer heads, narrower ones, or on a narrower stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sirfp_opt.errors import InvalidProblemError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sirfp_opt._validate import IntArray

__all__ = [
    "SlimMultiheadAttention",
    "blocks_left",
    "heads_left",
    "keep_unnested",
    "slim",
]


def blocks_left(kept: IntArray, total: int, blocks: int) -> tuple[IntArray, int] | None:
    """Return which of some equal blocks of positions are left, and how wide these are.

    Parameters
    ----------
    kept : ndarray of int
        The positions that stay, of `total`.
    total, blocks : int
        How many positions there are, and how many blocks of them.

    Returns
    -------
    (ndarray, int) or None
        None where the blocks that are left are not equally wide.
    """
    counts = np.bincount(kept // (total // blocks), minlength=blocks)
    left = np.flatnonzero(counts)
    widths = set(counts[left].tolist())
    return (left, widths.pop()) if len(widths) == 1 else None


class SlimMultiheadAttention(nn.MultiheadAttention):
    """What is left of an `nn.MultiheadAttention` after a cut; made by `slim`.

    It is called in the same way, and its state dict has the same keys. Queries and keys
    of a head may be narrower than its values; scores are divided by the square root of
    a head's former width, as the masked attention's are.

    Attributes
    ----------
    score_dim : int
        Channels of a head's queries and keys.
    scale : float
        By which scores are multiplied.
    former_heads : int
        How many heads there were.
    kept_heads : tuple of int
        Which of them are left.
    """

    score_dim: int
    scale: float
    former_heads: int
    kept_heads: tuple[int, ...]

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend, as `nn.MultiheadAttention` does.

        A mask for each head may be given for the heads that are left, or for those that
        there were.
        """
        if query.is_nested:
            raise InvalidProblemError(
                "`query` must be an ordinary tensor, got a nested one. A slim "
                "attention has no fused path: build the encoder with "
                "enable_nested_tensor=False."
            )
        if is_causal and attn_mask is None:
            raise InvalidProblemError(
                "`attn_mask` must be given with is_causal, got None. "
                "The flag is a hint only, as in nn.MultiheadAttention."
            )
        batched = query.dim() == 3
        tokens = [query, key, value]
        if not batched:
            tokens = [t.unsqueeze(0) for t in tokens]
        elif not self.batch_first:
            tokens = [t.transpose(0, 1) for t in tokens]
        q, k, v = self._projected(*tokens)
        if self.bias_k is not None and self.bias_v is not None:
            k = torch.cat([k, self.bias_k.expand(k.shape[0], -1, -1)], 1)
            v = torch.cat([v, self.bias_v.expand(v.shape[0], -1, -1)], 1)
        if self.add_zero_attn:
            k, v = F.pad(k, (0, 0, 0, 1)), F.pad(v, (0, 0, 0, 1))
        more = k.shape[1] - tokens[1].shape[1]
        mask = self._mask(attn_mask, key_padding_mask, q, more)
        q, k, v = (
            t.reshape(*t.shape[:2], self.num_heads, -1).transpose(1, 2)
            for t in (q, k, v)
        )
        dropout = self.dropout if self.training else 0.0
        weights: Tensor | None = None
        if need_weights:
            scores = (q * self.scale) @ k.transpose(-2, -1)
            weights = torch.softmax(scores if mask is None else scores + mask, -1)
            weights = F.dropout(weights, dropout) if dropout else weights
            x = weights @ v
        else:
            x = F.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, dropout_p=dropout, scale=self.scale
            )
        x = self.out_proj(x.transpose(1, 2).flatten(2))
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if not batched:
            return x.squeeze(0), None if weights is None else weights.squeeze(0)
        return (x if self.batch_first else x.transpose(0, 1)), weights

    def _projected(self, *tokens: Tensor) -> list[Tensor]:
        score = self.num_heads * self.score_dim
        rows = [score, score, self.num_heads * self.head_dim]
        if self.in_proj_weight is not None:
            weights = torch.split(self.in_proj_weight, rows)
        else:
            weights = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        biases: Any = (None, None, None)
        if self.in_proj_bias is not None:
            biases = torch.split(self.in_proj_bias, rows)
        entries = zip(tokens, weights, biases, strict=True)
        return [F.linear(t, w, b) for t, w, b in entries]

    def _mask(
        self, mask: Tensor | None, padding: Tensor | None, q: Tensor, more: int
    ) -> Tensor | None:
        """Return both masks as one that is added to the scores, None without any."""
        if mask is not None:
            mask = _added(mask, q)
            if mask.dim() == 3:
                heads = mask.shape[0] // q.shape[0]
                mask = mask.reshape(q.shape[0], heads, *mask.shape[1:])
                if heads == self.former_heads != self.num_heads:
                    kept = torch.tensor(self.kept_heads, device=mask.device)
                    mask = mask.index_select(1, kept)
            mask = F.pad(mask, (0, more)) if more else mask
        if padding is None:
            return mask
        padding = padding if padding.dim() == 2 else padding.unsqueeze(0)
        padding = _added(padding, q)
        padding = F.pad(padding, (0, more)) if more else padding
        padding = padding[:, None, None, :]
        return padding if mask is None else mask + padding


def _added(mask: Tensor, like: Tensor) -> Tensor:
    """Return a mask as numbers: True becomes -inf."""
    if mask.is_floating_point():
        return mask
    zeros = torch.zeros(mask.shape, dtype=like.dtype, device=mask.device)
    return zeros.masked_fill(mask, float("-inf"))


def heads_left(
    module: Any, removed: Mapping[str, IntArray]
) -> tuple[IntArray, int, int]:
    """Return the heads that stay, the width of their scores and that of their values.

    Parameters
    ----------
    module : nn.MultiheadAttention
        Before the cut.
    removed : mapping of str to ndarray
        What its projections lose of their outputs: positions by name of the parameter
        (``"in_proj_weight"``, or ``"q_proj_weight"`` and its like).

    Raises
    ------
    InvalidProblemError
        If queries, keys and values do not lose the same heads, or queries and keys the
        same channels, or heads are left that are not equally wide.
    """
    heads = module.num_heads
    widths = [module.head_dim] * 3
    if isinstance(module, SlimMultiheadAttention):
        widths = [module.score_dim, module.score_dim, module.head_dim]
    sizes = [heads * one for one in widths]
    if module.in_proj_weight is not None:
        gone = np.zeros(sum(sizes), dtype=bool)
        gone[removed.get("in_proj_weight", [])] = True
        parts = np.split(gone, np.cumsum(sizes)[:-1])
    else:
        parts = [np.zeros(size, dtype=bool) for size in sizes]
        names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
        for part, name in zip(parts, names, strict=True):
            part[removed.get(name, [])] = True
    left = [
        blocks_left(np.flatnonzero(~part), len(part), heads)
        for part in parts
        if not part.all()
    ]
    equal = len(left) == 3 and None not in left
    if equal:
        (queries, score), (keys, _), (values, width) = left  # type: ignore[misc]
        equal = np.array_equal(queries, values) and np.array_equal(keys, values)
        equal = equal and np.array_equal(parts[0], parts[1])
    if not equal:
        raise InvalidProblemError(
            "`plan` must leave whole heads of an nn.MultiheadAttention, or equally "
            "many channels in each, got other sets of queries, keys and values. "
            "Trace the network again."
        )
    return queries, score, width


def slim(module: Any, left: tuple[IntArray, int, int]) -> None:
    """Turn an attention whose parameters have just been cut into a slim one, in place.

    Parameters
    ----------
    module : nn.MultiheadAttention
        Hooks, device, dtype and the keys of its state dict stay.
    left : (ndarray, int, int)
        What `heads_left` said before the cut.
    """
    kept, score, width = left
    if not isinstance(module, SlimMultiheadAttention):
        module.scale = module.head_dim**-0.5
        module.former_heads = module.num_heads
        before: tuple[int, ...] = tuple(range(module.num_heads))
        module.__class__ = SlimMultiheadAttention
    else:
        before = module.kept_heads
    module.kept_heads = tuple(before[i] for i in kept.tolist())
    module.num_heads, module.head_dim, module.score_dim = len(kept), width, score
    if module.in_proj_weight is not None:
        module.embed_dim = module.kdim = module.vdim = module.in_proj_weight.shape[1]
    else:
        module.embed_dim = module.q_proj_weight.shape[1]
        module.kdim = module.k_proj_weight.shape[1]
        module.vdim = module.v_proj_weight.shape[1]
    # Encoder layers have a fused path, which takes full heads for granted; this is what
    # they ask.
    module._qkv_same_embed_dim = False


def keep_unnested(model: nn.Module) -> None:
    """Let encoders over slim attentions pass ordinary tensors on, in place.

    With padding and in evaluation mode they would nest them for the fused path; what
    comes out for padded tokens is then zero, and without it anything.
    """
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoder) and any(
            isinstance(inner, SlimMultiheadAttention) for inner in module.modules()
        ):
            module.use_nested_tensor = False
