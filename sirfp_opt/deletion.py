"""Backward deletion: the least gaining item goes first, until none is left."""

from __future__ import annotations

from typing import Any

import numpy as np

from sirfp_opt._validate import FloatArray, IntArray, as_square, as_vector

__all__ = ["backward_order", "delete_smallest"]


def backward_order(
    weights: Any, *, values: Any = None, diagonal: Any = None
) -> tuple[IntArray, FloatArray]:
    """Return the paper's whole order of deletion and what each deletion removes.

    Parameters
    ----------
    weights : array_like of shape (n, n)
        Redundancies w_ij, symmetric; the diagonal is not read.
    values : array_like of shape (n,), optional
        Vertex weights v_i, part of a channel's redundancy.
    diagonal : array_like of shape (n,), optional
        Self-redundancies, to count them in the row sums as the authors' code does.

    Returns
    -------
    order : ndarray of int64, shape (n,)
        Channels, first deleted first; the last k are the greedy solution for k.
    removed : ndarray of float64, shape (n,)
        ``removed[p]`` is the row sum over what was left, channel ``order[p]``
        included, when it was deleted. Their sum telescopes to Σ_{i<j} w_ij +
        Σ_i (v_i + diagonal_i).

    Raises
    ------
    InvalidProblemError
        If an array is not real, finite, symmetric or of the right shape.

    Examples
    --------
    >>> import numpy as np
    >>> order, removed = backward_order(np.array([[0, 2, 1], [2, 0, 3], [1, 3, 0.0]]))
    >>> order.tolist(), removed.tolist()
    ([1, 0, 2], [5.0, 1.0, 0.0])
    """
    redundancy = as_square(weights, "weights")
    n = redundancy.shape[0]
    np.fill_diagonal(redundancy, 0.0)
    row_sums = redundancy.sum(axis=1)
    for extra, name in ((values, "values"), (diagonal, "diagonal")):
        if extra is not None:
            row_sums += as_vector(extra, n, name)
    np.negative(redundancy, out=redundancy)
    order, gains = delete_smallest(redundancy, -row_sums, None)
    return order, 0.0 - gains  # not -gains: that would turn 0 into -0


def delete_smallest(
    weights: FloatArray,
    marginals: FloatArray,
    sizes: IntArray | None,
    most: int | None = None,
) -> tuple[IntArray, FloatArray]:
    """Delete the item of least marginal gain per channel until none is left.

    Parameters
    ----------
    weights : ndarray of shape (m, m)
        What a pair gains; symmetric with a zero diagonal.
    marginals : ndarray of shape (m,)
        What an item gains beside all the others.
    sizes : ndarray of int64, shape (m,), optional
        Channels in each item; None where all hold the same number.
    most : int, optional
        Stop after so many.

    Returns
    -------
    order : ndarray of int64, shape (m,) or (most,)
        Items, first deleted first.
    gains : ndarray of float64, of the same shape
        ``gains[p]`` is what item ``order[p]`` gained beside those left with it.
    """
    steps = marginals.size if most is None else most
    left = marginals.copy()
    order = np.empty(steps, dtype=np.int64)
    gains = np.empty(steps)
    for step in range(steps):
        item = left.argmin() if sizes is None else (left / sizes).argmin()
        order[step] = item
        gains[step] = left[item]
        left -= weights[item]
        left[item] = np.inf  # inf minus a finite weight stays inf: never again
    return order, gains
