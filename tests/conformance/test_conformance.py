"""Every solver, the same suite; and what must hold for any graph at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sirfp_opt import (
    ChannelGraph,
    Sense,
    SolverError,
    available_solvers,
    register_solver,
    solve,
    unregister_solver,
)
from sirfp_opt.testing import check_solver
from tests.core.test_registry import FirstK

SOLVERS = available_solvers().names


@pytest.mark.parametrize("name", SOLVERS)
def test_conformance(name: str) -> None:
    """Golden problems, refusals, bounds, warm starts, seeds, callbacks."""
    check_solver(name)


def test_the_suite_can_fail() -> None:
    """A solver that claims exactness and takes the first k does not pass."""

    class Boastful(FirstK):
        info = type(FirstK.info)(summary="", exact=True, supports=frozenset())

    register_solver("boastful", Boastful)
    try:
        with pytest.raises(SolverError, match="no proof after"):
            check_solver("boastful")
    finally:
        unregister_solver("boastful")


@st.composite
def small_graphs(draw: st.DrawFn) -> tuple[ChannelGraph, int]:
    """Draw a graph of 2 to 9 channels of any weights, and a k."""
    n = draw(st.integers(2, 9))
    k = draw(st.integers(1, n))
    number = st.floats(-100, 100, allow_nan=False) | st.sampled_from([0.0, 1.0, -1.0])
    upper = draw(st.lists(number, min_size=n * n, max_size=n * n))
    matrix = np.triu(np.array(upper).reshape(n, n), 1)
    sense = draw(st.sampled_from(list(Sense)))
    return ChannelGraph(matrix + matrix.T, sense=sense), k


PROPERTY = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def _objective(graph: ChannelGraph, k: int, name: str) -> float:
    return solve(graph, k, method=name).objective


@pytest.mark.parametrize("name", SOLVERS)
@given(data=st.data())
@PROPERTY
def test_no_answer_beats_the_optimum_and_no_bound_cuts_it_off(
    name: str, data: st.DataObject
) -> None:
    """Heuristic <= optimum <= bound, in the graph's own sense."""
    graph, k = data.draw(small_graphs())
    best = solve(graph, k, method="brute_force").objective
    solution = solve(graph, k, method=name, certify=True)
    sign = graph.sense.sign
    slack = 1e-9 * (1.0 + float(np.abs(graph.weights).sum()))
    assert sign * solution.objective <= sign * best + slack
    assert solution.bound is not None
    assert sign * solution.bound >= sign * best - slack


EXACT = [
    row.name for row in available_solvers() if row.kind == "exact" and row.installed
]


@pytest.mark.parametrize("name", EXACT)
@given(data=st.data())
@PROPERTY
def test_exact_solvers_do_not_care_how_a_graph_is_written(
    name: str, data: st.DataObject
) -> None:
    """Relabelling keeps the optimum, scaling scales it, a shift adds C(k, 2) of it."""
    graph, k = data.draw(small_graphs())
    n, weights = graph.n, graph.weights
    best = _objective(graph, k, name)
    order = np.random.default_rng(data.draw(st.integers(0, 99))).permutation(n)
    slack = 1e-5 * (1.0 + float(np.abs(weights).sum()))

    def variant(matrix: Any) -> float:
        return _objective(ChannelGraph(matrix, sense=graph.sense), k, name)

    assert variant(weights[np.ix_(order, order)]) == pytest.approx(best, abs=slack)
    assert variant(4.0 * weights) == pytest.approx(4.0 * best, abs=4 * slack)
    pairs = k * (k - 1) / 2
    assert variant(weights + 7.0) == pytest.approx(best + 7.0 * pairs, abs=slack + 1e-4)
