"""Value curves: the greedy path in one run, better points on request."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sirfp_opt import (
    ChannelGraph,
    InvalidProblemError,
    LayerConstraints,
    Limits,
    ReconstructionProblem,
    solve,
)
from sirfp_opt.network.allocation import Worth
from sirfp_opt.network.curves import ValueCurves, value_curve
from sirfp_opt.network.normalization import normalized
from sirfp_opt.search import Search
from sirfp_opt_solvers.greedy import Greedy


def graph_of(seed: int, n: int, **options: object) -> ChannelGraph:
    """Return a redundancy graph of n channels with a few common patterns."""
    rng = np.random.default_rng(seed)
    maps = rng.random((n, 3)) @ rng.random((3, 20)) + 0.3 * rng.random((n, 20))
    return ChannelGraph.from_redundancy(maps @ maps.T, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("sense", ["redundancy", "diversity"])
def test_the_path_is_the_greedy_solver_at_every_count(sense: str) -> None:
    """One run of O(n^2) gives the sets and values of n runs of method="greedy"."""
    matrix = graph_of(0, 17).weights
    rng = np.random.default_rng(1)
    make = getattr(ChannelGraph, f"from_{sense}")
    graph = make(matrix, vertex_weights=rng.normal(size=17) * matrix.mean())
    curve = value_curve(graph)
    assert curve.counts.tolist() == list(range(1, 18))
    for k in range(1, 18):
        greedy = solve(graph, k, "greedy")
        assert curve.value(k) == pytest.approx(greedy.objective)
        assert curve.selected(k).tolist() == greedy.selected.tolist()


def layer_of(kind: str, seed: int, n: int) -> ChannelGraph | ReconstructionProblem:
    """Return a layer to be cut, or to be cut and refitted."""
    if kind == "clique":
        return graph_of(seed, n)
    maps, filters = np.random.default_rng(seed).normal(size=(2, n, 3 * n))
    return ReconstructionProblem(np.cov(maps), filters @ filters.T)


@pytest.mark.parametrize("kind", ["clique", "refit"])
@pytest.mark.parametrize(
    "rules",
    [
        LayerConstraints(k_min=1),
        LayerConstraints(k_min=4, must_keep=[1, 8], must_drop=[5, 11]),
        LayerConstraints(k_min=2, tied=[[2 * i, 2 * i + 1] for i in range(7)]),
        LayerConstraints(k_min=3, must_drop=[3], tied=[[0, 1, 2], [5, 9]]),
    ],
)
def test_the_greedy_is_not_run_again_and_nothing_differs(
    kind: str, rules: LayerConstraints, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each count of its path a curve says what the solver says, proofs included."""
    curve = value_curve(layer_of(kind, 0, 14), rules)
    on_path = [k for k in curve.counts.tolist() if k not in curve.sets]
    assert len(on_path) >= 4
    expected = {k: solve(curve.layer(k), method="greedy", seed=3) for k in on_path}

    def run(*_: object) -> None:
        raise AssertionError("the greedy has been run")

    monkeypatch.setattr("sirfp_opt_solvers.greedy.Greedy.solve", run)
    for k, run_alone in expected.items():
        found = curve.solve(k, "greedy", seed=3)
        assert found.selected.tolist() == run_alone.selected.tolist()
        assert found.objective == run_alone.objective
        for part in ("bound", "status", "limit", "solver", "options", "seed", "title"):
            assert getattr(found, part) == getattr(run_alone, part), (k, part)
        improved = curve.including([found])
        assert improved.value(k) == run_alone.objective


def test_the_greedy_is_run_where_more_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """With parameters, limits or a bound, off the path, and where edges are missing."""
    ran, original = [], Greedy.solve

    def counted(solver: Greedy, search: Search) -> None:
        ran.append(solver)
        original(solver, search)

    monkeypatch.setattr(Greedy, "solve", counted)
    curve = value_curve(graph_of(0, 12))
    assert curve.solve(6, "greedy", certify=True).bound is not None
    curve.solve(6, "greedy", limits=Limits(target=0.0))
    curve.solve(6, "greedy", time_limit=60.0)
    curve.solve(6, "greedy", direction="forward")
    curve.solve(6, Greedy(polish=True))
    curve.including([solve(curve.layer(6), method="tabu")]).solve(6, "greedy")
    edges = ~np.eye(12, k=1, dtype=bool) & ~np.eye(12, k=-1, dtype=bool)
    value_curve(graph_of(0, 12, adjacency=edges)).solve(3, "greedy")
    assert len(ran) == 7
    curve.solve(6, "greedy")
    curve.solve(6, Greedy())
    assert len(ran) == 7


def test_constraints_hold_along_the_path() -> None:
    """Every set of a curve is feasible, and worth what the curve says."""
    rules = LayerConstraints(
        k_min=4, must_keep=[1], must_drop=[5], tied=[[2, 3], [6, 7]]
    )
    curve = value_curve(graph_of(2, 12), rules)
    assert curve.counts.size > 4
    for k in curve.counts.tolist():
        chosen = curve.layer(k).check(curve.selected(k))
        assert curve.problem.evaluate(chosen) == pytest.approx(curve.value(k))
    assert curve.available == 11
    assert curve.whole == pytest.approx(
        curve.problem.evaluate(c for c in range(12) if c != 5)
    )


def test_with_missing_edges_the_sets_are_cliques() -> None:
    """Counts whose greedy set has a conflict are no part of the curve."""
    rng = np.random.default_rng(0)
    edges = rng.random((10, 10)) < 0.8
    edges = edges & edges.T
    curve = value_curve(graph_of(3, 10, adjacency=edges))
    assert 1 <= curve.counts[-1] < 10
    for k in curve.counts.tolist():
        curve.layer(k).check(curve.selected(k))


def test_exact_points_bring_the_curve_down_to_the_optimum() -> None:
    """Refined by brute force at all counts, a curve is the enumerated one, proved."""
    graph = graph_of(4, 9)
    curves = ValueCurves({"a": (graph, LayerConstraints(k_min=1), None)})
    before = curves["a"].values.copy()
    refined, solutions = curves.refine({"a": range(1, 10)}, "brute_force", n_jobs=2)
    for k in range(1, 10):
        sets = itertools.combinations(range(9), k)
        best = min(curves["a"].problem.evaluate(s) for s in sets)
        assert refined["a"].value(k) == pytest.approx(best)
        assert refined["a"].bound(k) == pytest.approx(best)
        assert solutions["a", k].k == k
    assert (refined["a"].values <= before + 1e-12).all()
    np.testing.assert_array_equal(curves["a"].values, before)  # left as it was


def test_a_worse_or_wrong_solution_changes_nothing_or_raises() -> None:
    """Only better sets are taken over; another layer's solution is refused."""
    graph = graph_of(5, 8)
    curve = value_curve(graph)
    worse = solve(graph, 4, "random", seed=3)
    assert curve.including([worse]).value(4) <= curve.value(4)
    with pytest.raises(InvalidProblemError, match="`k` must be one of"):
        curve.value(9)
    with pytest.raises(InvalidProblemError, match="`k` must be one of"):
        value_curve(graph, LayerConstraints(k_min=6)).including([worse])


def test_curves_are_lazy_and_threads_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A curve is built when asked for, once, and the same by one thread or two."""
    from sirfp_opt.network import curves as module

    built = []
    original = module.value_curve

    def counted(*arguments: object, **options: object) -> object:
        built.append(1)
        return original(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "value_curve", counted)
    layers = {
        name: (graph_of(i, 12), LayerConstraints(k_min=1), None)
        for i, name in enumerate("abcd")
    }
    one, two = ValueCurves(layers), ValueCurves(layers)
    assert not built
    assert one["a"] is one["a"]
    assert len(built) == 1
    one.build()
    two.build(n_jobs=2)
    assert len(built) == 8
    for name in "abcd":
        np.testing.assert_array_equal(one[name].values, two[name].values)


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(1e-6, 1e6), seed=st.integers(0, 50))
def test_trace_normalised_losses_do_not_depend_on_the_metrics_scale(
    scale: float, seed: int
) -> None:
    """A layer whose maps are larger, and its redundancies smaller, loses the same."""
    graph = graph_of(seed, 10)
    matrix = graph.weights + np.diag(graph.self_redundancy)
    layers = {"a": graph, "b": ChannelGraph.from_redundancy(matrix * scale)}
    for worth in (Worth(), Worth("sum")):
        curves = {name: value_curve(g) for name, g in layers.items()}
        factors = {name: normalized(g, "trace")[1] for name, g in layers.items()}
        losses = worth.losses(curves, factors).by_layer
        np.testing.assert_allclose(losses["a"], losses["b"], rtol=1e-6, atol=1e-9)
        assert losses["a"][-1] == pytest.approx(0.0, abs=1e-12)
        assert (np.diff(losses["a"]) <= 1e-12).all()  # more channels, less loss


def test_normalisations_do_what_they_say() -> None:
    """Trace, cosine, map size and none; a dead channel stays without redundancy."""
    matrix = graph_of(6, 6).weights + np.diag(graph_of(6, 6).self_redundancy)
    matrix[2] = matrix[:, 2] = 0.0
    graph = ChannelGraph.from_redundancy(matrix)
    assert normalized(graph, "none") == (graph, 1.0)
    assert normalized(graph, "trace")[1] == pytest.approx(1 / matrix.trace())
    assert normalized(graph, "map_size", map_size=64)[1] == 64.0
    cosine, factor = normalized(graph, "cosine")
    assert factor == 1.0
    assert cosine.weights[0, 1] == pytest.approx(
        matrix[0, 1] / np.sqrt(matrix[0, 0] * matrix[1, 1])
    )
    assert not cosine.weights[2].any()
    assert cosine.self_redundancy.tolist() == [1, 1, 0, 1, 1, 1]
    for mode, message in (("l1", "`normalize` must"), ("map_size", "`map_sizes` must")):
        with pytest.raises(InvalidProblemError, match=message):
            normalized(graph, mode)
