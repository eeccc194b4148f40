"""The paper's threshold, its greedy scores and its quirks, and the uniform rule."""

from __future__ import annotations

from itertools import pairwise
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
    NoSolutionError,
    solve,
)
from sirfp_opt.network import (
    Affine,
    CostForm,
    CostModel,
    MemberGraph,
    NetworkProblem,
)
from sirfp_opt.network.allocation import Allocator, Threshold, Uniform, greedy_scores
from sirfp_opt.network.curves import value_curve
from sirfp_opt.network.solve import split_by
from sirfp_opt.network.unit import UnitView

ALLOCATORS: list[Allocator] = [Threshold(), Uniform()]


def redundancy(n: int, seed: int, scale: float = 1.0) -> Any:
    """Return |cosines| of random maps with a positive diagonal."""
    maps = np.random.default_rng(seed).standard_normal((n, 6))
    return scale * np.abs(maps @ maps.T)


def make_graphs(sizes: dict[str, int], seed: int = 0) -> dict[str, ChannelGraph]:
    """Return graphs of random redundancies, of very different scales."""
    return {
        name: ChannelGraph.from_redundancy(redundancy(n, seed + i, 10.0 ** (i % 3)))
        for i, (name, n) in enumerate(sizes.items())
    }


def chain(sizes: dict[str, int]) -> CostModel:
    """Return the cost of a chain of layers, from 3 inputs to 5 outputs."""
    names = list(sizes)
    widths = [Affine(3.0), *(Affine(0.0, {n: 1.0}) for n in names), Affine(5.0)]
    products = [(9.0, a, b) for a, b in pairwise(widths)]
    form = CostForm.from_products(names, products, 50.0)
    params = CostForm.from_products(names, products)
    return CostModel(
        tuple(names), np.array(list(sizes.values())), {"macs": form, "params": params}
    )


def network(
    sizes: dict[str, int], seed: int = 0, *, macs: float = 1.0, **options: Any
) -> NetworkProblem:
    """Return the problem of a chain of layers under a budget of MACs."""
    options.setdefault("budget", {"macs": macs})
    return NetworkProblem(make_graphs(sizes, seed), chain(sizes), **options)


def view(graph: ChannelGraph, name: str = "a", **options: Any) -> UnitView:
    """Return a unit of which any number of channels may be kept."""
    return UnitView(name, graph, tuple(range(1, graph.n + 1)), **options)


SIZES = {"backbone.a": 12, "backbone.b": 20, "head.c": 9}


def test_scores_telescope() -> None:
    """Scores of the last k deleted add up to minus the redundancy among them."""
    matrix = redundancy(15, 1)
    for diagonal in (False, True):
        scores = greedy_scores(matrix, diagonal=diagonal)
        order = np.argsort(scores)
        for k in (1, 4, 15):
            kept = order[-k:]
            block = matrix[np.ix_(kept, kept)]
            pairs = (block.sum() - block.trace()) / 2
            expected = pairs + (block.trace() if diagonal else 0.0)
            assert -scores[kept].sum() == pytest.approx(expected)


def test_scores_order_as_the_greedy_solver() -> None:
    """The k best scores are the greedy solver's answer for k."""
    graph = ChannelGraph.from_redundancy(redundancy(14, 2))
    scores = greedy_scores(redundancy(14, 2))
    for k in range(1, 15):
        best = np.sort(np.argsort(scores)[-k:])
        assert solve(graph, k, method="greedy").selected.tolist() == best.tolist()


def test_tied_channels_share_a_score() -> None:
    """Classes are deleted whole; per class the scores telescope all the same."""
    matrix = redundancy(12, 3)
    classes = [(i, i + 4, i + 8) for i in range(4)]
    scores = greedy_scores(matrix, classes=classes)
    for group in classes:
        assert len(set(scores[list(group)].tolist())) == 1
    assert -scores.sum() == pytest.approx((matrix.sum() - matrix.trace()) / 2)


def test_threshold_is_strict_and_removes_one_more() -> None:
    """sorted[int(N p)] itself falls: int(N p) + 1 channels go."""
    (layer,) = network({"a": 20}).views()
    rule = Threshold()
    for percent in (0.0, 0.25, 0.5, 0.9):
        kept = rule.cut([layer], percent)["a"].sum()
        assert kept == 20 - (int(20 * percent) + 1)


def test_equal_scores_fall_together() -> None:
    """At a tie the threshold takes all equals, so the floor has to step in."""
    graph = ChannelGraph.from_redundancy(np.eye(6))
    unit = UnitView("a", graph, (2, 3, 4, 5, 6), minimum=2)
    assert Threshold().cut([unit], 0.5)["a"].sum() == 2


def test_pools_are_cut_apart() -> None:
    """Each pool loses its own share, whatever the scale of its scores."""
    layers = network(SIZES).views()
    rule = Threshold(normalize="none")
    masks = rule.cut(layers, 0.5)
    backbone = masks["backbone.a"].sum() + masks["backbone.b"].sum()
    assert backbone == 32 - 17
    assert masks["head.c"].sum() == 9 - 5
    one = Threshold(pools=(), normalize="none").cut(layers, 0.5)
    assert sum(int(m.sum()) for m in one.values()) == 41 - 21


def test_trace_makes_scales_irrelevant() -> None:
    """Multiplying a layer's matrix changes nothing; raw, it decides everything."""
    plain = network(SIZES).views()
    loud = []
    for unit in plain:
        graph = unit.graph
        assert isinstance(graph, ChannelGraph)
        matrix = graph.weights + np.diag(graph.self_redundancy)
        matrix *= 1000.0 if unit.name == "backbone.a" else 1.0
        loud.append(view(ChannelGraph.from_redundancy(matrix), unit.name))
    for rule, same in ((Threshold(), True), (Threshold(normalize="none"), False)):
        one, other = rule.cut(plain, 0.4), rule.cut(loud, 0.4)
        equal = all(np.array_equal(one[name], other[name]) for name in one)
        assert equal == same


def test_edge_terms_start_the_scores_where_asked() -> None:
    """0.4 times the edge term is added to backbone layers only."""
    edge = np.linspace(0, 1, 12)
    sizes = {"backbone.a": 12, "head.b": 12}
    layers = network(sizes, edges=dict.fromkeys(sizes, edge)).views()
    plain = Threshold(normalize="none")
    rule = Threshold(normalize="none", edge_weights={"backbone*": 0.4})
    shifts = [rule.scores(layer)[0][1] - plain.scores(layer)[0][1] for layer in layers]
    np.testing.assert_allclose(shifts[0], 0.4 * edge)
    np.testing.assert_array_equal(shifts[1], 0.0)


def test_union_keeps_what_any_member_keeps() -> None:
    """Each member is scored alone, and the unit keeps the union."""
    members = [MemberGraph(f"backbone.{i}", redundancy(16, i)) for i in range(3)]
    graph = ChannelGraph.from_redundancy(members[0].redundancy)
    layer = view(graph, "backbone.0", members=tuple(members))
    alone = [view(ChannelGraph.from_redundancy(m.redundancy), m.name) for m in members]
    together = Threshold(union=True).cut([layer], 0.6)["backbone.0"]
    apart = Threshold().cut(alone, 0.6)
    expected = np.any([apart[m.name] for m in members], axis=0)
    np.testing.assert_array_equal(together, expected)


@pytest.mark.parametrize("allocator", ALLOCATORS, ids=["threshold", "uniform"])
@given(
    sizes=st.lists(st.integers(2, 24), min_size=1, max_size=4),
    macs=st.floats(0.05, 1.0),
    params=st.one_of(st.none(), st.floats(0.05, 1.0)),
    multiple=st.integers(1, 4),
    seed=st.integers(0, 20),
)
@settings(max_examples=60, deadline=None)
def test_largest_plan_within_the_budget(
    allocator: Allocator,
    sizes: list[int],
    macs: float,
    params: float | None,
    multiple: int,
    seed: int,
) -> None:
    """Never above the budget; the next plan is; or it is out of reach, and raises."""
    named = {f"backbone.{i}" if i % 2 else f"{i}": n for i, n in enumerate(sizes)}
    budget = {"macs": macs} | ({} if params is None else {"params": params})
    problem = network(named, seed, budget=budget, multiple_of=multiple)
    try:
        made = split_by(problem, allocator)
    except InfeasibleError:
        assert not problem.keeps_budget(problem.least)
        return
    assert problem.keeps_budget(made.counts)
    for name, size in named.items():
        count = made.counts[name]
        assert problem.least[name] <= count <= size
        assert count % multiple == 0 or count == size
    if made.next_cost is None:
        assert made.counts == named
    else:
        limits = problem.limits
        assert any(made.next_cost[name] > limits[name] for name in limits)


def test_bisection_leaves_less_unused_than_the_step_loop() -> None:
    """The reference's steps of 0.02 stop below the budget; bisection gets closer."""
    problem = network({"backbone.a": 64, "backbone.b": 64, "c": 48}, macs=0.3)
    cost = problem.cost
    fine = split_by(problem, Threshold())
    coarse = split_by(problem, Threshold(search="step"))
    assert coarse.info["percent"] >= 0.5
    reached = [
        cost.predict(made.counts)["macs"] / cost.total("macs")
        for made in (coarse, fine)
    ]
    assert reached[0] < reached[1] <= 0.3


def test_the_step_loop_starts_at_one_half() -> None:
    """Where half is too much already, the reference still removes half."""
    made = split_by(network({"a": 40, "b": 40}, macs=0.99), Threshold(search="step"))
    assert made.info["percent"] == 0.5
    assert sum(made.counts.values()) == 80 - 41


def test_the_step_loop_ends_with_an_error() -> None:
    """Past 1 the reference goes on with a broken network; here it raises."""
    sizes = {"a": 10, "b": 10}
    cost = chain(sizes)
    least = cost.predict({"a": 1, "b": 1})["macs"] / cost.total("macs")
    rule = Threshold(search="step", step=0.3)
    problem = network(sizes, macs=least)
    with pytest.raises(NoSolutionError, match="bisect"):  # no proof: there is a plan
        split_by(problem, rule)
    assert split_by(problem, Threshold()).counts == {"a": 1, "b": 1}


@pytest.mark.parametrize("allocator", ALLOCATORS, ids=["threshold", "uniform"])
def test_unreachable_budgets_name_the_least_and_what_blocks(
    allocator: Allocator,
) -> None:
    """The least reachable fraction is right, and the heaviest unit is first."""
    sizes, rules = {"a": 10, "b": 40}, dict.fromkeys("ab", LayerConstraints(k_min=5))
    cost = chain(sizes)
    least = cost.predict({"a": 5, "b": 5})["macs"] / cost.total("macs")
    problem = network(sizes, macs=least, constraints=rules)
    with pytest.raises(InfeasibleError, match=r"`macs` must be at least 0\.\d+"):
        split_by(problem.with_budget({"macs": least * 0.99}), allocator)
    with pytest.raises(InfeasibleError, match=r"b \(5 of 40 channels kept\)"):
        split_by(problem.with_budget({"macs": least * 0.99}), allocator)
    assert split_by(problem, allocator).counts == {"a": 5, "b": 5}


@pytest.mark.parametrize("allocator", ALLOCATORS, ids=["threshold", "uniform"])
def test_a_whole_budget_removes_nothing(allocator: Allocator) -> None:
    """At macs=1 every channel stays."""
    assert split_by(network(SIZES), allocator).counts == SIZES


@pytest.mark.parametrize("allocator", ALLOCATORS, ids=["threshold", "uniform"])
def test_maxima_hold(allocator: Allocator) -> None:
    """A layer with a maximum never keeps more, even at macs=1."""
    rules = dict.fromkeys("ab", LayerConstraints(k_max=7))
    made = split_by(network({"a": 10, "b": 12}, constraints=rules), allocator)
    assert made.counts == {"a": 7, "b": 7}


def test_uniform_keeps_one_fraction() -> None:
    """Each layer keeps floor(f n)."""
    made = split_by(network(SIZES, macs=0.4), Uniform())
    fraction = made.info["fraction"]
    assert made.counts == {
        n: max(1, int(fraction * s + 1e-9)) for n, s in SIZES.items()
    }


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"normalize": "cosine"}, "normalize"),
        ({"search": "golden"}, "search"),
        ({"first": 1.0}, "first"),
        ({"step": 0.0}, "step"),
    ],
)
def test_bad_options(arguments: dict[str, Any], match: str) -> None:
    """Unknown options are refused when the rule is made."""
    with pytest.raises(InvalidProblemError, match=match):
        Threshold(**arguments)


def test_scores_telescope_with_vertex_weights() -> None:
    """Of the last k channels left they add up to the objective, in either sense."""
    rng = np.random.default_rng(3)
    matrix = rng.normal(size=(7, 7))
    matrix = matrix @ matrix.T
    for graph in (
        ChannelGraph.from_reconstruction(matrix),
        ChannelGraph.from_redundancy(matrix, vertex_weights=rng.normal(size=7)),
    ):
        rule = Threshold(normalize="none")
        [(_, scores)] = rule.scores(view(graph))
        curve = value_curve(graph)
        for k in range(1, 8):
            kept = curve.order[:k]
            assert scores[kept].sum() == pytest.approx(
                graph.sense.sign * graph.value_of(kept)
            )
    [(_, scaled)] = Threshold().scores(view(graph))
    np.testing.assert_allclose(scaled, scores / matrix.trace())


def test_a_union_of_worths_is_refused() -> None:
    """Scores of single layers are redundancies; a graph of errors has none."""
    graph = ChannelGraph.from_reconstruction(np.eye(4))
    unit = view(graph, members=(MemberGraph("m", np.eye(4)),))
    with pytest.raises(InvalidProblemError, match="union"):
        Threshold(union=True).scores(unit)
