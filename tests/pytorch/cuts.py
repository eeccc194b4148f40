"""Random cuts, and how far their outputs are from what they should be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from sirfp_opt.network.plan import PruningUnit


def random_plan(
    units: Sequence[PruningUnit], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Keep a random, arbitrary half or so of each unit, tied groups whole."""
    kept = {}
    for unit in units:
        groups = unit.classes
        count = int(rng.integers(1, len(groups)))
        chosen = rng.choice(len(groups), size=count, replace=False)
        kept[unit.name] = np.sort(np.concatenate([groups[i] for i in chosen]))
    return kept


def largest_difference(one: list[Tensor], other: list[Tensor]) -> tuple[float, float]:
    """Return max |one - other| over all outputs, and max |other|; inf on NaN."""
    if [t.shape for t in one] != [t.shape for t in other]:
        return float("inf"), 0.0
    difference = scale = 0.0
    for left, right in zip(one, other, strict=True):
        if right.numel():
            gap = float((left.double() - right.double()).abs().max())
            difference = max(difference, gap if np.isfinite(gap) else float("inf"))
            scale = max(scale, float(right.double().abs().max()))
    return difference, scale
