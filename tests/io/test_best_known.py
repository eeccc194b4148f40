"""Published values: where they come from, and what `Solution.summary` makes of them."""

from __future__ import annotations

import numpy as np

from sirfp_opt import ChannelGraph, LayerConstraints, PruningProblem, solve
from sirfp_opt.io import BestKnown, best_known
from sirfp_opt.io.best_known import best_known_for

NAME = "MDG-a_1_n500_m50"


def _graph(scale: float, sense: str = "maximize") -> ChannelGraph:
    """All pairs alike, so that 50 channels are worth 1225 · scale."""
    return ChannelGraph(weights=np.full((500, 500), scale), sense=sense, name=NAME)


def test_every_value_has_a_source() -> None:
    """The table ships with the package; unknown names give None."""
    found = best_known(NAME)
    assert found is not None
    assert (found.n, found.k, found.value) == (500, 50, 7833.83)
    assert "doi" in found.source
    assert best_known("layer1.0.bn2") is None


def test_summary_flags_a_value_better_than_best_known() -> None:
    """Better, equal and worse values are told apart, with the source."""
    lines = {}
    for name, value in (("better", 7833.84), ("equal", 7833.83), ("worse", 7833.0)):
        solution = solve(_graph(value / 1225), 50, "top_k")
        assert solution.problem is not None
        published = best_known_for(solution.problem)
        lines[name] = solution.summary(published=published).splitlines()[-1]
    assert "BETTER THAN BEST KNOWN" in lines["better"]
    assert "Re-check" in lines["better"]
    assert "reached (Wang et al. 2009" in lines["equal"]
    assert "missed by" in lines["worse"]


def test_another_problem_on_the_same_graph_is_not_compared() -> None:
    """Another k, sense, size or a constraint makes it another problem."""
    graph = _graph(6.4)
    for problem in (
        PruningProblem(graph, LayerConstraints(49)),
        PruningProblem(graph, LayerConstraints(50, must_keep=[3])),
        PruningProblem(_graph(6.4, "minimize"), LayerConstraints(50)),
    ):
        assert best_known_for(problem) is None
    assert isinstance(
        best_known_for(PruningProblem(graph, LayerConstraints(50))), BestKnown
    )


def test_float32_sums_are_compared_loosely() -> None:
    """GKD-c values are float32 sums in older lists: 1e-5 relative is the same."""
    found = best_known("GKD-c_1_n500_m50")
    assert found is not None
    assert "reached" in found.verdict(found.value * (1 + 5e-6))
    assert "BETTER" in found.verdict(found.value * (1 + 5e-5))
