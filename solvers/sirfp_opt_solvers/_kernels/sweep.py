"""The inverse of a small positive definite matrix, where LAPACK is slow to begin.

Below some hundred variables LAPACK's inverse runs at a fraction of its speed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from sirfp_opt_solvers._kernels.options import LOOSE, OUTER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["mirror", "sweep"]


@njit(**OUTER)
def mirror(inverse: Floats, sign: float, extra: float) -> None:
    """Multiply the lower triangle, take `extra` off it, copy it to the upper one."""
    for i in range(inverse.shape[0]):
        for j in range(i + 1):
            value = sign * inverse[i, j] - extra
            inverse[i, j] = value
            inverse[j, i] = value


@njit(**OUTER, **LOOSE)
def sweep(a, extra, first, second):  # type: ignore[no-untyped-def]
    """Turn A, of which the lower triangle counts, into A⁻¹ − `extra`; return log det A.

    Not a number where A is not positive definite. Two pivots at a time, by the sweep
    operator (Goodnight 1979, doi:10.1080/00031305.1979.10482685).

    Parameters
    ----------
    a : ndarray of shape (m, m)
    extra : float
    first, second : ndarray of shape (m,)
        Room for two columns.
    """
    m = a.shape[0]
    logarithm = 0.0
    for k in range(0, m, 2):
        # The last one may be alone: its fellow is itself, at no weight.
        e = min(k + 1, m - 1)
        weight = np.float64(e - k)
        p, q, r = a[k, k], weight * a[e, k], weight * a[e, e] + 1.0 - weight
        determinant = p * r - q * q
        if not (p > 0.0 and determinant > 0.0):
            return np.nan
        logarithm += np.log(determinant)
        # The inverse of the pivots' own block, and their columns.
        p, q, r = r / determinant, -q / determinant, p / determinant
        for i in range(m):
            if i < k:
                first[i] = a[k, i]
                second[i] = weight * a[e, i]
            else:
                first[i] = a[i, k]
                second[i] = weight * a[i, e]
        first[k] = first[e] = second[k] = second[e] = 0.0
        for i in range(m):
            f = p * first[i] + q * second[i]
            g = q * first[i] + r * second[i]
            row = a[i]
            for j in range(i + 1):
                row[j] = row[j] - f * first[j] - g * second[j]
            if i < k:
                a[e, i] = g
                a[k, i] = f
            else:
                a[i, e] = g
                a[i, k] = f
        a[e, e] = -r
        a[e, k] = -q
        a[k, k] = -p
    mirror(a, -1.0, extra)
    return logarithm
