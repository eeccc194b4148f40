"""Every set, one after the other: the judge of all other solvers on small problems."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import chain, combinations
from math import comb
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from sirfp_opt.canonical import CanonicalProblem
from sirfp_opt.errors import InfeasibleError, UnsupportedError
from sirfp_opt.objective import Objective
from sirfp_opt.protocols import SolverInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sirfp_opt.canonical_form import CanonicalForm
    from sirfp_opt.search import Search

__all__ = ["BruteForce"]

Floats = NDArray[np.float64]
Items = NDArray[np.int64]
Parts = NDArray[np.float64]

# Sets at a time, and entries of the largest array of their items.
_CHUNK = 1 << 14
_ENTRIES = 1 << 22
# Up to here all subsets, of whatever size, make one small table.
_ONE_TABLE = 12


@dataclass(frozen=True)
class BruteForce:
    """Enumerate all sets of allowed size and keep the best.

    One iteration is one set. Time grows with the number of subsets, Σ_k C(m, k).

    Parameters
    ----------
    max_subsets : int
        Refuse problems with more subsets than this.

    Raises
    ------
    UnsupportedError
        If there are more subsets than `max_subsets`.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import solve
    >>> print(solve(np.ones((6, 6)), 3, method="brute_force").gap)
    0.0
    """

    max_subsets: int = 5_000_000
    info: ClassVar[SolverInfo] = SolverInfo(
        summary="all subsets; refuses problems with too many",
        exact=True,
        limits=frozenset({"time", "iterations", "target", "gap"}),
        objectives=frozenset(Objective),
    )

    def solve(self, search: Search) -> None:
        """Enumerate in chunks; the bound is known only at the end."""
        canonical = search.form
        if canonical.subsets > self.max_subsets:
            raise UnsupportedError(
                f"`max_subsets` must be at least the number of subsets, "
                f"{canonical.subsets:.3g}, got {self.max_subsets}. "
                "Raise it if you have the time, or take method='exact' or 'cpsat'."
            )
        done = 0
        if isinstance(canonical, CanonicalProblem) and _has_few_parts(canonical):
            best_of_each = _from_halves(canonical)
        else:
            best_of_each = _one_by_one(canonical)
        for items, number in best_of_each:
            if items is not None:
                search.offer_items(items, done)
            done += number
            if done < canonical.subsets and search.stop(done):
                return
        if search.objective is None:
            raise InfeasibleError(
                f"`constraints` must leave a feasible set: none of the {done} sets "
                "of allowed size is. Loosen them."
            )
        search.tighten(search.objective, done)


def _has_few_parts(canonical: CanonicalProblem) -> bool:
    """Tell whether all parts of half of the items can be kept in memory."""
    half = (canonical.m + 1) // 2
    most = min(canonical.cardinalities[-1], half)
    return sum(comb(half, a) for a in range(most + 1)) * half <= _ENTRIES


def _from_halves(canonical: CanonicalProblem) -> Iterator[tuple[Items | None, int]]:
    """Yield the best feasible set of some thousand at a time, and how many they were.

    A set is one part in the first half of the items and one in the second. Parts are
    listed by their size, and a table of what pairs of them are worth is two sums and
    one matrix product.
    """
    middle = canonical.m // 2
    first = _Half(canonical, 0, middle)
    second = _Half(canonical, middle, canonical.m)
    if canonical.m <= _ONE_TABLE:
        one, two = _all_parts(first.m), _all_parts(second.m)
        worth = _worths(canonical, first, one, second, two)
        barred = np.ones(canonical.m + 1, dtype=bool)
        barred[list(canonical.cardinalities)] = False
        numbers = np.add.outer(one.sum(axis=1), two.sum(axis=1)).astype(np.intp)
        worth[barred[numbers]] = -np.inf
        yield _best_pair(worth, one, two), canonical.subsets
        return
    for t in canonical.cardinalities:
        for a in range(max(0, t - second.m), min(t, first.m) + 1):
            left, right = first.parts(a), second.parts(t - a)
            step = max(1, _CHUNK // len(right))
            for p in range(0, len(left), step):
                for q in range(0, len(right), _CHUNK):
                    one, two = left[p : p + step], right[q : q + _CHUNK]
                    worth = _worths(canonical, first, one, second, two)
                    yield _best_pair(worth, one, two), worth.size


def _best_pair(worth: Floats, one: Parts, two: Parts) -> Items | None:
    """Return the set of the best entry of a table, None if none is feasible."""
    i, j = divmod(int(worth.argmax()), len(two))
    if worth[i, j] == -np.inf:
        return None
    return np.flatnonzero(np.concatenate((one[i], two[j])))


def _worths(
    canonical: CanonicalProblem, first: _Half, one: Parts, second: _Half, two: Parts
) -> Floats:
    """Return the value of each pair of parts, minus infinity if it is not feasible."""
    between = canonical.weights[: first.m, first.m :]
    worth: Floats = one @ between @ two.T
    worth += first.values_of(one)[:, None]
    worth += second.values_of(two)
    if canonical.unit_size is None:
        totals = np.add.outer(one @ first.sizes, two @ second.sizes)
        worth[~np.isin(totals, canonical.counts)] = -np.inf
    if canonical.conflicts is not None:
        clashes = one @ canonical.conflicts[: first.m, first.m :] @ two.T
        clashes += first.clashes_of(one)[:, None]
        clashes += second.clashes_of(two)
        worth[clashes > 0] = -np.inf
    return worth


class _Half:
    """The items from `start` to `stop`, and the parts that can be made of them."""

    def __init__(self, canonical: CanonicalProblem, start: int, stop: int) -> None:
        here = slice(start, stop)
        self.m = stop - start
        self.sizes = canonical.sizes[here]
        self._weights = canonical.weights[here, here]
        self._values = canonical.values[here]
        barred = canonical.conflicts
        nothing = np.zeros((self.m, self.m))
        self._conflicts = (
            nothing if barred is None else barred[here, here].astype(np.float64)
        )
        self._parts: dict[int, Parts] = {}

    def parts(self, t: int) -> Parts:
        """Return all parts of t items, as rows of 0 and 1."""
        if t not in self._parts:
            self._parts[t] = _parts(self.m, t)
        return self._parts[t]

    def values_of(self, parts: Parts) -> Floats:
        """Return what parts are worth by themselves."""
        pairs = np.einsum("bi,bi->b", parts @ self._weights, parts) / 2
        values: Floats = pairs + parts @ self._values
        return values

    def clashes_of(self, parts: Parts) -> Floats:
        """Return twice the number of conflicts within each part."""
        counts: Floats = np.einsum("bi,bi->b", parts @ self._conflicts, parts)
        return counts


def _parts(m: int, t: int) -> Parts:
    rows = comb(m, t)
    flat = chain.from_iterable(combinations(range(m), t))
    chosen = np.fromiter(flat, np.intp, rows * t).reshape(rows, t)
    made = np.zeros((rows, m))
    np.put_along_axis(made, chosen, 1.0, axis=1)
    return made


@cache
def _all_parts(m: int) -> Parts:
    """Return the parts of every size; kept, since halves of one table are small."""
    made = np.concatenate([_parts(m, t) for t in range(m + 1)])
    made.setflags(write=False)
    return made


def _one_by_one(canonical: CanonicalForm) -> Iterator[tuple[Items | None, int]]:
    """Yield as `_from_halves`, for a value that does not come apart."""
    for t in canonical.cardinalities:
        flat = chain.from_iterable(combinations(range(canonical.m), t))
        left = comb(canonical.m, t)
        while left:
            rows = min(left, _CHUNK, max(1, _ENTRIES // canonical.m))
            left -= rows
            chosen = np.fromiter(flat, np.intp, rows * t).reshape(rows, t)
            block = np.zeros((rows, canonical.m), dtype=bool)
            np.put_along_axis(block, chosen, True, axis=1)
            feasible = block[_is_feasible(canonical, block)]
            best = None
            if len(feasible):
                worth = canonical.values_of(feasible)
                best = np.flatnonzero(feasible[worth.argmax()])
            yield best, rows


def _is_feasible(
    canonical: CanonicalForm, block: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Tell which rows have an allowed total and no conflict."""
    fits: NDArray[np.bool_] = np.ones(len(block), dtype=bool)
    if canonical.unit_size is None:
        fits = np.isin(block @ canonical.sizes, canonical.counts)
    if canonical.conflicts is not None:
        chosen = block.astype(np.float64)
        clashes = chosen @ canonical.conflicts.astype(np.float64)
        fits &= np.einsum("bi,bi->b", clashes, chosen) == 0
    return fits
