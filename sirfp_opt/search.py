"""Search: one run of a solver, and the only door through which answers come in.

No solver is trusted. What it offers is checked and priced here, in float64, against
the user's own problem; the best is kept here, so an interrupt loses nothing; bounds
are kept here, and one that contradicts a set already in hand is an error.
"""

from __future__ import annotations

import math
import threading
import time
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt._validate import require
from sirfp_opt.canonical import CanonicalProblem
from sirfp_opt.canonical_refit import CanonicalRefit
from sirfp_opt.errors import InvalidProblemError, SolverError, UnsupportedError
from sirfp_opt.limits import Limits
from sirfp_opt.progress import Callback, Progress
from sirfp_opt.sense import relative_gap
from sirfp_opt.set_problem import SetProblem
from sirfp_opt.trace import Trace, TraceEvent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sirfp_opt._validate import IntArray
    from sirfp_opt.canonical_form import CanonicalForm
    from sirfp_opt.solution import Solution

__all__ = ["Callback", "Progress", "Search"]

# How far, relatively, a bound may fall short of a known objective before it is called
# wrong: the rounding of two float64 sums in different order, with room to spare.
_BOUND_SLACK = 1e-7

# Seconds between two calls of a callback where nothing improves.
_PULSE = 0.1


class Search:
    """What a solver is given, and where it puts what it finds.

    Parameters
    ----------
    problem : SetProblem
    limits : Limits
    seed : int
    warm_start : sequence of int or Solution, optional
        A feasible set of channels; it becomes the first incumbent.
    callback : callable, optional
        Called with a `Progress` at each improvement, and about ten times a second in
        between; a true answer stops the run.
    started : float, optional
        ``time.perf_counter()`` when the user's clock began.
    solver : str
        The method's name, for messages.

    Attributes
    ----------
    form : CanonicalForm
        The form to work on, whatever the objective. `canonical` is the same, known to
        be a clique problem's, and `refit` the same, known to be a refit problem's.
    warm_items : ndarray of int64 or None
        The warm start as items of `form`.
    best : ndarray of int64 or None
        The incumbent's channels.
    objective, bound : float or None
        Of the incumbent, and proven, in the problem's sense and units.
    limit : str or None
        What stopped the run, once something has.
    compile_seconds : float
        What compiling took, where the solver has kernels to compile.
    """

    def __init__(
        self,
        problem: SetProblem,
        *,
        limits: Limits | None = None,
        seed: int = 0,
        warm_start: Iterable[int] | Solution | None = None,
        callback: Callback | None = None,
        started: float | None = None,
        solver: str = "",
    ) -> None:
        self.problem = require(problem, SetProblem, "problem")
        self.limits = limits or Limits()
        self.seed = seed
        self.solver = solver
        self.form: CanonicalForm = problem.canonical
        # One attribute, so that an interrupt never finds a set without its price.
        self._incumbent: tuple[float, IntArray] | None = None
        self.bound: float | None = None
        self.limit: str | None = None
        self.compile_seconds = 0.0
        self.warm_items: IntArray | None = None
        self._callback = callback
        self._started = time.perf_counter() if started is None else started
        self._told = time.perf_counter()
        self._thread = threading.get_ident()
        self._untold = False
        self._events: list[TraceEvent] = []
        self._iteration = 0
        if warm_start is not None:
            channels = problem.check(warm_start, name="warm_start")
            self.warm_items = self.form.project(channels)
            self._accept(channels, 0)

    @cached_property
    def rng(self) -> np.random.Generator:
        """Seeded by `seed`; made when it is asked for, since many solvers never do."""
        return np.random.default_rng(self.seed)

    def generators(self, count: int) -> list[np.random.Generator]:
        """Return the generators of so many threads: the children of `seed`'s own."""
        children = (
            np.random.SeedSequence(self.seed, spawn_key=(i,)) for i in range(count)
        )
        return [np.random.default_rng(child) for child in children]

    @property
    def best(self) -> IntArray | None:
        """The incumbent's channels."""
        return None if self._incumbent is None else self._incumbent[1]

    @property
    def objective(self) -> float | None:
        """The incumbent's objective."""
        return None if self._incumbent is None else self._incumbent[0]

    # -- the problem -------------------------------------------------------------

    @property
    def canonical(self) -> CanonicalProblem:
        """The form of a clique problem.

        Raises
        ------
        UnsupportedError
            If the problem has another objective: the solver did not declare its own.
        """
        if not isinstance(self.form, CanonicalProblem):
            raise self._foreign("clique")
        return self.form

    @property
    def refit(self) -> CanonicalRefit:
        """The form of a refit problem.

        Raises
        ------
        UnsupportedError
            If the problem has another objective.
        """
        if not isinstance(self.form, CanonicalRefit):
            raise self._foreign("refit")
        return self.form

    def _foreign(self, objective: str) -> UnsupportedError:
        return UnsupportedError(
            f"`method` {self.solver!r} must be given the {objective} objective, got a "
            f"problem of the {self.problem.objective} objective. Declare in "
            "SolverInfo(objectives=...) which ones it takes."
        )

    # -- time and limits ---------------------------------------------------------

    @property
    def seconds(self) -> float:
        """Wall-clock seconds since the user's clock began."""
        return time.perf_counter() - self._started

    def remaining(self) -> float:
        """Return the seconds left, infinity without a time limit, never negative."""
        if self.limits.time is None:
            return math.inf
        return max(0.0, self.limits.time - self.seconds)

    def remaining_iterations(self) -> int | None:
        """Return the iterations left, None without that limit."""
        if self.limits.iterations is None:
            return None
        return max(0, self.limits.iterations - self._iteration)

    def stop(self, iteration: int | None = None) -> bool:
        """Return whether the run must end now, and remember by which limit.

        Parameters
        ----------
        iteration : int, optional
            How many iterations have been done in all.
        """
        if iteration is not None:
            self._iteration = max(self._iteration, iteration)
        if self.limit is None:
            self.limit = self._reached()
        if self.limit is None:
            self._ask_by_the_clock()
        return self.limit is not None

    def stopped_by(self, limit: str) -> None:
        """Record a limit that the solver itself (or its back end) ran into."""
        if self.limit is None:
            self.limit = limit

    def _reached(self) -> str | None:
        limits = self.limits
        if limits.time is not None and self.seconds >= limits.time:
            return "time"
        if limits.iterations is not None and self._iteration >= limits.iterations:
            return "iterations"
        if self.objective is not None:
            sign = self.problem.sense.sign
            target = limits.target
            if target is not None and sign * self.objective >= sign * target:
                return "target"
            gap = self.gap
            if limits.gap is not None and gap is not None and gap <= limits.gap:
                return "gap"
        return None

    def beside(self, limits: Limits) -> Search:
        """Return a clock of its own limits that started when this one did."""
        clock = Search(self.problem, limits=limits, started=self._started)
        if self._callback is not None:
            # Its pulse is this search's: what the callback is told is what is known.
            clock._callback = lambda _: self._ask(self.seconds)
        return clock

    # -- answers -----------------------------------------------------------------

    @property
    def gap(self) -> float | None:
        """Relative gap, None while incumbent or bound is unknown."""
        if self.objective is None or self.bound is None:
            return None
        return relative_gap(self.objective, self.bound)

    @property
    def best_value(self) -> float:
        """The incumbent's value in canonical form, -inf without one."""
        if self.objective is None:
            return -math.inf
        return self.form.from_objective(self.objective)

    @property
    def best_items(self) -> IntArray | None:
        """The incumbent as items of the canonical form."""
        return None if self.best is None else self.form.project(self.best)

    def offer_items(
        self, items: Sequence[int] | IntArray, iteration: int | None = None
    ) -> bool:
        """Offer a set of canonical items; see `offer`."""
        return self.offer(self.form.lift(items), iteration)

    def offer(
        self, selected: Sequence[int] | IntArray, iteration: int | None = None
    ) -> bool:
        """Offer a set of channels; return whether it is the new incumbent.

        Parameters
        ----------
        selected : sequence of int
            Channels of the user's graph.
        iteration : int, optional
            Where the solver is, for the trace.

        Raises
        ------
        SolverError
            If the set is not feasible: the solver is wrong, not the user.
        """
        try:
            channels = self.problem.check(selected)
        except InvalidProblemError as error:
            raise SolverError(
                f"solver {self.solver!r} must offer feasible sets, got one that is "
                f"not: {error} Report this to the solver's author."
            ) from error
        return self._accept(channels, iteration)

    def _accept(self, channels: IntArray, iteration: int | None) -> bool:
        objective, before = self.problem.price_of(channels), self.objective
        sign = self.problem.sense.sign
        if before is not None and sign * objective <= sign * before:
            return False
        channels.setflags(write=False)
        self._incumbent = objective, channels
        self._reconcile()
        self._report(iteration)
        return True

    def tighten_canonical(self, bound: float, iteration: int | None = None) -> bool:
        """Offer an upper bound on the canonical value; see `tighten`."""
        if not math.isnan(bound):
            bound = self.form.on_grid(bound)
        return self.tighten(self.form.to_objective(bound), iteration)

    def tighten(self, bound: float, iteration: int | None = None) -> bool:
        """Offer a proven bound in the problem's sense; return whether it is tighter.

        Parameters
        ----------
        bound : float
            No feasible set may be better. It must hold for the weights as given, so
            the solver's own rounding error is already in it.
        iteration : int, optional
            Where the solver is, for the trace.

        Raises
        ------
        SolverError
            If a set already in hand is better than the bound.
        """
        if math.isnan(bound):
            raise SolverError(
                f"solver {self.solver!r} must offer bounds that are numbers, got NaN. "
                "Report this to the solver's author."
            )
        sign = self.problem.sense.sign
        if math.isinf(bound) or (
            self.bound is not None and sign * bound >= sign * self.bound
        ):
            return False
        self.bound = bound
        self._reconcile()
        self._report(iteration)
        return True

    def _reconcile(self) -> None:
        """Snap a bound that rounding alone tells apart; refuse one that is wrong."""
        if self.bound is None or self.objective is None:
            return
        short = self.problem.sense.sign * (self.objective - self.bound)
        rounding = self.form.objective_rounding
        if short > rounding and (
            relative_gap(self.objective, self.bound) > _BOUND_SLACK
        ):
            raise SolverError(
                f"solver {self.solver!r} must offer bounds that hold, got "
                f"{self.bound!r} where a set of value {self.objective!r} is known. "
                "Report this to the solver's author."
            )
        if short > -rounding:
            self.bound = self.objective

    # -- progress ----------------------------------------------------------------

    def _report(self, iteration: int | None) -> None:
        if iteration is not None:
            self._iteration = max(self._iteration, iteration)
        now = self.seconds
        self._events.append(
            TraceEvent(now, self._iteration, self.objective, self.bound)
        )
        self._ask(now)

    def _ask(self, now: float) -> bool:
        """Tell the callback; stop if it says so, and return whether it does."""
        if self._callback is None:
            return False
        if threading.get_ident() != self._thread:  # told by the clock, in its own
            self._untold = True
            return False
        self._untold = False
        self._told = time.perf_counter()
        told = Progress(now, self._iteration, self.objective, self.bound, self.best)
        enough = bool(self._callback(told))
        if enough:
            self.stopped_by("callback")
        return enough

    def _ask_by_the_clock(self) -> None:
        """Tell the callback if it has not been told for a while, in its own thread."""
        if (
            self._callback is not None
            and (self._untold or time.perf_counter() - self._told >= _PULSE)
            and threading.get_ident() == self._thread
        ):
            self._ask(self.seconds)

    def catch_up(self) -> None:
        """Tell the callback what other threads have found since it was told last."""
        if self._untold:
            self._ask(self.seconds)

    def trace(self) -> Trace:
        """Return the events so far, and one for now."""
        last = TraceEvent(self.seconds, self._iteration, self.objective, self.bound)
        return Trace((*self._events, last))
