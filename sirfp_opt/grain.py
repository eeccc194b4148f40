"""The step of a problem's numbers: what the values of sets are multiples of."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["common_step"]

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
    >>> from sirfp_opt.grain import common_step
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
