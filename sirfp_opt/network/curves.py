"""Value curves: the best objective known for each number of channels of a layer.

How to split a budget over layers needs, from each layer, one number for each count k:
the redundancy that k channels have at least, or at least the smallest that is known.
The paper's backward deletion gives all of them at once, nested in one path; what the
path steps over is looked for (`network.feasible`); single points can be improved by any
solver, and be given a proven bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import singledispatch
from typing import TYPE_CHECKING, Any

import numpy as np

from sirfp_opt._parallel import Tick, run_all
from sirfp_opt._validate import FloatArray, IntArray, frozen
from sirfp_opt.constraints import LayerConstraints
from sirfp_opt.deletion import delete_smallest
from sirfp_opt.elimination import eliminate
from sirfp_opt.errors import InfeasibleError, InvalidProblemError, NoSolutionError
from sirfp_opt.graph import ChannelGraph
from sirfp_opt.network.curve import ValueCurve
from sirfp_opt.network.feasible import find_sets
from sirfp_opt.problem import PruningProblem
from sirfp_opt.reconstruction import ReconstructionProblem
from sirfp_opt.sense import Sense

if TYPE_CHECKING:
    from sirfp_opt.canonical import CanonicalProblem
    from sirfp_opt.canonical_form import CanonicalForm
    from sirfp_opt.protocols import Solver
    from sirfp_opt.set_problem import SetProblem
    from sirfp_opt.solution import Solution

__all__ = ["ValueCurve", "ValueCurves", "value_curve"]


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
        # Where edges are missing, the solver tries more than one path.
        greedy=canonical.conflicts is None,
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
    gains: FloatArray = (canonical.values + canonical.row_sums)[items]
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
    items = delete_smallest(weights, left, canonical.unlike)[0][::-1].copy()
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
