"""Convolutions whose forward pass makes their weight anew: weight standardisation.

Their filters are shifted and scaled by their own mean and variance, or by whatever else
depends on nothing but parameters, in each pass.  A cut of the stored weight would
change these numbers; what the pass makes of it is the weight of an ordinary
convolution, and that is cut.  Such a class is known by what it computes, not by its
name.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["make_ordinary", "weight_made"]

ORDINARY = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d,
    nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
CLOSE = {torch.float64: 1e-12, torch.float32: 1e-5}


def weight_made(module: nn.Module) -> Tensor | None:
    """Return the weight that a convolution makes of its own in each pass.

    Parameters
    ----------
    module : nn.Module
        Not touched.

    Returns
    -------
    Tensor or None
        None unless the module is a convolution of a class of somebody's own, without
        modules in it, that makes one weight for any input, and is an ordinary
        convolution with it.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from sirfp_opt.pytorch.cutting.standardised import weight_made
    >>> class Standardised(nn.Conv2d):
    ...     def forward(self, x):
    ...         w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
    ...         return self._conv_forward(x, w, self.bias)
    >>> made = weight_made(Standardised(3, 4, 3))
    >>> bool(made.mean((1, 2, 3)).abs().max() < 1e-6), weight_made(nn.Conv2d(3, 4, 3))
    (True, None)
    """
    base = _ordinary(module)
    if base is None or type(module).forward is base.forward:
        return None
    if any(True for _ in module.children()):
        return None  # what is in it, an observer of values, would be lost
    try:
        return _weight_made(module, base)
    except Exception:  # whatever: it is another layer
        return None


def _ordinary(module: Any) -> Any:
    """Return PyTorch's own class of a convolution; None of other modules."""
    if type(module) in ORDINARY:
        return None
    return next((kind for kind in ORDINARY if isinstance(module, kind)), None)


def _weight_made(module: Any, base: Any) -> Tensor | None:
    weight = module.weight
    twin = copy.deepcopy(module).eval()
    close = CLOSE.get(weight.dtype, 1e-2)
    made: list[Tensor] = []
    ordinary = copy.deepcopy(module).eval()
    for seed in range(2):
        x = _numbers(module, seed)
        with torch.no_grad(), _Weights() as seen:
            found = type(module).forward(twin, x)
        if len(seen.weights) != 1 or seen.weights[0].shape != weight.shape:
            return None
        made.append(seen.weights[0].clone())
        if torch.equal(made[0], weight):
            return None  # it is the stored one
        ordinary.weight = nn.Parameter(made[0])
        with torch.no_grad():
            expected = base.forward(ordinary, x)
        scale = float(expected.abs().max())
        if found.shape != expected.shape or not torch.equal(made[0], made[-1]):
            return None
        if float((found - expected).abs().max()) > close * scale:
            return None
    return made[0]


def _numbers(conv: Any, seed: int) -> Tensor:
    """Return a small input on which each position of the kernel counts."""
    generator = torch.Generator().manual_seed(seed)
    sides = [
        dilation * (kernel - 1) + 1 + 2 * stride + seed
        for kernel, stride, dilation in zip(
            conv.kernel_size, conv.stride, conv.dilation, strict=True
        )
    ]
    x = torch.randn(2, conv.in_channels, *sides, generator=generator)
    return x.to(conv.weight.device, conv.weight.dtype)


class _Weights(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the weights of all convolutions that are run."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.weights: list[Tensor] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if "convolution" in func._schema.name:
            self.weights.append(args[1])
        return func(*args, **(kwargs or {}))


def make_ordinary(module: Any, weight: Tensor) -> None:
    """Turn such a convolution into an ordinary one of the weight it makes, in place.

    Whatever else the weight was made of goes; hooks stay.
    """
    frozen = not module.weight.requires_grad
    module.__class__ = _ordinary(module)
    for store in (module._parameters, module._buffers):
        for name in [name for name in store if name != "bias"]:
            del store[name]
    module.register_parameter("weight", nn.Parameter(weight, requires_grad=not frozen))
    # The bias goes last in PyTorch's own layers.
    bias = module._parameters.pop("bias")
    module.register_parameter("bias", bias)
