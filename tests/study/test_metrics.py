"""The measures and tests agree with what one computes by hand or with SciPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from sirfp_opt import InvalidProblemError
from sirfp_opt.study import RunRecord, Study, gap_to, performance_profile
from sirfp_opt.study.metrics import horizon_of, primal_integral
from sirfp_opt.study.statistics import friedman, holm, wilcoxon


def a_run(
    problem: str, method: str, objective: float | None, **other: Any
) -> RunRecord:
    """Return a minimising run found at 1 s of 4 s, unless `other` says otherwise."""
    trace = () if objective is None else ((1.0, 5, objective, None),)
    values: dict[str, Any] = {
        "key": f"{problem}{method}{other.get('seed', 0)}",
        "instance": problem,
        "problem": problem,
        "n": 10,
        "k": 5,
        "sense": "minimize",
        "method": method,
        "solver": method,
        "options": {},
        "seed": 0,
        "limits": {"time": 4.0},
        "status": "feasible" if objective is not None else "error",
        "objective": objective,
        "seconds": 4.0,
        "trace": trace,
    }
    return RunRecord(**values | other)


def test_gap_to_best() -> None:
    """|x - x*| / max(|x|, |x*|), 1 across signs or without a solution, 0 at 0."""
    assert gap_to(-4.0, -5.0) == pytest.approx(0.2)
    assert gap_to(-4.0, 5.0) == 1.0
    assert gap_to(0.0, 0.0) == 0.0
    assert gap_to(3.0, None) == 1.0


def test_primal_integral_by_hand() -> None:
    """γ = 1 for 1 s, 0.5 for 2 s, 0 for the last: 2 in all; later events count not."""
    trace = ((1.0, 1, 20.0, None), (3.0, 2, 10.0, None), (9.0, 3, 10.0, None))
    run = a_run("p", "m", 10.0, trace=trace)
    assert primal_integral(run, 10.0, 4.0) == pytest.approx(2.0)
    assert primal_integral(run, 10.0, 2.0) == pytest.approx(1.5)
    assert primal_integral(a_run("p", "m", None), 10.0, 4.0) == 4.0


def test_horizon_is_the_limit_else_the_slowest() -> None:
    """All runs with a time limit share it; without one, the slowest run ends time."""
    assert horizon_of([a_run("p", "m", 1.0), a_run("p", "o", 1.0)]) == 4.0
    free = a_run("p", "o", 1.0, limits={}, seconds=7.0)
    assert horizon_of([a_run("p", "m", 1.0), free]) == 7.0


def test_time_to_best_is_when_the_final_objective_was_first_met() -> None:
    """In both senses, and None without a solution."""
    trace = ((0.5, 1, 3.0, None), (2.0, 2, 1.0, None), (4.0, 3, 1.0, None))
    assert a_run("p", "m", 1.0, trace=trace).time_to_best == 2.0
    mirrored = tuple((s, i, -v, b) for s, i, v, b in trace)
    up = a_run("p", "m", -1.0, trace=mirrored, sense="maximize")
    assert up.time_to_best == 2.0
    assert a_run("p", "m", None).time_to_best is None


def test_performance_profile_by_hand() -> None:
    """Fast is at 1 on its win; slow within 4; lost never reaches the best."""
    runs = [
        a_run("p", "fast", 1.0, trace=((1.0, 1, 1.0, None),)),
        a_run("p", "slow", 1.0, trace=((4.0, 1, 1.0, None),)),
        a_run("p", "lost", 2.0, trace=((0.1, 1, 2.0, None),)),
        a_run("q", "fast", 1.0, trace=((2.0, 1, 1.0, None),)),
        a_run("q", "slow", 1.0, trace=((1.0, 1, 1.0, None),)),
        a_run("q", "lost", None),
    ]
    profile = performance_profile(Study(runs))
    assert profile.index.tolist() == [1.0, 2.0, 4.0]
    assert profile["fast"].tolist() == [0.5, 1.0, 1.0]
    assert profile["slow"].tolist() == [0.5, 0.5, 1.0]
    assert profile["lost"].tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(InvalidProblemError, match="metric"):
        performance_profile(Study(runs), "objective")


@pytest.fixture
def study() -> Study:
    """Three methods on twelve problems with two seeds; c fails once."""
    rng = np.random.default_rng(1)
    runs = []
    for number in range(12):
        for seed in (0, 1):
            for method, worse in (("a", 0.0), ("b", 0.02), ("c", 0.1)):
                value = 10.0 * (1 + worse + 0.03 * rng.random())
                lost = method == "c" and number == seed == 0
                got = None if lost else value
                runs.append(a_run(f"p{number}", method, got, seed=seed))
    return Study(runs)


def test_friedman_is_scipys_on_means_over_seeds(study: Study) -> None:
    """Seeds are averaged first, and a lost run ranks last."""
    gaps = study.to_frame().pivot_table("gap_to_best", "problem", "method")
    means = gaps.loc[[f"p{i}" for i in range(1, 12)]]
    first = [[means[m].iloc[i] for m in "abc"] for i in range(11)]
    lost = [*gaps.loc["p0", ["a", "b"]], math.inf]
    expected = stats.friedmanchisquare(*np.array([lost, *first]).T)
    found = friedman(study)
    assert found.statistic == pytest.approx(expected.statistic)
    assert found.pvalue == pytest.approx(expected.pvalue)
    assert found.ranks.index[0] == "a"
    assert found.problems == 12


def test_wilcoxon_names_the_better_and_corrects(study: Study) -> None:
    """One row a pair, p-values SciPy's, corrected ones never smaller."""
    table = wilcoxon(study)
    pairs = set(zip(table["better"], table["worse"], strict=True))
    assert pairs == {("a", "b"), ("a", "c"), ("b", "c")}
    gaps = study.to_frame().pivot_table("gap_to_best", "problem", "method")
    row = table[(table["better"] == "a") & (table["worse"] == "b")]
    difference = (gaps["a"] - gaps["b"]).round(9)
    assert row["pvalue"].item() == pytest.approx(stats.wilcoxon(difference).pvalue)
    assert (table["pvalue_holm"] >= table["pvalue"]).all()


def test_ties_alone_are_no_difference() -> None:
    """Methods that always agree: p = 1, not NaN."""
    runs = [a_run(f"p{i}", m, 1.0) for i in range(5) for m in "abc"]
    assert friedman(Study(runs)).pvalue == 1.0
    assert wilcoxon(Study(runs))["pvalue"].tolist() == [1.0] * 3


def test_too_few_methods_or_a_wrong_metric_are_refused() -> None:
    """The errors say what to do instead."""
    pair = Study([a_run(f"p{i}", m, 1.0) for i in range(5) for m in "ab"])
    with pytest.raises(InvalidProblemError, match="wilcoxon"):
        friedman(pair)
    with pytest.raises(InvalidProblemError, match="metric"):
        wilcoxon(pair, "objective")


def test_holm_is_monotone_and_bounded() -> None:
    """Step-down: each corrected value at least that of every smaller p."""
    values = np.random.default_rng(0).random(20)
    corrected = holm(values)
    assert (corrected >= values).all()
    assert (corrected <= 1).all()
    order = values.argsort()
    assert (np.diff(corrected[order]) >= 0).all()
    assert corrected.min() == pytest.approx(min(1.0, 20 * values.min()))
