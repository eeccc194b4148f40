"""Greedy: the paper's backward deletion, and its forward twin."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sirfp_opt._validate import as_square, as_vector
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.protocols import SolverInfo
from sirfp_opt_solvers._construct import best_prefix, feasible_sets

if TYPE_CHECKING:
    from sirfp_opt.canonical import CanonicalProblem
    from sirfp_opt.search import Search

__all__ = ["Greedy", "backward_order"]

Floats = NDArray[np.float64]
Items = NDArray[np.int64]


@dataclass(frozen=True)
class Greedy:
    """Delete the most redundant channel until k are left, or add the least.

    Backward (SIRFP, arXiv 2412.12672, algorithm 1): with L the channels left, delete

        argmax_{i in L}  v_i + Σ_{j in L, j != i} w_ij        (minimising)

    until k are left. Row sums are kept up to date, so all deletions take O(n²)
    instead of the published O(n³), in the same order. Forward: start from the best
    pair and add the channel of the largest gain.

    Parameters
    ----------
    direction : {"backward", "forward"}
    diagonal : bool
        Count a channel's redundancy with itself in its row sum, as the authors' code
        does (the paper's text does not). It changes the order of deletion, never the
        objective.
    polish : bool
        Then make the best swap until none gains, as `LocalSearch` does.
    compiled : bool, optional
        Delete in compiled code (numba) or in NumPy; both give the same order to the
        last bit. By default compiled code is used if numba is loaded already.

    Notes
    -----
    Sets for a range of k lie nested on one path, and the best of them is kept. Tied
    groups are compared per channel. With missing edges a conflict outweighs every
    redundancy, so conflicting channels go first.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import ChannelGraph, solve
    >>> alike = np.array([[1, 0.9, 0.1], [0.9, 1, 0.2], [0.1, 0.2, 1]])
    >>> graph = ChannelGraph.from_redundancy(alike)
    >>> solve(graph, 2, method="greedy").selected.tolist()
    [0, 2]
    """

    direction: str = "backward"
    diagonal: bool = False
    polish: bool = False
    compiled: bool | None = None
    info: ClassVar[SolverInfo] = SolverInfo(
        summary="the paper's backward deletion, O(n²); also forward, and polished",
        exact=False,
    )

    def __post_init__(self) -> None:
        if self.direction not in ("backward", "forward"):
            raise InvalidProblemError(
                f"`direction` must be 'backward' or 'forward', got "
                f"{self.direction!r}. The paper's is 'backward'."
            )

    def solve(self, search: Search) -> None:
        """Offer the set of each allowed count on the greedy path."""
        canonical = search.canonical
        weights = _with_penalties(canonical)
        values = canonical.values
        if self.diagonal:
            own = search.problem.graph.self_redundancy
            values = values + canonical.sign * np.array(
                [own[member].sum() for member in canonical.members]
            )
        if self.direction == "backward":
            marginals = values + weights.sum(axis=1)
            order, _ = delete_smallest(
                weights, marginals, canonical.sizes, self.compiled
            )
            preference = order[::-1]
        else:
            preference = _add_largest(weights, values, canonical.sizes)
        prefix = best_prefix(canonical, preference)
        if prefix is not None and canonical.conflicts is None:
            search.offer_items(prefix, canonical.m)
        else:
            for items in feasible_sets(search, preference):
                search.offer_items(items, canonical.m)
        if self.polish and search.best is not None:
            from sirfp_opt_solvers.local_search import polish

            polish(search)


def backward_order(
    weights: Any, *, values: Any = None, diagonal: Any = None
) -> tuple[Items, Floats]:
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
    order, gains = delete_smallest(redundancy, -row_sums, np.ones(n, dtype=np.int64))
    return order, 0.0 - gains  # not -gains: that would turn 0 into -0


def delete_smallest(
    weights: Floats, marginals: Floats, sizes: Items, compiled: bool | None = None
) -> tuple[Items, Floats]:
    """Delete the item of least marginal gain per channel until none is left."""
    m = marginals.size
    left = marginals.copy()
    order = np.empty(m, dtype=np.int64)
    gains = np.empty(m)
    unit = bool((sizes == sizes[:1]).all())
    if compiled is None:
        compiled = "numba" in sys.modules
    if unit and m and compiled:
        from sirfp_opt_solvers._kernels.greedy import delete_smallest as kernel

        # Read-only and contiguous, always: else numba compiles for each kind.
        matrix = np.ascontiguousarray(weights).view()
        matrix.setflags(write=False)
        kernel(matrix, left, order, gains)
        return order, gains
    for step in range(m):
        item = int(left.argmin() if unit else (left / sizes).argmin())
        order[step] = item
        gains[step] = left[item]
        left -= weights[item]
        left[item] = np.inf  # inf minus a finite weight stays inf: never again
    return order, gains


def _add_largest(weights: Floats, values: Floats, sizes: Items) -> Items:
    """Add the item of largest marginal gain per channel until all are in."""
    m = values.size
    gains = values.copy()
    order = np.empty(m, dtype=np.int64)
    start: list[int] = []
    if m > 1:
        # One item alone has no pair weight to show: begin with the best pair.
        pairs = weights + values[:, None] + values[None, :]
        pairs /= sizes[:, None] + sizes[None, :]
        np.fill_diagonal(pairs, -np.inf)
        start = [int(i) for i in np.unravel_index(int(pairs.argmax()), pairs.shape)]
    for step in range(m):
        item = start[step] if step < len(start) else int((gains / sizes).argmax())
        order[step] = item
        gains += weights[item]
        gains[item] = -np.inf
    return order


def _with_penalties(canonical: CanonicalProblem) -> Floats:
    """Return weights in which a conflict costs more than all else can gain."""
    if canonical.conflicts is None:
        return canonical.weights
    largest = max(canonical.weights.max(), -canonical.weights.min())
    most = canonical.m * largest + np.abs(canonical.values).max() + 1.0
    return np.where(canonical.conflicts, -most, canonical.weights)
