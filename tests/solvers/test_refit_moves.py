"""Greedy and local search where readers are refitted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sirfp_opt import (
    LayerConstraints,
    Limits,
    ReconstructionProblem,
    UnsupportedError,
    solve,
)
from sirfp_opt_solvers._refit.moves import best_move, swap_table
from sirfp_opt_solvers._refit.paths import add_best
from tests.solvers.refit_problems import random_layer, refit_layers

PROPERTY = settings(max_examples=25, deadline=None)


@given(layer=refit_layers(least=3), data=st.data())
@PROPERTY
def test_every_entry_of_the_table_is_the_price_of_that_swap(
    layer: ReconstructionProblem, data: st.DataObject
) -> None:
    """All swaps from one table, each as the core prices it."""
    k = data.draw(st.integers(1, layer.n - 1))
    kept = data.draw(st.permutations(range(layer.n)))[:k]
    problem = layer.constrained(LayerConstraints(k))
    form = problem.canonical
    mask = np.isin(np.arange(layer.n), kept)
    loss, table = swap_table(form, mask)
    inside, outside = np.flatnonzero(mask), np.flatnonzero(~mask)
    assert form.to_objective(form.most - loss) == pytest.approx(
        problem.value_of(inside), abs=1e-9
    )
    for i, leaves in enumerate(inside.tolist()):
        for j, enters in enumerate(outside.tolist()):
            after = [c for c in inside.tolist() if c != leaves] + [enters]
            said = form.to_objective(form.most - table[i, j])
            assert said == pytest.approx(problem.value_of(after), abs=1e-8)


TIED = [
    LayerConstraints(4, tied=[(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]),
    LayerConstraints(k_min=3, k_max=5, tied=[(0, 1, 2), (4, 5)]),
    LayerConstraints(5, tied=[(0, 1), (2, 3)], must_keep=[9], must_drop=[7]),
]


@pytest.mark.parametrize("rules", TIED, ids=repr)
def test_the_best_move_of_tied_groups_is_the_best_by_enumeration(
    rules: LayerConstraints,
) -> None:
    """With groups as blocks, no allowed swap or addition is better."""
    for seed in range(6):
        problem = random_layer(10, readers=2, seed=seed).constrained(rules)
        form = problem.canonical
        start = solve(problem, method="random", seed=seed).selected
        kept = np.zeros(form.m, dtype=bool)
        kept[form.project(start)] = True
        values = {}
        for leaves in [None, *np.flatnonzero(kept).tolist()]:
            for enters in np.flatnonzero(~kept).tolist():
                items = set(np.flatnonzero(kept).tolist()) - {leaves} | {enters}
                channels = form.lift(sorted(items))
                if channels.size - form.kept.size in form.counts:
                    values[leaves, enters] = problem.value_of(channels)
        move = best_move(form, kept)
        best = max(values, key=lambda pair: values[pair], default=None)
        if best is None or values[best] <= problem.value_of(start) + 1e-9:
            assert move is None
        else:
            assert move is not None
            assert (move.leaves, move.enters) == best
            said = form.to_objective(form.most - move.loss)
            assert said == pytest.approx(values[best], abs=1e-9)


def test_forward_adds_what_regains_most() -> None:
    """Each channel added is the best single one to add, tied groups per channel."""
    problem = random_layer(9, readers=2, seed=3).constrained(LayerConstraints(k_min=1))
    order = add_best(problem.canonical).tolist()
    kept: list[int] = []
    for added in order[:-1]:
        values = {c: problem.value_of([*kept, c]) for c in order if c not in kept}
        assert values[added] == pytest.approx(max(values.values()), abs=1e-10)
        kept.append(added)
    tied = LayerConstraints(k_min=1, tied=[(0, 1, 2)])
    group = random_layer(9, seed=4).constrained(tied)
    assert sorted(add_best(group.canonical).tolist()) == list(range(7))


def test_local_search_is_never_worse_than_greedy_and_ends_where_no_swap_gains() -> None:
    """And on these layers it finds the optimum that enumeration finds."""
    for seed in range(5):
        layer = random_layer(12, readers=2, seed=seed)
        problem = layer.constrained(LayerConstraints(5))
        greedy = solve(problem, method="greedy")
        polished = solve(problem, method="greedy", polish=True)
        forward = solve(problem, method="greedy", direction="forward")
        found = solve(problem, method="local_search")
        best = solve(problem, method="brute_force")
        assert greedy.objective <= polished.objective <= found.objective
        assert forward.objective <= found.objective
        assert found.objective == pytest.approx(best.objective, abs=1e-10)
        kept = np.isin(np.arange(12), polished.selected)
        assert best_move(problem.canonical, kept) is None


def test_limits_seeds_and_jobs_of_local_search() -> None:
    """One iteration is one move; equal seeds and jobs give equal answers."""
    layer = random_layer(14, seed=8)
    short = solve(layer, 6, method="local_search", limits=Limits(iterations=3))
    assert short.limit == "iterations"
    assert short.trace[-1].iteration == 3
    patient = solve(layer, 6, method="local_search", limits=Limits(no_improvement=20))
    assert patient.limit == "no_improvement"
    target = Limits(target=0.01)
    assert solve(layer, 6, method="local_search", limits=target).limit == "target"
    runs = [solve(layer, 6, method="local_search", seed=3, n_jobs=2) for _ in "ab"]
    assert runs[0].selected.tolist() == runs[1].selected.tolist()


def test_the_pool_is_never_worse_and_is_not_for_cliques() -> None:
    """Sets from the bound's search are further starts; a clique has no such bound."""
    layer = random_layer(12, seed=3)
    plain = solve(layer, 5, method="local_search", descents=2)
    pooled = solve(layer, 5, method="local_search", descents=7, pool=True)
    assert pooled.objective >= plain.objective
    with pytest.raises(UnsupportedError, match="`pool` must be False"):
        solve(layer.as_graph(), 5, method="local_search", pool=True)


def test_options_without_meaning_here_are_refused() -> None:
    """A channel has no redundancy with itself where readers are refitted."""
    with pytest.raises(UnsupportedError, match="`diagonal` must be False"):
        solve(random_layer(6), 3, method="greedy", diagonal=True)
