"""Tabu: exact kernels, honest fixed point, published optima."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sirfp_opt import ChannelGraph, LayerConstraints, Limits, PruningProblem, solve
from sirfp_opt.canonical import CanonicalProblem
from sirfp_opt.io import best_known, read_problem
from sirfp_opt_solvers._local.fixed_point import FixedPoint
from sirfp_opt_solvers._local.flip_search import FlipSearch
from sirfp_opt_solvers._local.memetic import Memetic
from sirfp_opt_solvers._local.swap_run import SwapRun
from sirfp_opt_solvers._local.tabu_walk import tabu_walker
from sirfp_opt_solvers.tabu import improve

from .heuristic_cases import redundancy

MDPLIB = Path(__file__).parents[3] / "shared" / "mdplib"
GOAL = 1 << 60


def _canonical(n: int, k: int, seed: int = 0, share: float = 0.0) -> CanonicalProblem:
    """Return a signed problem with vertex weights and a share of missing edges."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(n, n))
    missing = np.triu(rng.random((n, n)) < share, 1)
    graph = ChannelGraph.from_diversity(
        weights + weights.T,
        vertex_weights=rng.normal(size=n),
        adjacency=~(missing | missing.T) if share else None,
    )
    return PruningProblem(graph, LayerConstraints(k)).canonical


def _run(
    canonical: CanonicalProblem, items: NDArray[np.int64], seed: int = 0
) -> SwapRun:
    fixed = FixedPoint.of(canonical)
    return SwapRun(fixed, np.sort(items), 3, np.random.default_rng(seed))


def _swap_gains(
    canonical: CanonicalProblem, items: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return what every swap of a member for an outsider gains, in float64."""
    outside = np.setdiff1d(np.arange(canonical.m), items)
    gains = canonical.values + canonical.weights[:, items].sum(axis=1)
    among: NDArray[np.float64] = canonical.weights[np.ix_(items, outside)]
    swaps: NDArray[np.float64] = gains[outside][None, :] - gains[items][:, None] - among
    return swaps


@pytest.mark.parametrize("n", [20, 64, 65, 150])
def test_best_swap_is_exact(n: int) -> None:
    """Though most rows are never read, the swap made is the best of all."""
    canonical = _canonical(n, n // 3)
    for seed in range(10):
        items = np.random.default_rng(seed).permutation(n)[: n // 3]
        run = _run(canonical, items)
        best = _swap_gains(canonical, items).max()
        run.best_swap(10, 1, GOAL)
        made = np.setxor1d(items, run.known()[0])
        if best > 0:
            after = canonical.evaluate(run.items)
            assert made.size == 2
            assert after == pytest.approx(canonical.evaluate(items) + best)


def test_a_descent_ends_where_no_swap_gains() -> None:
    """Local optima are 1-swap optimal in float64, to the rounding of fixed point."""
    canonical = _canonical(150, 40)
    for seed in range(5):
        run = _run(canonical, np.random.default_rng(seed).permutation(150)[:40])
        made = run.best_swap(0, 10_000, GOAL)
        assert 0 < made < 10_000
        slack = 2 * FixedPoint.of(canonical).error(40)
        assert _swap_gains(canonical, run.items).max() <= slack


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_fixed_point_is_within_its_stated_error(scale: float) -> None:
    """The kernels' value of a set is within `error`(k) of its float64 price."""
    for seed, share in ((0, 0.0), (1, 0.1)):
        canonical = _canonical(200, 60, seed, share)
        scaled = PruningProblem(
            ChannelGraph.from_diversity(
                canonical.weights * scale,
                vertex_weights=canonical.values * scale,
                adjacency=None if canonical.conflicts is None else ~canonical.conflicts,
            ),
            LayerConstraints(60),
        ).canonical
        fixed = FixedPoint.of(scaled)
        run = SwapRun(fixed, np.arange(60), 3, np.random.default_rng(seed))
        run.drop_add(500, 20_000, GOAL)
        if run.feasible:
            price = scaled.evaluate(run.items)
            assert abs(run.value / fixed.scale - price) <= fixed.error(60)
        assert fixed.error(60) <= 1e-6 * scale * np.abs(canonical.weights).sum()


def test_runs_do_not_depend_on_how_they_are_cut() -> None:
    """Ten calls of 100 iterations are one call of 1000, in both searches."""
    canonical = _canonical(130, 30)
    for search in ("drop_add", "best_swap"):
        whole, parts = (_run(canonical, np.arange(30), seed=7) for _ in range(2))
        getattr(whole, search)(10_000, 1000, GOAL)
        for _ in range(10):
            getattr(parts, search)(10_000, 100, GOAL)
        assert (whole.value, whole.found_at) == (parts.value, parts.found_at)
        assert whole.items.tolist() == parts.items.tolist()


@pytest.mark.parametrize("k", [1, 2, 29])
def test_tiny_and_huge_sets_leave_a_choice(k: int) -> None:
    """Tenures are cut so that there is always an item to drop and one to add."""
    canonical = _canonical(30, k)
    for search in ("drop_add", "best_swap"):
        run = _run(canonical, np.arange(k))
        assert getattr(run, search)(10_000, 2000, GOAL) == 2000
        assert np.unique(run.items).size == k
        assert canonical.evaluate(run.items) == pytest.approx(
            run.value / FixedPoint.of(canonical).scale, abs=1e-6
        )


def test_gains_are_the_same_however_they_are_come_by() -> None:
    """Gains from a neighbouring set equal gains from scratch, bit for bit."""
    canonical = _canonical(130, 30)
    fixed, rng = FixedPoint.of(canonical), np.random.default_rng(0)
    run = SwapRun(fixed, np.arange(30), 3, rng)
    run.drop_add(50, 400, GOAL)
    items, gains = run.known()
    scratch = fixed.values + fixed.weights[items].sum(axis=0, dtype=np.int32)
    np.testing.assert_array_equal(gains, scratch)


@pytest.mark.skipif(not MDPLIB.exists(), reason="../shared/mdplib is not there")
def test_best_known_values_of_mdplib_are_reached() -> None:
    """On every file at hand, within two million iterations, from one seed."""
    names = sorted(path.stem for path in MDPLIB.glob("*_n*_m*.txt"))
    assert len(names) == 13
    for name in names:
        problem, published = read_problem(MDPLIB / f"{name}.txt"), best_known(name)
        assert published is not None
        target = published.value * (1 - published.tolerance)
        limits = Limits(iterations=2_000_000, target=target)
        found = solve(problem, method="tabu", limits=limits)
        assert found.limit == "target", name
        assert "reached" in found.summary(published=published)


def test_improve_serves_other_solvers() -> None:
    """Without a `Search`: a feasible set, repeatable, never worse than the start."""
    graph = redundancy(80)
    canonical = PruningProblem(graph, LayerConstraints(20)).canonical
    best = solve(graph, 20, "tabu")
    one = improve(canonical, iterations=20_000, seed=2)
    two = improve(canonical, iterations=20_000, seed=2)
    assert one is not None
    assert two is not None
    assert one.tolist() == two.tolist()
    kept = improve(canonical, iterations=1, start=canonical.project(best.selected))
    assert kept is not None
    assert canonical.evaluate(kept) >= canonical.from_objective(best.objective) - 1e-9
    nothing = ChannelGraph.from_diversity(np.ones((6, 6)), adjacency=np.eye(6))
    barren = PruningProblem(nothing, LayerConstraints(2)).canonical
    assert improve(barren, iterations=2000) is None


@pytest.mark.parametrize("tied", [(), ((0, 1), (2, 3, 4))])
def test_a_target_ends_a_run_where_it_is_met(tied: tuple[tuple[int, ...], ...]) -> None:
    """No iteration is made after the one that finds a set of the value asked for."""
    weights = np.random.default_rng(3).random((60, 60))
    graph = ChannelGraph(weights + weights.T)
    problem = PruningProblem(graph, LayerConstraints(15, tied=tied))
    form = problem.canonical
    starts = [np.arange(15 if not tied else 0, dtype=np.int64)]
    fixed, budget = FixedPoint.of(form), 3000

    def walker(target: float | None) -> Memetic | FlipSearch:
        rng = np.random.default_rng(0)
        return tabu_walker(form, fixed, rng, starts, target=target, endless=True)

    free = walker(None)
    best = free.advance(budget)
    assert best is not None
    assert free.iterations == budget
    met = walker(form.to_objective(form.evaluate(best)))
    found = met.advance(budget)
    assert found is not None
    assert found.tolist() == best.tolist()
    assert met.iterations == met.found_at == free.found_at < budget
