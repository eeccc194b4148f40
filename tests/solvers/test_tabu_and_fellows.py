"""What `tabu`, `anneal` and `local_search` have in common."""

from __future__ import annotations

import signal
import subprocess
import sys
import tracemalloc
from typing import Any

import numpy as np
import pytest

from sirfp_opt import (
    ChannelGraph,
    InvalidProblemError,
    LayerConstraints,
    Limits,
    Progress,
    Solution,
    solve,
)

from .heuristic_cases import judged_problems, redundancy

METHODS = ["tabu", "anneal", "local_search"]


def _events(solution: Solution) -> list[tuple[int, float | None]]:
    return [(event.iteration, event.incumbent) for event in solution.trace]


@pytest.mark.parametrize("method", ["tabu", "anneal"])
def test_small_problems_with_any_constraints_are_solved(method: str) -> None:
    """Vertex weights, missing edges, ranges, multiples, tied, kept: the optimum."""
    features: set[str] = set()
    for number, (problem, best) in enumerate(judged_problems(80)):
        found = solve(problem, method=method, seed=number)
        assert found.objective == pytest.approx(best.objective, abs=1e-9), number
        features |= problem.features
    assert len(features) == 7


def test_local_search_lies_between_greedy_and_the_optimum() -> None:
    """On problems with any constraints: never worse than greedy, nor too good."""
    for number, (problem, best) in enumerate(judged_problems(80)):
        sign = problem.sense.sign
        found = solve(problem, method="local_search", seed=number)
        greedy = solve(problem, method="greedy")
        assert sign * found.objective >= sign * greedy.objective - 1e-12
        assert sign * found.objective <= sign * best.objective + 1e-9


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_seed_and_an_iteration_limit_fix_the_trace(method: str, n_jobs: int) -> None:
    """Same seed: same trace, bit for bit, threads or not; the limit is exact."""
    weights = np.random.default_rng(0).random((300, 300))
    graph = ChannelGraph.from_diversity(weights + weights.T)
    limits = Limits(iterations=40_001)
    one, two = (
        solve(graph, 30, method, limits=limits, seed=3, n_jobs=n_jobs) for _ in range(2)
    )
    assert _events(one) == _events(two)
    assert (one.limit, one.trace[-1].iteration) == ("iterations", 40_001)
    other = solve(graph, 30, method, limits=limits, seed=4, n_jobs=n_jobs)
    # Threads report after each round, so their events are coarse and may agree.
    assert n_jobs > 1 or _events(other) != _events(one)


@pytest.mark.parametrize("method", METHODS)
def test_no_answer_is_worse_than_greedy(method: str) -> None:
    """The first incumbent is the greedy set, before any compiled code runs."""
    graph = redundancy(90)
    greedy = solve(graph, 30, "greedy")
    found = solve(graph, 30, method, limits=Limits(iterations=1))
    assert found.trace[0].incumbent == greedy.objective
    assert found.objective <= greedy.objective


@pytest.mark.parametrize("method", METHODS)
def test_a_warm_start_is_never_lost(method: str) -> None:
    """The best of a long run, given to a short one, comes back."""
    graph = redundancy(90)
    long = solve(graph, 30, "tabu")
    short = solve(
        graph, 30, method, limits=Limits(iterations=5), warm_start=long.selected
    )
    assert short.objective == long.objective


@pytest.mark.parametrize("method", METHODS)
def test_each_limit_stops_the_run_and_says_so(method: str) -> None:
    """Time, target and no_improvement end a run that else would go on."""
    graph = redundancy(90)
    best = solve(graph, 30, "tabu").objective
    reached = solve(graph, 30, method, limits=Limits(time=60, target=best * 1.01))
    assert reached.limit == "target"
    assert reached.objective <= best * 1.01
    stale = solve(graph, 30, method, limits=Limits(time=60, no_improvement=3000))
    assert stale.limit == "no_improvement"
    assert stale.trace[-1].iteration - stale.trace[-2].iteration >= 3000
    assert solve(graph, 30, method, time_limit=0.05).limit == "time"


@pytest.mark.parametrize("method", METHODS)
def test_an_interrupt_returns_the_incumbent(method: str) -> None:
    """A real SIGINT during the search gives the best set so far."""

    def interrupt(progress: Progress) -> None:
        if progress.iteration > 0:
            signal.raise_signal(signal.SIGINT)

    rng = np.random.default_rng(1)
    graph = ChannelGraph.from_diversity((w := rng.random((200, 200))) + w.T)
    # A process that a shell has put in the background ignores the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        found = solve(graph, 20, method, time_limit=60, callback=interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    assert found.limit == "interrupt"
    assert found.objective > solve(graph, 20, "greedy").objective


@pytest.mark.parametrize("method", ["tabu", "anneal"])
def test_a_hidden_clique_is_found_among_missing_edges(method: str) -> None:
    """Where nearly all sets conflict, penalties lead to the one that does not."""
    rng = np.random.default_rng(5)
    n, k = 60, 12
    adjacency = np.triu(rng.random((n, n)) < 0.5, 1)
    adjacency = adjacency | adjacency.T
    hidden = np.sort(rng.permutation(n)[:k])
    adjacency[np.ix_(hidden, hidden)] = True
    weights = rng.random((n, n))
    graph = ChannelGraph.from_diversity(weights + weights.T, adjacency=adjacency)
    found = solve(graph, k, method, limits=Limits(iterations=2_000_000), seed=1)
    assert found.selected.tolist() == hidden.tolist()


@pytest.mark.parametrize("method", METHODS)
def test_extremes_of_k_are_handled(method: str) -> None:
    """One channel, all but one, all, and ranges up to there: the optimum."""
    rng = np.random.default_rng(2)
    weights = rng.normal(size=(9, 9))
    graph = ChannelGraph.from_diversity(weights + weights.T)
    for rules in (
        *(LayerConstraints(k) for k in (1, 8, 9)),
        LayerConstraints(k_min=1, k_max=9),
        LayerConstraints(k_min=8, k_max=9),
        LayerConstraints(k_min=2, k_max=5, must_keep=[0, 1]),
    ):
        best = solve(graph, constraints=rules, method="brute_force")
        found = solve(graph, constraints=rules, method=method)
        assert found.objective == pytest.approx(best.objective, abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_unit_of_the_weights_does_not_matter(method: str, scale: float) -> None:
    """The same search is made whatever the weights are measured in."""
    graph = redundancy(60)
    scaled = ChannelGraph.from_redundancy(graph.weights * scale)
    limits = Limits(iterations=5000)
    one = solve(graph, 20, method, limits=limits)
    two = solve(scaled, 20, method, limits=limits)
    assert one.selected.tolist() == two.selected.tolist()


def test_equal_weights_and_dead_channels_do_no_harm() -> None:
    """Zero matrices and constant ones, where no move changes anything, are solved."""
    for method in METHODS:
        for value in (0.0, 3.0):
            graph = ChannelGraph.from_redundancy(np.full((40, 40), value))
            found = solve(graph, 10, method, limits=Limits(iterations=3000))
            assert found.objective == 45 * value


@pytest.mark.parametrize("method", [*METHODS, "greedy"])
def test_no_more_than_two_copies_of_the_matrix(method: str) -> None:
    """From the user's graph on, a run allocates less than two n x n matrices."""
    n = 700
    graph = redundancy(n)
    options: dict[str, Any] = {}
    if method != "greedy":
        options["limits"] = Limits(iterations=2000)
    solve(redundancy(30), 10, method, **options)  # imports and compilation apart
    tracemalloc.start()
    try:
        solve(graph, n // 2, method, **options)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= 2 * graph.weights.nbytes


def test_import_neither_loads_numba_nor_compiles() -> None:
    """The compiler comes with the first compiled run, kernels when called."""
    code = """
import sys
import numpy as np
import sirfp_opt
assert "tabu" in sirfp_opt.available_solvers().names
sirfp_opt.solve(np.ones((5, 5)), 2, "greedy")
assert "numba" not in sys.modules, "numba was loaded"
from sirfp_opt_solvers._kernels import annealing, flips, greedy, tabu
for kernel in (annealing.anneal, annealing.set_up, flips.flip, greedy.delete_smallest,
               tabu.walk):
    assert kernel.signatures == [], "compiled by the import"
    assert kernel.targetoptions["nogil"]
    assert kernel.stats.cache_path, "no cache on disk"
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("method", "option", "value"),
    [
        ("tabu", "population", 1),
        ("tabu", "depth", 0),
        ("tabu", "tenure", 0),
        ("tabu", "patience", 0),
        ("anneal", "initial_temperature", -1.0),
        ("anneal", "cold", 0.5),
        ("anneal", "moves", 0),
        ("anneal", "coolings", 0),
        ("local_search", "descents", 0),
        *((method, "n_jobs", 0) for method in METHODS),
    ],
)
def test_options_out_of_range_are_refused(
    method: str, option: str, value: float
) -> None:
    """Each option names itself and its rule."""
    options: dict[str, Any] = {option: value}
    with pytest.raises(InvalidProblemError, match=f"`.*{option}"):
        solve(np.ones((5, 5)), 2, method, **options)
