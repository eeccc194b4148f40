"""The network problem: budgets kept and used, the best split, an honest report."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sirfp_opt import (
    ChannelGraph,
    InfeasibleError,
    InvalidProblemError,
    LayerConstraints,
    Limits,
    solve,
)
from sirfp_opt.network import NetworkProblem, solve_network
from sirfp_opt.network.allocation import Optimal, Worth
from sirfp_opt.network.cost import Affine, CostForm, CostModel
from sirfp_opt.network.frontier import sweep
from sirfp_opt.network.plan import PruningPlan


def graph_of(seed: int, n: int) -> ChannelGraph:
    """Return a redundancy graph on a scale of its own."""
    rng = np.random.default_rng(seed)
    maps = rng.random((n, 4)) @ rng.random((4, 30)) + rng.random() * rng.random((n, 30))
    return ChannelGraph.from_redundancy(10.0 ** rng.uniform(-3, 1) * maps @ maps.T)


def chain(sizes: dict[str, int], seed: int = 0) -> tuple[dict[str, Any], CostModel]:
    """Return graphs and costs of 3 x 3 convolutions in a row, on shrinking maps."""
    names = list(sizes)
    macs, params = [], []
    left = Affine(3)
    for place, name in enumerate(names):
        right = Affine(0, {name: 1})
        macs.append((9.0 * max(1, 64 >> (2 * place)), left, right))
        params.append((9.0, left, right))
        left = right
    macs.append((4.0, left, Affine(10)))
    params.append((1.0, left, Affine(10)))
    forms = {
        "macs": CostForm.from_products(names, macs),
        "params": CostForm.from_products(names, params, const=10),
    }
    graphs = {name: graph_of(seed + i, n) for i, (name, n) in enumerate(sizes.items())}
    return graphs, CostModel(tuple(names), np.array(list(sizes.values())), forms)


SIZES = {"stem": 24, "one": 48, "two": 64, "three": 96, "four": 64, "five": 80}


@pytest.fixture(scope="module")
def network() -> NetworkProblem:
    """Six layers, half of the MACs allowed."""
    return NetworkProblem(*chain(SIZES), {"macs": 0.5}, min_keep=0.1)


@pytest.mark.parametrize("objective", ["product", "sum"])
def test_optimal_is_never_worse_and_every_budget_is_met_from_below(
    network: NetworkProblem, objective: str
) -> None:
    """From 0.2 to 0.8: proved optimal, at most the others' loss, within 1 % below."""
    problem = NetworkProblem(
        network.layers,
        network.cost,
        {"macs": 1},
        min_keep=0.1,
        worth=Worth(objective),
    )
    allocations = ("uniform", "threshold", "lagrangian", "optimal")
    front = sweep(problem, [0.2, 0.4, 0.6, 0.8], allocations)
    assert front.allocations == allocations
    for best in front.of("optimal"):
        assert best.gap is not None
        assert best.gap <= 1e-4
        assert 0.99 * best.asked["macs"] <= best.reached["macs"] <= best.asked["macs"]
        for other in front:
            if other.asked == best.asked:
                assert other.reached["macs"] <= other.asked["macs"]
                assert best.objective <= other.objective + 1e-12
    losses = [point.objective for point in front.of("optimal")]
    assert losses == sorted(losses)  # less budget, more loss
    frame = front.to_frame()
    assert len(frame) == 16
    assert {"asked_macs", "reached_params", "kept_three", "gap"} <= set(frame.columns)
    assert len(repr(front).splitlines()) == 16
    assert len(front[:2]) == 2


def test_joint_optimum_of_counts_and_sets_is_the_enumerated_one() -> None:
    """With exact curves, no split and no sets at all are better: all are enumerated."""
    graphs, cost = chain({"a": 4, "b": 5, "c": 4}, seed=7)
    problem = NetworkProblem(graphs, cost, {"macs": 0.5, "params": 0.6})
    every = {name: list(problem.allowed(name)) for name in graphs}
    curves, _ = problem.curves.refine(every, "brute_force")
    solution = solve_network(
        problem, "brute_force", allocation=Optimal(gap=0.0), curves=curves
    )
    factors, worth = problem.factors, problem.worth
    price = worth.price_of(curves, factors)

    def loss(name: str, chosen: tuple[int, ...]) -> float:
        curve = curves[name]
        kept = price * len(chosen) - factors[name] * curve.problem.evaluate(chosen)
        whole = price * curve.n - factors[name] * curve.whole
        return -math.log(kept / whole)

    sets = {
        name: [
            (k, min(loss(name, s) for s in itertools.combinations(range(graph.n), k)))
            for k in range(1, graph.n + 1)
        ]
        for name, graph in graphs.items()
    }
    best = math.inf
    for rows in itertools.product(*sets.values()):
        costs = cost.predict([k for k, _ in rows])
        if all(costs[b] <= limit for b, limit in problem.limits.items()):
            best = min(best, sum(value for _, value in rows))
    assert solution.objective == pytest.approx(best, abs=1e-9)
    assert solution.sets_bound == pytest.approx(best, abs=1e-9)
    assert solution.gap == pytest.approx(0.0, abs=1e-6)


def test_several_budgets_absolute_or_as_fractions(network: NetworkProblem) -> None:
    """Both bind where they should; a fraction and its absolute number are one."""
    fractions = {"macs": 0.4, "params": 0.3}
    problem = network.with_budget(fractions)
    absolute = network.with_budget(
        {b: math.floor(x * network.cost.total(b)) for b, x in fractions.items()}
    )
    assert problem.limits == absolute.limits
    first, second = (solve_network(p, "greedy") for p in (problem, absolute))
    assert first.counts == second.counts
    assert all(first.costs[b] <= limit for b, limit in problem.limits.items())
    assert any(
        first.reached[b] >= 0.99 * first.asked[b] for b in fractions
    )  # at least one binds


def test_layer_constraints_hold(network: NetworkProblem) -> None:
    """Fixed, at least, at most, multiples, kept, dropped and tied channels."""
    problem = NetworkProblem(
        network.layers,
        network.cost,
        {"macs": 0.4},
        constraints={
            "stem": LayerConstraints(k=20),
            "one": LayerConstraints(k_min=16, k_max=32, multiple_of=8),
            "two": LayerConstraints(must_keep=[0, 1], must_drop=[2]),
            "three": LayerConstraints(tied=[[2 * i, 2 * i + 1] for i in range(48)]),
        },
        min_keep=0.2,
        multiple_of=16,
    )
    for allocation in ("optimal", "lagrangian", "threshold", "uniform"):
        solution = solve_network(problem, "greedy", allocation=allocation)
        kept = solution.counts
        assert kept["stem"] == 20
        assert kept["one"] in (16, 24, 32)
        assert kept["three"] % 2 == 0
        assert kept["three"] >= 0.2 * 96 - 1
        for name in ("four", "five"):  # all of them may stay in any case
            assert kept[name] % 16 == 0 or kept[name] == SIZES[name]
        assert {0, 1} <= set(solution["two"].tolist())
        assert 2 not in solution["two"]
        three = set(solution["three"].tolist())
        assert all((2 * i in three) == (2 * i + 1 in three) for i in range(48))
        assert solution.reached["macs"] <= 0.4


def test_unreachable_budgets_raise_before_any_work(network: NetworkProblem) -> None:
    """Least reachable value and blocking layers are told; that much is reachable."""
    problem = NetworkProblem(
        network.layers,
        network.cost,
        {"macs": 0.1},
        constraints={"two": LayerConstraints(k=64), "three": LayerConstraints(k=96)},
    )
    with pytest.raises(InfeasibleError, match="least reachable") as told:
        solve_network(problem)
    message = str(told.value)
    assert "three (96 of 96" in message or "two (64 of 64" in message
    assert "curves" not in problem.__dict__  # nothing was computed
    least = float(message.split("at least ")[1].split(",")[0])
    assert problem.with_budget({"macs": least}).split_problem() is not None


def test_solution_is_what_it_says(network: NetworkProblem) -> None:
    """Sets, objective, costs, bindings, table and plan agree with one another."""
    solution = solve_network(network, "greedy")
    assert solution.gap is not None
    assert solution.gap <= 1e-4
    assert solution.bound is not None
    assert solution.bound <= solution.objective
    assert solution.costs == network.cost.predict(solution.counts)
    frame = solution.to_frame()
    assert frame["loss"].sum() == pytest.approx(solution.objective)
    for name in solution:
        chosen = solution[name]
        assert chosen.size == solution.counts[name]
        value = solve(network.layers[name], chosen.size, "greedy", warm_start=chosen)
        assert frame.loc[name, "redundancy"] == pytest.approx(value.objective)
        after = solution.counts | {name: chosen.size + 1}
        if solution.binds[name] == "macs":
            assert network.cost.predict(after)["macs"] > network.limits["macs"]
        else:
            assert solution.binds[name] == "whole"
    plan = PruningPlan.from_json(solution.plan().to_json())
    assert plan.counts == solution.counts
    assert plan.info["gap"] == solution.gap
    assert json.dumps(plan.info["asked"])
    text = solution.summary()
    assert "50.000% asked" in text
    assert all(name in text for name in network.layers)
    assert "gap" in repr(solution)


def test_solving_the_layers_never_makes_it_worse(network: NetworkProblem) -> None:
    """A better solver lowers the loss; the gap stays valid; threads change nothing."""
    greedy = solve_network(network, "greedy")
    limits = Limits(iterations=20_000)
    better = solve_network(network, "anneal", n_jobs=2, certify=True, limits=limits)
    again = solve_network(network, "anneal", certify=True, limits=limits)
    assert better.counts == greedy.counts
    assert better.objective <= greedy.objective + 1e-12
    assert better.gap is not None
    assert better.gap <= 1.1e-4 * greedy.objective / better.objective
    assert better.objective == again.objective
    assert greedy.sets_bound is None
    assert better.sets_bound is not None
    assert better.sets_bound <= better.objective + 1e-12
    assert "sets proved within" in better.summary()
    frame = better.to_frame()
    solved = frame[frame["status"] != "whole"]
    assert (solved["bound"] <= solved["redundancy"]).all()


def test_progress_tells_the_stages(network: NetworkProblem) -> None:
    """Each stage counts up to its total; bars are drawn where asked for."""
    seen: list[tuple[str, int, int]] = []
    solution = solve_network(network, "greedy", progress=lambda *row: seen.append(row))
    assert {stage for stage, *_ in seen} == {"curves", "split", "sets"}
    for stage in solution.seconds:
        rows = [row for row in seen if row[0] == stage]
        assert rows[0][1] == 0
        assert rows[-1][1] == rows[-1][2]


def test_progress_bars_are_drawn(
    network: NetworkProblem, capsys: pytest.CaptureFixture[str]
) -> None:
    """With progress=True the stages stand on stderr."""
    sweep(network, [0.5], progress=True)
    assert "curves" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": {}}, "at least one cost"),
        ({"budget": {"energy": 0.5}}, r"must name costs of the model, got 'energy'"),
        ({"budget": {"macs": 0.0}}, "must be a positive number"),
        ({"budget": {"macs": float("nan")}}, "must be a positive number"),
        ({"min_keep": 1.5}, "`min_keep` must be a number in"),
        ({"multiple_of": 0}, "`multiple_of` must be"),
        ({"constraints": {"x": LayerConstraints()}}, "`constraints` must name layers"),
        ({"map_sizes": {"x": 4}}, "`map_sizes` must name layers"),
        ({"layers": {"stem": np.ones((24, 24))}}, "must be a ChannelGraph"),
        ({"layers": {"stem": graph_of(0, 5)}}, "as many channels"),
        ({"layers": {"new": graph_of(0, 5)}}, "Name layers after"),
        (
            {"constraints": {"stem": LayerConstraints(k_min=20, must_drop=range(9))}},
            "must leave a number",
        ),
    ],
)
def test_contradictions_are_refused_at_once(
    network: NetworkProblem, changes: dict[str, Any], message: str
) -> None:
    """Names, sizes, budgets and ranges are checked when the problem is made."""
    parts: dict[str, Any] = {
        "layers": network.layers,
        "cost": network.cost,
        "budget": {"macs": 0.5},
    }
    with pytest.raises(InvalidProblemError, match=message):
        NetworkProblem(**(parts | changes))


def test_units_without_a_graph_stay_whole(network: NetworkProblem) -> None:
    """The cost model may have more units than there are layers to prune."""
    layers = {name: network.layers[name] for name in ("one", "three")}
    solution = solve_network(NetworkProblem(layers, network.cost, {"macs": 0.8}))
    assert all(solution.counts[u] == n for u, n in SIZES.items() if u not in layers)
    assert solution.reached["macs"] <= 0.8
    assert len(solution) == 2


def test_map_size_and_cosine_scales_can_be_asked_for(network: NetworkProblem) -> None:
    """Each normalisation gives a split within the budget, sets on its own graphs."""
    for mode in ("none", "cosine", "map_size"):
        problem = NetworkProblem(
            network.layers,
            network.cost,
            {"macs": 0.5},
            worth=Worth(normalize=mode),
            map_sizes=dict.fromkeys(SIZES, 16.0) if mode == "map_size" else {},
        )
        solution = solve_network(problem, "greedy")
        assert 0.49 <= solution.reached["macs"] <= 0.5


def test_a_wrong_row_of_budgets_is_refused(network: NetworkProblem) -> None:
    """No budgets, or one out of reach, raise before anything is split."""
    with pytest.raises(InvalidProblemError, match="at least one budget"):
        sweep(network, [])
    with pytest.raises(InfeasibleError, match="least reachable"):
        sweep(network, [0.5, 1e-6])


def test_an_allocation_with_a_worth_of_its_own_is_refused(
    network: NetworkProblem,
) -> None:
    """The problem says what is minimised; there it may be balanced, too."""
    with pytest.raises(InvalidProblemError, match="worth=Worth"):
        solve_network(network, allocation="balanced")
    balanced = replace(network, worth=Worth("balanced"))
    found = solve_network(balanced, allocation="balanced")
    # Squares shift channels from the best-off layer to the worst-off one.
    shares = [
        {name: math.sqrt(loss) for name, loss in found.losses.items()},
        solve_network(network).losses,
    ]
    assert max(shares[0].values()) < max(shares[1].values())
