"""How far apart the values of sets are: steps of the weights, or rounding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt.grain import common_step
from sirfp_opt_solvers.relaxations.linear import masked_weights

if TYPE_CHECKING:
    from sirfp_opt.canonical import CanonicalProblem

__all__ = ["Margin"]


@dataclass(frozen=True)
class Margin:
    """What a set must be worth to matter, beside one that is known.

    Attributes
    ----------
    ahead : float
        A set worth at most this more than a known one, in canonical units, need not
        be looked for.
    loose : float
        The best set is worth at most this more than the known one, then. Below the
        canonical problem's rounding error the core takes that for the same value.
    """

    ahead: float
    loose: float

    @classmethod
    def of(cls, canonical: CanonicalProblem, slack: float = 0.0) -> Margin:
        """Return the margins of a problem.

        Where all weights are multiples of a step g, all but e in sum, two sets whose
        values differ by more than 2e differ by at least g − 2e.

        Parameters
        ----------
        canonical : CanonicalProblem
        slack : float
            How far off values can be where they are compared.
        """
        rounding = 0.5 * canonical.rounding_error
        pairs, own = masked_weights(canonical), canonical.values
        # A pair stands there twice, so `off` is what two sets are off by.
        step, off = common_step(np.concatenate((pairs.ravel(), own, own)))
        noise = off + rounding + slack
        if step > 8.0 * noise and off <= 0.25 * rounding:
            return cls(step - noise - slack, off + rounding)
        return cls(rounding, rounding + slack)
