"""Simulated annealing: random swaps, the worse ones ever more rarely."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sirfp_opt._rules import check_fields, number, ruled, whole
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.protocols import SolverInfo
from sirfp_opt_solvers._local.backward import backward_set, fill_loosely
from sirfp_opt_solvers._local.compilation import compiling
from sirfp_opt_solvers._local.fixed_point import FixedPoint
from sirfp_opt_solvers._local.runs import (
    HEURISTIC_LIMITS,
    check_jobs,
    drive,
    runs_until_stopped,
    xorshift_state,
)
from sirfp_opt_solvers._local.start import (
    offer_greedy,
    price_of_a_channel,
    prices_of_totals,
    swaps_suffice,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sirfp_opt.canonical import CanonicalProblem
    from sirfp_opt.search import Search

__all__ = ["Anneal", "autofit"]

# Moves between two looks at the clock; some milliseconds of work.
_CHUNK = 1 << 16
_MOVES_PER_ITEM = 200
# From this share of a cooling on no move may lose anything: a descent.
_DESCENT = 0.95
# A cooling is followed by one twice as long if it found a better set, or after so many
# in a row that did not.
_VAIN = 5
# Random swaps that a temperature is fitted to.
_SAMPLES = 4000
# Shares of the worsening swaps to be accepted at the start of a cooling: hotter only
# costs time (at a tenth of 400,000 swaps most of what is made is undone), unless there
# are few swaps; and at the end, before the descent.
_HOT, _HOT_SWAPS, _HOTTEST, _COLD = 9e-3, 200, 0.1, 6e-4
# Share of the hurdles between totals of sizes to be taken at the start of a cooling.
_HURDLES = 0.1
# How many times dearer conflicts and totals that are not allowed may become.
_DEAREST = 16.0


TEMPERATURE = number(
    0.0, above=True, optional=True, way="Leave it out to have it fitted."
)
SHARE = number(
    0.0, 1.0, above=True, below=True, optional=True, way="Pass for instance 0.1."
)


@dataclass(frozen=True)
class Anneal:
    """Simulated annealing with swap moves priced in O(1).

    A move exchanges a random member i for a random outsider j. Its worth

        Δ = g_j - g_i - W_ij,    g_i = c_i + Σ_{l in X} W_il,

    takes one look-up, because the gains g are kept up to date (O(n), only for the
    moves that are made), and mostly none: the least weight in the place of W_ij does to
    turn a move down. It is made if Δ >= 0, else with probability exp(Δ / T)
    (Kirkpatrick, Gelatt, Vecchi 1983, doi 10.1126/science.220.4598.671). T falls
    geometrically over a *cooling*, the last twentieth of which is a descent, T = 0.
    Coolings follow one another. The next is twice as long after one that found a better
    set, and after five that did not; the last is stretched to the end of the time or
    iteration limit. Without a limit other than `target` the run ends after `coolings`
    of them.

    One iteration is one proposed move.

    Parameters
    ----------
    initial_temperature, final_temperature : float, optional
        In units of the objective. Fitted by `autofit` where left out.
    hot, cold : float, optional
        Shares of worsening swaps to be accepted at the start and at the end of a
        cooling, for `autofit`, which has defaults of its own.
    moves : int, optional
        Moves of the first cooling; by default 200 for each item, 5000 at least.
    coolings : int
        How many, where no limit but `target` is set.
    n_jobs : int
        Independent runs, each in a thread of its own.

    Raises
    ------
    InvalidProblemError
        If a parameter is out of its range.

    Notes
    -----
    The search runs on weights rounded to 32-bit fixed point (`FixedPoint`): a set of
    k items is priced within (k (k - 1) / 2 + k) / (2 · scale), about 1e-9 · k of its
    value. The core prices what is found anew, in float64.

    A missing edge is a penalty; only sets without one are kept as answers. Where k is
    a range, or tied groups differ in size, half of the moves add or drop one item.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import ChannelGraph, solve
    >>> alike = np.array([[1, 0.9, 0.1], [0.9, 1, 0.2], [0.1, 0.2, 1]])
    >>> graph = ChannelGraph.from_redundancy(alike)
    >>> solve(graph, 2, method="anneal").selected.tolist()
    [0, 2]
    """

    initial_temperature: float | None = ruled(TEMPERATURE, None)
    final_temperature: float | None = ruled(TEMPERATURE, None)
    hot: float | None = ruled(SHARE, None)
    cold: float | None = ruled(SHARE, None)
    moves: int | None = ruled(whole(1, optional=True), None)
    coolings: int = ruled(whole(1), 5)
    n_jobs: int = 1
    info: ClassVar[SolverInfo] = SolverInfo(
        summary="simulated annealing, O(1) swap moves, temperatures fitted to the data",
        exact=False,
        limits=HEURISTIC_LIMITS,
        requires=("numba",),
        cites=("kirkpatrick1983optimization", "benameur2004computing"),
    )

    def __post_init__(self) -> None:
        check_fields(self)
        hot = self.hot or _HOTTEST
        if self.cold is not None and self.cold > hot:
            raise InvalidProblemError(
                f"`cold` must be at most hot={hot!r}, got {self.cold!r}. "
                "Leave both out to have them fitted."
            )
        check_jobs(self.n_jobs)

    def solve(self, search: Search) -> None:
        """Cool again and again, `n_jobs` times side by side."""
        canonical = search.canonical
        reference = offer_greedy(search)
        start, end = _fit(canonical, reference, self.hot, self.cold, search.rng)
        start = self.initial_temperature or start
        end = min(self.final_temperature or end, start)
        fixed = FixedPoint.of(canonical)
        with compiling(search, "anneal") as ready:
            if not ready:
                return
            walkers = [
                _Cooling(self, search, fixed, reference, (start, end), rng)
                for rng in search.generators(self.n_jobs)
            ]
            drive(search, walkers, _CHUNK)


def autofit(
    canonical: CanonicalProblem,
    *,
    hot: float | None = None,
    cold: float | None = None,
    seed: int = 0,
) -> tuple[float, float]:
    """Return an initial and a final temperature fitted to a problem's weights.

    At the backward greedy set some thousand swaps are drawn. With d the losses of the
    worsening ones, T solves mean(exp(-d / T)) = share, by bisection (Ben-Ameur 2004,
    doi 10.1023/B:COAP.0000044187.23143.bd).

    Parameters
    ----------
    canonical : CanonicalProblem
        ``problem.canonical``.
    hot, cold : float, optional
        Shares of worsening swaps accepted at the start and at the end. By default
        0.009, or as much more as makes 200 of all swaps, up to 0.1; and 0.0006.
    seed : int
        Of the draw.

    Returns
    -------
    initial, final : float
        In units of the objective.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import ChannelGraph, LayerConstraints, PruningProblem
    >>> from sirfp_opt_solvers.anneal import autofit
    >>> weights = np.random.default_rng(0).random((50, 50))
    >>> graph = ChannelGraph.from_diversity(weights + weights.T)
    >>> problem = PruningProblem(graph, LayerConstraints(10))
    >>> initial, final = autofit(problem.canonical)
    >>> initial > final > 0
    True
    """
    rng = np.random.default_rng(seed)
    return _fit(canonical, backward_set(canonical), hot, cold, rng)


def _fit(
    canonical: CanonicalProblem,
    items: NDArray[np.int64],
    hot: float | None,
    cold: float | None,
    rng: np.random.Generator,
) -> tuple[float, float]:
    weights = canonical.weights
    inside = np.zeros(canonical.m, dtype=bool)
    inside[items] = True
    swaps = items.size * (canonical.m - items.size)
    hot = hot or max(min(_HOTTEST, max(_HOT, _HOT_SWAPS / max(swaps, 1))), cold or 0.0)
    cold = cold or min(_COLD, hot)
    gains = canonical.values + weights @ inside
    if inside.any() and not inside.all():
        i = rng.choice(np.flatnonzero(inside), _SAMPLES)
        j = rng.choice(np.flatnonzero(~inside), _SAMPLES)
        deltas = gains[j] - gains[i] - weights[i, j]
    else:
        deltas = np.zeros(0)
    losses = -deltas[deltas < 0]
    if losses.size == 0:
        # No swap makes it worse: any temperature will do.
        losses = np.array([float(np.abs(gains).max(initial=0.0)) or 1.0])
    start, end = _temperature(losses, hot), _temperature(losses, cold)
    if not swaps_suffice(canonical):
        # The walk must also get past totals that are not allowed.
        hurdles = np.abs(gains) + price_of_a_channel(canonical, gains) * canonical.sizes
        start = max(start, _temperature(hurdles[hurdles > 0], max(hot, _HURDLES)))
    return start, end


def _temperature(losses: NDArray[np.float64], share: float) -> float:
    """Return the T at which that share of the losses is accepted on average."""
    if losses.size == 0:
        return 0.0
    low, high = 1e-9 * float(losses.min()), 1e3 * float(losses.max())
    for _ in range(100):
        middle = math.sqrt(low * high)
        if float(np.exp(-losses / middle).mean()) > share:
            high = middle
        else:
            low = middle
    return high


class _Cooling:
    """One run of coolings; a walker for `drive`."""

    def __init__(
        self,
        options: Anneal,
        search: Search,
        fixed: FixedPoint,
        reference: NDArray[np.int64],
        span: tuple[float, float],
        rng: np.random.Generator,
    ) -> None:
        from sirfp_opt_solvers._kernels import annealing

        self._kernel = annealing
        self._search = search
        self._canonical = canonical = search.canonical
        self._reference = reference
        self._span = span
        self._jobs = options.n_jobs
        self._rng = xorshift_state(rng)
        self._flips = not swaps_suffice(canonical)
        items = search.warm_items
        if items is None:
            count = int(rng.choice(canonical.counts))
            items = fill_loosely(canonical, rng.permutation(canonical.m), count)
        outside = np.setdiff1d(np.arange(canonical.m), items)
        self._order = np.concatenate((items, outside)).astype(np.int32)
        self._best = self._order.copy()
        self._state = np.zeros(annealing.N_STATE, dtype=np.int64)
        self._state[0] = items.size
        self._dearness = 1.0
        self._set_up(fixed)

        limits = search.limits
        endless = runs_until_stopped(limits)
        self._coolings = math.inf if endless else float(options.coolings)
        self._length = float(options.moves or max(_MOVES_PER_ITEM * canonical.m, 5000))
        self._cooled = 0.0
        self._left = self._length
        self._vain, self._found = 0, False
        self._seconds = 0.0
        self.iterations = self.found_at = 0
        self.done = False

    def _set_up(self, fixed: FixedPoint) -> None:
        """Take up a fixed-point form; the set stays as it is."""
        self._fixed = fixed
        self._prices = prices_of_totals(
            self._canonical, self._reference, fixed.scale * self._dearness
        )
        self._goal = fixed.goal(self._canonical, self._search.limits.target)
        self._gains = np.zeros_like(fixed.values)
        self._kernel.set_up(
            fixed.weights,
            fixed.values,
            fixed.sizes,
            fixed.penalty,
            self._prices,
            self._gains,
            self._order,
            self._best,
            self._state,
        )
        self._reported = int(self._kernel.NOTHING)

    def advance(self, budget: int) -> NDArray[np.int64] | None:
        """Make some moves of the current cooling."""
        fixed, state, began = self._fixed, self._state, self._search.seconds
        left = self._moves_left()
        # Up to the descent, then to its end.
        descends = self._cooled >= _DESCENT
        goes_on = 1.0 if descends else _DESCENT
        part = left * (goes_on - self._cooled) / (1.0 - self._cooled)
        moves = max(1, min(budget, math.ceil(part)))
        until = min(goes_on, self._cooled + moves / left * (1.0 - self._cooled))
        start, end = self._span
        fall = (end / start) ** (1.0 / _DESCENT)
        made = self._kernel.anneal(
            fixed.weights,
            fixed.sizes,
            fixed.penalty,
            self._prices,
            self._gains,
            self._order,
            self._best,
            state,
            self._rng,
            moves,
            0.0 if descends else start * fall**self._cooled * fixed.scale,
            fall ** ((until - self._cooled) * self._kernel.LEVEL / moves),
            self._flips,
            fixed.least,
            self._goal,
        )
        self._seconds += self._search.seconds - began
        items = None
        best = int(state[self._kernel.BEST])
        if best > self._reported:
            self._reported = best
            inside = int(state[self._kernel.BEST_INSIDE])
            items = self._best[:inside].astype(np.int64)
            self.found_at = self.iterations + int(state[self._kernel.BEST_MOVE])
            self._goal = max(self._goal, best + 1)
            self._found = True
        self.iterations += made
        self._cooled, self._left = until, left - made
        if self._left < 1 or until >= 1.0:
            self._next_cooling()
        return items

    def _moves_left(self) -> float:
        """Return the moves left in this cooling, stretched if it is to be the last."""
        limits = self._search.limits
        horizon = math.inf
        if limits.iterations is not None:
            left = self._search.remaining_iterations() or 0
            horizon = left / self._jobs
        if limits.time is not None and self.iterations:
            rate = self.iterations / max(self._seconds, 1e-6)
            horizon = min(horizon, rate * self._search.remaining())
        # A next one is twice as long: without room for it, this one takes the rest.
        if horizon < self._left + 2 * self._length:
            return max(horizon, 1.0)
        return self._left

    def _next_cooling(self) -> None:
        self._coolings -= 1
        self.done = self._coolings <= 0
        self._vain += 1
        if self._found or self._vain == _VAIN:
            self._length *= 2
            self._vain, self._found = 0, False
        self._left, self._cooled = self._length, 0.0
        kernel, state = self._kernel, self._state
        if state[kernel.CONFLICTS] == 0 and self._prices[state[kernel.TOTAL]] == 0:
            return
        # The cooling froze in a set that is not allowed: make that dearer.
        self._dearness = min(2 * self._dearness, _DEAREST)
        fixed = self._fixed
        if self._canonical.conflicts is not None:
            fixed = FixedPoint.of(self._canonical, 2 * self._dearness)
        self._set_up(fixed)
