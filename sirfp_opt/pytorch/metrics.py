"""How alike the channels of a feature map are, and how much edge each one holds.

Both terms are those of SIRFP (Wu et al., AAAI 2025, arXiv 2412.12672, section 3.2).
A running average is kept on the device of the maps: one matrix product per layer and
step, into the average itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from sirfp_opt.errors import InvalidProblemError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["METRICS", "Averaging", "LayerStatistics", "edge_strength"]

L1_EPSILON = 1e-5
# Below this many rows a panel's matrix product is too thin to run at full speed.
PANEL = 128
# Elements whose edges are found at a time: what fits into a CPU's cache, or what keeps
# an accelerator busy without holding several copies of the largest maps.
EDGE_CHUNK = {"cpu": 1 << 18, "accelerator": 1 << 24}


def _spatial(maps: Tensor) -> Tensor:
    """Channel norms of the paper: Σ_p |x_p| + 1e-5 for each image, shape (C, N, 1)."""
    norms: Tensor = torch.linalg.vector_norm(maps, 1, dim=-1, keepdim=True)
    return norms + L1_EPSILON


def _cosine(maps: Tensor) -> Tensor:
    """Channel norms that make the inner product a cosine: sqrt(Σ_p x_p²)."""
    norms = torch.linalg.vector_norm(maps, 2, dim=-1, keepdim=True)
    return torch.where(norms > 0, norms, torch.ones_like(norms))


METRICS: dict[str, Callable[[Tensor], Tensor]] = {
    "spatial": _spatial,
    "cosine": _cosine,
}
"""Norm by which each image's channel maps (C, N, P) are divided, by metric name."""


@dataclass(frozen=True)
class Averaging:
    """How the matrices of successive batches become one.

    Parameters
    ----------
    decay : float, optional
        r in A <- r A + (1 - r) S, from zero. None is the plain mean over all images.
    bias_correction : bool
        Divide by 1 - r^t, so that the average of equal matrices is that matrix.
        The reference does not.
    """

    decay: float | None = None
    bias_correction: bool = True

    def __post_init__(self) -> None:
        if self.decay is not None and not 0.0 <= self.decay < 1.0:
            raise InvalidProblemError(
                f"`decay` must lie in [0, 1), got {self.decay!r}. "
                "Pass None for the plain mean over all images."
            )

    def factors(self, seen: int, new: int) -> tuple[float, float]:
        """Weights of the average so far and of each of `new` images."""
        if self.decay is None:
            return seen / (seen + new), 1.0 / (seen + new)
        return self.decay, (1.0 - self.decay) / new

    def correction(self, steps: int) -> float:
        """Return the factor that undoes the start from zero after `steps` batches."""
        if self.decay is None or not self.bias_correction:
            return 1.0
        return 1.0 / (1.0 - self.decay**steps)


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


class LayerStatistics:
    """Running redundancy matrix and edge term of one layer.

    Parameters
    ----------
    metric : str
        A name in `METRICS`.
    averaging : Averaging
        Plain mean or exponential.
    edge : bool
        Whether the edge term is kept, too.
    pool_constant : bool
        Where every map is constant (1 x 1 maps, image pooling), correlate over the
        images instead of over the positions: within one image all channels would be
        copies of each other. The reference does not.
    """

    def __init__(
        self,
        metric: str = "spatial",
        averaging: Averaging | None = None,
        *,
        edge: bool = True,
        pool_constant: bool = True,
    ) -> None:
        self.metric = metric
        self.averaging = averaging or Averaging()
        self.wants_edge = edge
        self.pool_constant = pool_constant
        self.map_size: tuple[int, ...] = ()
        self._reset()

    def _reset(self, maps: Tensor | None = None) -> None:
        self.images = self.steps = 0
        empty = torch.empty(0) if maps is None else maps
        channels = 0 if maps is None else maps.shape[1]
        self._gram = empty.new_zeros(channels, channels)
        self._mass = empty.new_zeros(channels)
        self._edge = empty.new_zeros(channels)
        self.has_edge = self.wants_edge and maps is not None and maps.dim() == 4
        self.constant = False

    @torch.no_grad()
    def update(self, maps: Tensor) -> None:
        """Take in a batch of maps of shape (N, C), (N, C, P) or (N, C, H, W)."""
        if maps.dtype in (torch.float16, torch.bfloat16):
            maps = maps.float()
        images, channels = int(maps.shape[0]), int(maps.shape[1])
        flat = maps.reshape(images, channels, -1)
        if self.steps == 0 or self.constant:
            # Constant maps may be those of a blank image: begin again once they vary.
            constant = self.pool_constant and bool((flat == flat[..., :1]).all())
            if self.steps == 0 or not constant:
                self._reset(maps)
                self.map_size = tuple(int(n) for n in maps.shape[2:]) or (1,)
                self.constant = constant
        old, new = self.averaging.factors(self.images, images)
        if self.constant:
            rows = flat[..., 0].T
            self._mass.mul_(old).add_(rows.abs().sum(dim=1), alpha=new)
        else:
            positions = flat.transpose(0, 1)
            rows = torch.empty(positions.shape, dtype=maps.dtype, device=maps.device)
            torch.div(positions, METRICS[self.metric](positions), out=rows)
            rows = rows.view(channels, -1)
            if self.has_edge:
                # The strength is a mean over the images already.
                self._edge.mul_(old).add_(edge_strength(maps), alpha=new * images)
        _add_gram(self._gram, rows, old, new)
        self.images += images
        self.steps += 1

    def redundancy(self) -> Tensor:
        """Return the averaged matrix S, symmetric, shape (C, C)."""
        upper = self._gram * self.averaging.correction(self.steps)
        upper = upper.triu() + upper.triu(1).T
        if self.constant:
            mass = self._mass * self.averaging.correction(self.steps) + L1_EPSILON
            upper = upper / mass[:, None] / mass[None, :]
        return upper

    def edge(self) -> Tensor | None:
        """Return the averaged edge term, shape (C,), None where it was not kept."""
        if not self.has_edge:
            return None
        return self._edge * self.averaging.correction(self.steps)


def _add_gram(average: Tensor, rows: Tensor, old: float, new: float) -> None:
    """Set the upper triangle of A to old * A + new * rows rows', a panel at a time.

    The panels spare nearly half of the products; averaging inside of the product
    spares a pass over the matrix and a second one to hold it.
    """
    channels = rows.shape[0]
    for start in range(0, channels, PANEL):
        panel = slice(start, min(start + PANEL, channels))
        average[panel, start:].addmm_(rows[panel], rows[start:].T, beta=old, alpha=new)
