"""Constraints, the problem as a judge, and the form that solvers see."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sirfp_opt import (
    ChannelGraph,
    InfeasibleError,
    InvalidProblemError,
    LayerConstraints,
    PruningProblem,
)
from sirfp_opt.testing import golden_cases

GRAPH = ChannelGraph.from_diversity(np.arange(36.0).reshape(6, 6) * 0 + 1.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"k": 0}, "`k` must be at least 1"),
        ({"k": 2.5}, "`k` must be an integer"),
        ({"k": True}, "`k` must be an integer"),
        ({"k": 2, "k_min": 1}, "`k` must stand alone"),
        ({"k": 5, "multiple_of": 4}, "`k` must be a multiple"),
        ({"k_min": 5, "k_max": 3}, "`k_min` must be at most"),
        ({"k": 2, "multiple_of": 0}, "`multiple_of` must be at least 1"),
        ({"k": 2, "must_keep": [1], "must_drop": [1]}, "share no channel"),
        ({"k": 2, "must_keep": 3}, "`must_keep` must be a sequence"),
        ({"k": 2, "must_keep": [-1]}, "at least 0"),
        ({"k": 2, "must_drop": np.array([True, False])}, "boolean mask"),
        ({"k": 2, "tied": 3}, "`tied` must be a sequence"),
    ],
)
def test_contradictions_are_refused_at_construction(
    arguments: dict[str, Any], words: str
) -> None:
    """What can be seen in the arguments alone is said at once."""
    with pytest.raises(InvalidProblemError, match=words):
        LayerConstraints(**arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "`k` must be given"),
        ({"k": 7}, "`k` must be at most the number of channels 6"),
        ({"k_min": 7}, "`k_min` must be at most"),
        ({"k": 2, "must_keep": [6]}, "`must_keep` must hold channel numbers"),
        ({"k": 2, "tied": [[0, 6]]}, "`tied` must hold channel numbers"),
        ({"k": 2, "must_keep": [0, 1, 2]}, "`must_keep` must hold at most k=2"),
        ({"k": 4, "must_drop": [0, 1, 2]}, "`must_drop` must leave at least k=4"),
        ({"k_min": 5, "multiple_of": 4}, "`multiple_of` must have a multiple"),
    ],
)
def test_constraints_that_do_not_fit_the_graph(
    arguments: dict[str, Any], words: str
) -> None:
    """What needs n to be seen is said when graph and constraints meet."""
    with pytest.raises(InvalidProblemError, match=words):
        PruningProblem(GRAPH, LayerConstraints(**arguments))


@pytest.mark.parametrize(
    "arguments",
    [
        {"k": 1, "tied": [[0, 1], [2, 3], [4, 5]]},
        {"k": 3, "tied": [[0, 1], [2, 3], [4, 5]]},
        {"k": 2, "must_keep": [0], "must_drop": [1], "tied": [[0, 1]]},
        {"k": 2, "must_keep": [0], "tied": [[0, 1, 2]]},
    ],
)
def test_hidden_contradictions_are_proved_infeasible(
    arguments: dict[str, Any],
) -> None:
    """Constraints that only clash together give InfeasibleError, before any solver."""
    problem = PruningProblem(GRAPH, LayerConstraints(**arguments))
    with pytest.raises(InfeasibleError):
        _ = problem.canonical


def test_missing_edge_between_kept_channels_is_infeasible() -> None:
    """must_keep must itself be a clique."""
    adjacency = np.ones((4, 4), bool)
    adjacency[0, 1] = adjacency[1, 0] = False
    graph = ChannelGraph(np.ones((4, 4)), adjacency=adjacency)
    rules = LayerConstraints(3, must_keep=[0, 1])
    with pytest.raises(InfeasibleError, match="must hold channels that are joined"):
        _ = PruningProblem(graph, rules).canonical


def test_overlapping_tied_groups_become_one() -> None:
    """Tied is an equivalence."""
    assert LayerConstraints(3, tied=[[0, 1], [4], [3, 2], [1, 2]]).tied == (
        (0, 1, 2, 3),
    )


def test_constraints_show_what_was_stated() -> None:
    """The repr leaves out the defaults, and can be pasted back."""
    rules = LayerConstraints(4, multiple_of=2, must_keep=[3])
    assert repr(rules) == "LayerConstraints(k=4, multiple_of=2, must_keep=(3,))"
    assert eval(repr(rules)) == rules


def test_check_names_the_broken_rule() -> None:
    """The judge says which constraint is broken and by which channels."""
    adjacency = np.ones((6, 6), bool)
    adjacency[0, 5] = adjacency[5, 0] = False
    graph = ChannelGraph(np.ones((6, 6)), adjacency=adjacency)
    rules = LayerConstraints(3, must_keep=[0], must_drop=[4], tied=[(1, 2)])
    problem = PruningProblem(graph, rules)
    assert problem.check([2, 0, 1]).tolist() == [0, 1, 2]
    for wrong, words in [
        ([0, 1], "allowed number"),
        ([0, 1, 1], "each channel once"),
        ([0, 1, 9], "channel numbers from 0 to 5"),
        ([1, 2, 3], "every channel of must_keep"),
        ([0, 3, 4], "no channel of must_drop"),
        ([0, 1, 3], "all or none of the tied"),
        ([0, 3, 5], "must be a clique"),
        ([0, 1, 2.5], "integer"),
    ]:
        with pytest.raises(InvalidProblemError, match=words):
            problem.check(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("case", list(golden_cases()), ids=lambda case: case.name)
def test_canonical_form_has_the_same_feasible_sets_and_values(case: Any) -> None:
    """Every item set lifts to a set of equal value; feasible ones correspond 1 to 1."""
    problem = case.problem
    canonical = problem.canonical
    lifted = set()
    for size in range(canonical.m + 1):
        for items in combinations(range(canonical.m), size):
            channels = canonical.lift(items)
            value = canonical.to_objective(canonical.evaluate(items))
            scale = max(1e-12, float(np.abs(problem.graph.weights).sum()))
            assert abs(value - problem.evaluate(channels)) <= 1e-9 * scale
            assert canonical.project(channels).tolist() == list(items)
            clash = canonical.conflicts is not None and bool(
                canonical.conflicts[np.ix_(items, items)].any()
            )
            fits = canonical.sizes[list(items)].sum() in canonical.counts
            if fits and not clash:
                problem.check(channels)
                assert size in canonical.cardinalities
                lifted.add(tuple(channels.tolist()))
    feasible = set()
    for size in problem.constraints.counts(problem.graph.n):
        for chosen in combinations(range(problem.graph.n), size):
            try:
                problem.check(chosen)
            except InvalidProblemError:
                continue
            feasible.add(chosen)
    assert lifted == feasible


@given(
    n=st.integers(1, 9),
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
)
@settings(max_examples=50, deadline=None)
def test_evaluate_is_the_naive_double_sum(n: int, seed: int, scale: float) -> None:
    """The judge's vectorised sum equals the formula written as loops."""
    rng = np.random.default_rng(seed)
    raw = rng.normal(size=(n, n)) * scale
    vertex = rng.normal(size=n) * scale
    graph = ChannelGraph(raw + raw.T, vertex_weights=vertex)
    k = int(rng.integers(1, n + 1))
    chosen = sorted(rng.choice(n, k, replace=False).tolist())
    problem = PruningProblem(graph, LayerConstraints(k))
    naive = sum(graph.weights[i, j] for i, j in combinations(chosen, 2))
    naive += sum(vertex[i] for i in chosen)
    assert problem.evaluate(chosen) == pytest.approx(naive, rel=1e-12, abs=1e-9 * scale)


def test_members_of_single_channels_are_a_sequence() -> None:
    """Each item's one channel, read-only; both ends, slices, none beyond the last."""
    graph = ChannelGraph(np.ones((5, 5)))
    rules = LayerConstraints(2, must_drop=[1])
    members = PruningProblem(graph, rules).canonical.members
    assert [m.tolist() for m in members] == [[0], [2], [3], [4]]
    assert members[-1].tolist() == [4]
    assert [m.tolist() for m in members[1:3]] == [[2], [3]]
    assert not members[0].flags.writeable
    with pytest.raises(IndexError):
        members[4]
    whole = PruningProblem(graph, LayerConstraints(5, must_keep=range(5)))
    assert list(whole.canonical.members) == []


@pytest.mark.parametrize("count", [3, 40])
def test_sets_are_judged_alike_whatever_their_size(count: int) -> None:
    """Lists and arrays: sorted where sound, refused with the same words where not."""
    problem = PruningProblem(ChannelGraph(np.ones((50, 50))), LayerConstraints(count))
    mixed = np.random.default_rng(0).permutation(50)[:count]
    for listed in (mixed, mixed.astype(np.uint8), mixed.tolist()):
        checked = problem.check(listed)
        assert checked.tolist() == sorted(mixed.tolist())
        assert checked.dtype == np.int64
    for at, bad, words in ((0, 50, "from 0 to 49"), (1, -1, "from 0 to 49")):
        broken = mixed.copy()
        broken[at] = bad
        with pytest.raises(InvalidProblemError, match=words):
            problem.check(broken)
    with pytest.raises(InvalidProblemError, match="each channel once"):
        problem.check([*mixed[1:], mixed[1]])
    with pytest.raises(InvalidProblemError, match="each channel once"):
        problem.check(np.append(mixed[1:], mixed[1]))
    with pytest.raises(InvalidProblemError, match="allowed number"):
        problem.check(mixed[1:])
