"""The benchmarks of small calls and of auto say what they measured."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.auto import Result, compare, measure
from benchmarks.small import row
from sirfp_opt import ChannelGraph, LayerConstraints, PruningProblem


@pytest.mark.parametrize("method", ["greedy", "top_k", "brute_force", "tabu"])
def test_small_calls_answer_as_numpy_does(method: str) -> None:
    """Each row is of the same answers, with times above 0; `row` raises otherwise."""
    found = row(8, method, 1)
    assert (found["method"], found["n"]) == (method, 8)
    times = [value for name, value in found.items() if name not in ("method", "n")]
    assert all(isinstance(value, float) and value > 0 for value in times)
    assert ("NumPy" in found) == (method != "tabu")


def test_auto_is_held_against_the_better_of_two() -> None:
    """A proof counts where it comes in time; a worse objective never does."""
    graph = ChannelGraph.from_diversity(np.arange(16.0).reshape(4, 4) * 0 + 1)
    problem = PruningProblem(graph, LayerConstraints(2))
    measured = measure(problem, 1.0, 1)
    assert measured["auto"][:2] == (1.0, True)
    exact, tabu = Result(1.0, True, 0.5, 0.1), Result(1.0, False, 0.1, 0.1)
    auto = Result(1.0, False, 0.2, 0.1)
    told = compare(problem, {"exact": exact, "tabu": tabu, "auto": auto}, 1.0)
    assert (told["better"], told["as good"]) == ("exact", False)
    assert told["auto / better"] == pytest.approx(0.4)
    told = compare(problem, {"exact": exact, "tabu": tabu, "auto": auto}, 0.2)
    assert (told["better"], told["as good"]) == ("tabu", True)
    worse = Result(0.5, True, 0.01, 0.01)
    told = compare(problem, {"exact": worse, "tabu": tabu, "auto": worse}, 1.0)
    assert (told["better"], told["as good"]) == ("tabu", False)
