"""Local search: the best swap until none gains, from several starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sirfp_opt._rules import check_fields, flag, ruled, whole
from sirfp_opt.errors import UnsupportedError
from sirfp_opt.objective import Objective
from sirfp_opt.protocols import SolverInfo
from sirfp_opt_solvers._local.compilation import compiling
from sirfp_opt_solvers._local.descent import MixedDescents, SwapDescents
from sirfp_opt_solvers._local.fixed_point import FixedPoint
from sirfp_opt_solvers._local.runs import (
    HEURISTIC_LIMITS,
    check_jobs,
    drive,
    runs_until_stopped,
)
from sirfp_opt_solvers._local.start import is_open, offer_extremes, offer_greedy
from sirfp_opt_solvers._refit.descents import RefitDescents
from sirfp_opt_solvers._refit.paths import greedy_items

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from sirfp_opt.search import Search

__all__ = ["LocalSearch", "polish"]

# Moves between two looks at the clock.
_CHUNK = 200
# The same where readers are refitted, and a move takes a pass over the matrices.
_REFIT_CHUNK = 1
# Sets of the quadratic bound's pool that are descended from.
_POOL = 5


@dataclass(frozen=True)
class LocalSearch:
    """Best-swap descent: the simplest search worth its name.

    From a set X the swap of a member i for an outsider j of largest

        g_j - g_i - W_ij > 0,    g_i = c_i + Σ_{l in X} W_il,

    is made until there is none. Every set it ends in is *1-swap optimal*. The first
    descent starts from the warm start, the second from the greedy set, the others
    from random sets. Where k is a range, sets that no swap improves also try the next
    allowed sizes; where tied groups differ in size, the best of all adds, drops and
    swaps is made.

    Where readers are refitted (`ReconstructionProblem`), one table holds the loss after
    each swap; descents start from both greedy sets, then from the best set with a tenth
    of its items exchanged at random.

    One iteration is one move; the end of a descent counts as one, too.

    Parameters
    ----------
    descents : int
        How many, where no limit but `target` is set.
    n_jobs : int
        Threads, each with its own starts (`descents` for each).
    pool : bool
        Where readers are refitted, also descend from the best sets that the search for
        the quadratic bound comes across; a second or so for 64 items.

    Raises
    ------
    InvalidProblemError
        If a parameter is out of its range.

    Notes
    -----
    The search runs on weights rounded to 32-bit fixed point (`FixedPoint`): a set of
    k items is priced within (k (k - 1) / 2 + k) / (2 · scale), about 1e-9 · k of its
    value. The core prices what is found anew, in float64. Missing edges are penalties
    in swaps; only conflict-free sets are answers.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import solve
    >>> diversity = np.array([[0, 3, 1], [3, 0, 2], [1, 2, 0]])
    >>> solve(diversity, 2, method="local_search").objective
    3.0
    """

    descents: int = ruled(whole(1), 10)
    n_jobs: int = 1
    pool: bool = ruled(flag(), False)
    info: ClassVar[SolverInfo] = SolverInfo(
        summary="best-swap descent from greedy and random sets",
        exact=False,
        limits=HEURISTIC_LIMITS,
        requires=("numba",),
        objectives=frozenset(Objective),
    )

    def __post_init__(self) -> None:
        check_fields(self)
        check_jobs(self.n_jobs)

    def solve(self, search: Search) -> None:
        """Descend again and again, `n_jobs` times side by side."""
        if search.problem.objective is Objective.REFIT:
            self._solve_refit(search)
            return
        if self.pool:
            raise UnsupportedError(
                "`pool` must be False for cliques, got True. The pool is that of the "
                "quadratic bound, for problems whose readers are refitted."
            )
        canonical = search.canonical
        greedy = offer_greedy(search)
        offer_extremes(search)
        if search.stop() or not is_open(canonical):
            return
        descents = None if runs_until_stopped(search.limits) else self.descents
        if canonical.unit_size is None:
            best = search.best_items
            starts = [] if best is None else [best]
        else:
            starts = [greedy]
            if search.warm_items is not None:
                starts.insert(0, search.warm_items)
        _descend(search, search.generators(self.n_jobs), starts, descents)

    def _solve_refit(self, search: Search) -> None:
        """Descend from the warm start, the greedy sets, and shaken best sets."""
        form = search.refit
        greedy = greedy_items(form)
        search.offer_items(greedy)
        starts = [greedy, greedy_items(form, "forward")]
        if search.warm_items is not None:
            starts.insert(0, search.warm_items)
        if self.pool:
            starts += _pool(search)
        descents = None if runs_until_stopped(search.limits) else self.descents
        walkers = [
            RefitDescents(form, rng, starts=starts, descents=descents)
            for rng in search.generators(self.n_jobs)
        ]
        drive(search, walkers, _REFIT_CHUNK)


def _pool(search: Search) -> list[NDArray[np.int64]]:
    """Return the best sets that column generation for the quadratic bound meets."""
    # Loads numba's kernels and the solvers of cliques: only when it is to run.
    from sirfp_opt_solvers._refit.drops import root_drops
    from sirfp_opt_solvers._refit.minorant import Minorant

    form = search.refit
    drops = root_drops(form, form.counts[-1])
    minorant = Minorant(drops, search.rng)
    known = form.most - search.best_value
    minorant.ascend(drops.greedy()[None], known, stop=search.stop)
    return minorant.kept_by_best(_POOL)


def polish(search: Search) -> None:
    """Take the incumbent to a local optimum."""
    if search.problem.objective is Objective.REFIT:
        if search.best_items is not None:
            starts = [search.best_items]
            walks = [RefitDescents(search.refit, search.rng, starts=starts, descents=1)]
            drive(search, walks, _REFIT_CHUNK)
        return
    if search.best_items is not None and is_open(search.canonical):
        _descend(search, [search.rng], [search.best_items], 1)


def _descend(
    search: Search,
    generators: Sequence[np.random.Generator],
    starts: Sequence[NDArray[np.int64]],
    descents: int | None,
) -> None:
    """Descend from the starts, then from random sets, one walker for each generator."""
    canonical = search.canonical
    walkers: list[SwapDescents | MixedDescents]
    if canonical.unit_size is None:
        walkers = [
            MixedDescents(canonical, rng, starts=starts, descents=descents)
            for rng in generators
        ]
    else:
        fixed = FixedPoint.of(canonical)
        goal = fixed.goal(canonical, search.limits.target)
        walkers = [
            SwapDescents(
                canonical, fixed, rng, starts=starts, descents=descents, goal=goal
            )
            for rng in generators
        ]
    with compiling(search, "local_search") as ready:
        if ready:
            drive(search, walkers, _CHUNK)
