"""Whether a network's budgets can be reached, by a proof, or not at all."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt.errors import InfeasibleError, NoSolutionError, SirfpError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sirfp_opt.network.problem import NetworkProblem

__all__ = ["check_reachable"]


def check_reachable(
    problem: NetworkProblem, known: Mapping[str, int], possible: Mapping[str, int]
) -> None:
    """Raise, with the least reachable value and what blocks, if a budget is not.

    Costs grow with the counts, so that the least counts of all layers at once are the
    cheapest plan, in every cost.

    Parameters
    ----------
    problem : NetworkProblem
    known : mapping of str to int
        By layer, the least count of which a set is known to exist.
    possible : mapping of str to int
        By layer, the least count of which it is not proved that no set exists.

    Raises
    ------
    InfeasibleError
        If a budget is below what any plan costs.
    NoSolutionError
        If it is below what any known plan costs, and more is not proved.
    """
    cost = problem.cost
    proved = cost.as_counts(possible)
    array = cost.as_counts(known)
    for name, limit in problem.limits.items():
        form, total = cost.forms[name], cost.total(name)
        least = cost.evaluate(name, proved)
        if cost.evaluate(name, array) <= limit:
            continue
        infeasible = least > limit
        exact = bool((proved == array).all())
        shown = proved if infeasible else array
        shares = shown * form.gradient(shown)
        order = np.argsort(-shares, kind="stable")[:5]
        blocking = ", ".join(
            f"{cost.units[i]} ({shown[i]} of {cost.sizes[i]} channels kept)"
            for i in order
            if shares[i] > 0 and cost.units[i] in problem.layers
        )
        reached = least if infeasible else cost.evaluate(name, array)
        asked = problem.asked.values[name]
        value = _up(reached / total) if asked <= 1 else f"{reached:,}"
        error: type[SirfpError]
        if infeasible and exact:
            words, error = "the least reachable", InfeasibleError
        elif infeasible:
            words, error = (
                "an estimate from below of the least reachable",
                InfeasibleError,
            )
        else:
            words, error = "the least that is known to be reachable", NoSolutionError
        raise error(
            f"`{name}` must be at least {value}, {words}, got {asked:g}. What is not "
            f"pruned takes {form.const / max(total, 1):.1%}; the units at their least "
            f"that weigh most: {blocking or 'none'}. Raise the budget, lower min_keep, "
            "or ignore fewer layers."
        )


def _up(value: float) -> str:
    """Return a fraction with four digits, rounded up: it can be asked for."""
    return f"{math.ceil(value * 10_000) / 10_000:g}"
