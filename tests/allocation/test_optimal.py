"""The best split: against enumeration, with valid bounds, whatever stops it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sirfp_opt import (
    ChannelGraph,
    InfeasibleError,
    InvalidProblemError,
    LayerConstraints,
)
from sirfp_opt.network import (
    Affine,
    CostForm,
    CostModel,
    NetworkProblem,
    NetworkSolution,
    Response,
    solve_network,
)
from sirfp_opt.network.allocation import ALLOCATIONS, Optimal, Worth, create_allocator
from sirfp_opt.network.allocation.optimal import solve_by_cpsat
from sirfp_opt.network.curves import value_curve
from sirfp_opt.network.splitting.elimination import Elimination
from sirfp_opt.network.splitting.problem import SplitProblem
from sirfp_opt.network.splitting.relaxation import Relaxation
from tests.allocation.problems import feasible_splits, least_loss, random_split


@pytest.mark.parametrize("seed", range(24))
def test_optimal_is_the_enumerated_optimum_with_a_proof(seed: int) -> None:
    """On small splits the loss is that of enumeration, and the bound meets it."""
    problem = random_split(seed, whole=seed % 4 != 3)
    best = least_loss(problem)
    split = Optimal(gap=0.0).split(problem)
    assert problem.feasible(split.k)
    assert split.objective == pytest.approx(problem.objective(split.k), abs=1e-12)
    assert split.objective == pytest.approx(best, abs=1e-9)
    assert split.bound <= best + 1e-9
    assert split.gap <= 1e-6


@pytest.mark.parametrize("seed", range(6))
def test_cpsat_alone_agrees(seed: int) -> None:
    """CP-SAT on the whole problem, without prices, finds and proves the same."""
    problem = random_split(100 + seed)
    split = solve_by_cpsat(problem, gap=0.0)
    assert split.objective == pytest.approx(least_loss(problem), abs=1e-9)
    assert split.gap <= 1e-6


@pytest.mark.parametrize("seed", range(12))
def test_every_price_gives_a_lower_bound(seed: int) -> None:
    """The relaxation is below every feasible split, coarse or fine, at any prices."""
    rng = np.random.default_rng(seed)
    problem = random_split(seed, whole=seed % 3 != 2)
    best = least_loss(problem)
    for levels in (1, 2, 3, 100):
        relaxation = Relaxation(problem, levels)
        for _ in range(4):
            prices = rng.exponential(size=len(problem.forms)) * rng.choice([0.1, 1, 10])
            assert relaxation.at(prices).value <= best + 1e-12
        low = relaxation.at(np.zeros(len(problem.forms)))
        assert low.value <= best


@pytest.mark.parametrize("seed", range(8))
def test_narrowing_never_drops_a_better_split(seed: int) -> None:
    """Counts of every split at least as good as the incumbent survive."""
    problem = random_split(seed)
    splits = feasible_splits(problem)
    incumbent = sorted(problem.objective(k) for k in splits)[len(splits) // 3]
    relaxation = Relaxation(problem, 3)
    point = relaxation.maximize(np.ones(len(problem.forms)))[0]
    keep = relaxation.survivors(point, incumbent)
    for k in splits:
        if problem.objective(k) < incumbent:
            places = problem.places(k)
            assert all(p in alive for p, alive in zip(places, keep, strict=True))


@pytest.mark.parametrize("max_table", [4_000_000, 30])
def test_elimination_is_enumeration(max_table: int) -> None:
    """Minimum and min-marginals are exact; with units split they are lower bounds."""
    rng = np.random.default_rng(3)
    for _ in range(8):
        states = rng.integers(1, 5, 5)
        unary = [rng.normal(size=s) for s in states]
        levels = [np.sort(rng.random(s)) for s in states]
        pairs = {
            (u, v): float(rng.exponential())
            for u, v in itertools.combinations(range(5), 2)
            if rng.random() < 0.7
        }

        def total(x: tuple[int, ...]) -> float:
            single = sum(f[i] for f, i in zip(unary, x, strict=True))  # noqa: B023
            return float(single) + sum(
                c * float(levels[u][x[u]] * levels[v][x[v]])  # noqa: B023
                for (u, v), c in pairs.items()  # noqa: B023
            )

        values = {x: total(x) for x in itertools.product(*map(range, states))}
        found = Elimination(unary, levels, pairs, max_table=max_table)
        best = min(values.values())
        if found.exact:
            assert found.value == pytest.approx(best)
            assert values[tuple(found.minimizer()[0])] == pytest.approx(best)
        else:
            assert found.value <= best + 1e-12
        for unit, low in enumerate(found.marginals()):
            for state in range(states[unit]):
                exact = min(v for x, v in values.items() if x[unit] == state)
                if found.exact:
                    assert low[state] == pytest.approx(exact)
                else:
                    assert low[state] <= exact + 1e-12


def test_small_tables_split_units() -> None:
    """The case above with small tables does exercise the splitting of units."""
    full = {pair: 1.0 for pair in itertools.combinations(range(5), 2)}
    unary, levels = [np.zeros(4)] * 5, [np.arange(4.0)] * 5
    assert not Elimination(unary, levels, full, max_table=30).exact
    assert Elimination(unary, levels, full).exact


def test_a_start_is_never_lost_and_no_time_still_gives_a_valid_answer() -> None:
    """With no time at all the result keeps the budgets, and is as good as a start."""
    problem = random_split(5)
    splits = feasible_splits(problem)
    best = min(splits, key=problem.objective)
    split = Optimal(time_limit=0.0).split(problem, [best])
    assert split.objective == problem.objective(best)
    bare = Optimal(time_limit=0.0).split(problem)
    assert problem.feasible(bare.k)
    assert bare.bound <= problem.objective(best) + 1e-12


def test_same_split_every_time() -> None:
    """The search draws nothing at random."""
    problem = random_split(11, most=30)
    first, second = (Optimal().split(problem) for _ in range(2))
    assert first.k.tolist() == second.k.tolist()
    assert first.bound == second.bound


EQUAL = ChannelGraph.from_redundancy(np.full((12, 12), 0.5))
FOURS = LayerConstraints(k_min=4, multiple_of=4)


def pair(
    first: ChannelGraph = EQUAL,
    second: ChannelGraph = EQUAL,
    *,
    rules: LayerConstraints | None = FOURS,
    **options: Any,
) -> NetworkProblem:
    """Return two layers of twelve channels in a row."""
    forms = {
        "macs": CostForm.from_products(
            ["a", "b"], [(9.0, Affine(0, {"a": 1}), Affine(0, {"b": 1}))]
        ),
        "params": CostForm.from_products(
            ["a", "b"], [(1.0, Affine(0, {"a": 1, "b": 1}), Affine(2))]
        ),
    }
    cost = CostModel(("a", "b"), np.array([12, 12]), forms)
    constraints = {} if rules is None else {"b": rules}
    layers = {"a": first, "b": second}
    return NetworkProblem(layers, cost, constraints=constraints, **options)


def best(problem: NetworkProblem) -> NetworkSolution:
    """Split to a full proof, and take greedy sets."""
    return solve_network(problem, "greedy", allocation=Optimal(gap=0.0))


def test_allocate_respects_layers_and_both_budgets() -> None:
    """Minimum, multiples and two budgets hold; what it says is what it did."""
    problem = pair(budget={"macs": 0.45, "params": 0.6})
    found = best(problem)
    assert problem.keeps_budget(found.counts)
    assert found.counts["b"] % 4 == 0
    assert found.gap is not None
    assert found.gap <= 1e-6
    assert found.bound is not None
    assert found.bound <= found.objective
    assert set(found.made.multipliers) == {"macs", "params"}
    assert found.made.next_cost is not None
    assert any(found.made.next_cost[b] > limit for b, limit in problem.limits.items())


def test_dead_channels_are_worth_nothing() -> None:
    """A layer whose other half is always zero gets no more than its living half."""
    matrix = np.zeros((12, 12))
    matrix[:6, :6] = 0.5
    half = ChannelGraph.from_redundancy(matrix)
    found = best(pair(half, budget={"macs": 0.9}, dead={"a": range(6, 12)}))
    assert found.counts["a"] <= 6
    assert max(found["a"]) < 6
    # Where more have to stay than are alive, they stay: nothing says which.
    rules = {"a": LayerConstraints(k=8)}
    kept = best(
        NetworkProblem(
            {"a": half, "b": EQUAL},
            pair(budget={"macs": 1}).cost,
            {"macs": 0.9},
            constraints=rules,
            dead={"a": range(6, 12)},
        )
    )
    assert kept.counts["a"] == 8


@pytest.mark.parametrize(("objective", "power"), [("product", 1), ("balanced", 2)])
def test_graphs_of_errors_are_split_by_what_comes_through(
    objective: str, power: int
) -> None:
    """The best sum of -log shares, or of their squares, at no price, by enumeration."""
    rng = np.random.default_rng(5)
    graphs = []
    for _ in range(2):
        rows = rng.normal(size=(12, 20)) * rng.exponential(size=(12, 1))
        graphs.append(ChannelGraph.from_reconstruction(rows @ rows.T))
    curves = [value_curve(graph) for graph in graphs]
    problem = pair(*graphs, rules=None, budget={"macs": 0.3}, worth=Worth(objective))

    def lost(ka: int, kb: int) -> float:
        parts = zip(curves, (ka, kb), strict=True)
        shares = [max(1e-6, c.value(k) / c.whole) for c, k in parts]
        return float(sum(max(0.0, -np.log(share)) ** power for share in shares))

    pairs = itertools.product(range(1, 13), repeat=2)
    least = min(lost(a, b) for a, b in pairs if problem.keeps_budget({"a": a, "b": b}))
    found = best(problem)
    assert found.price == 0.0
    assert lost(found.counts["a"], found.counts["b"]) == pytest.approx(least)
    assert found.objective == pytest.approx(least)


def test_a_layer_that_carries_nothing_loses_nothing() -> None:
    """Whatever is kept of it, the loss is that of the other layer."""
    nothing = ChannelGraph.from_reconstruction(np.zeros((12, 12)))
    other = ChannelGraph.from_reconstruction(np.eye(12))
    found = best(pair(nothing, other, rules=None, budget={"macs": 0.5}))
    assert found.objective == pytest.approx(-np.log(found.counts["b"] / 12))


def test_unreachable_budgets_name_what_blocks() -> None:
    """The error has the least reachable value, and asking for that much works."""
    with pytest.raises(InfeasibleError, match=r"at least 0\.0278.*b \(4 of 12") as told:
        best(pair(budget={"macs": 0.02}))
    assert "`macs`" in str(told.value)
    assert best(pair(budget={"macs": 0.0278})).counts == {"a": 1, "b": 4}
    with pytest.raises(InfeasibleError, match="at least 36, the least reachable"):
        best(pair(budget={"macs": 35}))  # an absolute number
    assert best(pair(budget={"macs": 36})).counts == {"a": 1, "b": 4}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gap": -1.0}, "`gap` must be"),
        ({"time_limit": -1.0}, "`time_limit` must be"),
        ({"workers": 0}, "`workers` must be"),
        ({"max_table": 0}, "`max_table` must be"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, float], message: str) -> None:
    """Each parameter is checked when the object is made."""
    with pytest.raises(InvalidProblemError, match=message):
        Optimal(**options)  # type: ignore[arg-type]


def test_wrong_worth_and_wrong_names_are_refused() -> None:
    """Objective, scale, price and allocation names are checked, with a hint."""
    for options, message in (
        ({"objective": "mean"}, "`objective` must be one of"),
        ({"normalize": "l2"}, "`normalize` must be one of"),
        ({"price": -1.0}, "`price` must be"),
        ({"weights": {"a": -1.0}}, r"`weights\['a'\]` must be"),
    ):
        with pytest.raises(InvalidProblemError, match=message):
            Worth(**options)
    with pytest.raises(InvalidProblemError, match="Did you mean 'optimal'"):
        create_allocator("optimum")
    with pytest.raises(InvalidProblemError, match="have a method `allocate`"):
        create_allocator(3)  # type: ignore[arg-type]
    balanced = pair(budget={"macs": 0.5}, worth=Worth("balanced"))
    measured = replace(balanced, worth=Worth(responses={"a": Response(0.5, 1.2)}))
    for name in ALLOCATIONS:  # each is an allocation by the one declared method
        problem = measured if name == "measured" else balanced
        made = create_allocator(name).allocate(problem, problem.curves)
        assert problem.keeps_budget(made.counts)


def test_a_split_with_negative_coefficients_is_refused() -> None:
    """The bounds rest on costs that grow with the counts."""
    form = CostForm(0.0, np.array([-1.0]), np.zeros((1, 1)))
    with pytest.raises(InvalidProblemError, match="coefficients of at least 0"):
        SplitProblem(("a",), (np.array([1]),), (np.zeros(1),), (form,), np.ones(1))
