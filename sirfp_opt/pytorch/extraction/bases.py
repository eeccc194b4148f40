"""Bases of queries and keys in which few dimensions carry their logits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

__all__ = ["bases_of", "basis_of"]

LEAST = 1e-10
"""Of a ridge on the two factors of a basis, in units of their mean diagonal."""


def bases_of(
    keys: Sequence[Hashable],
    first: Tensor,
    second: Tensor,
    ridge: float,
    orders: Sequence[Sequence[int]],
) -> list[tuple[Tensor, Tensor]]:
    """Return the basis of each head, see `basis_of`; heads that share keys have one.

    Parameters
    ----------
    keys : sequence
        Of each head: what tells its keys from others.
    first, second : Tensor of shape (heads, n, n)
        Q'Q and K'K.
    ridge : float
    orders : sequence of sequence of int
        Of each head.
    """
    found: dict[Hashable, tuple[Tensor, Tensor]] = {}
    for head, key in enumerate(keys):
        if key not in found:
            alike = [number for number, other in enumerate(keys) if other == key]
            found[key] = basis_of(
                first[alike].sum(dim=0), second[head], ridge, orders[head]
            )
    return [found[key] for key in keys]


def basis_of(
    first: Tensor, second: Tensor, ridge: float, order: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Return T and R with TR' = I in which few dimensions carry the logits.

    With A and B the mean of Q'Q and of K'K, and UΣV' = A^½ B^½, ::

        T = A^-½ U Σ^½,    R = B^-½ V Σ^½:

    terms d of Q T R'K' are then orthogonal and of squared norms σ_d², and the first s
    are the best approximation of rank s, were all samples alike (Eckart and Young).

    Parameters
    ----------
    first, second : Tensor of shape (n, n)
        A and B.
    ridge : float
        Added to both, in units of their mean diagonals.
    order : sequence of int
        Where the dimensions go, the strongest first.
    """
    root, inverse = _roots(first, ridge)
    other, back = _roots(second, ridge)
    left, values, right = torch.linalg.svd(root @ other)
    one, two = torch.empty_like(first), torch.empty_like(second)
    one[:, list(order)] = (inverse @ left) * values.sqrt()
    two[:, list(order)] = (back @ right.T) * values.sqrt()
    return one, two


def _roots(matrix: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Return the square root of a matrix plus a ridge, and its inverse."""
    values, vectors = torch.linalg.eigh(matrix)
    mean = values.mean().clamp_min(1e-300)
    root = (values.clamp_min(0) + max(ridge, LEAST) * mean).sqrt()
    whole: Tensor = (vectors * root) @ vectors.T
    inverse: Tensor = (vectors / root) @ vectors.T
    return whole, inverse
