"""Parts of the exact solver, each against a plain version of itself."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog

from sirfp_opt import ChannelGraph, LayerConstraints, Limits, PruningProblem, solve
from sirfp_opt_solvers._kernels.cheapest import LARGE, fill_cheapest
from sirfp_opt_solvers._kernels.triangles import add, crowd, measure
from sirfp_opt_solvers._proof import branching
from sirfp_opt_solvers._proof.swaps import is_small, swap_search
from sirfp_opt_solvers.exact import Exact
from sirfp_opt_solvers.relaxations import dual
from sirfp_opt_solvers.relaxations.alternating import alternate
from sirfp_opt_solvers.relaxations.box import BoxProblem
from sirfp_opt_solvers.relaxations.certificate import _cheapest_with_one, certify
from sirfp_opt_solvers.relaxations.dual import _ends, _exact_ends, improve, start
from sirfp_opt_solvers.relaxations.triangles import Triangles


@pytest.mark.parametrize("seed", range(5))
def test_the_cheapest_filling_is_the_linear_optimum(seed: int) -> None:
    """Against a linear solver and a sort, with ties and with room of any size."""
    rng = np.random.default_rng(seed)
    for _ in range(10):
        n = int(rng.integers(2, 30))
        keys = rng.integers(-3, 4, n) * rng.choice([1.0, 0.3])
        room = rng.integers(1, 4, n).astype(float)
        total = float(rng.integers(1, int(room.sum()) + 1))
        edge, order = np.empty(2), np.empty(n, dtype=np.int64)
        value = fill_cheapest.py_func(keys, room, n, total, order, edge)
        plain = linprog(
            keys,
            A_eq=np.ones((1, n)),
            b_eq=[total],
            bounds=list(zip(np.zeros(n), room, strict=True)),
        )
        assert value == pytest.approx(plain.fun, abs=1e-9)
        ascending = np.argsort(keys, kind="stable")
        before = np.cumsum(room[ascending]) - room[ascending]
        used = keys[ascending][before < total]
        free = keys[ascending][np.cumsum(room[ascending]) > total]
        assert edge[0] == used[-1]
        assert edge[1] == (free[0] if free.size else LARGE)


@pytest.mark.parametrize("largest", [1, 3])
@pytest.mark.parametrize("total", [2, 7])
def test_the_cheapest_filling_with_each_variable_is_linear_programming(
    largest: int, total: int
) -> None:
    """Sizes alike or not: each variable at its bound, its own prices added."""
    rng = np.random.default_rng(total)
    m = 8
    upper = rng.integers(1, largest + 1, m).astype(float)
    gradient, prices = rng.normal(size=m), rng.random((m, m))
    np.fill_diagonal(prices, 0.0)
    found = _cheapest_with_one(gradient, prices, upper, float(total))
    for i in range(m):
        if upper[i] > total:
            assert found[i] == np.inf
            continue
        box = [(0.0, u) for u in upper]
        box[i] = (upper[i], upper[i])
        costs = gradient + upper[i] * prices[i]
        best = linprog(costs, A_eq=np.ones((1, m)), b_eq=[total], bounds=box)
        assert found[i] == pytest.approx(best.fun)


def test_triangles_never_cut_off_a_set() -> None:
    """At any prices a triangle adds nothing positive to the value of a 0/1 point."""
    rng = np.random.default_rng(0)
    upper = np.array([1.0, 2.0, 1.0, 3.0])
    rows = np.array(
        [[*t, kind] for t in itertools.combinations(range(4), 3) for kind in range(4)]
    )
    for x in itertools.product((0.0, 1.0), repeat=4):
        y = np.asarray(x) * upper
        for price, row in zip(rng.random(len(rows)), rows, strict=True):
            cost, linear = np.zeros((4, 4)), np.zeros(4)
            one = add(row[None], np.array([price]), upper, cost, linear)
            assert 0.5 * y @ cost @ y + linear @ y + one <= 1e-12


def test_triangles_mean_the_same_wherever_they_are_read() -> None:
    """Measured on products or priced into a cost; `crowd` bounds their own products."""
    rng = np.random.default_rng(1)
    upper = np.array([1.0, 2.0, 1.0, 3.0, 1.0])
    rows = np.array(
        [[*t, kind] for t in itertools.combinations(range(5), 3) for kind in range(4)]
    )
    cuts = Triangles.of(rows, upper)
    lifted = [cuts.lifted(unit) for unit in np.eye(len(rows))]
    x = rng.integers(0, 2, 5).astype(float)
    y = x * upper
    by, ones = np.empty(len(rows)), np.empty(len(rows))
    measure(rows, upper, np.outer(y, y), by)
    measure(rows, upper, np.zeros((5, 5)), ones)
    assert (by <= 1e-12).all()
    for matrix, violation, one in zip(lifted, by, ones, strict=True):
        assert y @ matrix @ y + one == pytest.approx(violation)
    shared = np.abs([[np.sum(a * b) for b in lifted] for a in lifted]).sum(axis=1)
    bound = np.empty(len(rows))
    crowd(rows, upper, np.zeros((5, 5)), bound)
    assert (shared <= bound + 1e-12).all()


@pytest.mark.parametrize("seed", range(6))
def test_alternating_directions_bound_every_set(seed: int) -> None:
    """Sizes, conflicts and triangles included, and near the best where that is known.

    With the triangles no gap is left on most problems as small as these.
    """
    rng = np.random.default_rng(seed)
    n, k = 12, 5
    weights = rng.normal(size=(n, n))
    missing = np.triu(rng.random((n, n)) < 0.1 * (seed % 2), 1)
    graph = ChannelGraph(
        weights + weights.T,
        sense="maximize",
        adjacency=~(missing | missing.T),
        vertex_weights=rng.normal(size=n),
    )
    tied = [[0, 1]] if seed % 3 == 0 else []
    problem = PruningProblem(graph, LayerConstraints(k, tied=tied))
    canonical = problem.canonical
    best = solve(problem, method="brute_force").objective
    box = BoxProblem.of(canonical, k)
    cut = box.from_canonical(canonical.from_objective(best))
    found = [
        alternate(box, -np.inf, cut, rounds=300, triangles=cuts, stop=lambda: False)
        for cuts in (False, True)
    ]
    assert max(found) <= cut + 1e-9 * abs(cut)
    assert found[1] >= cut - 0.05 * abs(cut)


@pytest.mark.parametrize("seed", range(3))
def test_rounds_raise_the_bound_and_end_where_it_is_enough(seed: int) -> None:
    """Steps on multipliers raise phi, bound every set, and end where it is enough."""
    rng = np.random.default_rng(seed)
    m, count, mu = 12, 4, 1e-3
    weights = rng.normal(size=(m, m))
    graph = ChannelGraph((weights + weights.T) / 2, sense="minimize")
    problem = PruningProblem(graph, LayerConstraints(count))
    box = BoxProblem.of(problem.canonical, count)
    values = [
        box.evaluate(np.array(chosen))
        for chosen in itertools.combinations(range(m), count)
    ]
    climbed = improve(box, start(box), mu, newton=3)
    for _ in range(3):
        higher = improve(box, climbed, mu, rounds=8)
        assert higher.phi > climbed.phi
        assert (higher.multipliers >= 0.0).all()
        assert certify(box, higher).value <= min(values)
        climbed = higher
    ended = improve(box, climbed, mu, rounds=8, enough=climbed.value - 1.0)
    assert np.array_equal(ended.multipliers, climbed.multipliers)


@pytest.mark.parametrize("missing", [False, True])
def test_small_and_large_problems_have_the_same_dual(
    missing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether our own inverse is taken or LAPACK's: the same point, and P inverts B."""
    rng = np.random.default_rng(5)
    weights = rng.normal(size=(31, 31))
    gaps = np.triu(rng.random((31, 31)) < 0.1 * missing, 1)
    graph = ChannelGraph(weights + weights.T, adjacency=~(gaps | gaps.T))
    problem = PruningProblem(graph, LayerConstraints(11))
    box = BoxProblem.of(problem.canonical, 11)
    ours = improve(box, start(box), 1e-2, newton=3, rounds=4)
    monkeypatch.setattr(dual, "_SWEPT_UP_TO", 0)
    lapack = improve(box, start(box), 1e-2, newton=3, rounds=4)
    assert ours.phi == pytest.approx(lapack.phi, rel=1e-9)
    np.testing.assert_allclose(ours.point, lapack.point, atol=1e-6)
    np.testing.assert_allclose(ours.inverse, lapack.inverse, atol=1e-6)
    convex = box.cost - ours.multipliers + np.diag(ours.diagonal)
    on_zero_sums = np.eye(31) - 1.0 / 31
    product = on_zero_sums @ convex @ ours.inverse
    np.testing.assert_allclose(product, on_zero_sums, atol=1e-8)


def test_a_few_lanczos_steps_come_near_the_extreme_eigenvalues() -> None:
    """From within, and to a hundredth of the spread; exact where the space is small."""
    matrix = np.random.default_rng(0).normal(size=(300, 300))
    matrix = matrix + matrix.T
    low, high = _exact_ends(matrix)
    least, largest = _ends(matrix)
    assert low <= least + 1e-9
    assert largest <= high + 1e-9
    assert max(least - low, high - largest) <= 0.01 * (high - low)
    assert _ends(np.diag([3.0, 3.0, 3.0])) == pytest.approx((3.0, 3.0))


@pytest.mark.parametrize("seed", range(4))
def test_the_start_of_small_problems_is_mostly_the_optimum(seed: int) -> None:
    """Swaps need nothing compiled, and never end below where they began."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(14, 14))
    graph = ChannelGraph(weights + weights.T, sense="maximize")
    canonical = PruningProblem(graph, LayerConstraints(6)).canonical
    assert is_small(canonical)
    found = swap_search(canonical, np.arange(6), seed)
    assert found.size == 6
    assert canonical.evaluate(found) == pytest.approx(
        solve(graph, 6, "brute_force").objective
    )


def test_triangles_at_the_root_leave_the_optimum_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With hardly any other work at the root they are reached, and prove no less."""
    calls = []

    def spied(*args: Any, **options: Any) -> float:
        calls.append(alternate(*args, **options))
        return calls[-1]

    monkeypatch.setattr(branching, "alternate", spied)
    monkeypatch.setattr(branching, "_TRIANGLES_FROM", 2)
    for seed in range(3):
        weights = np.random.default_rng(seed).random((22, 22))
        graph = ChannelGraph(weights + weights.T, sense="maximize")
        found = solve(graph, 6, Exact(budget=1, root_rounds=1, rounds=0))
        best = solve(graph, 6, "brute_force").objective
        assert found.status.value == "optimal"
        assert found.objective == pytest.approx(best)
    assert calls


def test_a_large_easy_layer_ends_in_the_cheap_first_stage() -> None:
    """Distances between points: proved at the first node, without the sweeps."""
    points = np.random.default_rng(0).random((300, 8))
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    found = solve(distances, 150, "exact", sense="max", limits=Limits(iterations=3))
    assert found.status.value == "optimal"
    assert found.trace[-1].iteration <= 1
