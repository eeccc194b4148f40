"""CSV, .npy, Matrix Market, rudy, GEXF, GML, unweighted DIMACS; packed files; paths."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import scipy.io
import scipy.sparse

from sirfp_opt import ChannelGraph, InvalidProblemError, LayerConstraints, solve
from sirfp_opt.io import read, read_dimacs

_RNG = np.random.default_rng(0)
_DENSE = _RNG.integers(1, 9, (6, 6)).astype(float)
_DENSE = np.triu(_DENSE, 1) + np.triu(_DENSE, 1).T
_GRAPH: nx.Graph[str] = nx.Graph()
_GRAPH.add_weighted_edges_from([("a", "b", 2.5), ("b", "c", 1.0), ("a", "c", 3.0)])
_GRAPH.add_node("d")


def _write(kind: str, folder: Path) -> Path:
    path = folder / f"graph.{kind}"
    rows, columns = np.triu_indices(6, 1)
    edges = [(i, j, _DENSE[i, j]) for i, j in zip(rows, columns, strict=True)]
    if kind == "csv":
        lines = ["from,to,weight", *(f"{i},{j},{w}" for i, j, w in edges)]
        path.write_text("\n".join(lines))
    elif kind == "npy":
        np.save(path, _DENSE)
    elif kind == "mtx":
        scipy.io.mmwrite(path, scipy.sparse.coo_matrix(_DENSE), symmetry="symmetric")
    else:
        lines = [f"6 {len(edges)}", *(f"{i + 1} {j + 1} {w}" for i, j, w in edges)]
        path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("packing", ["", ".gz", ".zip"])
@pytest.mark.parametrize("kind", ["csv", "npy", "mtx", "sparse"])
def test_the_weights_come_back(kind: str, packing: str, tmp_path: Path) -> None:
    """Each format holds the same matrix, packed or not, and solve takes the path."""
    path = _write(kind, tmp_path)
    if packing == ".gz":
        packed = path.with_name(path.name + packing)
        packed.write_bytes(gzip.compress(path.read_bytes()))
        path = packed
    elif packing == ".zip":
        packed = path.with_name("packed.zip")
        with zipfile.ZipFile(packed, "w") as archive:
            archive.write(path, path.name)
        if kind == "npy":
            pytest.skip("a zip of .npy files is a NumPy archive")
        path = packed
    graph = read(path, sense="maximize") if kind != "sparse" else read(path)
    assert isinstance(graph, ChannelGraph)
    assert graph.name == "graph"
    np.testing.assert_array_equal(graph.weights, _DENSE)
    sense = "minimize" if kind == "npy" else "maximize"
    best = solve(_DENSE, 3, "brute_force", sense=sense).objective
    assert solve(path, 3, "brute_force").objective == best
    assert solve(str(path), 0.5, "brute_force").objective == best


@pytest.mark.parametrize("kind", ["gexf", "gml"])
def test_graphs_of_other_programs_come_in(kind: str, tmp_path: Path) -> None:
    """GEXF and GML: labels, weights, and missing edges as incompatible pairs."""
    path = tmp_path / f"net.{kind}"
    getattr(nx, f"write_{kind}")(_GRAPH, path)
    graph = read(path)
    assert isinstance(graph, ChannelGraph)
    assert graph.labels == ("a", "b", "c", "d")
    assert graph.adjacency is not None
    assert not graph.adjacency[3, :3].any()
    assert graph.weights[0].tolist() == [0.0, 2.5, 3.0, 0.0]


def test_a_stated_rule_gives_weights_to_edges_without(tmp_path: Path) -> None:
    """`mod200` is (i + j) mod 200 + 1 with vertices from 1; without a rule: refused."""
    path = tmp_path / "brock.clq"
    path.write_text("p edge 3 2\ne 1 2\ne 3 2\n")
    weights = read_dimacs(path, weight_rule="mod200").weights
    assert (weights[0, 1], weights[1, 2], weights[0, 2]) == (4.0, 6.0, 0.0)
    ones = read(path, weight_rule="ones")
    assert isinstance(ones, ChannelGraph)
    assert ones.weights.sum() == 4.0
    with pytest.raises(InvalidProblemError, match="line 2: a pair is 'i j weight'"):
        read(path)
    with pytest.raises(InvalidProblemError, match="`weight_rule` must be one of"):
        read(path, weight_rule="guess")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("x.csv", "a,b,1\nb,a,2\n", "line 2: an edge comes once"),
        ("x.csv", "a,b,1\na,c\n", "line 2: an edge is"),
        ("x.csv", "a,b,1\na,c,nan\n", "line 2: weights are finite"),
        ("x.csv", "a;b;1\na;a;2\n", "line 2: an edge joins two"),
        ("x.csv", "a,b,nan\nb,c,1\n", "line 1: weights are finite"),
        ("x.csv", "a,b,1_0\nb,c,1\n", "line 1: weights are finite"),
        ("x.csv", 'a,b,1\n"c\nd",a,2\nb,c,x\n', "line 4: weights are finite"),
        pytest.param("x.csv", f'a,b,"{"x" * 200_000}', "line 1: a row is", id="open"),
        ("x.sparse", "3 2\n1 2 1\n", "line 2: the header announces 2 edges"),
        ("x.sparse", "3 1\n1 4 1\n", "line 2: vertices run from 1 to 3"),
        ("x.sparse", "3\n", "line 1: a rudy file begins"),
        (
            "x.mtx",
            "%%MatrixMarket matrix coordinate real general\n2 2 1\n1 2 5\n",
            "sy",
        ),
        ("x.mtx", "%%MatrixMarket matrix coordinate\n", "Matrix Market"),
        ("x.gml", "graph [ node [ id 0 ", "GML"),
        ("x.gexf", "<gexf><graph>", "no XML"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(
    name: str, text: str, said: str, tmp_path: Path
) -> None:
    """Nothing is guessed: the error names the file, and where it can the line."""
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InvalidProblemError, match=said) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_broken_packings_are_refused(tmp_path: Path) -> None:
    """A cut gzip file, a zip of two, an .npy that is none."""
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(gzip.compress(b"a,b,1\n" * 50)[:-9])
    two = tmp_path / "two.zip"
    with zipfile.ZipFile(two, "w") as archive:
        archive.writestr("a.csv", "a,b,1")
        archive.writestr("b.csv", "a,b,1")
    broken = tmp_path / "broken.npy"
    broken.write_bytes(b"\x93NUMPY\x01\x00")
    for path, said in ((cut, "whole gzip"), (two, "one file"), (broken, "numpy.save")):
        with pytest.raises(InvalidProblemError, match=said):
            read(path)


def test_a_path_states_k_or_leaves_it_to_the_caller(tmp_path: Path) -> None:
    """MDPLIB brings its k; k and constraints beside the path go before it."""
    path = tmp_path / "tiny.txt"
    path.write_text("3 2\n0 1 5\n0 2 1\n1 2 2.5\n")
    assert solve(path).k == 2
    assert solve(path, 1).k == 1
    assert solve(str(path), constraints=LayerConstraints(3)).k == 3
    with pytest.raises(InvalidProblemError, match="share"):
        solve(path, 1.5)
    with pytest.raises(InvalidProblemError, match="is no file"):
        solve(tmp_path / "nothing.txt", 2)
