"""Checks of user input that several modules share; each says how to get out."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sirfp_opt.errors import InvalidProblemError

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

# Matrices that come from float32 products are symmetric only up to rounding.
SYMMETRY_TOLERANCE = 1e-5


def as_int(value: Any, name: str, *, least: int) -> int:
    """Return `value` as an ``int`` of at least `least`; a bool is no integer."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise InvalidProblemError(
            f"`{name}` must be an integer, got {value!r}. Pass a whole number."
        ) from None
    if number < least:
        raise InvalidProblemError(
            f"`{name}` must be at least {least}, got {number}. "
            f"Raise it to {least} or more."
        )
    return number


def as_indices(values: Any, name: str) -> tuple[int, ...]:
    """Return channel numbers as a sorted tuple without repeats."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise InvalidProblemError(
            f"`{name}` must be a sequence of channel numbers, got {values!r}. "
            "Pass for instance [0, 3, 7]."
        )
    if isinstance(values, np.ndarray) and values.dtype == np.bool_:
        raise InvalidProblemError(
            f"`{name}` must hold channel numbers, got a boolean mask. "
            "Pass np.flatnonzero(mask)."
        )
    return tuple(sorted({as_int(v, f"{name}[...]", least=0) for v in values}))


def in_range(indices: Iterable[int], n: int, name: str) -> None:
    """Raise if an index is not a channel of a graph with `n` of them."""
    bad = [i for i in indices if not 0 <= i < n]
    if bad:
        raise InvalidProblemError(
            f"`{name}` must hold channel numbers from 0 to {n - 1}, got {bad[:5]}. "
            f"The graph has {n} channels; numbering starts at 0."
        )


def as_square(matrix: Any, name: str) -> FloatArray:
    """Return a fresh float64 copy of a finite, symmetric, square matrix.

    A symmetric matrix is copied to the bit; one that is symmetric only up to
    `SYMMETRY_TOLERANCE` of its largest entry is replaced by (M + M')/2.
    """
    try:
        raw = np.asarray(matrix)
        if raw.dtype.kind not in "biuf":
            raise TypeError
        array = np.array(raw, dtype=np.float64, order="C")
    except (TypeError, ValueError):
        raise InvalidProblemError(
            f"`{name}` must be a real matrix, got {type(matrix).__name__} that does "
            "not convert to floats. Pass a 2-D array of numbers."
        ) from None
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.shape[0] == 0:
        raise InvalidProblemError(
            f"`{name}` must be a square matrix (n, n) with n >= 1, got shape "
            f"{array.shape}. One row and one column stand for each channel."
        )
    finite = np.isfinite(array)
    if not finite.all():
        i, j = np.argwhere(~finite)[0]
        raise InvalidProblemError(
            f"`{name}` must be finite, got {array[i, j]} at ({i}, {j}) and "
            f"{int((~finite).sum())} such entries in all. For incompatible channels "
            "pass `adjacency` instead of inf or NaN."
        )
    if not np.array_equal(array, array.T):
        with np.errstate(over="ignore"):
            difference = np.abs(array - array.T)
        i, j = np.unravel_index(int(difference.argmax()), difference.shape)
        if difference[i, j] > SYMMETRY_TOLERANCE * float(np.abs(array).max()):
            raise InvalidProblemError(
                f"`{name}` must be symmetric, got {array[i, j]!r} at ({i}, {j}) but "
                f"{array[j, i]!r} at ({j}, {i}). Pass (M + M.T) / 2 if the mean of "
                "both is meant."
            )
        array = array / 2 + array.T / 2
    with np.errstate(over="ignore"):
        total = float(np.abs(array).sum())
    if not np.isfinite(total):
        raise InvalidProblemError(
            f"`{name}` must have a finite total, got entries up to "
            f"{float(np.abs(array).max()):.3g}. Divide the matrix by a constant."
        )
    return array


def as_vector(values: Any, n: int, name: str) -> FloatArray:
    """Return a fresh float64 copy of a finite vector of length `n`."""
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidProblemError(
            f"`{name}` must be a vector of {n} numbers, got {type(values).__name__}. "
            "Pass one number for each channel."
        ) from None
    if array.shape != (n,):
        raise InvalidProblemError(
            f"`{name}` must have shape ({n},), got {array.shape}. "
            "Pass one number for each channel."
        )
    if not np.isfinite(array).all():
        i = int(np.flatnonzero(~np.isfinite(array))[0])
        raise InvalidProblemError(
            f"`{name}` must be finite, got {array[i]} at {i}. Replace it by a number."
        )
    return array


def frozen(array: NDArray[Any]) -> None:
    """Make `array` read-only: value objects never change under their user."""
    array.setflags(write=False)
