"""The quick split: feasible, bounded, never worse than what it was given."""

from __future__ import annotations

import numpy as np
import pytest

from sirfp_opt.network.allocation import Lagrangian
from sirfp_opt.network.cost import CostForm
from sirfp_opt.network.splitting.exchange import Exchange
from sirfp_opt.network.splitting.problem import SplitProblem
from tests.allocation.problems import feasible_splits, least_loss, random_split


@pytest.mark.parametrize("seed", range(12))
def test_lagrangian_keeps_budgets_and_bounds(seed: int) -> None:
    """The split is feasible, the bound below the enumerated optimum."""
    problem = random_split(200 + seed)
    split = Lagrangian(levels=3, rounds=2).split(problem)
    best = least_loss(problem)
    assert problem.feasible(split.k)
    assert split.bound <= best + 1e-9
    assert split.objective >= best - 1e-9


@pytest.mark.parametrize("seed", range(6))
def test_exchange_stays_feasible_and_only_improves(seed: int) -> None:
    """Lowering makes any split feasible; filling and exchanging never make it worse."""
    problem = random_split(seed, most=20)
    rng = np.random.default_rng(seed)
    moves = Exchange(problem)
    for _ in range(5):
        start = np.array([rng.choice(c) for c in problem.counts])
        low = moves.lowered(start)
        full = moves.filled(low)
        best = moves.exchanged(full)
        assert all(problem.feasible(k) for k in (low, full, best))
        losses = [problem.objective(k) for k in (low, full, best)]
        assert losses[0] >= losses[1] - 1e-12
        assert losses[1] >= losses[2] - 1e-12


def test_a_chain_of_wide_layers_is_split_within_one_percent() -> None:
    """Twelve layers of up to 512 channels in a row: gap at most 1 %, budget used up."""
    rng = np.random.default_rng(0)
    sizes = rng.choice([64, 128, 256, 512], 12)
    quadratic = np.zeros((12, 12))
    quadratic[np.arange(11), np.arange(1, 12)] = rng.integers(1, 50, 11)
    form = CostForm(0.0, np.zeros(12), quadratic)
    problem = SplitProblem(
        tuple(f"u{i}" for i in range(12)),
        tuple(np.arange(n // 10, n + 1) for n in sizes),
        tuple(-np.log(np.arange(n // 10, n + 1) / n) for n in sizes),
        (form,),
        np.array([np.floor(0.4 * form(sizes))]),
    )
    split = Lagrangian().split(problem)
    assert split.gap <= 0.01
    assert 0.99 <= form(split.k) / problem.limits[0] <= 1.0
    assert split.multipliers[0] > 0


def test_a_start_is_never_lost() -> None:
    """The result is as good as the best feasible start."""
    problem = random_split(8)
    best = min(feasible_splits(problem), key=problem.objective)
    split = Lagrangian(levels=1, rounds=1, time_limit=0.0).split(problem, [best])
    assert split.objective == problem.objective(best)
