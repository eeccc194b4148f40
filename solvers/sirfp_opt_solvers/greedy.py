"""Greedy: the paper's backward deletion, and its forward twin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from sirfp_opt._rules import check_fields, choice, flag, ruled
from sirfp_opt.errors import UnsupportedError
from sirfp_opt.objective import Objective
from sirfp_opt.problem import PruningProblem
from sirfp_opt.protocols import SolverInfo
from sirfp_opt_solvers._local.backward import (
    backward_preference,
    offer_path,
    with_penalties,
)
from sirfp_opt_solvers._local.start import swaps_suffice

if TYPE_CHECKING:
    from sirfp_opt.search import Search

__all__ = ["Greedy"]

Floats = NDArray[np.float64]
Items = NDArray[np.int64]


@dataclass(frozen=True)
class Greedy:
    """Delete the most redundant channel until k are left, or add the least.

    Backward (SIRFP, arXiv 2412.12672, algorithm 1): with L the channels left, delete

        argmax_{i in L}  v_i + Σ_{j in L, j != i} w_ij        (minimising)

    until k are left. Row sums are kept up to date, so all deletions take O(n²)
    instead of the published O(n³), in the same order. Forward: start from the best
    pair and add the channel of the largest gain.

    Where readers are refitted (`ReconstructionProblem`), backward drops what loses
    least (`sirfp_opt.elimination`) and forward adds what regains most, both in O(R n³)
    for every count at once.

    Parameters
    ----------
    direction : {"backward", "forward"}
    diagonal : bool
        Count a channel's redundancy with itself in its row sum, as the authors' code
        does (the paper's text does not). It changes the order of deletion, never the
        objective.
    polish : bool
        Then make the best swap until none gains, as `LocalSearch` does.
    compiled : bool, optional
        Delete in compiled code (numba) or in NumPy; both give the same order to the
        last bit. By default compiled code is used from 256 items on, if numba is loaded
        already, and for fewer once a larger layer has had it loaded.

    Notes
    -----
    Sets for a range of k lie nested on one path, and the best of them is kept. Tied
    groups are compared per channel. With missing edges a conflict outweighs every
    redundancy, so conflicting channels go first.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import ChannelGraph, solve
    >>> alike = np.array([[1, 0.9, 0.1], [0.9, 1, 0.2], [0.1, 0.2, 1]])
    >>> graph = ChannelGraph.from_redundancy(alike)
    >>> solve(graph, 2, method="greedy").selected.tolist()
    [0, 2]
    """

    direction: str = ruled(
        choice("backward", "forward", way="The paper's is 'backward'."), "backward"
    )
    diagonal: bool = ruled(flag(), False)
    polish: bool = ruled(flag(), False)
    compiled: bool | None = ruled(flag(optional=True), None)
    info: ClassVar[SolverInfo] = SolverInfo(
        summary="the paper's backward deletion, O(n²); also forward, and polished",
        exact=False,
        objectives=frozenset(Objective),
        cites=("wu2025sirfp",),
    )

    def __post_init__(self) -> None:
        check_fields(self)

    def solve(self, search: Search) -> None:
        """Offer the set of each allowed count on the greedy path."""
        if search.problem.objective is Objective.REFIT:
            self._solve_refit(search)
            return
        canonical = search.canonical
        weights = with_penalties(canonical)
        values = canonical.values
        problem = search.problem
        if self.diagonal and isinstance(problem, PruningProblem):
            own = problem.graph.self_redundancy
            extra = np.array([own[member].sum() for member in canonical.members])
            # In the canonical form's own unit, as the values are.
            values = values + canonical.sign * np.ldexp(extra, -canonical.exponent)
        if self.direction == "backward":
            penalised = canonical.conflicts is not None
            sums = weights.sum(axis=1) if penalised else canonical.row_sums
            alone = not penalised and swaps_suffice(canonical)
            preference = backward_preference(
                weights,
                sums + values,
                canonical.unlike,
                self.compiled,
                undecided=canonical.cardinalities[0] if alone else 0,
            )
        else:
            preference = _add_largest(weights, values, canonical.sizes)
        offer_path(search, preference, canonical.m)
        self._polish(search)

    def _solve_refit(self, search: Search) -> None:
        """Offer the best set on the path of a refit problem."""
        from sirfp_opt_solvers._refit.paths import greedy_items

        if self.diagonal:
            raise UnsupportedError(
                "`diagonal` must be False where readers are refitted, got True. A "
                "channel has no redundancy with itself there; leave it out."
            )
        search.offer_items(greedy_items(search.refit, self.direction), search.form.m)
        self._polish(search)

    def _polish(self, search: Search) -> None:
        if self.polish and search.best is not None:
            from sirfp_opt_solvers.local_search import polish

            polish(search)


def _add_largest(weights: Floats, values: Floats, sizes: Items) -> Items:
    """Add the item of largest marginal gain per channel until all are in."""
    m = values.size
    gains = values.copy()
    order = np.empty(m, dtype=np.int64)
    start: list[int] = []
    if m > 1:
        # One item alone has no pair weight to show: begin with the best pair.
        pairs = weights + values[:, None] + values[None, :]
        pairs /= sizes[:, None] + sizes[None, :]
        np.fill_diagonal(pairs, -np.inf)
        start = [int(i) for i in np.unravel_index(int(pairs.argmax()), pairs.shape)]
    for step in range(m):
        item = start[step] if step < len(start) else int((gains / sizes).argmax())
        order[step] = item
        gains += weights[item]
        gains[item] = -np.inf
    return order
