"""Greedy scores: what each channel adds to its layer's redundancy when it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt.deletion import backward_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sirfp_opt._validate import FloatArray

__all__ = ["greedy_scores"]


def greedy_scores(
    redundancy: FloatArray,
    *,
    values: FloatArray | None = None,
    start: FloatArray | None = None,
    diagonal: bool = False,
    classes: Sequence[Sequence[int]] = (),
) -> FloatArray:
    """Return the paper's score of each channel; the higher, the more worth keeping.

    Channels are deleted one by one, the largest row sum over what is left first. A
    channel's score is ``start`` minus that row sum. The row sums telescope: the scores
    of the last k channels deleted add up to minus the redundancy among them (with
    `diagonal`, plus their own; with `values`, plus theirs).

    Parameters
    ----------
    redundancy : ndarray of shape (n, n)
        Symmetric, diagonal included.
    values : ndarray of shape (n,), optional
        Vertex weights, a part of the row sums. The reference has none.
    start : ndarray of shape (n,), optional
        Where the scores start, for instance 0.4 times the edge term. Does not change
        the order of deletion.
    diagonal : bool
        Count R_ii in the row sums, as the authors' code does.
    classes : sequence of sequences of int
        Tied channels: deleted together, they share the mean score of their class.

    Returns
    -------
    ndarray of float64, shape (n,)

    References
    ----------
    Wu et al., AAAI 2025, arXiv 2412.12672, section 3.4 and algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> greedy_scores(np.array([[1, 0.5, 0.25], [0.5, 1, 0.125], [0.25, 0.125, 1]]))
    array([-0.75 , -0.125,  0.   ])
    """
    matrix = np.asarray(redundancy, dtype=np.float64)
    n = matrix.shape[0]
    own = matrix.diagonal() if diagonal else np.zeros(n)
    own = own if values is None else own + values
    if not classes:
        order, removed = backward_order(matrix, diagonal=own)
        scores = np.empty(n)
        scores[order] = 0.0 - removed  # no minus zero
    else:
        member = np.zeros((len(classes), n))
        for row, channels in enumerate(classes):
            member[row, list(channels)] = 1.0
        off = matrix - np.diag(matrix.diagonal())
        between = member @ off @ member.T
        inside = between.diagonal() / 2 + member @ own
        order, removed = backward_order(between, diagonal=inside)
        by_class = np.empty(len(classes))
        by_class[order] = 0.0 - removed
        scores = member.T @ (by_class / member.sum(axis=1))
    return scores if start is None else scores + np.asarray(start, dtype=np.float64)
