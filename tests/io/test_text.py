"""MDPLIB and DIMACS text: read back what was written, refuse what is broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sirfp_opt import ChannelGraph, InvalidProblemError, LayerConstraints
from sirfp_opt.io import read, read_dimacs, read_mdplib, read_problem, write
from sirfp_opt.problem import PruningProblem

MDPLIB = ["4 2", "0 1 5", "0 2 1.5", "0 3 2", "1 2 7", "1 3 1", "2 3 0.25"]
DIMACS = ["c tiny", "p edge 4 4", "n 2 1.5", "e 1 2 5", "e 1 3 1", "e 2 3 7", "e 3 4 2"]


def _file(folder: Path, lines: list[str], name: str = "tiny.txt") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def _graph(n: int = 9) -> ChannelGraph:
    rng = np.random.default_rng(n)
    weights = rng.normal(size=(n, n))
    return ChannelGraph.from_diversity(weights + weights.T, name="tiny")


def test_mdplib_holds_the_pairs_and_k(tmp_path: Path) -> None:
    """Every pair lands on both sides of the diagonal; k and the name are kept."""
    problem = read_mdplib(_file(tmp_path, MDPLIB))
    expected = [[0, 5, 1.5, 2], [5, 0, 7, 1], [1.5, 7, 0, 0.25], [2, 1, 0.25, 0]]
    assert problem.graph.weights.tolist() == expected
    assert problem.constraints == LayerConstraints(2)
    assert (problem.graph.name, problem.sense.value) == ("tiny", "maximize")


@pytest.mark.parametrize(
    ("change", "line", "says"),
    [
        ({6: None}, 6, "make 6 pairs, got 5"),
        ({6: "2 3"}, 7, "truncated"),
        ({6: "2 3 x"}, 7, "i j weight"),
        ({4: "1 2 nan"}, 5, "finite"),
        ({4: "1 2 inf"}, 5, "finite"),
        ({6: "1 0 0.25"}, 7, r"comes once \(first on line 2\)"),
        ({5: "3 3 1"}, 6, "two vertices"),
        ({5: "1 4 1"}, 6, "Does the header state the right number"),
        ({5: "-1 3 1"}, 6, "run from 0 to 3"),
        ({5: "1.5 3 1"}, 6, "i j weight"),
        ({0: "5 2"}, 7, "make 10 pairs, got 6"),
        ({0: "3 2"}, 4, "run from 0 to 2"),
        ({0: "4 5"}, 1, "1 <= k <= n"),
        ({0: "4"}, 1, "begins with 'n k'"),
    ],
)
def test_a_broken_mdplib_file_is_refused_with_its_line(
    tmp_path: Path, change: dict[int, str | None], line: int, says: str
) -> None:
    """The error names the line that is wrong and what is wrong with it."""
    lines = [change.get(p, old) for p, old in enumerate(MDPLIB)]
    path = _file(tmp_path, [text for text in lines if text is not None])
    with pytest.raises(InvalidProblemError, match=rf"line {line}: .*{says}"):
        read(path)


def test_a_one_based_mdplib_file_is_called_that(tmp_path: Path) -> None:
    """Indices 1..n instead of 0..n-1 are recognised, never read as something else."""
    shifted = [MDPLIB[0]]
    for row in MDPLIB[1:]:
        i, j, weight = row.split()
        shifted.append(f"{int(i) + 1} {int(j) + 1} {weight}")
    with pytest.raises(InvalidProblemError, match=r"line 4: .*count from 1"):
        read(_file(tmp_path, shifted))


@pytest.mark.parametrize("suffix", [".txt", ".clq", ".npz", ".graphml"])
def test_every_format_gives_back_the_same_numbers(tmp_path: Path, suffix: str) -> None:
    """What is written and read back is the same to the last bit."""
    graph = _graph()
    path = tmp_path / f"tiny{suffix}"
    write(graph, path, k=3)
    back = read(path)
    assert isinstance(back, ChannelGraph)
    np.testing.assert_array_equal(back.weights, graph.weights)
    assert (back.sense, back.name, back.adjacency) == (graph.sense, "tiny", None)


def test_dimacs_keeps_missing_edges_and_vertex_weights(tmp_path: Path) -> None:
    """A pair without an edge is incompatible; vertex weights default to 0."""
    graph = read_dimacs(_file(tmp_path, DIMACS))
    assert graph.vertex_weights.tolist() == [0, 1.5, 0, 0]
    assert graph.adjacency is not None
    assert np.argwhere(np.triu(~graph.adjacency)).tolist() == [
        [0, 3],
        [1, 3],
    ]
    write(graph, tmp_path / "again.clq")
    again = read_dimacs(tmp_path / "again.clq")
    np.testing.assert_array_equal(again.adjacency, graph.adjacency)
    np.testing.assert_array_equal(again.weights, graph.weights)
    np.testing.assert_array_equal(again.vertex_weights, graph.vertex_weights)


@pytest.mark.parametrize(
    ("change", "line", "says"),
    [
        ({1: "c no header"}, 3, "comes first"),
        ({1: "p edge 4"}, 2, "p edge n m"),
        ({1: "p edge 4 5"}, 7, "announces 5 edges, got 4"),
        ({1: "p edge 3 4"}, 7, "run from 1 to 3"),
        ({2: "n 9 1"}, 3, "run from 1 to 4"),
        ({2: "n 2"}, 3, "n i weight"),
        ({3: "e 0 2 5"}, 4, "count from 0"),
        ({3: "e 1 2"}, 4, "i j weight"),
        ({5: "e 2 1 7"}, 6, r"first on line 4"),
        ({5: "x 2 1 7"}, 6, "begins with"),
    ],
)
def test_a_broken_dimacs_file_is_refused_with_its_line(
    tmp_path: Path, change: dict[int, str], line: int, says: str
) -> None:
    """The error names the line that is wrong and what is wrong with it."""
    lines = [change.get(p, old) for p, old in enumerate(DIMACS)]
    with pytest.raises(InvalidProblemError, match=rf"line {line}: .*{says}"):
        read_dimacs(_file(tmp_path, lines))


def test_content_decides_whatever_the_suffix(tmp_path: Path) -> None:
    """A DIMACS file named .txt is read as DIMACS; nonsense is refused."""
    graph = read(_file(tmp_path, DIMACS))
    assert isinstance(graph, ChannelGraph)
    assert graph.adjacency is not None
    with pytest.raises(InvalidProblemError, match="begins with 'hello"):
        read(_file(tmp_path, ["hello world"]))
    with pytest.raises(InvalidProblemError, match="states k"):
        read_problem(_file(tmp_path, DIMACS))
    with pytest.raises(InvalidProblemError, match="must be 'maximize'"):
        read(_file(tmp_path, MDPLIB), sense="minimize")


def test_a_format_refuses_what_it_has_no_room_for(tmp_path: Path) -> None:
    """Senses and constraints that a format cannot hold raise, never get lost."""
    graph = _graph()
    minimised = ChannelGraph.from_redundancy(graph.weights)
    ranged = PruningProblem(graph, LayerConstraints(k_min=2, k_max=4))
    for bad in (PruningProblem(minimised, LayerConstraints(3)), ranged):
        with pytest.raises(InvalidProblemError, match="only k as a constraint"):
            write(bad, tmp_path / "x.txt")
    with pytest.raises(InvalidProblemError, match="maximised for DIMACS"):
        write(minimised, tmp_path / "x.clq")
    with pytest.raises(InvalidProblemError, match="`k` must be given"):
        write(graph, tmp_path / "x.txt")
    with pytest.raises(InvalidProblemError, match="must end in one of"):
        write(graph, tmp_path / "x.doc")
