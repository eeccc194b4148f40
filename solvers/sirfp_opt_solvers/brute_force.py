"""Every set, one after the other: the judge of all other solvers on small problems."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, combinations, islice
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sirfp_opt.errors import InfeasibleError, UnsupportedError
from sirfp_opt.objective import Objective
from sirfp_opt.protocols import SolverInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from sirfp_opt.canonical_form import CanonicalForm
    from sirfp_opt.search import Search

__all__ = ["BruteForce"]

_CHUNK = 1 << 14


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
        for block in _blocks(canonical):
            feasible = block[_is_feasible(canonical, block)]
            if feasible.size:
                worth = canonical.values_of(feasible)
                search.offer_items(np.flatnonzero(feasible[worth.argmax()]), done)
            done += len(block)
            if done < canonical.subsets and search.stop(done):
                return
        if search.objective is None:
            raise InfeasibleError(
                f"`constraints` must leave a feasible set: none of the {done} sets "
                "of allowed size is. Loosen them."
            )
        search.tighten(search.objective, done)


def _blocks(canonical: CanonicalForm) -> Iterator[NDArray[np.bool_]]:
    """Yield all sets of allowed cardinality as rows of 0/1, some thousand at a time."""
    m = canonical.m
    sets = chain.from_iterable(
        combinations(range(m), t) for t in canonical.cardinalities
    )
    while chunk := list(islice(sets, _CHUNK)):
        block = np.zeros((len(chunk), m), dtype=bool)
        for row, chosen in zip(block, chunk, strict=True):
            row[list(chosen)] = True
        yield block


def _is_feasible(
    canonical: CanonicalForm, block: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Tell which rows have an allowed total and no conflict."""
    fits = np.isin(block @ canonical.sizes, canonical.counts)
    if canonical.conflicts is not None:
        chosen = block.astype(np.float64)
        clashes = chosen @ canonical.conflicts.astype(np.float64)
        fits &= np.einsum("bi,bi->b", clashes, chosen) == 0
    return fits
