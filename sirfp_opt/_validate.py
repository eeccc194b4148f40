"""Checks of user input that several modules share; each says how to get out."""

from __future__ import annotations

import math
import numbers
import operator
import os
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from sirfp_opt.errors import InvalidProblemError

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

# Channels of the largest graph: its dense matrix takes 20 GB.
MOST_CHANNELS = 50_000

# Sums of weights stay below this, so that differences and gaps are finite, too.
_LARGEST_TOTAL = 2.0**1020

# Matrices that come from float32 products are symmetric only up to rounding.
SYMMETRY_TOLERANCE = 1e-5
_TILE = 256


def as_int(value: Any, name: str, *, least: int, most: int = 2**62) -> int:
    """Return `value` as an ``int`` within its limits; a bool is no integer."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise InvalidProblemError(
            f"`{name}` must be an integer, got {brief(value)}. Pass a whole number."
        ) from None
    if number < least:
        raise InvalidProblemError(
            f"`{name}` must be at least {least}, got {number}. "
            f"Raise it to {least} or more."
        )
    if number > most:
        raise InvalidProblemError(
            f"`{name}` must be at most {most}, got {number:.3e}. "
            f"Lower it to {most} or less."
            if number < 10**300
            else f"`{name}` must be at most {most}, got a number of more than 300 "
            f"digits. Lower it to {most} or less."
        )
    return number


def as_real(value: Any, name: str, *, hint: str = "Pass for instance 10.0.") -> float:
    """Return `value` as a ``float``; a bool or a text is no number, nor is NaN."""
    number = float("nan")
    if not isinstance(value, (bool, np.bool_, str, bytes)):
        with suppress(TypeError, ValueError, OverflowError):
            number = float(value)
    if number != number:
        raise InvalidProblemError(
            f"`{name}` must be a number, got {brief(value)}. {hint}"
        )
    return number


def as_channels(values: Any, name: str) -> list[int]:
    """Return channel numbers as they are listed, each at least 0."""
    if isinstance(values, np.ndarray) and values.dtype == np.bool_:
        raise InvalidProblemError(
            f"`{name}` must hold channel numbers, got a boolean mask. "
            "Pass np.flatnonzero(mask)."
        )
    try:
        if isinstance(values, (str, bytes)):
            raise TypeError
        listed = list(values)
    except TypeError:
        raise InvalidProblemError(
            f"`{name}` must be a sequence of channel numbers, got {brief(values)}. "
            "Pass for instance [0, 3, 7]."
        ) from None
    return [as_int(v, f"{name}[...]", least=0) for v in listed]


def as_indices(values: Any, name: str) -> tuple[int, ...]:
    """Return channel numbers as a sorted tuple without repeats."""
    if type(values) is tuple and not values:
        return ()
    return tuple(sorted(set(as_channels(values, name))))


def as_text(value: Any, name: str, *, hint: str) -> str:
    """Return `value` if it is a text, raise if not."""
    if not isinstance(value, str):
        raise InvalidProblemError(
            f"`{name}` must be a text, got {brief(value)}. {hint}"
        )
    return value


def in_range(indices: Iterable[int], n: int, name: str) -> None:
    """Raise if an index is not a channel of a graph with `n` of them."""
    bad = [i for i in indices if not 0 <= i < n]
    if bad:
        raise InvalidProblemError(
            f"`{name}` must hold channel numbers from 0 to {n - 1}, got {bad[:5]}. "
            f"The graph has {n} channels; numbering starts at 0."
        )


def as_floats(values: Any, name: str, what: str) -> FloatArray:
    """Return a fresh, contiguous float64 copy of an array of real numbers.

    Understood beside what NumPy reads: tensors on any device, with a gradient or in
    bfloat16; arrays of objects, if all of them are real numbers. Text is no number,
    however it reads.

    Parameters
    ----------
    values : array_like
    name, what : str
        For messages: the argument, and what it must be.
    """
    if type(values) is np.ndarray and values.dtype == np.float64:
        return np.array(values, order="C")
    if np.ma.isMaskedArray(values) and np.ma.getmaskarray(values).any():
        raise InvalidProblemError(
            f"`{name}` must have no masked entries, got "
            f"{int(np.ma.getmaskarray(values).sum())} of them. Pass the values with "
            ".filled(0), and adjacency=~mask if masked pairs may not both be kept."
        )
    if hasattr(values, "toarray") and hasattr(values, "nnz"):
        raise InvalidProblemError(
            f"`{name}` must be dense, got {type(values).__name__}. Pass "
            "ChannelGraph.from_sparse(matrix, absent=...), which asks what absent "
            "entries mean, or .toarray() if they weigh 0."
        )
    try:
        raw = _unwrapped(values)
        if raw.dtype.kind == "O":
            _require_numbers(raw)
        elif raw.dtype.kind not in "biuf":
            raise TypeError(f"of type {raw.dtype}")
        return np.array(raw, dtype=np.float64, order="C")
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidProblemError(
            f"`{name}` must be {what}, got {type(values).__name__} that does not "
            f"convert to floats ({' '.join(str(error).split())[:120]}). Pass an array "
            "of numbers."
        ) from None


def _unwrapped(values: Any) -> NDArray[Any]:
    """Return an array of whatever type; take a tensor off its graph and device."""
    if hasattr(values, "detach") and hasattr(values, "cpu"):
        try:
            values = values.detach().cpu()
            if values.is_complex():
                raise TypeError("complex numbers")
            # bfloat16 has no NumPy type; a sparse tensor no array.
            values = values.double().numpy()
        except (RuntimeError, NotImplementedError) as error:
            raise TypeError(error) from None
    raw: NDArray[Any] = np.asarray(values)
    if raw.dtype.kind == "V" and raw.dtype.name.startswith(("bfloat16", "float8")):
        raw = raw.astype(np.float64)  # the short floats of ml_dtypes
    return raw


def _require_numbers(array: NDArray[Any]) -> None:
    for entry in array.ravel().tolist():
        if not isinstance(entry, (numbers.Real, Decimal, np.bool_)):
            raise TypeError(f"holds {brief(entry)}")


class Checked(NamedTuple):
    """A matrix fresh from `checked_square`: taken over, without a second look.

    Attributes
    ----------
    array : ndarray of float64, shape (n, n)
    largest : float
        No entry is larger in magnitude; one is as large.
    """

    array: FloatArray
    largest: float


def as_square(matrix: Any, name: str) -> FloatArray:
    """Return what `checked_square` does, the matrix alone."""
    return checked_square(matrix, name).array


def checked_square(matrix: Any, name: str) -> Checked:
    """Return a fresh float64 copy of a finite, symmetric, square matrix.

    A symmetric matrix is copied to the bit; one that is symmetric only up to
    `SYMMETRY_TOLERANCE` of its largest entry is replaced by (M + M')/2. A sound
    matrix costs one copy of it and no other array of its size.
    """
    if isinstance(matrix, Checked):
        return matrix
    array = as_floats(matrix, name, "a real matrix")
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.shape[0] == 0:
        raise InvalidProblemError(
            f"`{name}` must be a square matrix (n, n) with n >= 1, got shape "
            f"{array.shape}. One row and one column stand for each channel."
        )
    if array.shape[0] > MOST_CHANNELS:
        raise InvalidProblemError(
            f"`{name}` must have at most {MOST_CHANNELS} channels, got "
            f"{array.shape[0]}. Dense matrices of that size are beyond this package."
        )
    largest = magnitude(array)
    if not math.isfinite(largest):
        finite = np.isfinite(array)
        i, j = np.argwhere(~finite)[0]
        raise InvalidProblemError(
            f"`{name}` must be finite, got {array[i, j]} at ({i}, {j}) and "
            f"{int((~finite).sum())} such entries in all. For incompatible channels "
            "pass `adjacency` instead of inf or NaN."
        )
    if not _is_symmetric(array):
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
        largest = magnitude(array)
    # Far below the limit, as nearly all matrices are, there is nothing to add up.
    if largest > _LARGEST_TOTAL / array.size:
        require_total(array, name)
    return Checked(array, largest)


def _is_symmetric(array: FloatArray) -> bool:
    """Compare tile by tile, so that no column is read across the whole matrix."""
    n = array.shape[0]
    for i in range(0, n, _TILE):
        for j in range(i, n, _TILE):
            upper = array[i : i + _TILE, j : j + _TILE]
            if not (upper == array[j : j + _TILE, i : i + _TILE].T).all():
                return False
    return True


def magnitude(array: FloatArray) -> float:
    """Return the largest magnitude; NaN and infinity show."""
    high, low = float(array.max()), float(array.min())
    return high if high != high else max(high, -low)


def row_magnitudes(matrix: FloatArray) -> FloatArray:
    """Return the largest magnitude in each row."""
    reach: FloatArray = np.maximum(matrix.max(axis=1), -matrix.min(axis=1))
    return reach


def _total(array: FloatArray) -> float:
    """Return the sum of the magnitudes, without a second array of that size."""
    with np.errstate(over="ignore", invalid="ignore"):
        parts = (
            float(np.abs(array[start : start + _TILE]).sum())
            for start in range(0, array.shape[0], _TILE)
        )
        return sum(parts)


def require_total(array: FloatArray, name: str) -> None:
    """Raise unless the magnitudes add up, with room for sums and differences."""
    _require_total(_total(array), array, name)


def _require_total(total: float, array: FloatArray, name: str) -> None:
    if not total <= _LARGEST_TOTAL:
        raise InvalidProblemError(
            f"`{name}` must have a finite total, below {_LARGEST_TOTAL:.1g}, got "
            f"entries up to {float(np.abs(array).max()):.3g}. Divide all weights by a "
            "constant."
        )


def as_vector(values: Any, n: int, name: str) -> FloatArray:
    """Return a fresh float64 copy of a finite vector of length `n`."""
    array = as_floats(values, name, f"a vector of {n} numbers")
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
    require_total(array, name)
    return array


def as_adjacency(adjacency: Any, n: int) -> BoolArray | None:
    """Return a symmetric bool copy with a true diagonal, None if nothing is missing."""
    array: BoolArray
    if type(adjacency) is np.ndarray and adjacency.dtype == np.bool_:
        array, sound = adjacency.copy(), True
    else:
        numbers = as_floats(adjacency, "adjacency", "a matrix of booleans")
        array = numbers != 0
        sound = bool(((numbers == 1) | ~array).all())
    if not sound:
        raise InvalidProblemError(
            "`adjacency` must hold booleans, got other values. "
            "Pass for instance weights > 0."
        )
    if array.shape != (n, n):
        raise InvalidProblemError(
            f"`adjacency` must have shape ({n}, {n}), got {array.shape}. "
            "Pass one row and one column for each channel."
        )
    if not np.array_equal(array, array.T):
        i, j = np.argwhere(array != array.T)[0]
        raise InvalidProblemError(
            f"`adjacency` must be symmetric, got {array[i, j]} at ({i}, {j}) and "
            f"{array[j, i]} at ({j}, {i}). Pass adjacency & adjacency.T."
        )
    np.fill_diagonal(array, True)
    return None if array.all() else array


def frozen(array: NDArray[Any]) -> None:
    """Make `array` read-only: value objects never change under their user."""
    array.setflags(write=False)


def as_path(path: Any, name: str = "path") -> Path:
    """Return a path; a number, which `open` would take for a descriptor, is none."""
    try:
        if isinstance(path, bytes) or "\0" in (text := os.fspath(path)):
            raise TypeError
        return Path(text)
    except TypeError:
        raise InvalidProblemError(
            f"`{name}` must be a path, got {brief(path)}. "
            "Pass for instance 'layers.npz'."
        ) from None


def require(value: T, kind: Any, name: str) -> T:
    """Return `value` if it is of a kind, raise if not."""
    if not isinstance(value, kind):
        raise InvalidProblemError(
            f"`{name}` must be a {kind.__name__}, got {brief(value)}. "
            f"Make a {kind.__name__} of it first."
        )
    return value


def as_labels(labels: Any, n: int) -> tuple[str, ...]:
    """Return one text for each channel."""
    try:
        if isinstance(labels, (str, bytes)):
            raise TypeError
        named = tuple(str(label) for label in labels)
    except TypeError:
        raise InvalidProblemError(
            f"`labels` must be a sequence of names, got {brief(labels)}. "
            "Pass one for each channel."
        ) from None
    if len(named) != n:
        raise InvalidProblemError(
            f"`labels` must have one entry for each of {n} channels, got "
            f"{len(named)}. Drop the argument to number the channels."
        )
    return named


def brief(value: Any, most: int = 60) -> str:
    """Return a value's repr, cut where it is long, its type where it has none."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a stranger's __repr__
        return f"a {type(value).__name__}"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def plain(value: Any) -> Any:
    """Return NumPy's numbers, also those in dicts and lists, as Python's, for JSON."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return value
