"""ValueCurve: the best objective known for each number of channels of one layer."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sirfp_opt._validate import FloatArray, IntArray, frozen
from sirfp_opt.api import prepare, solve
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.objective import Objective
from sirfp_opt.protocols import SolverInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sirfp_opt.limits import Limits
    from sirfp_opt.protocols import Solver
    from sirfp_opt.search import Search
    from sirfp_opt.set_problem import SetProblem
    from sirfp_opt.solution import Solution

__all__ = ["ValueCurve"]

GREEDY = "sirfp_opt_solvers.greedy:Greedy"
"""The solver whose sets, at its defaults, are those of a greedy path."""


@dataclass(frozen=True, eq=False)
class ValueCurve:
    """The best objective known for each allowed number of channels of one layer.

    Make one with `value_curve`.

    Attributes
    ----------
    problem : SetProblem
        The layer, with the range of counts as its constraint.
    counts : ndarray of int64, shape (p,)
        Numbers of channels for which a feasible set is known, ascending.
    values : ndarray of float64, shape (p,)
        Objective of the best set known, in the graph's sense and units.
    bounds : ndarray of float64, shape (p,)
        No set of so many channels is better; infinitely loose where nothing is proved.
    order : ndarray of int64, shape (n,)
        Channels of the nested path, the last one deleted first: a prefix is a set.
    steepest : float
        Most that any channel costs where the path takes it in; 0 where all gain.
    sets : mapping of int to ndarray
        By count, the sets that are better than the path's, or that it has not.
    undecided : tuple of int
        Allowed counts of which neither a set is known nor a proof that there is none.
    greedy : bool
        Whether the path's sets are those of method "greedy" at its defaults.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import ChannelGraph
    >>> from sirfp_opt.network.curves import value_curve
    >>> alike = np.array([[1, 0.9, 0.1], [0.9, 1, 0.2], [0.1, 0.2, 1]])
    >>> curve = value_curve(ChannelGraph.from_redundancy(alike))
    >>> curve.values.round(6).tolist(), curve.selected(2).tolist()
    ([0.0, 0.1, 1.2], [0, 2])
    """

    problem: SetProblem
    counts: IntArray
    values: FloatArray
    bounds: FloatArray
    order: IntArray
    steepest: float
    sets: Mapping[int, IntArray] = field(default_factory=dict)
    undecided: tuple[int, ...] = ()
    greedy: bool = False

    @property
    def n(self) -> int:
        """Number of channels of the layer."""
        return self.problem.n

    @property
    def available(self) -> int:
        """Number of channels that are not dropped for certain."""
        return self.n - len(self.problem.constraints.must_drop)

    @cached_property
    def whole(self) -> float:
        """Objective of all channels that are not dropped for certain."""
        gone = set(self.problem.constraints.must_drop)
        return self.problem.evaluate(c for c in range(self.n) if c not in gone)

    def _at(self, k: int) -> int:
        """Return the place of count k, raise if no set of k channels is known."""
        place = int(np.searchsorted(self.counts, k))
        if place == self.counts.size or self.counts[place] != k:
            raise InvalidProblemError(
                f"`k` must be one of the curve's counts {self.counts[0]} to "
                f"{self.counts[-1]}, got {k}. Build the curve over a wider range."
            )
        return place

    def value(self, k: int) -> float:
        """Return the best objective known for k channels."""
        return float(self.values[self._at(k)])

    def bound(self, k: int) -> float:
        """Return a proven bound on the objective of k channels."""
        return float(self.bounds[self._at(k)])

    def selected(self, k: int) -> IntArray:
        """Return the channels, ascending, of the best set known of k channels."""
        self._at(k)
        best = self.sets.get(k)
        return np.sort(self.order[:k]) if best is None else best

    def layer(self, k: int) -> SetProblem:
        """Return the layer's problem at exactly k channels.

        All n channels may be kept even where n is no multiple of ``multiple_of``.
        """
        self._at(k)
        rules = self.problem.constraints
        step = 1 if k % rules.multiple_of else rules.multiple_of
        exact = replace(rules, k=k, k_min=None, k_max=None, multiple_of=step)
        return self.problem.constrained(exact)

    def including(self, solutions: Iterable[Solution]) -> ValueCurve:
        """Return a curve that is at least as good at the counts of `solutions`.

        Parameters
        ----------
        solutions : iterable of Solution
            Of this layer, at any of its counts; sets and bounds are taken over.
        """
        values, bounds, sets = self.values.copy(), self.bounds.copy(), dict(self.sets)
        sign = self.problem.sense.sign
        for solution in solutions:
            place = self._at(solution.k)
            selected = self.layer(solution.k).check(solution.selected)
            objective = self.problem.evaluate(selected)
            known = float(values[place])
            # The same set summed in another order counts as the better one: its value
            # is then the solution's to the last bit.
            if sign * objective > sign * known or math.isclose(
                objective, known, rel_tol=1e-12
            ):
                values[place] = objective
                frozen(selected)
                sets[solution.k] = selected
            if solution.bound is not None:
                tighter = min if sign > 0 else max
                bounds[place] = tighter(bounds[place], solution.bound)
        frozen(values)
        frozen(bounds)
        return replace(self, values=values, bounds=bounds, sets=sets)

    def delivering(self, selected: Iterable[int]) -> ValueCurve:
        """Return a curve that has this very set at its count, better or not.

        Parameters
        ----------
        selected : iterable of int
            Channels that the layer's constraints allow.

        Raises
        ------
        InvalidProblemError
            If they do not.
        """
        chosen = np.asarray(list(selected), dtype=np.int64)
        place = self._at(int(chosen.size))
        chosen = self.layer(int(chosen.size)).check(chosen)
        values = self.values.copy()
        values[place] = self.problem.evaluate(chosen)
        frozen(values)
        frozen(chosen)
        return replace(self, values=values, sets={**self.sets, chosen.size: chosen})

    def solve(
        self,
        k: int,
        method: str | Solver = "auto",
        *,
        time_limit: float | None = None,
        limits: Limits | None = None,
        seed: int = 0,
        certify: bool | str = False,
        **options: Any,
    ) -> Solution:
        """Solve the layer at k channels; never worse than the curve is there.

        The greedy at its defaults is not run again where the path is its own: the
        path's set is its answer, unless a bound or a limit is asked for.

        Parameters
        ----------
        k : int
        method, time_limit, limits, seed, certify, **options
            As for `sirfp_opt.solve`.

        Returns
        -------
        Solution
        """
        layer, known = self.layer(k), self.selected(k)
        asked = prepare(
            method,
            options,
            time_limit=time_limit,
            limits=limits,
            seed=seed,
            certify=certify,
            objective=layer.objective,
        )
        plain = asked.effort is None and not asked.limits.given
        if plain and self.greedy and k not in self.sets and _is_greedy(asked.solver):
            found = solve(layer, method=_AsItIs(), seed=seed, warm_start=known)
            options = asdict(asked.solver)  # type: ignore[call-overload]
            return replace(found, solver=asked.name, options=options)
        return solve(
            layer,
            method=method,
            time_limit=time_limit,
            limits=limits,
            seed=seed,
            warm_start=known,
            certify=certify,
            **options,
        )


@dataclass(frozen=True)
class _AsItIs:
    """Has nothing to add to its warm start."""

    info: ClassVar[SolverInfo] = SolverInfo(
        summary="the warm start", exact=False, objectives=frozenset(Objective)
    )

    def solve(self, search: Search) -> None:
        """Leave the incumbent as it is."""


def _is_greedy(solver: Solver) -> bool:
    """Tell whether a solver is the built-in greedy at its defaults."""
    cls = type(solver)
    return f"{cls.__module__}:{cls.__qualname__}" == GREEDY and solver == cls()
