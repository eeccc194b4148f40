"""Greedy: the paper's order, whichever way it is computed."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest

from sirfp_opt import ChannelGraph, LayerConstraints, PruningProblem, solve
from sirfp_opt.deletion import backward_order
from sirfp_opt_solvers._local.backward import backward_preference, delete_smallest

from .heuristic_cases import judged_problems, redundancy


def _resumming(weights: np.ndarray) -> list[int]:
    """Return the order of deletion by summing all rows anew each time: O(n³)."""
    left, order = list(range(len(weights))), []
    while left:
        sums = weights[np.ix_(left, left)].sum(axis=1)
        order.append(left.pop(int(sums.argmax())))
    return order


@pytest.mark.parametrize("n", [1, 2, 17, 120])
def test_the_order_is_that_of_summing_anew(n: int) -> None:
    """O(n²) and O(n³) delete the same channels in the same order."""
    weights = np.array(redundancy(n).weights)
    order, removed = backward_order(weights)
    # Of the last two, each has the other for its sum: only rounding tells them apart.
    assert order[:-2].tolist() == _resumming(weights)[:-2]
    assert removed.sum() == pytest.approx(weights.sum() / 2)


def test_compiled_and_numpy_agree_to_the_last_bit() -> None:
    """Same order, same marginal gains, ties and dead channels included."""
    rng = np.random.default_rng(0)
    for n in (1, 5, 64, 200):
        for weights in (
            -np.array(redundancy(n).weights),
            rng.integers(-2, 3, size=(n, n)).astype(float),
            np.zeros((n, n)),
        ):
            symmetric = weights + weights.T
            np.fill_diagonal(symmetric, 0.0)
            sums = symmetric.sum(axis=1)
            one = delete_smallest(symmetric, sums, None, compiled=False)
            two = delete_smallest(symmetric, sums, None, compiled=True)
            np.testing.assert_array_equal(one[0], two[0])
            np.testing.assert_array_equal(one[1], two[1])


def test_every_way_of_running_it_is_feasible_and_polish_never_worse() -> None:
    """Any constraints: forward, backward, compiled and polished sets are feasible."""
    for problem, best in judged_problems(80):
        sign = problem.sense.sign
        plain = solve(problem, method="greedy", compiled=False)
        compiled = solve(problem, method="greedy", compiled=True)
        polished = solve(problem, method="greedy", polish=True)
        forward = solve(problem, method="greedy", direction="forward")
        assert plain.selected.tolist() == compiled.selected.tolist()
        assert sign * polished.objective >= sign * plain.objective - 1e-12
        for found in (polished, forward):
            assert sign * found.objective <= sign * best.objective + 1e-9


def test_a_range_takes_the_best_set_on_the_path() -> None:
    """The answer for a range is the best of the answers for each k in it."""
    graph = redundancy(30)
    weighted = ChannelGraph.from_redundancy(
        graph.weights, vertex_weights=np.full(30, -0.1 * graph.weights.sum() / 30)
    )
    rules = LayerConstraints(k_min=4, k_max=25, multiple_of=3)
    single = [solve(weighted, k, "greedy").objective for k in range(6, 25, 3)]
    found = solve(PruningProblem(weighted, rules), method="greedy")
    assert found.objective == pytest.approx(min(single))
    assert found.k == 6 + 3 * int(np.argmin(single))


def test_a_kernel_half_imported_elsewhere_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While another thread imports the kernel's module, NumPy does the work."""
    name = "sirfp_opt_solvers._kernels.greedy"
    weights = np.random.default_rng(0).random((20, 20))
    expected = solve(weights + weights.T, 5, method="greedy", compiled=False)
    monkeypatch.setitem(sys.modules, name, ModuleType(name))
    found = solve(weights + weights.T, 5, method="greedy")
    assert found.selected.tolist() == expected.selected.tolist()


@pytest.mark.parametrize("compiled", [False, True])
def test_deleting_no_further_than_needed_keeps_the_same_items(compiled: bool) -> None:
    """Whatever the number of items that are left undecided, they are the same."""
    weights = np.random.default_rng(5).integers(0, 4, (12, 12)).astype(float)
    weights = np.triu(weights, 1) + np.triu(weights, 1).T
    marginals = weights.sum(axis=1) + np.arange(12.0) % 3
    whole = backward_preference(weights, marginals, None, compiled)
    for kept in range(13):
        part = backward_preference(weights, marginals, None, compiled, undecided=kept)
        assert sorted(part[:kept]) == sorted(whole[:kept])
        assert part[kept:].tolist() == whole[kept:].tolist()
