"""How far apart the values of sets are: steps of the weights, or rounding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sirfp_opt_solvers.relaxations.linear import masked_weights

if TYPE_CHECKING:
    from sirfp_opt.canonical import CanonicalProblem

__all__ = ["Margin", "common_step"]

Floats = NDArray[np.floating[Any]]

# Looked at first: weights without a common step mostly show it here.
_SAMPLE = 256
# In shares of the largest number: the finest step worth having, and what is rounding.
# Each division magnifies rounding by its quotient, so the two lie far apart.
_FINEST, _ROUNDING = 1e-6, 1e-10


def common_step(numbers: Floats) -> tuple[float, float]:
    """Return a step that all numbers are multiples of, and the sum of what is off.

    Euclid's algorithm on floating-point numbers: tiny remainders are taken for
    rounding, so 0.1, 0.2 and 0.7 have the step 0.1. That guess needs no proof, because
    what it is off by is measured afterwards.

    Parameters
    ----------
    numbers : ndarray
        Finite.

    Returns
    -------
    step : float
        0 where there is none.
    off : float
        Σ |number − step · round(number / step)|.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt_solvers._proof.grain import common_step
    >>> common_step(np.array([6.0, 9.0, 0.0, -30.0]))
    (3.0, 0.0)
    >>> common_step(np.array([1.0, np.pi]))[0]
    0.0
    """
    size = np.abs(numbers).ravel()
    top = float(size.max(initial=0.0))
    finest, tiny = _FINEST * top, _ROUNDING * top
    if not tiny:  # nothing but zeros, or subnormal
        return 0.0, 0.0
    spread = size[:: max(1, size.size // _SAMPLE)]
    step = top
    for part in (spread, size):
        while True:
            off = np.abs(part - step * np.rint(part / step))
            worst = int(off.argmax())
            if off[worst] <= tiny:
                break
            step = _divisor(step, float(part[worst]), tiny)
            if step <= finest:
                return 0.0, 0.0
            step = float(top / np.rint(top / step))  # exact, where numbers are whole
    return step, float(off.sum())


def _divisor(a: float, b: float, tiny: float) -> float:
    """Return the greatest common divisor, but for remainders of at most `tiny`."""
    while b > tiny:
        a, b = b, float(abs(a - b * np.rint(a / b)))
    return a


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
