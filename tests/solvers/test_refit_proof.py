"""Bounds and proofs where readers are refitted."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sirfp_opt import (
    InvalidProblemError,
    LayerConstraints,
    ReconstructionProblem,
    Status,
    UnsupportedError,
    bound,
    solve,
)
from sirfp_opt_solvers._local import compilation
from sirfp_opt_solvers._refit import tree
from sirfp_opt_solvers._refit.drops import root_drops
from sirfp_opt_solvers._refit.minorant import Minorant
from sirfp_opt_solvers._refit.walk import Walk
from tests.solvers.refit_problems import random_layer, refit_layers

PROPERTY = settings(max_examples=12, deadline=None)


@given(layer=refit_layers(least=3), data=st.data())
@PROPERTY
def test_the_quadratic_function_is_nowhere_above_the_loss(
    layer: ReconstructionProblem, data: st.DataObject
) -> None:
    """For any weights of any sets; and the dual's value is its value at the best."""
    k = data.draw(st.integers(1, layer.n - 1))
    form = layer.constrained(LayerConstraints(k)).canonical
    drops = root_drops(form, k)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    minorant = Minorant(drops, rng)
    every = np.array(
        [
            np.isin(range(layer.n), d)
            for d in itertools.combinations(range(layer.n), layer.n - k)
        ]
    )
    losses = drops.losses(every)
    sets = every[rng.permutation(len(every))[:4]]
    _, q = minorant._dual(rng.dirichlet(np.ones(len(sets))), sets)
    assert (q.values(every) <= losses + 1e-9).all()
    minorant.ascend(every[:1], float(losses.min()))
    assert minorant.best is not None
    assert minorant.best.values(every).min() >= minorant.level - 1e-9
    assert minorant.level <= losses.min() + 1e-9


@given(layer=refit_layers(least=3), data=st.data())
@PROPERTY
def test_eigenvalue_bound_over_quadratic_over_optimum(
    layer: ReconstructionProblem, data: st.DataObject
) -> None:
    """Each level is at least the enumerated optimum, and no looser than the last."""
    k = data.draw(st.integers(1, layer.n - 1))
    best = solve(layer, k, method="brute_force").objective
    found = bound(layer, k)
    values = list(found.levels.values())
    assert all(value >= best - 1e-9 for value in values)
    assert values == sorted(values, reverse=True)
    assert found.value == values[-1]
    assert json.loads(json.dumps(found.to_dict()))["value"] == found.value
    exact = solve(layer, k, method="exact")
    assert exact.status is Status.OPTIMAL
    assert exact.objective == pytest.approx(best, abs=1e-9)


def test_the_levels_are_those_of_the_objective() -> None:
    """A clique's level is refused here, and certify takes this objective's."""
    layer = random_layer(9, readers=2)
    with pytest.raises(
        InvalidProblemError, match=r"\['all', 'eigenvalue', 'quadratic'\]"
    ):
        bound(layer, 4, effort="semidefinite")
    loose = bound(layer, 4, effort="eigenvalue")
    assert list(loose.levels) == ["all", "eigenvalue"]
    certified = solve(layer, 4, method="greedy", certify="eigenvalue")
    assert certified.bound == pytest.approx(loose.value, abs=1e-12)
    assert solve(layer, 4, method="greedy", certify=True).gap is not None


RULES = [
    LayerConstraints(5),
    LayerConstraints(5, must_keep=[0, 7], must_drop=[3]),
    LayerConstraints(7, tied=[(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)], must_keep=[10]),
    LayerConstraints(k_min=3, k_max=7, tied=[(0, 1, 2), (4, 5)]),
]


@pytest.mark.parametrize("rules", RULES, ids=repr)
def test_the_tree_proves_what_enumeration_finds(
    rules: LayerConstraints, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no node settled by the compiled tree, column generation does it all."""
    monkeypatch.setattr(tree.Trial, "suits", lambda *_: False)
    for seed in range(2):
        problem = random_layer(11, readers=2, seed=seed).constrained(rules)
        best = solve(problem, method="brute_force")
        found = solve(problem, method="exact", seed=seed)
        assert found.status is Status.OPTIMAL
        assert found.objective == pytest.approx(best.objective, abs=1e-9)


UNEVEN = [
    (6, LayerConstraints(5, tied=[(4, 5, 1), (0, 3)]), 77),
    (7, LayerConstraints(6, tied=[(5, 6, 3), (2, 0, 1)]), 120),
]


@pytest.mark.parametrize(("n", "rules", "seed"), UNEVEN, ids=repr)
def test_a_node_whose_groups_cannot_make_up_the_count_is_closed(
    n: int, rules: LayerConstraints, seed: int
) -> None:
    """With groups of several sizes a branch may be left without any set; it ends."""
    readers = int(np.random.default_rng(seed).integers(1, 3))
    problem = random_layer(n, readers=readers, seed=seed).constrained(rules)
    found = solve(problem, method="exact", seed=seed, time_limit=20.0)
    assert found.status is Status.OPTIMAL
    best = solve(problem, method="brute_force")
    assert found.objective == pytest.approx(best.objective, abs=1e-9)


@given(layer=refit_layers(least=2), data=st.data())
@PROPERTY
def test_the_compiled_tree_misses_no_set(
    layer: ReconstructionProblem, data: st.DataObject
) -> None:
    """It finds the least loss from any cut above, and that none is below any other."""
    need = data.draw(st.integers(1, layer.n))
    form = layer.constrained(LayerConstraints(k_min=1)).canonical
    drops = root_drops(form, layer.n - need)
    sets = list(itertools.combinations(range(layer.n), need))
    losses = drops.losses(np.array([np.isin(range(layer.n), d) for d in sets]))
    least = float(losses.min())
    for cut in (10.0, 1.0001 * least + 1e-9):
        tree = Walk(drops, cut)
        while not tree.advance(2, bool):  # it goes on from where it was
            assert tree.nodes < 10_000
        assert tree.least == pytest.approx(least, abs=1e-9)
        assert tree.found is not None
        dropped = np.isin(range(layer.n), tree.found)
        assert drops.losses(dropped[None])[0] == pytest.approx(least, abs=1e-9)
    tree = Walk(drops, 0.9999 * least - 1e-9)
    assert tree.advance(10_000, bool)
    assert tree.found is None


def test_an_unfinished_proof_is_a_bound() -> None:
    """Stopped after its root, the tree has a set and a bound, and says feasible."""
    layer = random_layer(40, seed=4, filters=10)
    found = solve(layer, 20, method="exact", max_nodes=1)
    assert found.bound is not None
    assert found.bound >= found.objective
    assert found.bound <= bound(layer, 20, effort="eigenvalue").value + 1e-12
    if found.status is Status.OPTIMAL:  # then the root has settled it
        assert found.gap == 0.0


def test_parameters_of_the_clique_tree_are_refused() -> None:
    """What would be ignored is not taken."""
    with pytest.raises(UnsupportedError, match="`barrier` must be left as it is"):
        solve(random_layer(6), 3, method="exact", barrier=0.5)


def test_duplicate_and_dead_channels_are_proved() -> None:
    """Twins cost nothing to drop, dead channels neither: no loss is left to bound."""
    base = random_layer(6, seed=5)
    twice = np.tile(base.covariances[0], (2, 2))
    products = np.tile(base.products[0], (2, 2))
    layer = ReconstructionProblem(twice, products, ridge=1e-6)
    found = solve(layer, 6, method="exact")
    assert found.status is Status.OPTIMAL
    assert found.objective == pytest.approx(1.0, abs=1e-4)


def test_a_limit_that_comes_before_the_kernels_leaves_set_and_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Kernels are made beside the run: without them it ends with what needs none."""
    monkeypatch.setattr(compilation, "_ready_in_time", lambda *_: False)
    layer = random_layer(9, readers=2)
    found = solve(layer, 4, method="exact", time_limit=5.0)
    assert found.status is Status.FEASIBLE
    eigenvalue = bound(layer, 4, effort="eigenvalue").value
    assert found.bound == pytest.approx(eigenvalue, abs=1e-9)


def test_toys_leave_nothing_to_compile() -> None:
    """Once the kernels are at hand no refit problem compiles anything."""
    compilation._solve_toys(compilation.REFIT, False)
    found = solve(random_layer(12, readers=2), 6, method="exact")
    assert found.status is Status.OPTIMAL
    assert found.compile_seconds == 0.0
