"""Whatever a file holds: read for what it says, or refused by an error of ours."""

from __future__ import annotations

import io
import os
import threading
import zipfile
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sirfp_opt import (
    ChannelGraph,
    InvalidProblemError,
    LayerConstraints,
    PruningProblem,
)
from sirfp_opt.io import read, read_npz, read_problem, write, write_npz

GRAPH = ChannelGraph.from_diversity(
    np.array([[0, 3, 1, 2], [3, 0, 2.5, 5], [1, 2.5, 0, -4e-3], [2, 5, -4e-3, 0]]),
    name="tiny",
)
SPARSE = ChannelGraph(
    GRAPH.weights,
    vertex_weights=[1, 0, 2.5, 0],
    adjacency=~np.eye(4, dtype=bool)[:, ::-1] | np.eye(4, dtype=bool),
    name="sparse",
)
SUFFIXES = {".txt": GRAPH, ".clq": SPARSE, ".graphml": SPARSE, ".npz": SPARSE}


def _written(suffix: str, folder: Path) -> bytes:
    path = folder / f"sound{suffix}"
    write(SUFFIXES[suffix], path, k=2)
    return path.read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_mutated_file_is_read_or_refused(
    suffix: str, tmp_path: Path, data: st.DataObject
) -> None:
    """Bytes changed, dropped or doubled: an error of ours, or a sound graph.

    Where it is read, writing and reading it again gives the same graph: nothing was
    half understood.
    """
    content = bytearray(_written(suffix, tmp_path))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(len(content) - 1, 0)))
        kind = data.draw(st.sampled_from(["byte", "drop", "double", "insert"]))
        end = at + data.draw(st.integers(1, 12))
        if kind == "byte":
            content[at : at + 1] = bytes([data.draw(st.integers(0, 255))])
        elif kind == "drop":
            del content[at:end]
        elif kind == "double":
            content[at:at] = content[at:end]
        else:
            words = [b" ", b"\n", b"_", b"-", b"e", b"0", b"9", b"nan", b"\xef\xbb\xbf"]
            content[at:at] = data.draw(st.sampled_from([*words, b"\x00", b".", b"<"]))
    path = tmp_path / f"mutated{suffix}"
    path.write_bytes(bytes(content))
    try:
        found = read(path)
    except InvalidProblemError:
        return
    assert isinstance(found, ChannelGraph)
    assert np.isfinite(found.weights).all()
    again_path = tmp_path / "again.npz"
    write(found, again_path)
    again = read(again_path)
    assert isinstance(again, ChannelGraph)
    assert again.weights.tolist() == found.weights.tolist()


WORDS = ["0", "1", "2", "3", "-1", "1.5", "1_0", "1e3", "x", "nan", "٣", ".", ""]


@settings(max_examples=200, deadline=None)
@given(
    changes=st.lists(
        st.tuples(
            st.integers(0, 6),
            st.integers(0, 2),
            st.sampled_from(["set", "before", "drop", "join"]),
            st.sampled_from(WORDS),
        ),
        max_size=3,
    )
)
def test_mdplib_is_read_as_its_lines_say(
    changes: list[tuple[int, int, str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Against a short reader that knows no shortcut: the same, or refused."""
    lines = [["4", "2"]]
    lines += [[str(i), str(j), str(i + j)] for i in range(4) for j in range(i + 1, 4)]
    for row, place, kind, word in changes:
        line = lines[row % len(lines)]
        if kind == "set" and place < len(line):
            line[place] = word
        elif kind == "before":
            line.insert(place, word)
        elif kind == "drop":
            del line[place : place + 1]
        elif len(lines) > 1:
            line.extend(lines.pop())
    path = tmp_path_factory.mktemp("lines") / "any.txt"
    path.write_text("\n".join(map(" ".join, lines)), encoding="utf-8")
    expected = _plain_reading(lines)
    try:
        found = read_problem(path)
    except InvalidProblemError:
        assert expected is None
        return
    assert found.graph.weights.tolist() == expected


def _plain_reading(lines: list[list[str]]) -> list[list[float]] | None:
    rows = [words for line in lines if (words := " ".join(line).split())]
    try:
        (n, k), pairs = map(_digits, rows[0]), rows[1:]
        weights = np.zeros((n, n))
        seen = set()
        for i, j, weight in pairs:
            pair = frozenset((_digits(i), _digits(j)))
            if len(pair) < 2 or pair in seen or max(pair) >= n or "_" in weight:
                return None
            seen.add(pair)
            a, b = pair
            weights[a, b] = weights[b, a] = float(weight)
    except (ValueError, IndexError):
        return None
    sound = 1 <= k <= n and len(seen) == n * (n - 1) // 2
    return weights.tolist() if sound and np.isfinite(weights).all() else None


def _digits(word: str) -> int:
    if not (word.isascii() and word.isdigit()):
        raise ValueError(word)
    return int(word)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("3 2\n0 1 1_0\n0 2 1\n1 2 2\n", 2, "a pair is"),
        ("3 2\n0 1 5\n0 2 1\n1 1_0 2\n", 4, "a pair is"),
        ("1_0 2\n", 1, "begins with 'n k'"),
        ("٣ 2\n0 1 5\n0 2 1\n1 2 2\n", 1, "begins with 'n k'"),
        ("3 2\n0 1 5\n0 2 1\n0 2 1\n", 4, "first on line 3"),
        ("3 2\n0 1\n5 0 2 1\n1 2 2\n", 2, "a pair is"),
        ("3 2\n0.0 1 5\n0 2 1\n1 2 2\n", 2, "a pair is"),
        ("99999999 2\n", 1, "between 1 and 50000"),
        ("9" * 5000 + " 2\n", 1, "begins with 'n k'"),
        ("p edge 3 1\np edge 3 1\ne 1 2 5\n", 2, "one header"),
        ("p edge 3 1\nn 1 5\nn 1 6\ne 1 2 5\n", 3, "first on line 2"),
        ("p edge 3 1\nn 1 5_0\ne 1 2 5\n", 2, "n i weight"),
        ("p edge 3 2\ne 1 2 5\ne 2 1 5\n", 3, "first on line 2"),
        ("p edge 99999999 0\n", 1, "between 1 and 50000"),
        ("p edge 0 0\n", 1, "between 1 and 50000"),
        ("p edge " + "9" * 5000 + " 1\n", 1, "one header"),
        ("p edge 3 1\ne 1 2 5_0\n", 2, "a pair is"),
    ],
)
def test_a_strange_line_is_named(
    tmp_path: Path, text: str, line: int, says: str
) -> None:
    """Numbers as Python writes them, doubled lines, lines that borrow words."""
    path = tmp_path / ("file.clq" if text.startswith("p") else "file.txt")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidProblemError, match=f"line {line}: .*{says}"):
        read(path)


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_marks_and_ends_of_lines_are_nothing(
    tmp_path: Path, ends: str, mark: str
) -> None:
    """Files by Notepad and by old Macs are the same problem."""
    path = tmp_path / "file.txt"
    text = mark + ends.join(["3 2", "0 1 5", "0 2 1", "", "1 2 2.5", ""])
    path.write_bytes(text.encode())
    assert read_problem(path).graph.weights[1].tolist() == [5, 0, 2.5]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_pipe_is_read_once(suffix: str, tmp_path: Path) -> None:
    """A named pipe gives its content a single time, and that is enough."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    content = _written(suffix, tmp_path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(content))
    writer.start()
    found = read(pipe)
    writer.join()
    assert isinstance(found, ChannelGraph)
    assert found.weights.tolist() == SUFFIXES[suffix].weights.tolist()


@pytest.mark.parametrize("suffix", [".clq", ".graphml", ".npz"])
def test_names_are_kept(suffix: str, tmp_path: Path) -> None:
    """A graph that had a name has it again, whatever its file is called."""
    path = tmp_path / f"another{suffix}"
    write(SPARSE, path)
    found = read(path)
    assert isinstance(found, ChannelGraph)
    assert found.name == "sparse"


def _graphml(change: str) -> bytes:
    graph: nx.Graph[Any] = nx.complete_graph(3)
    for u, v in graph.edges:
        graph.edges[u, v]["weight"] = 1.5
    if change == "partial":
        graph.nodes[0]["weight"] = 5.0
        graph.nodes[1]["weight"] = 7.0
    elif change == "text":
        for u, v in graph.edges:
            graph.edges[u, v]["weight"] = "five"
    elif change == "digits":
        for u, v in graph.edges:
            graph.edges[u, v]["weight"] = "5"
    elif change == "lacking":
        del graph.edges[0, 1]["weight"]
    elif change == "bool":
        graph.edges[0, 1]["weight"] = True
    out = io.BytesIO()
    nx.write_graphml(graph, out)
    text = out.getvalue()
    swaps = {
        "underscore": (b">1.5<", b">1_0<"),
        "stranger": (b'target="1"', b'target="7"'),
        "twice": (b'<node id="1"', b'<node id="0"'),
        "kind": (b'attr.type="double"', b'attr.type="thing"'),
        "directed": (b"undirected", b"directed"),
        "key": (b'<data key="d0"', b'<data key="d9"'),
    }
    return text.replace(*swaps[change]) if change in swaps else text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("partial", "for all nodes or none, got 2 of 3, none for '2'"),
        ("text", "must be a number, got 'five'"),
        ("digits", "must be a number, got '5'"),
        ("lacking", "lacks"),
        ("bool", "number"),
        ("underscore", "'1_0' is no finite number"),
        ("stranger", "'7' is no node"),
        ("twice", "comes twice"),
        ("kind", "GraphML"),
        ("directed", "undirected"),
        ("key", "GraphML"),
    ],
)
def test_broken_graphml_is_refused(tmp_path: Path, change: str, says: str) -> None:
    """Weights of some vertices only, text, nodes nobody declared: none is guessed."""
    path = tmp_path / "file.graphml"
    path.write_bytes(_graphml(change))
    with pytest.raises(InvalidProblemError, match=says):
        read(path)


def test_archives_of_something_else_are_refused(tmp_path: Path) -> None:
    """Two zipped texts, a damaged archive, and matrices that are no graphs."""
    zipped = tmp_path / "mdg.zip"
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("a.txt", "3 2\n0 1 5\n0 2 1\n1 2 2.5\n")
        archive.writestr("b.txt", "3 2\n0 1 5\n0 2 1\n1 2 2.5\n")
    with pytest.raises(InvalidProblemError, match="one file"):
        read(zipped)
    single = tmp_path / "matrix.npz"
    np.save(single.with_suffix(".npy"), np.eye(3))
    with pytest.raises(InvalidProblemError, match="NumPy archive"):
        read_npz(single.with_suffix(".npy"))
    for value in (np.eye(3) * 1j, np.array([["a"]]), np.full((2, 2), np.nan)):
        np.savez(single, layer=value)
        with pytest.raises(InvalidProblemError, match="square entry 'layer'"):
            read(single)
    with pytest.raises(InvalidProblemError, match="at least one graph"):
        write_npz({}, single)


@pytest.mark.parametrize(
    "change",
    [
        {"0.weights": np.eye(3)[0]},
        {"0.weights": np.array("x")},
        {"0.self_redundancy": np.eye(3)},
        {"0.vertex_weights": np.ones(2)},
        {"0.labels": np.array("abc")},
        {"0.labels": np.array(["a"])},
        {"0.sense": np.array("sideways")},
        {"0.sense": np.array(["minimize"])},
        {"0.name": np.ones(3)},
        {"0.adjacency": np.ones(3)},
        {"sirfp_opt_graphs": np.array([1, 2])},
        {"sirfp_opt_graphs": np.array(["a", "a"])},
        {"sirfp_opt_graphs": np.array("a")},
    ],
)
def test_a_tampered_archive_is_refused(
    tmp_path: Path, change: dict[str, object]
) -> None:
    """Every field of our own archives is checked."""
    path = tmp_path / "file.npz"
    write_npz(GRAPH, path)
    with np.load(path) as archive:
        entries = dict(archive) | change
    np.savez(path, **entries)
    with pytest.raises(InvalidProblemError, match="complete archive"):
        read(path)


def test_a_path_is_a_path() -> None:
    """Numbers and names with null bytes are no paths."""
    for bad in (5, None, "a\0b", [1]):
        with pytest.raises(InvalidProblemError, match="`path` must be a path"):
            read(bad)  # type: ignore[arg-type]


def test_one_element_makes_a_file_too(tmp_path: Path) -> None:
    """The smallest problem survives the smallest format."""
    path = tmp_path / "one.txt"
    problem = PruningProblem(ChannelGraph([[0.0]]), LayerConstraints(1))
    write(problem, path)
    assert read_problem(path).graph.n == 1
