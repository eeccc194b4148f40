"""The explorer's data: every value is that of the set beside it, every bound holds."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sirfp_opt import (
    ChannelGraph,
    InvalidProblemError,
    LayerConstraints,
    PruningProblem,
    ReconstructionProblem,
    solve,
)
from sirfp_opt.explorer import explore

N = 10


def layer(seed: int, *, sense: str = "minimize", n: int = N) -> ChannelGraph:
    """Return a layer of random maps."""
    maps = np.random.default_rng(seed).normal(size=(n, 30))
    return ChannelGraph(maps @ maps.T, sense=sense, name=f"layer {seed}")


def set_of(priced: dict[str, Any], n: int) -> list[int]:
    """Unpack a set as the page's script does."""
    bits = np.frombuffer(base64.b64decode(priced["set"]), dtype=np.uint8)
    return np.flatnonzero(np.unpackbits(bits, bitorder="little")[:n]).tolist()


def floats_of(text: str) -> np.ndarray[Any, Any]:
    """Unpack an array of floats."""
    return np.frombuffer(base64.b64decode(text), dtype="<f4")


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**20), st.sampled_from(["minimize", "maximize"]))
def test_values_are_those_of_the_sets(seed: int, sense: str) -> None:
    """Of size k, priced by the graph; greedy ≤ best ≤ bound, best = brute force."""
    graph = layer(seed, sense=sense)
    told = explore(graph).data["layers"][0]
    sign = 1 if sense == "maximize" else -1
    assert [row["k"] for row in told["rows"]] == list(range(1, N + 1))
    for row in told["rows"]:
        for which in ("greedy", "best"):
            channels = set_of(row[which], N)
            assert len(channels) == row["k"]
            assert row[which]["value"] == graph.value_of(np.array(channels))
        best = sign * row["best"]["value"]
        assert sign * row["greedy"]["value"] <= best + 1e-9 * abs(best)
        assert best <= sign * row["bound"] + 1e-9 * abs(best)
        true = solve(graph, row["k"], "brute_force").objective
        assert row["status"] == "optimal"
        assert row["best"]["value"] == pytest.approx(true)
    above = np.triu_indices(N, 1)
    assert floats_of(told["matrix"]["weights"]) == pytest.approx(
        graph.weights[above], rel=1e-6
    )


def test_a_solution_brings_its_set_and_constraints_hold() -> None:
    """The set in hand is marked and priced; must_keep holds at every k; k moves."""
    rules = LayerConstraints(4, must_keep=(2,), multiple_of=2)
    found = solve(PruningProblem(layer(1), rules), method="top_k")
    told = explore(found).data["layers"][0]
    assert set_of(told["chosen"], N) == found.selected.tolist()
    assert told["chosen"]["value"] == found.objective
    assert (told["start"], [row["k"] for row in told["rows"]]) == (4, [2, 4, 6, 8, 10])
    assert all(2 in set_of(row["best"], N) for row in told["rows"])


def test_missing_edges_are_blank_and_impossible_counts_left_out() -> None:
    """Two channels without an edge are in no set; k = 3 of a triangle without one."""
    weights = np.array([[0.0, 1, 2], [1, 0, 3], [2, 3, 0]])
    graph = ChannelGraph(weights, adjacency=np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]]))
    told = explore(graph).data["layers"][0]
    assert [row["k"] for row in told["rows"]] == [1, 2]
    assert set_of(told["rows"][1]["best"], 3) == [1, 2]
    assert np.isnan(floats_of(told["matrix"]["weights"])).tolist() == [
        False,
        True,
        False,
    ]


def test_refitted_layers_are_priced_after_the_refit() -> None:
    """Values are shares of the signal, edges correlations without their sign."""
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(8, 8))
    problem = ReconstructionProblem(mixed @ mixed.T + np.eye(8), np.eye(8))
    told = explore(problem).data["layers"][0]
    assert told["refit"]
    for row in told["rows"]:
        value = problem.value_of(set_of(row["best"], 8))
        assert row["best"]["value"] == value
        assert row["bound"] >= value - 1e-9
    covariance = problem.covariances[0]
    spread = np.sqrt(covariance.diagonal())
    expected = np.abs(covariance / np.outer(spread, spread))[np.triu_indices(8, 1)]
    edges = floats_of(told["matrix"]["weights"])
    assert edges == pytest.approx(expected, rel=1e-5)


def test_a_large_layer_is_shown_at_some_counts_and_averaged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beyond 128 channels: at most 128 rows, only some counts, and k among them."""
    monkeypatch.setattr("sirfp_opt.explorer.searching._MOST_COUNTS", 6)
    graph = layer(3, n=150)
    page = explore(graph, k=77, method="greedy", time_limit=1e-3)
    told = page.data["layers"][0]
    counts = [row["k"] for row in told["rows"]]
    assert (counts[0], counts[-1], told["start"]) == (1, 150, 77)
    assert len(counts) == 7
    assert 77 in counts
    assert told["matrix"]["side"] == 128
    blocks = np.zeros((128, 128))
    blocks[np.triu_indices(128)] = floats_of(told["matrix"]["weights"])
    # 150 / 128: the third cell is the first that holds two channels.
    order = told["order"]
    both = graph.weights[order[0], order[2:4]]
    assert blocks[0, 2] == pytest.approx(both.mean(), rel=1e-5)
    assert len(page.html) < 150_000


def test_maps_are_made_small_and_shaded_over_their_own_range() -> None:
    """At most 32 pixels a side, darkest 0, lightest 255, a flat one grey."""
    maps = np.zeros((N, 40, 70))
    maps[:, :, 35:] = 5.0
    maps[3] = 1.0
    told = explore(layer(0), maps=maps).data["layers"][0]["maps"]
    assert (told["height"], told["width"]) == (14, 24)
    pixels = np.frombuffer(base64.b64decode(told["pixels"]), dtype=np.uint8)
    pixels = pixels.reshape(N, 14, 24)
    assert (pixels[0].min(), pixels[0].max(), pixels[3].max()) == (0, 255, 128)


class Addresses(HTMLParser):
    """Collects what a page would load, and its elements' names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note every address."""
        self.tags.append(tag)
        self.found += [v or "" for k, v in attrs if k in ("src", "href", "srcset")]


def test_the_page_needs_nothing_beside_itself_and_escapes_names(tmp_path: Path) -> None:
    """No address at all; a name that is markup stays text, in the data, too."""
    evil = "</script><img src=x onerror=alert(1)>"
    graph = ChannelGraph.from_redundancy(
        np.ones((3, 3)), name=evil, labels=["<b>", "&", "c"]
    )
    page = explore({evil: graph, "b": layer(0)}, title=evil)
    page.save(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    read = Addresses(text)
    assert read.found == []
    assert "img" not in read.tags
    assert not re.search(r"https?:|@import|url\(|fetch\(|XMLHttp", text)
    stored = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
    assert stored is not None
    assert json.loads(stored[1]) == page.data
    assert page.data["layers"][0]["name"] == evil
    frame = Addresses(page._repr_html_())
    assert frame.tags == ["iframe"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"layers": np.eye(3)}, "`layers` must be a ChannelGraph"),
        ({"layers": {}}, "at least one layer"),
        ({"k": 11}, "`k` must be a number of channels that may be kept"),
        ({"k": 1.5}, r"share in \(0, 1\]"),
        (
            {"maps": np.zeros((3, 4, 4))},
            r"`maps` must have shape \(10, height, width\)",
        ),
        ({"maps": np.full((N, 2, 2), np.nan)}, "`maps` must be finite"),
        ({"selected": [0, 99]}, "selected"),
        ({"selected": {"a": [1]}}, "selected"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: dict[str, Any], said: str) -> None:
    """Before any search."""
    with pytest.raises(InvalidProblemError, match=said):
        explore(**{"layers": layer(0)} | arguments)
