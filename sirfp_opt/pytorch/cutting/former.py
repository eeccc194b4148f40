r"""Norms over channels that have lost some, and still divide by their former number.

A masked channel is zero, but an ordinary layer norm counts it: its mean and its
variance are sums over the channels that are left, divided by the number that there
were.  These classes do the same without the zeros, so that a network cut along a
residual stream is exactly the masked one.  For n former channels of which k are left,

.. math:: \mu = \frac1n \sum_{i \le k} x_i, \qquad
          \sigma^2 = \frac1n \Bigl(\sum_{i \le k} (x_i - \mu)^2 + (n - k)\,\mu^2\Bigr).

The keys of the state dict are those of the ordinary norm, and the operations are ones
that `torch.export` and ONNX know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "Former",
    "FormerGroupNorm",
    "FormerLayerNorm",
    "FormerNorm",
    "FormerRMSNorm",
    "Norm",
]


@dataclass(frozen=True)
class Norm:
    """How a module normalises over channels, whatever its class.

    Parameters
    ----------
    kind : "layer", "rms", "group" or "response"
        Which formula: that of `nn.LayerNorm`, `nn.RMSNorm`, `nn.GroupNorm`, or the
        global response norm of ConvNeXt V2 (arXiv:2301.00808).
    axis : int
        The dimension of the channels: 1 (maps) or -1 (tokens, maps with channels last).
    scale, shift : str or None
        The parameters by which the result is multiplied, and that are added to it.
    eps : float or None
        What is added to a variance, a mean square or a mean; None: as `nn.RMSNorm`.
    """

    kind: str
    axis: int
    scale: str | None
    shift: str | None
    eps: float | None


@dataclass(frozen=True)
class Former:
    """A norm, and how many channels it had (a group norm: each of its groups)."""

    norm: Norm
    channels: int


def _wide(x: Tensor) -> Tensor:
    """Return half precision as float32: PyTorch's own norms sum in it, too."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _standardise(x: Tensor, dims: tuple[int, ...], n: int, eps: float) -> Tensor:
    k = 1
    for dim in dims:
        k *= x.shape[dim]
    wide = _wide(x)
    mean = wide.sum(dims, keepdim=True) / n
    centred = wide - mean
    squares = (centred * centred).sum(dims, keepdim=True)
    variance = (squares + (n - k) * mean * mean) / n
    return (centred * torch.rsqrt(variance + eps)).to(x.dtype)


def _affine(x: Tensor, axis: int, scale: Any, shift: Any) -> Tensor:
    shape = (-1,) + (1,) * (x.dim() - 2) if axis == 1 else (-1,)
    if scale is not None:
        x = x * scale.reshape(shape)
    return x if shift is None else x + shift.reshape(shape)


class FormerLayerNorm(nn.LayerNorm):
    """`nn.LayerNorm` of fewer channels than it divides by; made by a cut.

    Attributes
    ----------
    former : Former
        How many numbers it was normalised over.
    """

    former: Former

    def forward(self, input: Tensor) -> Tensor:
        """Normalise over the last dimensions."""
        dims = tuple(range(-len(self.normalized_shape), 0))
        x = _standardise(input, dims, self.former.channels, self.eps)
        if self.weight is not None:
            x = x * self.weight
        return x if self.bias is None else x + self.bias

    def extra_repr(self) -> str:
        """Name the former width, too."""
        return f"{super().extra_repr()}, former={self.former.channels}"


class FormerRMSNorm(nn.RMSNorm):
    """`nn.RMSNorm` of fewer channels than it divides by; made by a cut."""

    former: Former

    def forward(self, x: Tensor) -> Tensor:
        """Normalise over the last dimensions."""
        dims = tuple(range(-len(self.normalized_shape), 0))
        x = _scale_to_one(x, dims, self.former.channels, self.eps)
        return x if self.weight is None else x * self.weight

    def extra_repr(self) -> str:
        """Name the former width, too."""
        return f"{super().extra_repr()}, former={self.former.channels}"


def _scale_to_one(x: Tensor, dims: tuple[int, ...], n: int, eps: Any) -> Tensor:
    wide = _wide(x)
    eps = torch.finfo(wide.dtype).eps if eps is None else eps
    squares = (wide * wide).sum(dims, keepdim=True) / n
    return (wide * torch.rsqrt(squares + eps)).to(x.dtype)


class FormerGroupNorm(nn.GroupNorm):
    """`nn.GroupNorm` whose groups have fewer channels than they divide by."""

    former: Former

    def forward(self, input: Tensor) -> Tensor:
        """Normalise over the channels of each group, and over positions."""
        # (N, groups, channels of one, positions): sums need no more of the shape.
        kept = input.shape[1] // self.num_groups
        split = input.reshape(input.shape[0], self.num_groups, kept, -1)
        n = self.former.channels * split.shape[3]
        x = _standardise(split, (2, 3), n, self.eps).reshape(input.shape)
        return _affine(x, 1, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Name the former width of a group, too."""
        return f"{super().extra_repr()}, former={self.former.channels}"


class FormerNorm(nn.Module):
    """A norm of somebody's own class, of fewer channels than it divides by.

    Attributes
    ----------
    former : Former
        What the module computes; its parameters keep their names.
    """

    former: Former

    def forward(self, x: Tensor) -> Tensor:
        """Compute the formula of its kind."""
        norm, n = self.former.norm, self.former.channels
        scale = None if norm.scale is None else getattr(self, norm.scale)
        shift = None if norm.shift is None else getattr(self, norm.shift)
        return formula(norm, x, scale, shift, n)

    def extra_repr(self) -> str:
        """Say which norm it is, and its former width."""
        return f"{self.former.norm.kind}, former={self.former.channels}"


def formula(
    norm: Norm, x: Tensor, scale: Tensor | None, shift: Tensor | None, n: int
) -> Tensor:
    """Return what a norm of somebody's own class gives, dividing by `n` channels."""
    axis = norm.axis
    if norm.kind == "layer":
        assert norm.eps is not None
        return _affine(_standardise(x, (axis,), n, norm.eps), axis, scale, shift)
    if norm.kind == "rms":
        return _affine(_scale_to_one(x, (axis,), n, norm.eps), axis, scale, shift)
    positions = tuple(d for d in range(1, x.dim()) if d != axis % x.dim())
    response = torch.linalg.vector_norm(x, dim=positions, keepdim=True)
    share = response / (response.sum(axis, keepdim=True) / n + norm.eps)
    return x + _affine(x * share, axis, scale, shift)
