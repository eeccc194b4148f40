"""NumPy archives and GraphML: nothing a graph has is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from sirfp_opt import ChannelGraph, InvalidProblemError
from sirfp_opt.io import read, read_graphml, read_npz, write, write_npz

if TYPE_CHECKING:
    from pathlib import Path


def _rich() -> ChannelGraph:
    rng = np.random.default_rng(0)
    weights = rng.random((6, 6))
    adjacency = rng.random((6, 6)) < 0.7
    return ChannelGraph.from_redundancy(
        weights + weights.T,
        vertex_weights=rng.normal(size=6),
        adjacency=adjacency | adjacency.T,
        name="layer1.0.bn2",
        labels=[f"channel {i}" for i in range(6)],
    )


def _same(one: ChannelGraph, other: ChannelGraph) -> None:
    for field in ("weights", "vertex_weights", "self_redundancy", "adjacency"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
    assert (one.sense, one.name, one.labels) == (other.sense, other.name, other.labels)


@pytest.mark.parametrize("suffix", [".npz", ".graphml"])
def test_everything_comes_back(tmp_path: Path, suffix: str) -> None:
    """Sense, vertex weights, diagonal, missing edges, name and labels survive."""
    graph = _rich()
    write(graph, tmp_path / f"graph{suffix}")
    back = read(tmp_path / f"graph{suffix}")
    assert isinstance(back, ChannelGraph)
    _same(back, graph)


def test_an_archive_of_several_is_a_dict(tmp_path: Path) -> None:
    """Several graphs come back under the keys they were written with."""
    plain = ChannelGraph.from_diversity(np.ones((3, 3)))
    write_npz({"a/b": _rich(), "plain": plain}, tmp_path / "two.npz")
    back = read(tmp_path / "two.npz")
    assert isinstance(back, dict)
    assert list(back) == ["a/b", "plain"]
    _same(back["a/b"], _rich())
    _same(back["plain"], plain)


def test_foreign_matrices_are_redundancies_unless_told(tmp_path: Path) -> None:
    """Square matrices of any archive are graphs; what is not square is passed over."""
    np.savez(tmp_path / "x.npz", stem=np.eye(3), edge=np.ones(3))
    graph = read_npz(tmp_path / "x.npz")
    assert isinstance(graph, ChannelGraph)
    assert (graph.n, graph.sense.value, graph.name) == (3, "minimize", "stem")
    assert graph.self_redundancy.tolist() == [1, 1, 1]
    other = read(tmp_path / "x.npz", sense="maximize")
    assert isinstance(other, ChannelGraph)
    assert other.sense.value == "maximize"


def test_broken_archives_are_refused(tmp_path: Path) -> None:
    """A damaged archive, one without a matrix and a wrong sense all raise."""
    np.savez(tmp_path / "flat.npz", edge=np.ones(3))
    with pytest.raises(InvalidProblemError, match="with a square matrix"):
        read(tmp_path / "flat.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "flat.npz").read_bytes()[:60])
    with pytest.raises(InvalidProblemError, match="NumPy archive"):
        read(tmp_path / "cut.npz")
    write(_rich(), tmp_path / "rich.npz")
    with pytest.raises(InvalidProblemError, match="must agree"):
        read(tmp_path / "rich.npz", sense="maximize")
    with np.load(tmp_path / "rich.npz") as archive:
        np.savez(
            tmp_path / "part.npz",
            **{k: v for k, v in archive.items() if k != "0.vertex_weights"},
        )
    with pytest.raises(InvalidProblemError, match="'vertex_weights'"):
        read(tmp_path / "part.npz")


def test_broken_graphml_is_refused(tmp_path: Path) -> None:
    """XML that is cut off, and an edge without a weight, raise."""
    import networkx

    (tmp_path / "cut.graphml").write_text("<graphml><graph>")
    with pytest.raises(InvalidProblemError, match="GraphML"):
        read_graphml(tmp_path / "cut.graphml")
    networkx.write_graphml(networkx.path_graph(3), tmp_path / "bare.graphml")
    with pytest.raises(InvalidProblemError, match="every edge"):
        read(tmp_path / "bare.graphml")
