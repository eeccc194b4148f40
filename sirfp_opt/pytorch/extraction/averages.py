"""Running averages of one layer's redundancy matrix and importances.

They are kept on the device of the maps, in float32 or float64. Large maps are taken in
a part at a time, so that little more than the averages is held.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.pytorch.extraction.gram import add_gram
from sirfp_opt.pytorch.extraction.importances import Importance, find_importance
from sirfp_opt.pytorch.extraction.metrics import L1_EPSILON, Metric, find_metric
from sirfp_opt.pytorch.extraction.parts import draw, most_at_a_time, parts

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Averaging", "LayerStatistics", "Measured"]

# Spread of a channel, relative to its mean, that rounding gives a constant one.
ROUNDING = 1e-6


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
        if self.decay is None or not self.bias_correction or steps == 0:
            return 1.0
        return 1.0 / (1.0 - self.decay**steps)


@dataclass
class Counts:
    """What went into an average.

    Attributes
    ----------
    images, steps : int
        Taken into the matrix, and in how many batches.
    batches, skipped : int
        Batches seen at all; images left out for NaN or inf.
    constant : int
        1 where every map was constant.
    term_images, term_steps : int
        Taken into the importances.
    """

    images: int = 0
    steps: int = 0
    batches: int = 0
    skipped: int = 0
    constant: int = 0
    term_images: int = 0
    term_steps: int = 0


@dataclass
class Measured:
    """A layer's averages, corrected for their start from zero.

    Attributes
    ----------
    gram : Tensor of shape (C, C)
        Its upper triangle; the rest is undefined.
    mass : Tensor of shape (C,)
        Mean |x| of maps that are compared over images; mean x where `centred`.
    term : Tensor of shape (C,)
        Importances, zero where none were measured.
    counts : Counts
    map_size : tuple of int
    centred : bool
        Whether the means were taken out of the matrix.
    """

    gram: Tensor
    mass: Tensor
    term: Tensor
    counts: Counts
    map_size: tuple[int, ...]
    centred: bool = False

    def redundancy(self) -> Tensor:
        """Return the matrix S, symmetric, shape (C, C)."""
        matrix = self.gram.triu() + self.gram.triu(1).T
        if self.centred:
            still = matrix.diagonal() <= (ROUNDING * self.mass) ** 2
            matrix[still] = 0.0
            matrix[:, still] = 0.0
        if self.counts.constant:
            mass = self.mass + L1_EPSILON
            matrix /= mass[:, None]
            matrix /= mass[None, :]
        return matrix


class LayerStatistics:
    """Running redundancy matrix and importances of one layer.

    Parameters
    ----------
    metric : str or Metric, optional
        What the matrix holds; None keeps none.
    averaging : Averaging, optional
        Plain mean (the default) or exponential.
    importance : str or Importance, optional
        What is averaged beside it, of the maps or of gradients.
    pool_constant : bool
        Where every map is constant (1 x 1 maps, image pooling), compare over the
        images instead of over the positions: within one image all channels would be
        copies of each other. The reference does not.
    skip : bool
        Leave out images with NaN or inf, instead of averaging them in.
    positions : int, optional
        Multiply so many random positions of each larger map, and scale up.
    dtype : torch.dtype, optional
        Of the products' factors; by default that of the average.
    """

    def __init__(
        self,
        metric: str | Metric | None = "spatial",
        averaging: Averaging | None = None,
        *,
        importance: str | Importance | None = "edge",
        pool_constant: bool = True,
        skip: bool = False,
        positions: int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.metric = None if metric is None else find_metric(metric)
        self.averaging = averaging or Averaging()
        self.importance = find_importance(importance)
        self.pool_constant = pool_constant
        self.skip = skip
        self.positions = positions
        self.dtype = dtype
        self.counts = Counts()
        self.map_size: tuple[int, ...] = ()
        self._gram = torch.empty(0, 0)
        # What is centred is averaged as a difference to `_shift`, a first guess of the
        # means: squares of large means would leave few digits to what varies.
        self._mass = self._shift = self._term = torch.empty(0)

    @torch.no_grad()
    def update(self, maps: Tensor) -> None:
        """Take in a batch of maps of shape (N, C), (N, C, P) or (N, C, H, W)."""
        counts, metric = self.counts, self.metric
        counts.batches += 1
        if self.skip:
            finite = torch.isfinite(maps).flatten(1).all(dim=1)
            if not bool(finite.all()):
                counts.skipped += int((~finite).sum())
                maps = maps[finite]
        images = int(maps.shape[0])
        if maps.numel() == 0:
            return
        pooled = metric is not None and metric.over_images
        centred = metric is not None and metric.centred
        if counts.steps == 0 or (counts.constant and not pooled):
            # Constant maps may be those of a blank image: begin again once they vary.
            constant = pooled or (
                self.pool_constant and not centred and _constant(maps)
            )
            if counts.steps == 0 or not constant:
                self._begin(maps, constant)
        old, new = self.averaging.factors(counts.images, images)
        most = most_at_a_time(maps)
        importance = self._importance_of(maps)
        for part in parts(maps, 0, most * images // maps.numel()):
            wide = part.to(self._gram.dtype)
            if metric is not None:
                self._add_maps(wide, metric, old, new, most)
            if importance is not None and (pooled or not counts.constant):
                # The measure is a mean over the images already.
                self._add_term(_measure(importance, wide), old, new * len(part))
            old = 1.0
        counts.images += images
        counts.steps += 1
        if importance is not None:
            counts.term_images, counts.term_steps = counts.images, counts.steps

    @torch.no_grad()
    def update_term(self, *values: Tensor) -> None:
        """Take in what an importance is measured on, for one step."""
        counts = self.counts
        if self.importance is None:
            return
        term = _measure(self.importance, *(v.detach().float() for v in values))
        if self.skip and not bool(torch.isfinite(term).all()):
            return
        if self._term.numel() == 0:
            self._term = torch.zeros_like(term)
        old, new = self.averaging.factors(counts.term_images, 1)
        self._add_term(term, old, new)
        counts.term_images += 1
        counts.term_steps += 1

    def result(self) -> Measured:
        """Return the averages so far."""
        scale = self.averaging.correction(self.counts.steps)
        gram, mass = self._gram * scale, self._mass * scale
        term = self._term * self.averaging.correction(self.counts.term_steps)
        centred = self.metric is not None and self.metric.centred
        if centred and self.counts.steps:
            # Without a correction they add up to less than one: what is missing is 0.
            whole = scale * (1.0 - (self.averaging.decay or 0.0) ** self.counts.steps)
            gram.addr_(mass / whole, mass, alpha=-1.0)
            mass += self._shift * whole
        return Measured(gram, mass, term, self.counts, self.map_size, centred)

    def state(self) -> dict[str, Tensor]:
        """Return all of it as tensors; those of the averages are not copies."""
        return {
            "gram": self._gram,
            "mass": self._mass,
            "shift": self._shift,
            "term": self._term,
            "counts": torch.tensor(list(vars(self.counts).values())),
            "map_size": torch.tensor(self.map_size, dtype=torch.int64),
        }

    def load(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        """Go on from what `state` returned."""
        self._gram, self._mass, self._shift, self._term = (
            state[key].to(device, copy=True)
            for key in ("gram", "mass", "shift", "term")
        )
        self.counts = Counts(*state["counts"].tolist())
        self.map_size = tuple(state["map_size"].tolist())

    def _begin(self, maps: Tensor, constant: bool) -> None:
        channels = maps.shape[1]
        wide = torch.promote_types(maps.dtype, torch.float32)
        empty = maps.new_empty(0, dtype=wide)
        kept = 0 if self.metric is None else channels
        self._gram = empty.new_zeros(kept, kept)
        self._mass = empty.new_zeros(kept)
        self._shift = empty
        self.counts.images = self.counts.steps = 0
        if self._importance_of(maps) is not None:
            self._term = empty.new_zeros(channels)
            self.counts.term_images = self.counts.term_steps = 0
        self.counts.constant = int(constant)
        self.map_size = tuple(int(n) for n in maps.shape[2:]) or (1,)

    def _importance_of(self, maps: Tensor) -> Importance | None:
        importance = self.importance
        if importance is None or importance.source != "maps" or maps.dim() != 4:
            return None
        return importance

    def _add_term(self, term: Tensor, old: float, new: float) -> None:
        self._term.mul_(old).add_(term, alpha=new)

    def _add_maps(
        self, maps: Tensor, metric: Metric, old: float, new: float, most: int
    ) -> None:
        if metric.transform is not None:
            maps = metric.transform(maps)
        images, channels = maps.shape[:2]
        flat = maps.reshape(images, channels, -1)
        if self.counts.constant:
            if metric.over_images and flat.shape[2] != 1:
                raise InvalidProblemError(
                    "`metric.transform` must leave one number for each channel where "
                    f"over_images is set, got maps of {tuple(maps.shape)}. "
                    "Average over the positions."
                )
            rows = flat[..., 0].T
            self._mass.mul_(old).add_(rows.abs().sum(dim=1), alpha=new)
            add_gram(self._gram, rows.to(self.dtype or rows.dtype), old, new)
            return
        norms = metric.norm(flat)
        if norms.shape != (images, channels, 1):
            raise InvalidProblemError(
                f"`metric.norm` must return shape {(images, channels, 1)}, got "
                f"{tuple(norms.shape)}. Reduce the last dimension with keepdim=True."
            )
        thin, scale = self._thin(maps)
        positions, norms = thin.transpose(0, 1), norms.transpose(0, 1)
        width = most // (images * channels)
        root = flat.shape[2] ** 0.5
        for block in parts(positions, 2, width):
            final = self.dtype or block.dtype
            rows = torch.empty_like(
                block,
                dtype=block.dtype if metric.centred else final,
                memory_format=torch.contiguous_format,
            )
            torch.div(block, norms, out=rows)
            if metric.centred:
                if self._shift.numel() == 0:
                    self._shift = rows.mean(dim=(1, 2)) * root
                rows -= (self._shift / root)[:, None, None]
                means = rows.sum(dim=(1, 2)) / root
                self._mass.mul_(old).add_(means, alpha=new * scale)
            flat_rows = rows.view(channels, -1).to(final)
            add_gram(self._gram, flat_rows, old, new * scale)
            old = 1.0

    def _thin(self, maps: Tensor) -> tuple[Tensor, float]:
        """Return maps (N, C, P) at a choice of positions, and what each stands for."""
        flat = maps.reshape(*maps.shape[:2], -1)
        total, count = flat.shape[2], self.positions
        if count is None or total <= count:
            return flat, 1.0
        chosen = draw(total, count, seed=self.counts.batches)
        return flat.index_select(2, chosen.to(flat.device)), total / count


def _constant(maps: Tensor) -> bool:
    flat = maps.reshape(*maps.shape[:2], -1)
    return flat.shape[2] == 1 or bool((flat == flat[..., :1]).all())


def _measure(importance: Importance, *values: Tensor) -> Tensor:
    term = importance.measure(*values)
    channels = values[0].shape[1 if importance.source == "maps" else 0]
    if term.shape != (channels,):
        raise InvalidProblemError(
            f"`importance.measure` must return shape {(channels,)}, got "
            f"{tuple(term.shape)}. Return one number for each channel."
        )
    return term
