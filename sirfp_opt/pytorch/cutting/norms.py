"""Norms over channels recognised, by class or by what they compute."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from sirfp_opt.pytorch.cutting.baking import duplicate
from sirfp_opt.pytorch.cutting.former import (
    Former,
    FormerGroupNorm,
    FormerLayerNorm,
    FormerNorm,
    FormerRMSNorm,
    Norm,
    formula,
)
from sirfp_opt.pytorch.cutting.layers import BATCH_NORM

__all__ = ["PYTORCH", "former_of", "narrow", "norm_of"]

PYTORCH = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm)
_FORWARDS = tuple(kind.forward for kind in PYTORCH)
_LIKE_A_NORM = re.compile(r"norm|grn|(^|_)ln", re.IGNORECASE)
_WIDTHS = ("normalized_shape", "dim", "num_channels", "num_features", "hidden_size")
_EPSILONS = (1e-6, 1e-5, 1e-8, 1e-12, 1e-3)


def former_of(module: nn.Module) -> Former | None:
    """Return how many channels a norm had before a cut, None if it is ordinary."""
    found = getattr(module, "former", None)
    return found if isinstance(found, Former) else None


def norm_of(module: nn.Module) -> Norm | None:
    """Tell how a module normalises over channels, None if it does not.

    PyTorch's own norms are known, and group norms of a class of somebody's own that
    give the same numbers. A module without children whose class is named like a
    norm is run on random numbers, and known if it gives to the last digits what one of
    the formulas gives.

    Parameters
    ----------
    module : nn.Module
        Not touched.

    Examples
    --------
    >>> from torch import nn
    >>> from sirfp_opt.pytorch.cutting.norms import norm_of
    >>> class LayerNorm2d(nn.LayerNorm):
    ...     def forward(self, x):
    ...         return super().forward(x.movedim(1, -1)).movedim(-1, 1)
    >>> norm_of(LayerNorm2d(8)).axis, norm_of(nn.BatchNorm2d(8))
    (1, None)
    """
    if former_of(module) is not None:
        return former_of(module).norm  # type: ignore[union-attr]
    kind: Any = type(module)
    if isinstance(module, PYTORCH):
        if kind.forward in _FORWARDS or _is_group_norm(module):
            return _of_pytorch(module)
        return _by_numbers(module)
    named = _LIKE_A_NORM.search(kind.__name__) and not isinstance(module, BATCH_NORM)
    if not named or any(True for _ in module.children()):
        return None
    return _by_numbers(module)


def _of_pytorch(module: Any) -> Norm:
    scale = "weight" if module.weight is not None else None
    shift = "bias" if getattr(module, "bias", None) is not None else None
    if isinstance(module, nn.GroupNorm):
        return Norm("group", 1, scale, shift, module.eps)
    kind = "rms" if isinstance(module, nn.RMSNorm) else "layer"
    return Norm(kind, -1, scale, shift, module.eps)


def _is_group_norm(module: nn.Module) -> bool:
    """Tell whether a subclass of `nn.GroupNorm` computes what its base class does."""
    if not isinstance(module, nn.GroupNorm):
        return False
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    try:
        twin: Any = duplicate(module).to("cpu", torch.float64).eval()
        with torch.no_grad():
            for p in twin.parameters():
                p.copy_(numbers(*p.shape))
            for scale in (1e-3, 1.0):  # eps is seen at small numbers
                x = numbers(2, module.num_channels, 3, 4) * scale + scale
                expected = nn.GroupNorm.forward(twin, x)
                if not torch.allclose(twin(x), expected, rtol=1e-9, atol=1e-11):
                    return False
    except Exception:  # whatever: it is another norm
        return False
    return True


def _by_numbers(module: nn.Module) -> Norm | None:
    """Compare a module with each formula, in float64 and at two magnitudes."""
    own = dict(module.named_parameters(recurse=False))
    sizes = {p.numel() for p in own.values()}
    if len(sizes) != 1 or len(own) > 2 or any(True for _ in module.buffers()):
        return None
    width = sizes.pop()
    if width < 2:
        return None
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    try:
        twin = duplicate(module).to("cpu", torch.float64).eval()
        with torch.no_grad():
            for p in twin.parameters():
                p.copy_(numbers(*p.shape))
            params: dict[str, Tensor] = dict(twin.named_parameters())
            for axis, shape in ((1, (2, width, 3, 4)), (-1, (2, 3, 4, width))):
                # Small numbers, at which eps is seen, and ones at which it is not.
                cases = [numbers(*shape) * 1e-3, numbers(*shape) + 1.0]
                try:
                    results = [(x, twin(x)) for x in cases]
                except Exception:  # whatever: not a module for this layout
                    continue
                found = _match(module, axis, params, results)
                if found is not None:
                    return found
    except Exception:  # whatever: it is none that we know
        return None
    return None


def _match(
    module: nn.Module,
    axis: int,
    params: dict[str, Tensor],
    results: list[tuple[Tensor, Tensor]],
) -> Norm | None:
    told = [v for k, v in vars(module).items() if "eps" in k and isinstance(v, float)]
    names = list(params)
    orders = (
        [(names[0], None)] if len(names) == 1 else [tuple(names), tuple(names)[::-1]]
    )
    for kind in ("layer", "rms", "response"):
        for eps in dict.fromkeys((*told, *_EPSILONS)):
            for scale, shift in orders:
                norm = Norm(kind, axis, scale, shift, eps)
                if all(
                    isinstance(y, Tensor)
                    and y.shape == x.shape
                    and torch.allclose(
                        y,
                        formula(
                            norm,
                            x,
                            params[scale],
                            None if shift is None else params[shift],
                            x.shape[axis],
                        ),
                        rtol=1e-9,
                        atol=1e-11,
                    )
                    for x, y in results
                ):
                    return norm
    return None


def narrow(module: Any, norm: Norm, before: int, *, former: bool) -> None:
    """Turn a norm that has just lost channels into one that counts what it had.

    Parameters
    ----------
    module : nn.Module
        Its parameters are cut, its own counts set already; changed in place.
    norm : Norm
        What `norm_of` said before the cut.
    before : int
        How many channels it was normalised over (a group norm: each of its groups).
    former : bool
        Whether it goes on dividing by that number. If not, only the counts of somebody
        else's class are set.
    """
    own = former_of(module)
    if own is not None:
        before = own.channels  # cut for a second time
    if norm.kind == "group":
        if former and module.num_groups * before != module.num_channels:
            module.former = Former(norm, before)
            module.__class__ = FormerGroupNorm
        return
    plain = type(module).forward in (nn.LayerNorm.forward, nn.RMSNorm.forward)
    if former:
        kinds = {"layer": FormerLayerNorm, "rms": FormerRMSNorm}
        module.former = Former(norm, before)
        if own is None:
            module.__class__ = kinds[norm.kind] if plain else FormerNorm
    if not plain and norm.scale is not None and own is None:
        width = getattr(module, norm.scale).numel()
        for name in _WIDTHS:
            found = getattr(module, name, None)
            if found == before and not isinstance(found, bool):
                setattr(module, name, width)
            elif isinstance(found, (tuple, list)) and list(found) == [before]:
                setattr(module, name, type(found)([width]))
