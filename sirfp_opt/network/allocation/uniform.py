"""The same fraction of every layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt.errors import InfeasibleError
from sirfp_opt.network.allocation.base import (
    Allocation,
    Budget,
    Layer,
    check_reachable,
    largest_within,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sirfp_opt.network.cost import CostModel

__all__ = ["Uniform"]


@dataclass(frozen=True)
class Uniform:
    """Keep one fraction f of each unit: the largest f that the budget allows.

    Unit u keeps floor(f n_u) channels, rounded down to an allowed number, and never
    fewer than its minimum.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import ChannelGraph
    >>> from sirfp_opt.network.allocation import Budget, Layer, Uniform
    >>> from sirfp_opt.network.cost import Affine, CostForm, CostModel
    >>> layer = Layer("a", ChannelGraph.from_redundancy(np.eye(10)))
    >>> cost = CostModel(["a"], [10], {"macs": CostForm.from_products(
    ...     ["a"], [(1.0, Affine(0, {"a": 1}), Affine(0, {"a": 1}))])})
    >>> Uniform().allocate([layer], cost, Budget(macs=0.5)).counts
    {'a': 7}
    """

    def allocate(
        self, layers: Sequence[Layer], cost: CostModel, budget: Budget
    ) -> Allocation:
        """Return the counts of the largest uniform plan within the budget.

        Raises
        ------
        InfeasibleError
            If the minima of the units are above the budget already.
        """
        sizes = {layer.size for layer in layers}
        parts = [np.arange(1, size + 1) / size for size in sizes]
        fractions = np.unique(np.concatenate([np.zeros(1), *parts]))

        def counts_of(i: int) -> dict[str, int]:
            return counts_at(layers, float(fractions[i]))

        best, above = largest_within(len(fractions), counts_of, cost, budget)
        if best is None:
            check_reachable(layers, cost, budget, counts_of(0))
            raise InfeasibleError(f"no uniform plan meets {budget}")
        return Allocation(
            counts_of(best), next_cost=above, info={"fraction": float(fractions[best])}
        )


def counts_at(layers: Sequence[Layer], fraction: float) -> dict[str, int]:
    """Return what each layer keeps of `fraction` of its channels."""
    # A product such as 0.29 * 100 may come out just below the integer it means.
    return {layer.name: layer.allowed(fraction * layer.size + 1e-9) for layer in layers}
