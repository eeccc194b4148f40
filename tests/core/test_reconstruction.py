"""The refit problem: what is read, what is refused, what a set is worth."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sirfp_opt import (
    ChannelGraph,
    InfeasibleError,
    InvalidProblemError,
    LayerConstraints,
    Objective,
    PruningProblem,
    ReconstructionProblem,
    Sense,
    SolverError,
    SolverInfo,
    UnsupportedError,
    available_solvers,
    register_solver,
    solve,
    unregister_solver,
)
from sirfp_opt.elimination import eliminate
from tests.solvers.refit_problems import random_layer, refit_layers

PROPERTY = settings(max_examples=25, deadline=None)


def _split(n: int, bits: int) -> tuple[list[int], list[int]]:
    kept = [c for c in range(n) if bits >> c & 1]
    return kept, [c for c in range(n) if not bits >> c & 1]


def test_the_loss_is_that_of_the_best_linear_map() -> None:
    """Without ridge, what is lost equals the residual of a least-squares fit."""
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(400, 7)) @ rng.normal(size=(7, 7))
    filters = [rng.normal(size=(5, 7)), rng.normal(size=(3, 7))]
    layer = ReconstructionProblem(
        [maps.T @ maps / 400] * 2, [w.T @ w for w in filters], ridge=0.0
    )
    for kept in ([0], [1, 4, 5], [0, 1, 2, 3, 5, 6]):
        for reader, w in enumerate(filters):
            y = maps @ w.T
            fit = np.linalg.lstsq(maps[:, kept], y)[0]
            lost = ((y - maps[:, kept] @ fit) ** 2).sum() / (y**2).sum()
            assert layer.losses(kept)[reader] == pytest.approx(lost, abs=1e-10)
        share = 1.0 - layer.losses(kept).mean()
        assert layer.value_of(kept) == pytest.approx(share, abs=1e-12)


@given(layer=refit_layers(), data=st.data())
@PROPERTY
def test_more_channels_are_never_worse(
    layer: ReconstructionProblem, data: st.DataObject
) -> None:
    """The value grows with the set, from 0 for none to 1 for all."""
    order = data.draw(st.permutations(range(layer.n)))
    values = [layer.value_of(order[:k]) for k in range(layer.n + 1)]
    assert values[0] == pytest.approx(0.0, abs=1e-12)
    assert values[-1] == 1.0
    assert (np.diff(values) >= -1e-9).all()


@given(layer=refit_layers(), bits=st.integers(0, 4095))
@PROPERTY
def test_a_refit_never_loses_more_than_none(
    layer: ReconstructionProblem, bits: int
) -> None:
    """The loss f is at most q, that of the clique problem with weights as they are."""
    kept, _ = _split(layer.n, bits)
    graph = layer.as_graph()
    all_kept = graph.value_of(np.arange(layer.n))
    q = all_kept - graph.value_of(np.asarray(kept, dtype=np.int64))
    assert 1.0 - layer.value_of(kept) <= q + 1e-9


@given(layer=refit_layers(), data=st.data(), bits=st.integers(0, 4095))
@PROPERTY
def test_the_order_of_the_channels_does_not_matter(
    layer: ReconstructionProblem, data: st.DataObject, bits: int
) -> None:
    """Channels written in another order are worth the same."""
    order = np.asarray(data.draw(st.permutations(range(layer.n))), dtype=np.int64)
    index = np.ix_(np.arange(layer.readers), order, order)
    other = ReconstructionProblem(
        layer.covariances[index], layer.products[index], ridge=layer.ridge
    )
    kept, _ = _split(layer.n, bits)
    moved = np.flatnonzero(np.isin(order, kept))
    assert other.value_of(moved) == pytest.approx(layer.value_of(kept), abs=1e-9)


@given(layer=refit_layers(ridge=0.0), data=st.data(), bits=st.integers(0, 4095))
@PROPERTY
def test_without_ridge_the_units_of_the_channels_do_not_matter(
    layer: ReconstructionProblem, data: st.DataObject, bits: int
) -> None:
    """A channel scaled up, its weights scaled down, is the same channel."""
    powers = data.draw(st.lists(st.integers(-8, 8), min_size=layer.n, max_size=layer.n))
    unit = np.outer(2.0 ** np.array(powers), 2.0 ** np.array(powers))
    other = ReconstructionProblem(
        layer.covariances * unit, layer.products / unit, ridge=0.0
    )
    kept, _ = _split(layer.n, bits)
    assert other.value_of(kept) == pytest.approx(layer.value_of(kept), abs=1e-8)


RULES = [
    LayerConstraints(k_min=1),
    LayerConstraints(k_min=1, must_keep=[2], must_drop=[0, 5]),
    LayerConstraints(k_min=1, tied=[(0, 1), (3, 4, 6)]),
    LayerConstraints(k_min=1, tied=[(0, 1), (2, 3), (4, 5), (6, 7)]),
    LayerConstraints(k_min=1, must_keep=[1], must_drop=[3], tied=[(0, 1), (5, 6)]),
]


@pytest.mark.parametrize("rules", RULES, ids=repr)
def test_every_set_on_the_path_is_worth_what_the_path_says(
    rules: LayerConstraints,
) -> None:
    """The path's summed losses equal the core's price, at every count."""
    problem = random_layer(8, readers=2, seed=1).constrained(rules)
    form = problem.canonical
    order, losses = eliminate(form)
    for step in range(form.m + 1):
        said = form.to_objective(form.most - float(losses[:step].sum()))
        kept = form.lift(order[step:])
        assert said == pytest.approx(problem.value_of(kept), abs=1e-11)
        assert form.to_objective(form.evaluate(order[step:])) == pytest.approx(said)


def test_the_path_is_exact_beyond_one_block_of_updates() -> None:
    """At 150 channels, where updates are saved up, the path still says the truth."""
    problem = random_layer(150, readers=2, seed=2).constrained(
        LayerConstraints(k_min=1)
    )
    form = problem.canonical
    order, losses = eliminate(form)
    assert sorted(order.tolist()) == list(range(150))
    for step in (0, 1, 63, 64, 65, 100, 149):
        said = form.to_objective(form.most - float(losses[:step].sum()))
        assert said == pytest.approx(problem.value_of(order[step:]), abs=1e-10)


def test_each_step_of_the_path_loses_least() -> None:
    """No other channel could have been dropped at less."""
    problem = random_layer(9, seed=3).constrained(LayerConstraints(k_min=1))
    order, _ = eliminate(problem.canonical)
    left = list(range(9))
    for dropped in order[:-1].tolist():
        values = {c: problem.value_of([i for i in left if i != c]) for c in left}
        assert values[dropped] == pytest.approx(max(values.values()), abs=1e-12)
        left.remove(dropped)


def test_several_counts_are_the_largest_one() -> None:
    """As the value grows with the set, a range of k means its upper end."""
    layer = random_layer(9, seed=4)
    ranged = solve(layer, (2, 5), method="brute_force")
    assert ranged.k == 5
    assert ranged.objective == solve(layer, 5, method="brute_force").objective


def test_everything_of_the_front_door_works_the_same() -> None:
    """Warm starts, callbacks, traces, labels, JSON and constraints, as for graphs."""
    layer = random_layer(10, seed=5, labels=list("abcdefghij"))
    best = solve(layer, 4, method="brute_force")
    seen: list[float | None] = []
    told = solve(
        layer,
        constraints=LayerConstraints(4, must_keep=best.selected[:1]),
        method="random",
        warm_start=best.selected,
        callback=lambda progress: seen.append(progress.objective),
    )
    assert told.objective == best.objective == seen[-1] == told.trace[-1].incumbent
    assert told.sense is Sense.MAXIMIZE
    assert told.labels == tuple("abcdefghij"[c] for c in best.selected)
    read = type(best).from_dict(
        best.to_dict(), problem=layer.constrained(LayerConstraints(4))
    )
    assert read.objective == best.objective
    assert "0." in best.summary()


def test_solvers_of_another_objective_refuse_before_they_work() -> None:
    """A clique solver is not let near the problem; nor is the converse."""
    layer = random_layer(6)
    with pytest.raises(UnsupportedError, match="'tabu', which takes clique"):
        solve(layer, 3, method="tabu")

    class RefitOnly:
        info: ClassVar[SolverInfo] = SolverInfo(
            summary="", exact=False, objectives=frozenset({Objective.REFIT})
        )

        def solve(self, search: Any) -> None:
            search.offer_items(range(search.refit.counts[0]))

    graph = ChannelGraph.from_redundancy(np.eye(6))
    with pytest.raises(UnsupportedError, match="which takes refit"):
        solve(graph, 3, method=RefitOnly())
    assert solve(layer, 3, method=RefitOnly()).k == 3


def test_a_solver_that_declares_what_it_cannot_do_is_told_so() -> None:
    """Reading the clique form of a refit problem names what is wrong."""

    class Careless:
        info: ClassVar[SolverInfo] = SolverInfo(
            summary="", exact=False, objectives=frozenset(Objective)
        )

        def solve(self, search: Any) -> None:
            search.offer_items(range(search.canonical.counts[0]))

    with pytest.raises(UnsupportedError, match="must be given the clique objective"):
        solve(random_layer(6), 3, method=Careless())

    class Typo(Careless):
        info: ClassVar[SolverInfo] = SolverInfo(
            summary="",
            exact=False,
            objectives=frozenset({"refti"}),  # type: ignore[arg-type]
        )

    with pytest.raises(SolverError, match="refti"):
        register_solver("typo", Typo)
    register_solver("careless", Careless)
    try:
        rows = {row.name: row for row in available_solvers()}
        assert rows["careless"].objectives == ("clique", "refit")
        assert rows["tabu"].objectives == ("clique",)
    finally:
        unregister_solver("careless")


GOOD = np.eye(3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((2, 3)), GOOD), r"`covariances` must be a square matrix"),
        ((np.ones(3), GOOD), r"`covariances` must have shape \(n, n\) or \(R, n, n\)"),
        ((GOOD, np.eye(4)), r"`products` must have the shape of the covariances"),
        (([GOOD, GOOD], GOOD), r"`products` must have the shape of the covariances"),
        ((np.diag([1.0, 2.0, -0.5]), GOOD), r"got an eigenvalue of -0.5"),
        ((GOOD, [[1, 2, 0], [2, 1, 0], [0, 0, 1]]), r"`products` .* eigenvalue of -1"),
        (([GOOD, -GOOD], [GOOD, GOOD]), r"`covariances\[1\]` must be positive"),
        ((np.triu(np.ones((3, 3))), GOOD), r"`covariances` must be symmetric"),
        ((GOOD * np.nan, GOOD), r"`covariances` must be finite"),
        ((GOOD, [["a", "b"], ["c", "d"]]), r"`products` must be a real matrix"),
    ],
)
def test_wrong_matrices_are_refused_with_what_is_wrong(
    arguments: tuple[Any, Any], message: str
) -> None:
    """Shape, symmetry and the eigenvalue are named."""
    with pytest.raises(InvalidProblemError, match=message):
        ReconstructionProblem(*arguments)


@pytest.mark.parametrize("ridge", [-1.0, np.nan, np.inf, "much", True])
def test_a_ridge_that_is_none_is_refused(ridge: Any) -> None:
    """The ridge is a finite number of at least 0."""
    with pytest.raises(InvalidProblemError, match="`ridge` must be a number"):
        ReconstructionProblem(GOOD, GOOD, ridge=ridge)


def test_dependent_channels_need_a_ridge() -> None:
    """A singular covariance is refused without one, and fine with one."""
    singular = np.ones((3, 3))
    with pytest.raises(InvalidProblemError, match="`ridge` must make covariances"):
        ReconstructionProblem(singular, GOOD, ridge=0.0)
    assert ReconstructionProblem(singular, GOOD).value_of([1]) > 0.99


def test_rounding_below_zero_is_taken_as_zero() -> None:
    """Products of float32 filters are not positive semidefinite to the last bit."""
    rng = np.random.default_rng(0)
    filters = rng.normal(size=(3, 12)).astype(np.float32)
    products = (filters.T @ filters).astype(np.float64) + 1e-7 * np.eye(12)[::-1]
    layer = ReconstructionProblem(np.eye(12), products)
    assert np.linalg.eigvalsh(layer.products[0])[0] > -1e-14


def test_a_layer_without_any_signal_loses_nothing() -> None:
    """A dead unit, or readers that ignore it: every set lets all through."""
    for pair in ((np.zeros((4, 4)), np.eye(4)), (np.eye(4), np.zeros((4, 4)))):
        layer = ReconstructionProblem(*pair)
        solution = solve(layer, 2)
        assert (solution.objective, solution.k) == (1.0, 2)


def test_inputs_are_copied_and_read_only() -> None:
    """The layer does not change under its user, nor the user's arrays under it."""
    covariance = np.eye(3)
    layer = ReconstructionProblem(covariance, GOOD, ridge=0.5)
    solve(layer, 1)
    assert (covariance == np.eye(3)).all()
    covariance[0, 0] = 5.0
    assert layer.covariances[0, 0, 0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        layer.products[0, 0, 0] = 2.0


def test_the_number_of_channels_is_stated_once() -> None:
    """It may stand in the problem or beside it, but not twice in two ways."""
    layer = random_layer(6)
    with pytest.raises(InvalidProblemError, match="`k` must be given"):
        solve(layer, method="greedy")
    with pytest.raises(InvalidProblemError, match="must say how many"):
        _ = layer.canonical
    stated = layer.constrained(LayerConstraints(3))
    assert solve(stated, method="greedy").k == 3
    assert solve(stated, 3, method="greedy").k == 3
    with pytest.raises(InvalidProblemError, match="`k` must agree"):
        solve(stated, 4, method="greedy")
    with pytest.raises(InvalidProblemError, match="stated once"):
        solve(stated, constraints=LayerConstraints(2), method="greedy")
    with pytest.raises(InvalidProblemError, match="at most the number of channels"):
        solve(layer, 7)
    with pytest.raises(InvalidProblemError, match="`sense` must agree"):
        solve(layer, 3, sense="minimize")
    tied = LayerConstraints(3, tied=[(0, 1), (2, 3), (4, 5)])
    with pytest.raises(InfeasibleError):
        solve(layer, constraints=tied)


def test_constrained_layers_share_their_matrices() -> None:
    """Other constraints cost nothing, and change nothing else."""
    layer = random_layer(6, seed=6)
    other = layer.constrained(LayerConstraints(2))
    assert other.covariances is layer.covariances
    assert other.value_of([0, 1]) == layer.value_of([0, 1])
    assert layer.constraints == LayerConstraints()
    assert isinstance(PruningProblem(layer.as_graph(), LayerConstraints(2)).n, int)


def test_the_right_problem_has_better_sets_than_the_wrong_one() -> None:
    """Of loud twins, q keeps both and f one: the other is rebuilt from it."""
    covariance = np.diag([1.0, 1.0, 0.5])
    covariance[0, 1] = covariance[1, 0] = 0.999
    layer = ReconstructionProblem(covariance, np.eye(3))
    right = solve(layer, 2, method="brute_force")
    wrong = solve(layer.as_graph(), 2, method="brute_force")
    assert wrong.selected.tolist() == [0, 1]
    assert 2 in right.selected
    assert right.objective > 0.99
    assert layer.value_of(wrong.selected) == pytest.approx(0.8, abs=1e-2)
