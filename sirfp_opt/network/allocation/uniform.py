"""The same fraction of every layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt.errors import NoSolutionError
from sirfp_opt.network.allocation.protocol import Allocation, largest_within

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sirfp_opt.network.curves import ValueCurve
    from sirfp_opt.network.problem import NetworkProblem
    from sirfp_opt.network.unit import UnitView

__all__ = ["Uniform", "counts_at"]


@dataclass(frozen=True)
class Uniform:
    """Keep one fraction f of each unit: the largest f that the budget allows.

    Unit u keeps floor(f n_u) channels, rounded down to an allowed number, and never
    fewer than its minimum.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import ChannelGraph
    >>> from sirfp_opt.network import Affine, CostForm, CostModel, NetworkProblem
    >>> from sirfp_opt.network.allocation import Uniform
    >>> layers = {"a": ChannelGraph.from_redundancy(np.eye(10))}
    >>> cost = CostModel(["a"], [10], {"macs": CostForm.from_products(
    ...     ["a"], [(1.0, Affine(0, {"a": 1}), Affine(0, {"a": 1}))])})
    >>> problem = NetworkProblem(layers, cost, {"macs": 0.5})
    >>> Uniform().allocate(problem, problem.curves).counts
    {'a': 7}
    """

    def allocate(
        self,
        problem: NetworkProblem,
        curves: Mapping[str, ValueCurve],
        starts: Sequence[Mapping[str, int]] = (),
    ) -> Allocation:
        """Return the counts of the largest uniform plan within the budget.

        Raises
        ------
        NoSolutionError
            If the minima of the units are above the budget already.
        """
        views = problem.views(curves)
        sizes = {view.size for view in views}
        parts = [np.arange(1, size + 1) / size for size in sizes]
        fractions = np.unique(np.concatenate([np.zeros(1), *parts]))

        def counts_of(i: int) -> dict[str, int]:
            return counts_at(views, float(fractions[i]))

        best, above = largest_within(problem, len(fractions), counts_of)
        if best is None:
            raise NoSolutionError(
                f"`allocation` 'uniform' must find a plan within {problem.limits}, got "
                "none: the least counts cost more. Raise the budget."
            )
        return Allocation(
            counts_of(best), next_cost=above, info={"fraction": float(fractions[best])}
        )


def counts_at(views: Iterable[UnitView], fraction: float) -> dict[str, int]:
    """Return what each layer keeps of `fraction` of its channels."""
    # A product such as 0.29 * 100 may come out just below the integer it means.
    return {view.name: view.allowed(fraction * view.size + 1e-9) for view in views}
