"""Every picture takes and returns Axes, and shows the numbers it was given."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from sirfp_opt import (
    ChannelGraph,
    InvalidProblemError,
    LayerConstraints,
    PruningProblem,
    Solution,
    solve,
)
from sirfp_opt.network.plan import PruningPlan, PruningUnit
from sirfp_opt.plotting import (
    plot_anytime,
    plot_clique,
    plot_embedding,
    plot_feature_maps,
    plot_plan,
    plot_redundancy,
)
from sirfp_opt.study import (
    Study,
    compare,
    plot_gaps,
    plot_performance_profile,
    plot_value_curve,
)

mpl.use("agg")


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def solution() -> Solution:
    """Four of ten channels kept by enumeration."""
    maps = np.random.default_rng(3).random((10, 30))
    graph = ChannelGraph.from_redundancy(maps @ maps.T, name="layer")
    return solve(graph, 4, method="brute_force")


@pytest.fixture(scope="module")
def study(solution: Solution) -> Study:
    """Three methods at three k on one layer."""
    assert isinstance(solution.problem, PruningProblem)
    graph = solution.problem.graph
    return compare(graph, ["greedy", "random", "brute_force"], k=[3, 4, 5])


PLAN = PruningPlan(
    [PruningUnit("a", 4, ()), PruningUnit("b", 8, ())], {"a": [0], "b": [1, 2, 3]}
)

DRAWN: dict[str, Callable[[Solution, Study, Axes | None], Axes]] = {
    "redundancy": lambda s, _, ax: plot_redundancy(s, ax=ax),
    "embedding": lambda s, _, ax: plot_embedding(s, ax=ax),
    "maps": lambda s, _, ax: plot_feature_maps(np.ones((10, 3, 4)), [1], ax=ax),
    "anytime": lambda s, _, ax: plot_anytime(s, ax=ax),
    "profile": lambda _, study, ax: plot_performance_profile(study, ax=ax),
    "gaps": lambda _, study, ax: plot_gaps(study, ax=ax),
    "curve": lambda _, study, ax: plot_value_curve(study, ax=ax),
    "relative": lambda _, study, ax: plot_value_curve(study, relative=True, ax=ax),
    "plan": lambda s, _, ax: plot_plan(PLAN, ax=ax),
}


@pytest.mark.parametrize("name", DRAWN)
def test_axes_in_axes_out(name: str, solution: Solution, study: Study) -> None:
    """The axes given are drawn on and returned; without any, new ones are."""
    figure, ax = plt.subplots()
    assert DRAWN[name](solution, study, ax) is ax
    assert ax.has_data()
    fresh = DRAWN[name](solution, study, None)
    assert fresh is not ax
    assert fresh.has_data()
    figure.canvas.draw()


def test_the_matrix_shows_each_weight_once_kept_first(solution: Solution) -> None:
    """The top left block holds exactly the weights among the channels kept."""
    assert isinstance(solution.problem, PruningProblem)
    shown = np.asarray(plot_redundancy(solution).images[0].get_array())
    weights = solution.problem.graph.weights
    kept = weights[np.ix_(solution.selected, solution.selected)]
    block = shown[:4, :4][~np.eye(4, dtype=bool)]
    np.testing.assert_allclose(np.sort(block), np.sort(kept[~np.eye(4, dtype=bool)]))
    everywhere = shown[~np.eye(10, dtype=bool)]
    np.testing.assert_allclose(
        np.sort(everywhere), np.sort(weights[~np.eye(10, dtype=bool)])
    )


def test_missing_edges_and_the_diagonal_are_blank() -> None:
    """What is no part of the objective has no shade."""
    adjacency = np.ones((4, 4), dtype=bool)
    adjacency[0, 1] = adjacency[1, 0] = False
    graph = ChannelGraph(weights=np.ones((4, 4)), adjacency=adjacency)
    shown: Any = plot_redundancy(graph).images[0].get_array()
    blank = ~np.isfinite(np.ma.filled(shown, np.nan))
    assert blank.sum() == 4 + 2


def test_the_embedding_keeps_planar_distances() -> None:
    """Points of the plane come back up to a rotation: distances agree."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(7, 2))
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    ax = plot_embedding(ChannelGraph.from_diversity(apart), [0, 1, 2])
    dropped, kept = (np.asarray(c.get_offsets()) for c in ax.collections[-2:])
    drawn = np.concatenate([kept, dropped])
    again = np.linalg.norm(drawn[:, None] - drawn[None], axis=2)
    np.testing.assert_allclose(again, apart, atol=1e-9)


def test_feature_maps_stand_on_their_side() -> None:
    """Each kept map is left of each dropped one, scaled to its own range."""
    maps = np.arange(4 * 6, dtype=float).reshape(4, 2, 3)
    ax = plot_feature_maps(maps, [2])
    canvas: Any = np.ma.filled(np.ma.asarray(ax.images[0].get_array()), np.nan)
    scaled = (maps[2] - maps[2].min()) / (maps[2].max() - maps[2].min())
    np.testing.assert_allclose(canvas[:2, :3], scaled)
    assert np.isfinite(canvas).sum() == 4 * 6
    assert [text.get_text() for text in ax.texts] == ["kept: 1 of 4", "dropped: 3 of 4"]


def test_an_empty_side_is_not_drawn() -> None:
    """All kept, or all dropped: one block, one caption."""
    maps = np.arange(4 * 6, dtype=float).reshape(4, 2, 3)
    for chosen, told in ((range(4), "kept: 4 of 4"), ((), "dropped: 4 of 4")):
        assert [t.get_text() for t in plot_feature_maps(maps, chosen).texts] == [told]


def test_anytime_steps_are_the_trace(solution: Solution) -> None:
    """One line for the incumbents, one for the bounds, with the events' numbers."""
    ax = plot_anytime({"mine": solution})
    lines = {line.get_label(): line for line in ax.lines}
    assert set(lines) == {"mine", "mine, bound"}
    events = [e.incumbent for e in solution.trace if e.incumbent is not None]
    assert np.asarray(lines["mine"].get_ydata()).tolist() == events
    assert np.asarray(lines["mine, bound"].get_ydata())[-1] == solution.bound


def test_several_runs_of_one_method_are_told_apart(solution: Solution) -> None:
    """Labels are made unique."""
    labels = [line.get_label() for line in plot_anytime([solution, solution]).lines]
    assert len(set(labels)) == 4


def test_the_value_curve_is_the_objective(study: Study) -> None:
    """Each method's line goes through its objectives; the bound's likewise."""
    lines = {line.get_label(): line for line in plot_value_curve(study).lines}
    expected = [r.objective for r in study if r.method == "greedy"]
    assert np.asarray(lines["greedy"].get_ydata()).tolist() == expected
    bounds = [r.bound for r in study if r.method == "brute_force"]
    assert np.asarray(lines["proven bound"].get_ydata()).tolist() == bounds


def test_lines_differ_without_colour(study: Study) -> None:
    """No two methods share dashes and marker."""
    ax = plot_performance_profile(study)
    looks = {(str(line.get_linestyle()), str(line.get_marker())) for line in ax.lines}
    assert len(looks) == len(study.methods)


def test_bars_are_the_counts() -> None:
    """Kept channels stand before the sizes, unit by unit."""
    ax = plot_plan(PLAN)
    before, kept = ax.containers
    assert [bar.get_height() for bar in before] == [4, 8]
    assert [bar.get_height() for bar in kept] == [1, 3]


def test_a_plan_shows_in_a_notebook() -> None:
    """Each unit with its counts, names escaped."""
    plan = PruningPlan([PruningUnit("<a>", 4, ())], {"<a>": [0, 2, 3]})
    text = plan._repr_html_()
    assert "<td>3</td><td>4</td>" in text
    assert "&lt;a&gt;" in text
    assert "<a>" not in text


@pytest.mark.parametrize(
    "draw",
    [
        lambda s, _: plot_redundancy(s, [10]),
        lambda s, _: plot_redundancy(Solution.from_dict(s.to_dict())),
        lambda s, _: plot_feature_maps(np.ones((3, 3)), [0]),
        lambda s, _: plot_anytime([]),
        lambda s, _: plot_anytime(["x"]),
        lambda _, study: plot_value_curve(study, "elsewhere"),
        lambda _, study: plot_performance_profile(study, "objective"),
    ],
)
def test_wrong_arguments_are_named(
    draw: Callable[[Any, Any], Axes], solution: Solution, study: Study
) -> None:
    """What cannot be drawn is refused with the way out."""
    with pytest.raises(InvalidProblemError, match="must"):
        draw(solution, study)


def test_one_and_two_channels_can_be_drawn() -> None:
    """The smallest layers are no special case for the user."""
    for n in (1, 2):
        graph = ChannelGraph.from_redundancy(np.ones((n, n)))
        problem = PruningProblem(graph, LayerConstraints(1))
        assert plot_redundancy(problem, [0]).has_data()
        assert plot_embedding(problem, [0]).has_data()


def test_importing_the_module_does_not_import_matplotlib() -> None:
    """It is loaded when something is drawn."""
    code = "import sys, sirfp_opt.plotting; print('matplotlib' in sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


def _segments(ax: Axes) -> list[Any]:
    """Return the lines of each set of edges that is drawn."""
    return [c.get_segments() for c in ax.collections if isinstance(c, LineCollection)]


def test_the_clique_has_its_edges_and_all_channels_are_numbered(
    solution: Solution,
) -> None:
    """Six edges join four kept channels; ten numbers stand on the circle."""
    ax = plot_clique(solution)
    assert {text.get_text() for text in ax.texts} >= {str(n) for n in range(10)}
    others, clique = _segments(ax)
    assert (len(others), len(clique)) == (45 - 6, 6)
    kept = {tuple(point.round(9)) for line in clique for point in line}
    angles = np.pi / 2 - 2 * np.pi * solution.selected / 10
    assert kept == {
        (round(float(np.cos(a)), 9), round(float(np.sin(a)), 9)) for a in angles
    }


def test_a_graph_without_a_choice_has_all_of_its_edges_and_no_missing_ones() -> None:
    """An edge that the graph does not have is not drawn."""
    adjacency = ~np.eye(5, dtype=bool)
    adjacency[0, 1] = adjacency[1, 0] = False
    weights = np.ones((5, 5)) - np.eye(5)
    graph = ChannelGraph(weights, adjacency=adjacency)
    assert [len(lines) for lines in _segments(plot_clique(graph))] == [9]


@pytest.mark.parametrize("draw", [plot_clique, plot_embedding, plot_redundancy])
def test_a_bare_matrix_is_refused_with_a_way_out(draw: Callable[..., Axes]) -> None:
    """The message says what to wrap it in."""
    with pytest.raises(InvalidProblemError, match=r"ndarray.*ChannelGraph\(matrix\)"):
        draw(np.ones((4, 4)))
