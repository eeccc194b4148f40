"""The cheapest honest bound: every kept item meets at best its best partners."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt._validate import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sirfp_opt._validate import FloatArray
    from sirfp_opt.canonical import CanonicalProblem
    from sirfp_opt.problem import PruningProblem

__all__ = [
    "best_partners_value",
    "best_partners_values",
    "bounds_by_count",
    "combinatorial_bound",
]


def combinatorial_bound(problem: PruningProblem) -> float:
    """Bound the objective by giving each channel its k-1 best partners.

    With t items kept, item i adds at most u_i(t) = c_i + ½ · (sum of the t-1 best
    W_ij), and t items at most the sum of the t largest u_i(t). The bound is the best
    over all allowed t, in O(m² log m) time.

    Parameters
    ----------
    problem : PruningProblem

    Returns
    -------
    float
        In the problem's sense and units: no feasible set is better.

    Raises
    ------
    InfeasibleError
        If the problem is seen to have no feasible set.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import ChannelGraph, LayerConstraints, PruningProblem
    >>> from sirfp_opt.partner_bound import combinatorial_bound
    >>> graph = ChannelGraph.from_diversity(np.array([[0, 3, 1], [3, 0, 2], [1, 2, 0]]))
    >>> round(combinatorial_bound(PruningProblem(graph, LayerConstraints(2))), 6)
    3.0
    """
    from sirfp_opt.problem import PruningProblem

    canonical = require(problem, PruningProblem, "problem").canonical
    return canonical.to_objective(max(bounds_by_count(canonical).values()))


def best_partners_value(
    weights: FloatArray, values: FloatArray, cardinalities: Sequence[int]
) -> float:
    """Bound Σ_{i<j in X} W_ij + Σ_{i in X} c_i over all X of allowed cardinality.

    Parameters
    ----------
    weights : ndarray of shape (m, m)
        W; the diagonal is not read.
    values : ndarray of shape (m,)
        c.
    cardinalities : sequence of int
        Numbers of items that X can have.

    Returns
    -------
    float
        Free of error but for the rounding of its own sums.
    """
    return max(best_partners_values(weights, values, cardinalities), default=-np.inf)


def best_partners_values(
    weights: FloatArray, values: FloatArray, cardinalities: Sequence[int]
) -> list[float]:
    """Return the bound of `best_partners_value` for each cardinality by itself."""
    m = values.shape[0]
    # Row i holds the other items' weights.
    others = weights[~np.eye(m, dtype=bool)].reshape(m, max(m - 1, 0))
    if len(cardinalities) == 1:  # one sum a row needs no sorting
        most = max(cardinalities[0] - 1, 0)
        if 0 < most < m - 1:
            others = np.partition(others, m - 1 - most, axis=1)
        sums = {most: others[:, others.shape[1] - most :].sum(axis=1)}
    else:
        partners = -np.sort(-others, axis=1)
        whole = np.concatenate((np.zeros((m, 1)), np.cumsum(partners, axis=1)), axis=1)
        sums = {max(t - 1, 0): whole[:, max(t - 1, 0)] for t in cardinalities}
    bounds = []
    for t in cardinalities:
        share = values + sums[max(t - 1, 0)] / 2
        bounds.append(float(np.sort(share)[m - t :].sum()) if t else 0.0)
    return bounds


def bounds_by_count(canonical: CanonicalProblem) -> dict[int, float]:
    """Return the combinatorial bound, in canonical form, for each total of sizes.

    Rounding is accounted for. Where sizes differ, all totals share one bound.
    """
    unit = canonical.unit_size
    slack = canonical.rounding_error / 2
    if unit is None:
        best = best_partners_value(
            canonical.weights, canonical.values, canonical.cardinalities
        )
        return dict.fromkeys(canonical.counts, best + slack)
    bounds = best_partners_values(
        canonical.weights, canonical.values, [c // unit for c in canonical.counts]
    )
    return {c: b + slack for c, b in zip(canonical.counts, bounds, strict=True)}
