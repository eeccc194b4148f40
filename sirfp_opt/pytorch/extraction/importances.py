"""How much a single channel is worth, by several measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from sirfp_opt.errors import InvalidProblemError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["IMPORTANCES", "Importance", "edge_strength", "find_importance"]

# Elements whose edges are found at a time: what fits into a CPU's cache, or what keeps
# an accelerator busy without holding several copies of the largest maps.
EDGE_CHUNK = {"cpu": 1 << 18, "accelerator": 1 << 24}


def edge_strength(maps: Tensor) -> Tensor:
    """Return the edge term of each channel: the spread of its gradient magnitude.

    With the 3 x 3 kernel x / (x² + y²) and its transpose, zero padding and
    v = sqrt(gx² + gy²), this is sqrt(E[v²] - E[v]²) over the positions of each image,
    averaged over the batch.

    Parameters
    ----------
    maps : Tensor of shape (N, C, H, W)
        Feature maps.

    Returns
    -------
    Tensor of shape (C,)

    References
    ----------
    Wu et al., AAAI 2025, arXiv 2412.12672, section 3.3.
    """
    images, channels, height, width = maps.shape
    flat = maps.reshape(images * channels, height, width)
    limit = EDGE_CHUNK["cpu" if maps.device.type == "cpu" else "accelerator"]
    chunks = torch.split(flat, max(1, limit // (height * width)))
    strengths = torch.cat([_edge_chunk(chunk) for chunk in chunks])
    return strengths.view(images, channels).mean(dim=0)


def _edge_chunk(maps: Tensor) -> Tensor:
    """Return the spread of the gradient magnitude of each map (M, H, W)."""
    # The kernel is a smoothing (1/2, 1, 1/2) across and a difference along: two short
    # passes over the maps instead of nine products.
    padded = F.pad(maps, (1, 1, 1, 1))
    rows = padded[:, 1:-1].add(padded[:, :-2], alpha=0.5)
    rows.add_(padded[:, 2:], alpha=0.5)
    squared = (rows[..., 2:] - rows[..., :-2]).square_()
    del rows
    columns = padded[..., 1:-1].add(padded[..., :-2], alpha=0.5)
    columns.add_(padded[..., 2:], alpha=0.5)
    across = columns[:, 2:] - columns[:, :-2]
    squared.addcmul_(across, across)
    second = squared.mean(dim=(1, 2))
    first = squared.sqrt_().mean(dim=(1, 2))
    # In float32 the difference of two large numbers can come out below zero.
    return second.addcmul_(first, first, value=-1.0).clamp_(min=0.0).sqrt_()


def gamma_gradient(gamma: Tensor, gradient: Tensor) -> Tensor:
    """Return |∂L/∂γ| where γ ∂L/∂γ > 0, else 0: there the loss asks for a smaller γ.

    The second version of the authors' code (for COCO) has it in the edge term's place.
    """
    return torch.where(gamma * gradient > 0, gradient.abs(), 0.0)


@dataclass(frozen=True)
class Importance:
    """A measure of what a channel is worth.

    Parameters
    ----------
    measure : callable
        Returns a Tensor of shape (C,). Of what, says `source`.
    source : {"maps", "gradients", "scale", "weights"}
        "maps": ``measure(maps)`` of a batch (N, C, H, W), a mean over its images.
        "gradients": ``measure(gamma, gradient)`` of a norm's scale γ and ∂L/∂γ, both
        (C,), at each backward pass. "scale": ``measure(gamma)``. "weights":
        ``measure(filters)`` of the layers that make the channels, (C, entries).

    Examples
    --------
    >>> from sirfp_opt.pytorch import Importance
    >>> l2 = Importance(lambda filters: filters.norm(dim=1), "weights")
    """

    measure: Callable[..., Tensor]
    source: Literal["maps", "gradients", "scale", "weights"]

    def __post_init__(self) -> None:
        if not callable(self.measure):
            raise InvalidProblemError(
                f"`measure` must be callable, got {self.measure!r}. "
                "Pass a function that gives one number for each channel."
            )
        if self.source not in ("maps", "gradients", "scale", "weights"):
            raise InvalidProblemError(
                "`source` must be 'maps', 'gradients', 'scale' or 'weights', got "
                f"{self.source!r}. Outputs of layers are 'maps'."
            )


IMPORTANCES: dict[str, Importance] = {
    "edge": Importance(edge_strength, "maps"),
    "gamma_grad": Importance(gamma_gradient, "gradients"),
    "bn_scale": Importance(torch.abs, "scale"),
    "l1": Importance(lambda filters: filters.abs().sum(dim=1), "weights"),
}
"""Importances by name: the paper's edge term, its second version's gradient of γ, |γ|
(Liu et al., ICCV 2017), the L1 norm of the filter (Li et al., ICLR 2017)."""


def find_importance(importance: str | Importance | None) -> Importance | None:
    """Return an importance by name, or as it is.

    Raises
    ------
    InvalidProblemError
        On an unknown name.
    """
    if importance is None or isinstance(importance, Importance):
        return importance
    if not isinstance(importance, str) or importance not in IMPORTANCES:
        raise InvalidProblemError(
            f"`importance` must be an Importance, None or one of {sorted(IMPORTANCES)},"
            f" got {importance!r}. The paper's is 'edge'."
        )
    return IMPORTANCES[importance]
