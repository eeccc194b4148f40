"""What goes in is taken for what it says, or refused: never for something else."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import networkx as nx
import numpy as np
import pytest
import scipy.sparse

from sirfp_opt import (
    ChannelGraph,
    InvalidProblemError,
    LayerConstraints,
    Limits,
    PruningProblem,
    bound,
    solve,
)

MATRIX = np.array([[0, 3, 1.0], [3, 0, 2], [1, 2, 0]])
GRAPH = ChannelGraph.from_diversity(MATRIX)


def _tensor(change: Callable[[Any], Any]) -> Any:
    torch = pytest.importorskip("torch")
    return change(torch.tensor(MATRIX))


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.ma.masked_greater(MATRIX, 99),
        lambda: MATRIX.astype(object),
        lambda: np.array([[Fraction(v) for v in row] for row in MATRIX]),
        lambda: np.array([[Decimal(v) for v in row] for row in MATRIX]),
        lambda: MATRIX.astype(np.float16),
        lambda: MATRIX.astype(np.longdouble),
        lambda: MATRIX.astype(np.uint8),
        lambda: MATRIX.tolist(),
        lambda: np.asfortranarray(MATRIX),
        lambda: _tensor(lambda t: t.requires_grad_()),
        lambda: _tensor(lambda t: t.bfloat16()),
        lambda: _tensor(lambda t: t.half()),
    ],
)
def test_any_array_of_numbers_is_read_as_it_is(make: Callable[[], Any]) -> None:
    """Masks without effect, objects, short floats, tensors: the same weights."""
    given = make()
    assert ChannelGraph.from_diversity(given).weights.tolist() == MATRIX.tolist()
    assert solve(given, 2, "brute_force").selected.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: np.ma.masked_greater(MATRIX, 2.5), "masked entries, got 2"),
        (lambda: scipy.sparse.csr_array(MATRIX), "must be dense, got csr_array"),
        (lambda: scipy.sparse.coo_matrix(MATRIX), "must be dense"),
        (lambda: MATRIX.astype(str), "a real matrix"),
        (lambda: MATRIX.astype(str).astype(object), "holds '"),
        (lambda: np.array([[None, 1], [1, None]]), "holds None"),
        (lambda: MATRIX + 0j, "a real matrix"),
        (lambda: np.array([[0, 1j], [1j, 0]], dtype=object), "a real matrix"),
        (lambda: [[0, 1], [1]], "a real matrix"),
        (lambda: {0: 1}, "a real matrix"),
        (lambda: "abc", "a real matrix"),
        (lambda: None, "a real matrix"),
        (lambda: np.zeros((0, 0)), "square matrix"),
        (lambda: np.full((3, 3), 1e308), "finite total"),
        (lambda: _tensor(lambda t: t.to_sparse()), "a real matrix"),
        (lambda: _tensor(lambda t: t.to("meta")), "a real matrix"),
        (lambda: _tensor(lambda t: t + 0j), "a real matrix"),
    ],
)
def test_what_is_no_matrix_of_numbers_is_refused(
    make: Callable[[], Any], words: str
) -> None:
    """A mask is never dropped, a text never a number, an absent entry never a guess."""
    for read in (
        ChannelGraph.from_diversity,
        ChannelGraph.from_redundancy,
        lambda given: solve(given, 2),
        lambda given: bound(given, 2),
    ):
        with pytest.raises(InvalidProblemError, match=words):
            read(make())


@pytest.mark.parametrize("make", [scipy.sparse.csr_array, scipy.sparse.coo_matrix])
def test_a_sparse_matrix_is_read_once_its_gaps_have_a_meaning(make: Any) -> None:
    """Entries are weights, a stored zero is an entry; a gap is what `absent` says."""
    rows, columns = np.array([0, 1, 1, 2, 3, 2]), np.array([1, 0, 2, 1, 2, 3])
    given = make((np.array([2.0, 2.0, 3.0, 3.0, 0.0, 0.0]), (rows, columns)))
    graph = ChannelGraph.from_sparse(given, absent="zero", name="gaps")
    assert (graph.name, graph.adjacency) == ("gaps", None)
    assert graph.weights.tolist() == given.toarray().tolist()
    graph = ChannelGraph.from_sparse(given, absent="missing", sense="minimize")
    assert graph.adjacency is not None
    assert graph.adjacency.sum(axis=1).tolist() == [2, 3, 3, 2]
    assert graph.adjacency[2, 3]
    assert graph.sense.value == "minimize"


@pytest.mark.parametrize(
    ("matrix", "absent", "words"),
    [
        (MATRIX, "zero", "`matrix` must be a scipy.sparse matrix"),
        (scipy.sparse.csr_array(MATRIX), "none", "`absent` must be 'zero' or"),
        (scipy.sparse.csr_array(MATRIX[:2]), "zero", "got shape"),
        (scipy.sparse.csr_array(np.triu(MATRIX)), "missing", "must be symmetric"),
        (scipy.sparse.csr_array(MATRIX + 0j), "zero", "a real matrix"),
    ],
)
def test_sparse_matrices_of_no_graph_are_refused(
    matrix: Any, absent: str, words: str
) -> None:
    """Each by the rule that it breaks."""
    with pytest.raises(InvalidProblemError, match=words):
        ChannelGraph.from_sparse(matrix, absent=absent)


@pytest.mark.parametrize("bad", ["abc", "5", [1], 1j, None, float("nan"), object()])
def test_weights_of_a_networkx_graph_are_numbers(bad: Any) -> None:
    """An edge's or a node's weight that is no number names the edge or the node."""
    edges: nx.Graph[Any] = nx.Graph()
    edges.add_edge(0, 1, weight=bad)
    with pytest.raises(InvalidProblemError, match="weight"):
        solve(edges, 2)
    nodes: nx.Graph[Any] = nx.complete_graph(3)
    for u, v in nodes.edges:
        nodes.edges[u, v]["weight"] = 1.0
    nx.set_node_attributes(nodes, {0: 1.0, 1: bad, 2: 3.0}, "gain")
    with pytest.raises(InvalidProblemError, match="gain"):
        ChannelGraph.from_networkx(nodes, vertex_weight="gain")


@pytest.mark.parametrize("bad", [["1", "2", "3"], [1, 2], 3, [1, 2, None], "abc"])
def test_vertex_weights_are_numbers(bad: Any) -> None:
    """Text that reads like numbers is text."""
    with pytest.raises(InvalidProblemError, match="`vertex_weights`"):
        ChannelGraph.from_diversity(MATRIX, vertex_weights=bad)


def test_a_solution_is_a_warm_start() -> None:
    """`warm_start=` takes what `solve` gave, and a foreign one is checked."""
    found = solve(GRAPH, 2, "brute_force")
    again = solve(GRAPH, 2, "random", warm_start=found)
    assert again.objective == found.objective
    with pytest.raises(InvalidProblemError, match="`warm_start` must hold an allowed"):
        solve(GRAPH, 1, "random", warm_start=found)


@pytest.mark.parametrize(
    "bad",
    [5, "01", None, [0, 0.5], [[0, 1]], np.array([[0, 1]]), [True, False], {0, 9}],
)
def test_a_set_of_channels_is_a_list_of_their_numbers(bad: Any) -> None:
    """Anything else is refused by name, by `evaluate`, `check` and `solve`."""
    problem = PruningProblem(GRAPH, LayerConstraints(2))
    with pytest.raises(InvalidProblemError, match="`selected"):
        problem.evaluate(bad)
    with pytest.raises(InvalidProblemError, match="`selected"):
        problem.check(bad)
    if bad is not None:
        with pytest.raises(InvalidProblemError, match="`warm_start"):
            solve(problem, method="random", warm_start=bad)


@pytest.mark.parametrize(
    "name", ["time", "iterations", "no_improvement", "gap", "target"]
)
@pytest.mark.parametrize("bad", [True, np.True_, "5", b"5", [1], float("nan"), 1j])
def test_a_limit_is_a_number(name: str, bad: Any) -> None:
    """A bool is no number of seconds, and a text none of iterations."""
    with pytest.raises(InvalidProblemError, match=f"`{name}` must be"):
        Limits(**{name: bad})


def test_endless_time_is_no_limit() -> None:
    """Infinite seconds do not count as a limit, so no solver has to honour them."""
    assert Limits(time=float("inf")).given == ()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"callback": 5}, "`callback` must be callable"),
        ({"certify": 1}, "`certify` must be one of"),
        ({"certify": np.ones(2)}, "`certify` must be one of"),
        ({"limits": 5}, "`limits` must be a Limits"),
        ({"seed": -1}, "`seed` must be at least 0"),
        ({"seed": True}, "`seed` must be an integer"),
        ({"constraints": {"k": 2}}, "`constraints` must be a LayerConstraints"),
        ({"sense": 3}, "`sense` must be"),
    ],
)
def test_arguments_of_solve_are_checked(arguments: dict[str, Any], words: str) -> None:
    """Before any work, by name."""
    with pytest.raises(InvalidProblemError, match=words):
        solve(MATRIX, 2, "greedy", **arguments)


def test_a_problem_is_made_of_a_graph_and_constraints() -> None:
    """A matrix or a number in their place is named."""
    with pytest.raises(InvalidProblemError, match="`graph` must be a ChannelGraph"):
        PruningProblem(MATRIX, LayerConstraints(2))  # type: ignore[arg-type]
    with pytest.raises(InvalidProblemError, match="`constraints` must be a Layer"):
        PruningProblem(GRAPH, 2)  # type: ignore[arg-type]
