"""Networks small enough to enumerate: what `solve_network` says of them is true."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from benchmarks.network_soundness import faults, random_case
from sirfp_opt import (
    ChannelGraph,
    InfeasibleError,
    LayerConstraints,
    NoSolutionError,
    SolverError,
)
from sirfp_opt.network import (
    Affine,
    CostForm,
    CostModel,
    NetworkProblem,
    Worth,
    solve_network,
)
from sirfp_opt.network.allocation import Allocation, Optimal
from sirfp_opt.network.feasible import Found, find_sets

FIND_SETS = "sirfp_opt.network.curves.find_sets"


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_enumerated_networks(first: int) -> None:
    """Proofs of infeasibility, least values, budgets, sets, objectives and bounds."""
    seen: Counter[str] = Counter()
    found = {
        seed: wrong
        for seed in range(first, first + 20)
        if (wrong := faults(random_case(seed), seen))
    }
    assert not found
    assert seen["solved"]
    assert seen["proved infeasible"]


def test_the_enumeration_finds_what_the_greedy_path_misses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the search for sets that the path steps over, it is not silent."""
    seeds = (91, 93, 120, 140, 151, 190)
    assert not any(faults(random_case(seed)) for seed in seeds)
    monkeypatch.setattr(FIND_SETS, lambda *_: Found())
    assert all(faults(random_case(seed)) for seed in seeds)


def pair(graph: ChannelGraph, rules: LayerConstraints, macs: float) -> NetworkProblem:
    """Return a layer in front of three channels that are all alike."""
    other = ChannelGraph.from_redundancy(np.full((3, 3), 0.2), name="b")
    form = CostForm.from_products(
        ["a", "b"], [(9.0, Affine(0, {"a": 1}), Affine(0, {"b": 1}))]
    )
    cost = CostModel(("a", "b"), np.array([graph.n, 3]), {"macs": form})
    layers = {"a": graph, "b": other}
    return NetworkProblem(layers, cost, {"macs": macs}, constraints={"a": rules})


THREE = ChannelGraph.from_redundancy([[0, 0.9, 0.1], [0.9, 0, 0.8], [0.1, 0.8, 0]])
PATH = ChannelGraph.from_diversity(
    np.array([[0, 1, 5, 0], [1, 0, 0, 4], [5, 0, 0, 0], [0, 4, 0, 0.0]]),
    adjacency=np.array([[1, 1, 1, 0], [1, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1]], bool),
)


@pytest.mark.parametrize(
    ("graph", "rules", "macs", "kept"),
    [
        (THREE, LayerConstraints(k=1, tied=[[0, 2]]), 0.5, 1),
        (THREE, LayerConstraints(k_min=1, k_max=3, tied=[[0, 2]]), 0.12, 1),
        (PATH, LayerConstraints(k=2), 0.6, 2),
        (PATH, LayerConstraints(k_min=1, k_max=2), 0.2, 2),
    ],
)
def test_greedy_knows_none_is_not_there_is_none(
    graph: ChannelGraph, rules: LayerConstraints, macs: float, kept: int
) -> None:
    """Tied groups, and cliques that the greedy path misses: there is a plan."""
    problem = pair(graph, rules, macs)
    solution = solve_network(problem, "brute_force")
    assert solution.counts["a"] == kept
    assert problem.keeps_budget(solution.counts)
    problem.curves["a"].layer(kept).check(solution["a"])


def test_a_clique_too_large_is_proved_impossible() -> None:
    """There are cliques of two in a path, and none of three."""
    with pytest.raises(InfeasibleError, match="is a clique"):
        solve_network(pair(PATH, LayerConstraints(k=3), 1.0), "greedy")


def test_what_is_not_decided_is_not_called_infeasible(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With no nodes to search for a clique, the answer is that none is known."""
    missed = ChannelGraph.from_diversity(
        [
            [0, 3, 5, 3, 6],
            [3, 0, 8, 5, 2],
            [5, 8, 0, 3, 6],
            [3, 5, 3, 0, 4],
            [6, 2, 6, 4, 0],
        ],
        adjacency=np.array(
            [
                [1, 1, 0, 1, 1],
                [1, 1, 1, 1, 0],
                [0, 1, 1, 0, 1],
                [1, 1, 0, 1, 0],
                [1, 0, 1, 0, 1],
            ],
            dtype=bool,
        ),
    )
    problem = pair(missed, LayerConstraints(k=3), 1.0)
    assert solve_network(problem, "greedy")["a"].tolist() == [0, 1, 3]

    def undecided(*arguments: Any) -> Found:
        return find_sets(*arguments, nodes=0)

    monkeypatch.setattr(FIND_SETS, undecided)
    with pytest.raises(NoSolutionError, match="was found"):
        solve_network(pair(missed, LayerConstraints(k=3), 1.0), "greedy")


@pytest.mark.parametrize("step", [8, 4])
def test_all_channels_of_a_small_layer_may_stay(step: int) -> None:
    """Three channels are no multiple of eight, and are kept."""
    problem = pair(THREE, LayerConstraints(multiple_of=step), 1.0)
    assert problem.allowed("a") == (3,)
    assert solve_network(problem, "greedy").counts["a"] == 3


@pytest.mark.parametrize(
    "method", ["greedy", "local_search", "tabu", "anneal", "exact"]
)
def test_a_time_limit_never_loses_the_set_in_hand(method: str) -> None:
    """With no time at all the sets are those of the curves."""
    rng = np.random.default_rng(0)
    maps = rng.random((24, 40))
    graph = ChannelGraph.from_redundancy(maps @ maps.T)
    problem = pair(graph, LayerConstraints(k_max=12), 0.4)
    solution = solve_network(problem, method, time_limit=0.0)
    count = solution.counts["a"]
    curve = solution.split_curves["a"]
    assert solution.redundancy["a"] <= curve.value(count) * (1 + 1e-12)


def test_a_worse_solver_never_delivers_a_worse_set() -> None:
    """Random sets do not replace those that the split was made on."""
    rng = np.random.default_rng(1)
    maps = rng.random((24, 40))
    graph = ChannelGraph.from_redundancy(maps @ maps.T)
    problem = pair(graph, LayerConstraints(k_max=12), 0.4)
    greedy, drawn = (solve_network(problem, m) for m in ("greedy", "random"))
    assert drawn.objective <= greedy.objective
    assert drawn.bound is not None
    assert drawn.bound <= drawn.objective


class Foreign:
    """An allocation of somebody else's."""

    def __init__(self, made: Allocation) -> None:
        self.made = made

    def allocate(self, problem: Any, curves: Any, starts: Any = ()) -> Allocation:
        """Return what it was told to."""
        return self.made


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (Allocation({"a": 3, "b": 3}), "must keep the budgets"),
        (Allocation({"a": 9, "b": 1}), "numbers of channels that are allowed"),
        (Allocation({"a": 1}), "numbers of channels that are allowed"),
        (
            Allocation({"a": 1, "b": 1}, kept={"a": np.array([1, 2])}),
            "must keep sets that are allowed",
        ),
    ],
)
def test_a_foreign_allocation_is_not_trusted(made: Allocation, said: str) -> None:
    """Passed budgets and broken constraints are refused."""
    problem = pair(THREE, LayerConstraints(k_max=3), 0.5)
    with pytest.raises(SolverError, match=said):
        solve_network(problem, "greedy", allocation=Foreign(made))


def test_sets_of_a_foreign_allocation_are_priced_as_they_are() -> None:
    """Objective and redundancy are those of the sets delivered, not of the curve's."""
    problem = pair(THREE, LayerConstraints(k=2), 1.0)
    worst = Allocation({"a": 2, "b": 3}, kept={"a": np.array([0, 1])})
    solution = solve_network(problem, "exact", allocation=Foreign(worst))
    assert solution["a"].tolist() == [0, 1]
    assert solution.redundancy["a"] == 0.9
    assert solution.status_of("a") == "allocation"
    assert solution.objective > solve_network(problem, "exact").objective


def test_another_worth_than_the_problems_is_refused() -> None:
    """None is the problem's; the same said twice is no contradiction."""
    problem = pair(THREE, LayerConstraints(k_max=3), 0.5)
    summed = NetworkProblem(
        problem.layers, problem.cost, problem.budget, worth=Worth("sum")
    )
    with pytest.raises(ValueError, match="`worth` of the allocation"):
        solve_network(summed, "greedy", allocation=Optimal(Worth("product")))
    same = solve_network(summed, "greedy", allocation=Optimal(Worth("sum")))
    assert same.counts == solve_network(summed, "greedy").counts
