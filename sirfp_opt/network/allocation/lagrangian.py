"""The split by prices on the budgets: quick, with a bound."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sirfp_opt._rules import check_fields, number, ruled, whole
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.network.allocation.protocol import Allocation
from sirfp_opt.network.allocation.uniform import Uniform
from sirfp_opt.network.splitting.branching import SplitSearch
from sirfp_opt.network.worth import Worth

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sirfp_opt._validate import IntArray
    from sirfp_opt.network.curves import ValueCurve
    from sirfp_opt.network.problem import NetworkProblem
    from sirfp_opt.network.splitting.problem import Split, SplitProblem

__all__ = ["Lagrangian", "SplitAllocator"]


class SplitAllocator(ABC):
    """What `Lagrangian` and `Optimal` share: a loss to minimise, by a search.

    A subclass is a dataclass with a field `worth`, and says how it searches.
    """

    worth: Worth | None

    @abstractmethod
    def split(self, problem: SplitProblem, starts: Iterable[IntArray] = ()) -> Split:
        """Solve the bare problem; never worse than a feasible one of `starts`."""

    def allocate(
        self,
        problem: NetworkProblem,
        curves: Mapping[str, ValueCurve],
        starts: Sequence[Mapping[str, int]] = (),
    ) -> Allocation:
        """Return the best split found, with what is proved about it.

        Raises
        ------
        InvalidProblemError
            If the allocation has a worth of its own that is not the problem's.
        """
        if self.worth is not None and not problem.worth.says(self.worth):
            raise InvalidProblemError(
                f"`worth` of the allocation must be left out or be the problem's "
                f"{problem.worth}, got {self.worth}. Put it into the problem: "
                "NetworkProblem(..., worth=Worth('balanced'))."
            )
        numbers = problem.split_problem(curves)
        cost = problem.cost
        first = Uniform().allocate(problem, curves).counts
        split = self.split(numbers, [cost.as_counts(k) for k in (first, *starts)])
        counts = dict(zip(cost.units, split.k.tolist(), strict=True))
        return Allocation(
            counts={name: counts[name] for name in problem.layers},
            next_cost=numbers.next_costs(split.k, cost),
            bound=split.bound,
            multipliers=dict(
                zip(problem.limits, split.multipliers.tolist(), strict=True)
            ),
            limit=split.limit,
            info={"gap": split.gap},
        )


GAP = number(0.0, way="0 asks for a proof.")
SECONDS = number(0.0, optional=True, way="None sets no limit.")


@dataclass(frozen=True)
class Lagrangian(SplitAllocator):
    """Price the budgets, minimise the rest exactly, repair what breaks a budget.

    Minimises Σ_l loss_l(k_l) subject to const + Σ a_u k_u + Σ b_uv k_u k_v <= limit for
    each budget, with the losses of `Worth`. At prices p >= 0 on the budgets, the
    minimum of loss + Σ p (cost / limit - 1) over all k is a lower bound; it is found
    exactly, products included, by eliminating one unit after the other (see
    `Relaxation`). The prices that make the bound largest come from cutting planes
    (M. L. Fisher, Management Science 27, 1981, doi:10.1287/mnsc.27.1.1). Each of
    their minimisers is lowered into the budgets, filled up and improved by exchanges.

    Parameters
    ----------
    worth : Worth, optional
        What is minimised, if it is to be said here: the problem's, and no other.
    levels : int
        Counts of a unit are put into at most so many intervals; more give a tighter
        bound, in time and memory that grow with their cube.
    rounds : int
        The relaxation also tells which counts no better split can have; they are
        dropped, and the bound is computed anew on the rest, at most so many times.
    gap : float
        Stop once the relative gap is at most this.
    time_limit : float, optional
        Seconds for the search, value curves not counted.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import ChannelGraph
    >>> from sirfp_opt.network import Affine, CostForm, CostModel, NetworkProblem
    >>> from sirfp_opt.network.allocation import Lagrangian
    >>> layers = {name: ChannelGraph.from_redundancy(np.full((8, 8), alike))
    ...           for name, alike in (("a", 0.2), ("b", 0.6))}
    >>> one = Affine(0, {"a": 1, "b": 1}), Affine(1)
    >>> cost = CostModel(["a", "b"], [8, 8],
    ...                  {"params": CostForm.from_products(["a", "b"], [(1.0, *one)])})
    >>> problem = NetworkProblem(layers, cost, {"params": 0.75})
    >>> Lagrangian().allocate(problem, problem.curves).counts
    {'a': 6, 'b': 6}
    """

    worth: Worth | None = None
    levels: int = ruled(whole(1), 48)
    rounds: int = ruled(whole(1), 6)
    gap: float = ruled(GAP, 1e-2)
    time_limit: float | None = ruled(SECONDS, 30.0)

    def __post_init__(self) -> None:
        check_fields(self)
        check_worth(self.worth)

    def split(self, problem: SplitProblem, starts: Iterable[IntArray] = ()) -> Split:
        """Solve the bare problem; never worse than a feasible one of `starts`."""
        deadline = deadline_after(self.time_limit)
        search = SplitSearch(problem, deadline=deadline, gap=self.gap)
        search.start(starts)
        search.run(most_levels=self.levels, rounds=self.rounds)
        return search.split()


def check_worth(worth: Any) -> None:
    """Raise unless it is a `Worth`, or None for the problem's.

    Raises
    ------
    InvalidProblemError
    """
    if worth is not None and not isinstance(worth, Worth):
        raise InvalidProblemError(
            f"`worth` must be a Worth or None, got {worth!r}. "
            "Leave it out for the problem's."
        )


def deadline_after(time_limit: float | None) -> float:
    """Return the value of ``time.perf_counter()`` at which the time is over."""
    return time.perf_counter() + (np.inf if time_limit is None else time_limit)
