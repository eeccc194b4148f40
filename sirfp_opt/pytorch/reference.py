"""Every quirk of the authors' code, as one set of named options."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sirfp_opt.network.allocation import Threshold

__all__ = ["ReferenceOptions"]


@dataclass(frozen=True)
class ReferenceOptions:
    """What to set to do as the published SIRFP code does (commit 367176e).

    Each field names one of its habits; beside it is what this package does otherwise,
    and why.

    Parameters
    ----------
    decay : float
        Exponential average of the matrices from zero (scripts: 0.999). Ours: the plain
        mean, in which the order of the batches does not matter.
    bias_correction : bool
        None, so matrices shrink by 1 - r^t. Ours: corrected.
    training : bool
        Measured while training, with batch statistics. Ours: evaluation mode.
    pool_constant : bool
        1 x 1 maps are compared within each image, where all channels are ±1 copies
        of each other, and lose nearly all of them. Ours: compared over images.
    normalize : str
        Raw values, which shrink as one over the map size and drown in the edge term.
        Ours: cosine for the layers of a unit, trace for the threshold.
    combine : str
        Each layer of a coupled unit keeps its own set, and the unit their union. Ours:
        one graph, the mean.
    min_keep : float
        Least fraction of a layer that stays. Ours: 0.1.
    threshold : Threshold
        Diagonal in the row sums, scores from 0.4 times the edge term in the backbone
        and from 0 elsewhere, two pools, strictly above the threshold, p from 0.5 in
        steps of 0.02. Ours: no diagonal, no edge term, bisection.

    Examples
    --------
    >>> from sirfp_opt.pytorch import ReferenceOptions
    >>> ReferenceOptions(decay=0.999).extraction["bias_correction"]
    False
    """

    decay: float = 0.99
    bias_correction: bool = False
    training: bool = True
    pool_constant: bool = False
    normalize: str = "none"
    combine: str = "union"
    min_keep: float = 0.02
    threshold: Threshold = field(default_factory=Threshold.reference)

    @property
    def extraction(self) -> dict[str, Any]:
        """Keyword arguments of `extract`."""
        return {
            "metric": "spatial",
            "decay": self.decay,
            "bias_correction": self.bias_correction,
            "training": self.training,
            "pool_constant": self.pool_constant,
            "absolute": True,
            "importance": "edge",
            "normalize": self.normalize,
            "combine": self.combine,
        }
