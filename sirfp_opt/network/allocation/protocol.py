"""What every allocation is given and returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sirfp_opt._validate import IntArray
    from sirfp_opt.network.curves import ValueCurve
    from sirfp_opt.network.problem import NetworkProblem

__all__ = ["Allocation", "Allocator", "largest_within"]


@dataclass(frozen=True)
class Allocation:
    """How many channels each unit keeps.

    `solve_network` checks it: counts that the curves do not know, sets that break a
    constraint, and passed budgets are refused.

    Attributes
    ----------
    counts : dict of str to int
        By unit.
    kept : dict of str to ndarray, or None
        Which ones, where the allocation decides that, too.
    next_cost : dict of str to int, or None
        Costs of the next larger plan that it could have made, which the budget forbids.
    bound : float
        No split has a smaller loss on the curves; minus infinity without a proof.
    multipliers : dict of str to float
        Price of each budget, in loss for its whole limit, behind the bound.
    limit : str or None
        "time" or "gap" if that is what ended a search before a proof.
    info : dict
        Details, such as the threshold.
    """

    counts: dict[str, int]
    kept: dict[str, IntArray] | None = None
    next_cost: dict[str, int] | None = None
    bound: float = -np.inf
    multipliers: dict[str, float] = field(default_factory=dict)
    limit: str | None = None
    info: dict[str, Any] = field(default_factory=dict)


class Allocator(Protocol):
    """Anything that splits a budget over layers."""

    def allocate(
        self,
        problem: NetworkProblem,
        curves: Mapping[str, ValueCurve],
        starts: Sequence[Mapping[str, int]] = (),
    ) -> Allocation:
        """Return the numbers of channels to keep within ``problem.limits``.

        Parameters
        ----------
        problem : NetworkProblem
        curves : mapping of str to ValueCurve
            By layer, the counts there are, and what each is worth.
        starts : sequence of mapping of str to int
            Splits within the budgets; an allocation that searches is not worse than
            any of them, others need not look.

        Raises
        ------
        NoSolutionError
            If the smallest plan that it can make is above the budget.
        """
        ...


def largest_within(
    problem: NetworkProblem, candidates: int, counts_of: Callable[[int], dict[str, int]]
) -> tuple[int | None, dict[str, int] | None]:
    """Bisect for the largest of a growing family of plans within the budgets.

    Parameters
    ----------
    problem : NetworkProblem
    candidates : int
        Number of plans; plan i + 1 keeps at least as much of each unit as plan i.
    counts_of : callable
        ``counts_of(i)`` returns the counts of plan i.

    Returns
    -------
    best : int or None
        The largest plan within the budgets; None if even plan 0 is above one.
    next_cost : dict or None
        The costs of plan best + 1.
    """
    low, high = -1, candidates
    while high - low > 1:
        middle = (low + high) // 2
        if problem.keeps_budget(counts_of(middle)):
            low = middle
        else:
            high = middle
    above = problem.cost.predict(counts_of(high)) if high < candidates else None
    return (low if low >= 0 else None), above
