"""Solution, Trace and the gap: what is returned can be kept, read and shown."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sirfp_opt import ChannelGraph, InvalidProblemError, Solution, Trace, solve
from sirfp_opt.sense import relative_gap
from sirfp_opt.trace import TraceEvent

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def solution() -> Solution:
    """Solve a toy problem with labels."""
    graph = ChannelGraph(np.arange(9.0).reshape(3, 3) + np.arange(9.0).reshape(3, 3).T)
    return solve(graph, 2, method="brute_force")


def test_json_round_trip(solution: Solution) -> None:
    """to_dict goes through JSON and back to equal facts."""
    again = Solution.from_dict(json.loads(json.dumps(solution.to_dict())))
    assert again.to_dict() == solution.to_dict()
    assert again.problem is None


def test_names_survive_json() -> None:
    """The layer's name and the labels of the channels kept come back without it."""
    graph = ChannelGraph.from_diversity(
        np.array([[0, 3, 1.0], [3, 0, 2], [1, 2, 0]]),
        name="stem",
        labels=["a", "b", "c"],
    )
    found = solve(graph, 2, "brute_force")
    again = Solution.from_dict(json.loads(json.dumps(found.to_dict())))
    assert (again.title, again.labels) == ("stem", ("a", "b"))
    for wrong in (["a"], ["a", 1], "ab"):
        with pytest.raises(InvalidProblemError, match="'labels'"):
            Solution.from_dict(found.to_dict() | {"labels": wrong})


def test_from_dict_checks_against_a_problem(solution: Solution) -> None:
    """With the problem at hand the set is checked and priced anew."""
    data = solution.to_dict()
    again = Solution.from_dict(data, solution.problem)
    assert again.objective == solution.objective
    data["objective"] = -1.0
    with pytest.raises(InvalidProblemError, match="must be a solution of `problem`"):
        Solution.from_dict(data, solution.problem)
    data["selected"] = [0]
    with pytest.raises(InvalidProblemError, match="allowed number"):
        Solution.from_dict(data, solution.problem)
    del data["bound"]
    with pytest.raises(InvalidProblemError, match="'bound'"):
        Solution.from_dict(data)


def test_it_shows_itself(solution: Solution) -> None:
    """One line, a summary and an HTML table, all with the objective."""
    shown = f"{solution.objective:.9g}"
    assert repr(solution).count("\n") == 0
    for text in (repr(solution), solution.summary(), solution._repr_html_()):
        assert shown in text
        assert "optimal" in text


def test_selected_is_read_only(solution: Solution) -> None:
    """A solution cannot be edited into a wrong one."""
    with pytest.raises(ValueError, match="read-only"):
        solution.selected[0] = 2


def test_labels_follow_the_selection() -> None:
    """Labels of the kept channels, in their order."""
    graph = ChannelGraph(np.ones((3, 3)), labels=["a", "b", "c"])
    solved = solve(graph, 2, method="greedy")
    assert solved.labels == tuple("abc"[i] for i in solved.selected)


events = st.builds(
    TraceEvent,
    st.floats(0, 1e6),
    st.integers(0, 10**12),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
)


@given(st.lists(events, max_size=5))
def test_trace_csv_round_trip(
    tmp_path_factory: pytest.TempPathFactory, rows: list[TraceEvent]
) -> None:
    """CSV keeps every bit of every float."""
    path = tmp_path_factory.mktemp("trace") / "trace.csv"
    trace = Trace(tuple(rows))
    trace.to_csv(path)
    assert Trace.from_csv(path) == trace


def test_trace_refuses_a_foreign_file(tmp_path: Path) -> None:
    """A file with other columns is named."""
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InvalidProblemError, match="line 1: the columns must be sec"):
        Trace.from_csv(tmp_path / "x.csv")


def test_trace_as_a_table(solution: Solution) -> None:
    """The frame has the four columns and a row an event."""
    frame = solution.trace.to_frame()
    assert list(frame.columns) == ["seconds", "iteration", "incumbent", "bound"]
    assert len(frame) == len(solution.trace)
    assert frame["incumbent"].iloc[-1] == solution.objective


finite = st.floats(-1e300, 1e300)


@given(finite, finite)
def test_gap_is_symmetric_and_never_negative(a: float, b: float) -> None:
    """One formula, defined at zero, within [0, 2], zero only for equal values."""
    gap = relative_gap(a, b)
    assert gap == relative_gap(b, a)
    assert 0.0 <= gap <= 2.0
    assert (gap == 0.0) == (a == b)


def test_gap_against_no_bound() -> None:
    """An infinite bound leaves an infinite gap."""
    assert relative_gap(1.0, math.inf) == math.inf
