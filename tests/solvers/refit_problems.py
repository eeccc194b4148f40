"""Refit problems to test on: random, and drawn by hypothesis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from sirfp_opt import ReconstructionProblem

if TYPE_CHECKING:
    from collections.abc import Sequence


def random_layer(
    n: int,
    *,
    readers: int = 1,
    ridge: float = 1e-3,
    seed: int = 0,
    filters: int | None = None,
    labels: Sequence[str] | None = None,
) -> ReconstructionProblem:
    """Return a layer of n correlated channels: half of them follow the others."""
    rng = np.random.default_rng(seed)
    covariances, products = [], []
    for _ in range(readers):
        maps = rng.normal(size=(3 * n, n)) * rng.uniform(0.3, 2.0, size=n)
        maps[:, : n // 2] += maps @ rng.normal(size=(n, n // 2)) / np.sqrt(n)
        weights = rng.normal(size=(filters or n + 1, n))
        covariances.append(maps.T @ maps / len(maps))
        products.append(weights.T @ weights)
    return ReconstructionProblem(covariances, products, ridge=ridge, labels=labels)


@st.composite
def refit_layers(
    draw: st.DrawFn, least: int = 2, most: int = 8, ridge: float | None = None
) -> ReconstructionProblem:
    """Draw a layer of 2 to 8 channels, one to three readers, of any rank."""
    n = draw(st.integers(least, most))
    layer = random_layer(
        n,
        readers=draw(st.integers(1, 3)),
        filters=draw(st.integers(1, n + 2)),
        seed=draw(st.integers(0, 10_000)),
    )
    if ridge is None:
        ridge = draw(st.sampled_from([1e-4, 1e-3, 0.1]))
    return ReconstructionProblem(layer.covariances, layer.products, ridge=ridge)
