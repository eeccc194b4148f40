"""ChannelGraph: what it takes, what it keeps, what it refuses."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import pickle
from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from sirfp_opt import (
    ChannelGraph,
    InvalidProblemError,
    ReconstructionProblem,
    Sense,
    solve,
)


@pytest.fixture
def redundancy() -> np.ndarray:
    """Three channels, signed, with a diagonal."""
    return np.array([[1.0, -0.5, 0.2], [-0.5, 2.0, 0.3], [0.2, 0.3, 3.0]])


def test_redundancy_is_minimised_with_its_diagonal_aside(
    redundancy: np.ndarray,
) -> None:
    """Signs stay, the diagonal becomes self_redundancy, the objective ignores it."""
    graph = ChannelGraph.from_redundancy(redundancy)
    assert graph.sense is Sense.MINIMIZE
    assert graph.self_redundancy.tolist() == [1.0, 2.0, 3.0]
    assert graph.weights.diagonal().tolist() == [0.0, 0.0, 0.0]
    assert graph.weights[0, 1] == -0.5


def test_absolute_redundancy(redundancy: np.ndarray) -> None:
    """absolute=True takes |R|."""
    graph = ChannelGraph.from_redundancy(redundancy, absolute=True)
    assert graph.weights[0, 1] == 0.5


def test_arrays_are_copied_and_read_only(redundancy: np.ndarray) -> None:
    """Neither side can change the other's numbers."""
    before = redundancy.copy()
    graph = ChannelGraph.from_redundancy(redundancy)
    redundancy[0, 1] = 9.0
    assert graph.weights[0, 1] == before[0, 1]
    for array in (graph.weights, graph.vertex_weights, graph.self_redundancy):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))],
)
def test_copies_are_read_only_and_say_the_same(copied: Callable[[Any], Any]) -> None:
    """What was worked out from the weights could not follow a change of a copy."""
    weights = np.random.default_rng(0).random((6, 6))
    graph = ChannelGraph.from_redundancy(
        weights + weights.T, vertex_weights=np.arange(6.0), adjacency=weights.T < 2
    )
    problem = ReconstructionProblem(np.eye(6) + 0.1, np.eye(6))
    for value in (graph, problem):
        solve(value, 3, "greedy")  # keeps sums of its rows for the next time
        again = copied(value)
        one, two = (solve(each, 3, "greedy") for each in (value, again))
        assert one.selected.tolist() == two.selected.tolist()
        assert one.objective == two.objective
        for field in dataclasses.fields(value):
            had, has = getattr(value, field.name), getattr(again, field.name)
            np.testing.assert_array_equal(had, has)
            assert not (isinstance(has, np.ndarray) and has.flags.writeable)


def test_replace_keeps_the_self_redundancy(redundancy: np.ndarray) -> None:
    """dataclasses.replace loses nothing."""
    graph = dataclasses.replace(ChannelGraph.from_redundancy(redundancy), name="x")
    assert graph.self_redundancy.tolist() == [1.0, 2.0, 3.0]
    assert graph.name == "x"


def test_float32_asymmetry_is_rounding(redundancy: np.ndarray) -> None:
    """Asymmetry at float32 rounding is averaged; a symmetric matrix is kept exactly."""
    rough = redundancy.copy()
    rough[0, 1] += 1e-7
    graph = ChannelGraph.from_redundancy(rough)
    assert graph.weights[0, 1] == graph.weights[1, 0]
    exact = ChannelGraph.from_redundancy(redundancy)
    assert exact.weights[1, 2] == redundancy[1, 2]


def test_networkx_missing_edges_are_incompatible() -> None:
    """Nodes keep their order and names; absent edges become False in adjacency."""
    source: nx.Graph[str] = nx.Graph(name="toy")
    source.add_edge("b", "a", weight=2.0)
    source.add_edge("a", "c", weight=3.0)
    graph = ChannelGraph.from_networkx(source)
    assert graph.labels == ("b", "a", "c")
    assert graph.adjacency is not None
    assert not graph.adjacency[0, 2]
    assert graph.weights[0, 1] == 2.0
    assert graph.name == "toy"
    assert graph.sense is Sense.MAXIMIZE


def test_networkx_round_trip(redundancy: np.ndarray) -> None:
    """to_networkx and back gives the same numbers."""
    graph = ChannelGraph.from_redundancy(redundancy, vertex_weights=[1.0, 2.0, 3.0])
    again = ChannelGraph.from_networkx(
        graph.to_networkx(), vertex_weight="weight", sense="min"
    )
    assert np.array_equal(again.weights, graph.weights)
    assert np.array_equal(again.vertex_weights, graph.vertex_weights)
    assert again.adjacency is None


def test_pandas_labels() -> None:
    """A DataFrame brings its labels."""
    frame = pd.DataFrame([[0.0, 1.0], [1.0, 0.0]], index=["u", "v"], columns=["u", "v"])
    assert ChannelGraph.from_pandas(frame).labels == ("u", "v")


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.array([[0, np.nan], [np.nan, 0]]), "finite"),
        (np.array([[0, np.inf], [np.inf, 0]]), "finite"),
        (np.array([[0, 1.0], [2.0, 0]]), "symmetric"),
        (np.zeros((2, 3)), "square"),
        (np.zeros(4), "square"),
        (np.zeros((0, 0)), "square"),
        (np.array([[0, 1j], [1j, 0]]), "real"),
        (np.array([["a", "b"], ["b", "a"]]), "real"),
        (np.full((4, 4), 1e308), "finite total"),
    ],
)
def test_bad_matrices_are_refused(matrix: np.ndarray, words: str) -> None:
    """The error names the argument, the rule and the way out."""
    with pytest.raises(InvalidProblemError, match=words) as caught:
        ChannelGraph.from_diversity(matrix)
    assert "`diversity` must" in str(caught.value)


def test_bad_companions_are_refused(redundancy: np.ndarray) -> None:
    """Vertex weights, adjacency and labels are checked against n."""
    make = ChannelGraph.from_redundancy
    with pytest.raises(InvalidProblemError, match="`vertex_weights` must have shape"):
        make(redundancy, vertex_weights=[1.0])
    with pytest.raises(InvalidProblemError, match="`vertex_weights` must be finite"):
        make(redundancy, vertex_weights=[1.0, np.nan, 0.0])
    with pytest.raises(InvalidProblemError, match="`adjacency` must have shape"):
        make(redundancy, adjacency=np.ones((2, 2), bool))
    lopsided = np.ones((3, 3), bool)
    lopsided[0, 1] = False
    with pytest.raises(InvalidProblemError, match="`adjacency` must be symmetric"):
        make(redundancy, adjacency=lopsided)
    with pytest.raises(InvalidProblemError, match="`adjacency` must hold booleans"):
        make(redundancy, adjacency=redundancy)
    with pytest.raises(InvalidProblemError, match="`labels` must have one entry"):
        make(redundancy, labels=["a"])
    with pytest.raises(InvalidProblemError, match="`sense` must be"):
        ChannelGraph(redundancy, sense="sideways")


def test_bad_networkx_graphs_are_refused() -> None:
    """Directed graphs, multigraphs and edges without weight are no channel graphs."""
    with pytest.raises(InvalidProblemError, match="undirected"):
        ChannelGraph.from_networkx(nx.DiGraph([(0, 1)]))
    with pytest.raises(InvalidProblemError, match="every edge"):
        ChannelGraph.from_networkx(nx.path_graph(3))
    weighted: nx.Graph[int] = nx.Graph()
    weighted.add_edge(0, 1, weight=1.0)
    with pytest.raises(InvalidProblemError, match="every node"):
        ChannelGraph.from_networkx(weighted, vertex_weight="v")
    frame = pd.DataFrame(np.zeros((2, 2)), index=["a", "b"], columns=["b", "a"])
    with pytest.raises(InvalidProblemError, match="same labels"):
        ChannelGraph.from_pandas(frame)


def test_reconstruction_counts_the_error_of_what_is_dropped() -> None:
    """For every set: the whole error minus that of the rest, signs and all."""
    rows = np.random.default_rng(2).normal(size=(5, 8))
    errors = rows @ rows.T
    graph = ChannelGraph.from_reconstruction(errors, name="a")
    assert graph.sense is Sense.MAXIMIZE
    np.testing.assert_allclose(graph.self_redundancy, errors.diagonal())
    for size in range(6):
        for kept in itertools.combinations(range(5), size):
            dropped = np.setdiff1d(range(5), kept)
            assert graph.value_of(np.array(kept, dtype=int)) == pytest.approx(
                errors.sum() - errors[np.ix_(dropped, dropped)].sum()
            )
