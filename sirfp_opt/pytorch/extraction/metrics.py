"""How alike two channels are: what is multiplied with what.

Every measure here is an inner product, averaged over images, of the channels' maps
(or weights) after a transformation and division by a norm. `METRICS` names the usual
ones; a `Metric` of one's own goes wherever a name does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from sirfp_opt.errors import InvalidProblemError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["METRICS", "Metric", "find_metric"]

L1_EPSILON = 1e-5


def _l1(maps: Tensor) -> Tensor:
    # On a CPU four times as fast as torch.linalg.vector_norm of order 1.
    return maps.abs().sum(dim=-1, keepdim=True) + L1_EPSILON


def _l2(maps: Tensor) -> Tensor:
    norms = torch.linalg.vector_norm(maps, 2, dim=-1, keepdim=True)
    return torch.where(norms == 0, torch.ones_like(norms), norms)


def _root_of_size(maps: Tensor) -> Tensor:
    # With it an inner product over positions is a mean over them.
    return maps.new_full((*maps.shape[:2], 1), maps.shape[2] ** 0.5)


def _pool(maps: Tensor) -> Tensor:
    return maps.flatten(2).mean(dim=2, keepdim=True) if maps.dim() > 2 else maps


@dataclass(frozen=True)
class Metric:
    """A measure of how alike channels are.

    With t the transformation and P the positions of a map, an image gives

    S_ij = Σ_p t(x_i)_p t(x_j)_p / (norm(t(x_i)) norm(t(x_j))).

    Parameters
    ----------
    norm : callable
        Maps (N, C, P) -> norms (N, C, 1), above zero.
    transform : callable, optional
        Maps (N, C, ...) -> (N, C, ...) of any size, image by image.
    over_images : bool
        The transformation leaves one number for each channel of an image: channels
        are compared over the images instead, S_ij = Σ_b t_bi t_bj / N divided by
        mean_b |t_bi| + 1e-5 and mean_b |t_bj| + 1e-5. `norm` is not used.
    centred : bool
        Take the mean over images and positions out of each channel: of means over
        positions, covariances are left. Maps that are constant need no treatment then.
    apart : bool
        Of "inputs": keep S and the products of the filters apart, as well, for the
        problem in which the reading layers are refitted (`ExtractedGraphs.problem`).
    source : {"maps", "weights", "inputs"}
        What is compared: a layer's outputs ("maps"); the filters of the layers that
        make the channels, for which no data are needed (then N = 1, P the entries of a
        filter); or what the channels contribute to the layers that read them: S is
        that of a layer's inputs, entry by entry times the inner products of the
        filters that read them. Then graphs are those of reconstruction errors, see
        `Extractor`.

    Examples
    --------
    Correlations, after an activation that is not ReLU:

    >>> import torch
    >>> from sirfp_opt.pytorch import Metric
    >>> def centred(maps):
    ...     maps = torch.nn.functional.hardswish(maps)
    ...     return maps - maps.mean(dim=(2, 3), keepdim=True)
    >>> def l2(maps):
    ...     return maps.norm(dim=-1, keepdim=True) + 1e-12
    >>> metric = Metric(l2, centred)
    """

    norm: Callable[[Tensor], Tensor]
    transform: Callable[[Tensor], Tensor] | None = None
    over_images: bool = False
    centred: bool = False
    source: Literal["maps", "weights", "inputs"] = "maps"
    apart: bool = False

    def __post_init__(self) -> None:
        for name in ("norm", "transform"):
            value = getattr(self, name)
            if not (callable(value) or (name == "transform" and value is None)):
                raise InvalidProblemError(
                    f"`{name}` must be callable, got {value!r}. Pass a function of the "
                    "maps, a Tensor of shape (N, C, ...)."
                )
        if self.source not in ("maps", "weights", "inputs"):
            raise InvalidProblemError(
                "`source` must be 'maps', 'weights' or 'inputs', got "
                f"{self.source!r}. Outputs of layers are 'maps'."
            )
        if self.apart and not (self.source == "inputs" and self.centred):
            raise InvalidProblemError(
                "`apart` must be False unless the covariances of inputs are compared, "
                "got True. Take metric='refit'."
            )
        if self.centred and (self.over_images or self.source == "weights"):
            raise InvalidProblemError(
                "`centred` must be False over images and of weights, got True. "
                "Take the mean out in `transform`."
            )


METRICS: dict[str, Metric] = {
    "reconstruction": Metric(_root_of_size, centred=True, source="inputs"),
    "refit": Metric(_root_of_size, centred=True, source="inputs", apart=True),
    "spatial": Metric(_l1),
    "cosine": Metric(_l2),
    "pooled": Metric(_l1, _pool, over_images=True),
    "filter": Metric(_l2, source="weights"),
    "spatial_relu": Metric(_l1, F.relu),
    "cosine_relu": Metric(_l2, F.relu),
    "pooled_relu": Metric(_l1, lambda maps: _pool(F.relu(maps)), over_images=True),
}
"""Metrics by name. "spatial" is the paper's: maps divided by their L1 norm + 1e-5.

"reconstruction" is the covariance, at the same pixels, of what channels contribute to
the layers that read them, so that the error of dropping some is minimised (Luo et al.,
ICCV 2017, arXiv 1707.06342, there with a greedy search, sampled positions and no means
taken out).
"refit" is the same measurement; the error to be minimised is what is left once the
reading layers are refitted (`sirfp_opt.ReconstructionProblem`, `refit`).
"cosine" divides by the L2 norm. "pooled" averages each map first, and so is blind to
*where* channels respond. "filter" is the cosine of the filters, without any data. The
names with "_relu" apply ReLU to a layer's output first, before any residual add.
"""


def find_metric(metric: str | Metric) -> Metric:
    """Return a metric by name, or as it is.

    Raises
    ------
    InvalidProblemError
        On an unknown name.
    """
    if isinstance(metric, Metric):
        return metric
    if not isinstance(metric, str) or metric not in METRICS:
        raise InvalidProblemError(
            f"`metric` must be a Metric or one of {sorted(METRICS)}, got {metric!r}. "
            "The paper's is 'spatial'."
        )
    return METRICS[metric]
