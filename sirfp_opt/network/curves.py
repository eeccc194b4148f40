"""Value curves: the best objective known for each number of channels of a layer.

How to split a budget over layers needs, from each layer, one number for each count k:
the redundancy that k channels have at least, or at least the smallest that is known.
The paper's backward deletion gives all of them at once, nested in one path; what the
path steps over is looked for (`network.feasible`); single points can be improved by any
solver, and be given a proven bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, singledispatch
from typing import TYPE_CHECKING, Any

import numpy as np

from sirfp_opt._parallel import Tick, run_all
from sirfp_opt._validate import FloatArray, IntArray, frozen
from sirfp_opt.api import solve
from sirfp_opt.constraints import LayerConstraints
from sirfp_opt.deletion import delete_smallest
from sirfp_opt.elimination import eliminate
from sirfp_opt.errors import InfeasibleError, InvalidProblemError, NoSolutionError
from sirfp_opt.graph import ChannelGraph
from sirfp_opt.network.feasible import find_sets
from sirfp_opt.problem import PruningProblem
from sirfp_opt.reconstruction import ReconstructionProblem
from sirfp_opt.sense import Sense

if TYPE_CHECKING:
    from sirfp_opt.canonical import CanonicalProblem
    from sirfp_opt.canonical_form import CanonicalForm
    from sirfp_opt.limits import Limits
    from sirfp_opt.protocols import Solver
    from sirfp_opt.set_problem import SetProblem
    from sirfp_opt.solution import Solution

__all__ = ["ValueCurve", "ValueCurves", "value_curve"]


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

        Parameters
        ----------
        k : int
        method, time_limit, limits, seed, certify, **options
            As for `sirfp_opt.solve`.

        Returns
        -------
        Solution
        """
        return solve(
            self.layer(k),
            method=method,
            time_limit=time_limit,
            limits=limits,
            seed=seed,
            warm_start=self.selected(k),
            certify=certify,
            **options,
        )


@singledispatch
def value_curve(
    graph: Any,
    constraints: LayerConstraints | None = None,
    *,
    counts: Iterable[int] | None = None,
) -> ValueCurve:
    """Build the nested greedy curve of a layer, for all counts, in one pass.

    With L the channels left, the paper's backward deletion (SIRFP, arXiv 2412.12672,
    algorithm 1) removes argmax_{i in L} v_i + Σ_{j in L, j != i} w_ij, in O(n²). The
    sets that are left are nested, so that one run serves every count. Where readers are
    refitted, what loses least goes next (`sirfp_opt.elimination`), in O(R n³), with two
    to four matrices a reader beside the layer's own.

    The function goes by the kind of layer (`functools.singledispatch`): another problem
    of sets joins a network by registering how its curve is built.

    Parameters
    ----------
    graph : ChannelGraph or ReconstructionProblem
    constraints : LayerConstraints, optional
        Range of counts, must_keep, must_drop and tied channels; by default those of a
        ReconstructionProblem, else all counts from one to n.
    counts : iterable of int, optional
        The counts of interest, where they are not those of `constraints`.

    Returns
    -------
    ValueCurve
        Over the allowed counts for which there is a set. With tied groups of several
        sizes, or missing edges, the path may step over some; those are looked for.

    Raises
    ------
    InfeasibleError
        If it is proved that there is none.
    NoSolutionError
        If none was found, which is no proof: only with missing edges.
    """
    raise InvalidProblemError(
        f"`graph` must be a ChannelGraph or a ReconstructionProblem, got "
        f"{type(graph).__name__}. Use ChannelGraph.from_redundancy."
    )


@value_curve.register
def _greedy_curve(
    graph: ChannelGraph,
    constraints: LayerConstraints | None = None,
    *,
    counts: Iterable[int] | None = None,
) -> ValueCurve:
    rules, wanted = _wanted(graph.n, constraints, counts)
    problem = PruningProblem(graph, rules)
    canonical = problem.canonical
    items, gains = _path(canonical)
    totals = np.concatenate(([0.0], np.cumsum(gains)))
    alone = _alone(canonical, items)
    steepest = _steepest(gains, canonical.sizes[items])
    return _assemble(problem, canonical, wanted, items, totals, alone, steepest)


@value_curve.register
def _refit_curve(
    graph: ReconstructionProblem,
    constraints: LayerConstraints | None = None,
    *,
    counts: Iterable[int] | None = None,
) -> ValueCurve:
    own = graph.constraints if constraints is None else constraints
    rules, wanted = _wanted(graph.n, own, counts)
    problem = graph.constrained(rules)
    # The path consumes its matrices; the curve is kept for long, they are not.
    canonical = problem.to_canonical()
    order, losses = eliminate(canonical, overwrite=True)
    lost = np.concatenate(([0.0], np.cumsum(losses)))[::-1]
    totals, items, gains = canonical.most - lost, order[::-1].copy(), losses[::-1]
    return _assemble(problem, canonical, wanted, items, totals, gains, 0.0)


def _wanted(
    n: int, constraints: LayerConstraints | None, counts: Iterable[int] | None
) -> tuple[LayerConstraints, list[int]]:
    """Return the constraints with a range, and the counts of interest."""
    rules = LayerConstraints() if constraints is None else constraints
    if not rules.has_count:
        rules = rules.with_count((1, n))
    if counts is None:
        return rules, list(rules.counts(n))
    wanted = sorted(int(k) for k in counts)
    if not wanted:
        raise InvalidProblemError(
            "`counts` must hold at least one number of channels, got none. "
            "Leave it out for all from one to n."
        )
    # Asked for by number: range and multiple are then the caller's business.
    low, high = wanted[0], wanted[-1]
    return replace(rules, k=None, k_min=low, k_max=high, multiple_of=1), wanted


def _assemble(
    problem: SetProblem,
    canonical: CanonicalForm,
    wanted: list[int],
    items: IntArray,
    totals: FloatArray,
    alone: FloatArray,
    steepest: float,
) -> ValueCurve:
    """Make a curve of a path's items and the values of its prefixes."""
    sizes = canonical.kept.size + np.concatenate(
        ([0], np.cumsum(canonical.sizes[items]))
    )
    known = np.isfinite(totals) & np.isin(sizes, np.asarray(wanted))
    points = dict(
        zip(
            sizes[known].tolist(),
            [canonical.to_objective(v) + 0.0 for v in totals[known].tolist()],  # no -0
            strict=True,
        )
    )
    stepped_over = [k for k in wanted if k not in points]
    found = find_sets(canonical, stepped_over, items, alone)
    sets = {k: canonical.lift(some) for k, some in found.sets.items()}
    points |= {k: problem.evaluate(chosen) for k, chosen in sets.items()}
    if not points:
        error = NoSolutionError if found.undecided else InfeasibleError
        raise error(
            f"no set of {problem.title!r} with an allowed number of channels "
            f"{'was found' if found.undecided else 'is a clique'}. Widen the range, or "
            "loosen tied groups and missing edges."
        )
    values = np.array([points[k] for k in sorted(points)], dtype=np.float64)
    worst = -np.inf if problem.sense is Sense.MINIMIZE else np.inf
    curve = ValueCurve(
        problem=problem,
        counts=np.array(sorted(points), dtype=np.int64),
        values=values,
        bounds=np.full(values.size, worst),
        order=np.concatenate([canonical.kept, *(canonical.members[i] for i in items)]),
        steepest=steepest,
        sets=sets,
        undecided=found.undecided,
    )
    for array in (
        curve.counts,
        curve.values,
        curve.bounds,
        curve.order,
        *sets.values(),
    ):
        frozen(array)
    return curve


def _alone(canonical: CanonicalProblem, items: IntArray) -> FloatArray:
    """Return what each item gains beside all of the others, in the items' order."""
    gains: FloatArray = (canonical.values + canonical.weights.sum(axis=1))[items]
    return gains


def _steepest(gains: FloatArray, sizes: IntArray) -> float:
    known = np.isfinite(gains)
    return float((-gains[known] / sizes[known]).max(initial=0.0))


def _path(canonical: CanonicalProblem) -> tuple[IntArray, FloatArray]:
    """Return items, the last one deleted first, and what each adds to those before.

    From the first item on that conflicts with one before it, the gain is -inf.
    """
    m, weights = canonical.m, canonical.weights
    conflicts = canonical.conflicts
    if conflicts is not None:
        # A conflict outweighs all redundancy: conflicting items go first.
        most = np.abs(weights).sum() + np.abs(canonical.values).sum() + 1.0
        weights = np.where(conflicts, -most, weights)
    left = canonical.values + weights.sum(axis=1)
    items = delete_smallest(weights, left, canonical.sizes)[0][::-1].copy()
    gains = np.empty(m)
    for place, item in enumerate(items.tolist()):
        before = items[:place]
        # Summed anew, not telescoped: penalties would have left their rounding here.
        gains[place] = canonical.values[item] + canonical.weights[item, before].sum()
        if conflicts is not None and conflicts[item, before].any():
            gains[place:] = -np.inf
            break
    return items, gains


class ValueCurves(Mapping[str, ValueCurve]):
    """The value curves of a network's layers, each built when it is first asked for.

    Parameters
    ----------
    layers : mapping of str to (ChannelGraph, LayerConstraints, counts)
        What `value_curve` is called with; instead of a graph, whatever kind of layer
        it knows.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import ChannelGraph, LayerConstraints
    >>> graph = ChannelGraph.from_redundancy(np.full((4, 4), 0.5))
    >>> curves = ValueCurves({"a": (graph, LayerConstraints(k_min=2), None)})
    >>> curves["a"].values.tolist()
    [0.5, 1.5, 3.0]
    """

    def __init__(
        self,
        layers: Mapping[str, tuple[Any, LayerConstraints, Iterable[int] | None]],
    ) -> None:
        self._layers = dict(layers)
        self._curves: dict[str, ValueCurve] = {}

    def __getitem__(self, name: str) -> ValueCurve:
        if name not in self._curves:
            graph, constraints, counts = self._layers[name]
            self._curves[name] = value_curve(graph, constraints, counts=counts)
        return self._curves[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def build(self, *, n_jobs: int = 1, tick: Tick | None = None) -> ValueCurves:
        """Build every curve that is still to be built, in parallel, and return self.

        Parameters
        ----------
        n_jobs : int
            Threads of joblib; -1 for all cores.
        tick : callable, optional
            Called after each.
        """
        missing = [name for name in self if name not in self._curves]
        run_all(self.__getitem__, [(name,) for name in missing], n_jobs, tick)
        return self

    def delivering(self, sets: Mapping[str, IntArray]) -> ValueCurves:
        """Return curves that have these very sets at their counts, better or not.

        Parameters
        ----------
        sets : mapping of str to ndarray
            By layer, channels that its constraints allow.
        """
        changed = ValueCurves(self._layers)
        changed._curves = dict(self._curves)
        for name, selected in sets.items():
            changed._curves[name] = self[name].delivering(selected)
        return changed

    def refine(
        self,
        counts: Mapping[str, Iterable[int]],
        method: str | Solver = "auto",
        *,
        n_jobs: int = 1,
        tick: Tick | None = None,
        **arguments: Any,
    ) -> tuple[ValueCurves, dict[tuple[str, int], Solution]]:
        """Solve layers at single counts and return curves that know the results.

        Parameters
        ----------
        counts : mapping of str to iterable of int
            By layer, the counts to improve (or, with ``certify=True``, to prove).
        method : str or Solver
            For instance "tabu", or "exact".
        n_jobs : int
            Threads of joblib; -1 for all cores.
        tick : callable, optional
            Called after each point.
        **arguments
            For `ValueCurve.solve`.

        Returns
        -------
        curves : ValueCurves
            New ones; these stay as they are.
        solutions : dict of (str, int) to Solution
        """
        points = [(name, int(k)) for name, some in counts.items() for k in some]

        def one(name: str, k: int) -> Solution:
            return self[name].solve(k, method, **arguments)

        solutions = dict(zip(points, run_all(one, points, n_jobs, tick), strict=True))
        refined = ValueCurves(self._layers)
        refined._curves = dict(self._curves)
        for name in counts:
            found = [s for (layer, _), s in solutions.items() if layer == name]
            refined._curves[name] = self[name].including(found)
        return refined, solutions
