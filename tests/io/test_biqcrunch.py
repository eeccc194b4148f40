"""BiqCrunch's .bc files: what they state, and what is refused on which line."""

from __future__ import annotations

import gzip
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from sirfp_opt import ChannelGraph, InvalidProblemError, PruningProblem, solve
from sirfp_opt.io import read, read_biqcrunch, read_problem

_N, _K = 5, 3
_RNG = np.random.default_rng(3)
_PAIRS = {pair: int(_RNG.integers(1, 9)) for pair in combinations(range(_N), 2)}
_OWN = [4, -3, 0, 2, -1]


def _cluster(sense: int = 1, products: bool = True) -> list[str]:
    """Return lines as converters of k-cluster instances write them."""
    last = _N + 1
    sides = [2 * _K] + [0] * (_N if products else 0)
    lines = [
        "; a comment",
        f"{sense} =max problem",
        f"{len(sides)} =mdim",
        "1 =nblocks",
        f"{{{last}}}",
        " ".join(f"{side:f}" for side in sides),
        *(f"0 1 {i + 1} {j + 1} {w / 2:f}" for (i, j), w in _PAIRS.items()),
        # One linear term on the diagonal, the others in the last column.
        f"0 1 1 1 {_OWN[0]}",
        *(f"0 1 {i + 1} {last} {_OWN[i] / 2}" for i in range(1, _N)),
        *(f"1 1 {i + 1} {last} 1.000000" for i in range(_N)),
    ]
    if products:
        for i in range(_N):
            for j in range(_N):
                low, high = sorted((i + 1, j + 1))
                lines.append(f"{i + 2} 1 {low} {high} {2.0 if i == j else 1.0:f}")
            lines.append(f"{i + 2} 1 {i + 1} {last} {-float(_K):f}")
    return lines


def _write(folder: Path, lines: list[str], name: str = "cluster.bc") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("products", [False, True])
@pytest.mark.parametrize("sense", [1, -1])
def test_a_cluster_comes_back(sense: int, products: bool, tmp_path: Path) -> None:
    """Weights, linear terms, sense and k, as x'Qx says it; solve takes the path."""
    path = _write(tmp_path, _cluster(sense, products))
    problem = read_problem(path)
    assert isinstance(problem, PruningProblem)
    assert problem.constraints.k == _K
    assert problem.sense.sign == sense
    values = {
        chosen: sum(_PAIRS[pair] for pair in combinations(chosen, 2))
        + sum(_OWN[i] for i in chosen)
        for chosen in combinations(range(_N), _K)
    }
    for chosen, value in values.items():
        assert problem.evaluate(chosen) == value
    best = (max if sense > 0 else min)(values.values())
    assert solve(path, method="brute_force").objective == best
    assert solve(path, 2, "brute_force").k == 2  # as for MDPLIB, a k given counts


def test_packed_and_without_constraints(tmp_path: Path) -> None:
    """A gzip of one is read, too; without constraints there is a graph and no k."""
    packed = tmp_path / "edges.bc.gz"
    text = "* cut\n1\n0\n1\n3\n0 1 1 2 2.5\n0 1 3 2 0\n"
    packed.write_bytes(gzip.compress(text.encode()))
    graph = read(packed)
    assert isinstance(graph, ChannelGraph)
    assert graph.weights.tolist() == [[0.0, 5.0], [5.0, 0.0]]
    assert graph.vertex_weights.tolist() == [0.0, 0.0]
    with pytest.raises(InvalidProblemError, match="states k"):
        read_problem(packed)
    with pytest.raises(InvalidProblemError, match="agree with the file's own"):
        read(packed, sense="minimize")


_BROKEN = {
    "the end of the file": (3, None, "line 3"),
    "begins with 1": (2, "one", "line 2"),
    "1 or -1, got 0": (2, "0", "line 2"),
    "number of constraints": (3, "-1", "line 3"),
    "one block": (4, "2 =nblocks", "line 4"),
    "size of the matrices": (5, "{6, -1}", "line 5"),
    "6 right-hand sides": (6, "6.0 0 0", "line 6"),
    "an entry is": (8, "0 1 1 2", "line 8"),
    "constraints run from 0": (8, "7 1 1 2 0.5", "line 8"),
    "there is one block": (8, "0 2 1 2 0.5", "line 8"),
    "rows and columns run from 1 to 6": (8, "0 1 1 7 0.5", "line 8"),
    "meet in 0": (8, "0 1 6 6 0.5", "line 8"),
    "comes once .first on line 7": (8, "0 1 2 1 0.5", "line 8"),
    "fix how many": (22, "1 1 1 6 2.0", "line 22"),
    "a constraint with products": (27, "2 1 1 1 3.0", "line 27"),
}


@pytest.mark.parametrize("words", _BROKEN)
def test_a_broken_file_names_the_line(words: str, tmp_path: Path) -> None:
    """Each error says the rule that the line breaks."""
    at, line, where = _BROKEN[words]
    lines = _cluster()
    lines = lines[:at] if line is None else [*lines[: at - 1], line, *lines[at:]]
    with pytest.raises(InvalidProblemError, match=words) as caught:
        read_biqcrunch(_write(tmp_path, lines))
    assert where in str(caught.value)
