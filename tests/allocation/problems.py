"""Small splits that can be enumerated."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt.network.cost import CostForm
from sirfp_opt.network.splitting.problem import SplitProblem

if TYPE_CHECKING:
    from sirfp_opt._validate import FloatArray, IntArray


def random_split(seed: int, *, most: int = 8, whole: bool = True) -> SplitProblem:
    """Two to five units with gaps in their counts, one or two bilinear budgets.

    Losses fall with the count, rise and fall, or are logarithms, in turn.
    """
    rng = np.random.default_rng(seed)
    m = int(rng.integers(2, 6))
    counts: list[IntArray] = []
    losses: list[FloatArray] = []
    forms: list[CostForm] = []
    limits: list[float] = []
    for _ in range(m):
        n = int(rng.integers(2, most + 1))
        some = rng.choice(np.arange(1, n + 1), rng.integers(1, n + 1), replace=False)
        counts.append(np.sort(some))
        kind = seed % 3
        if kind == 0:
            losses.append(-np.sort(-rng.random(some.size)))
        elif kind == 1:
            losses.append(rng.normal(size=some.size))
        else:
            losses.append(-np.log(counts[-1] / n))
    least = np.array([c[0] for c in counts])
    largest = np.array([c[-1] for c in counts])
    for _ in range(int(rng.integers(1, 3))):
        linear = rng.integers(0, 5, m).astype(float)
        quadratic = np.triu(rng.integers(0, 4, (m, m)) * (rng.random((m, m)) < 0.6))
        scale = 1.0 if whole else 1.0 / 7.0
        const = float(rng.integers(0, 5))
        form = CostForm(const, linear * scale, quadratic.astype(float) * scale)
        low, high = form(least), form(largest)
        forms.append(form)
        limits.append(math.ceil(low + rng.random() * (high - low)))
    names = tuple(f"u{i}" for i in range(m))
    return SplitProblem(
        names, tuple(counts), tuple(losses), tuple(forms), np.array(limits)
    )


def feasible_splits(problem: SplitProblem) -> list[IntArray]:
    """Every split within the budgets."""
    grid = itertools.product(*problem.counts)
    return [k for k in map(np.array, grid) if problem.feasible(k)]


def least_loss(problem: SplitProblem) -> float:
    """Return the smallest loss there is."""
    return min(problem.objective(k) for k in feasible_splits(problem))
