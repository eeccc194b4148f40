"""The table of peers says what is measured, what is not installed and what failed."""

from __future__ import annotations

from functools import partial

from benchmarks.peers import Answer, Peer, instances, measure, ours, table
from sirfp_opt import PruningProblem, solve


def _absent(problem: PruningProblem, seconds: float) -> Answer:
    raise ImportError("no", name="elsewhere")


def _unlicensed(problem: PruningProblem, seconds: float) -> Answer:
    raise RuntimeError("no licence")


def test_a_row_for_each_peer_installed_or_not() -> None:
    """Every set is priced by the core; whoever cannot run is a row all the same."""
    peers: dict[str, Peer] = {
        "exact": partial(ours, method="exact"),
        "absent": _absent,
        "unlicensed": _unlicensed,
    }
    problems = instances()
    for problem in problems:  # what is compiled here is not compiled by the clock
        solve(problem, method="exact")
    measured = measure(problems, peers, 30.0, 1)
    rows = table(problems, peers, measured).splitlines()
    assert len(rows) == 2 + len(peers)
    assert all(row.count("|") == len(problems) + 2 for row in rows)
    assert rows[2].count("proved") == len(problems)
    assert "not installed (elsewhere)" in rows[3]
    assert rows[4].count("failed: no licence") == len(problems)
