"""Measure small calls: `solve` from 8 to 64 channels beside plain NumPy.

Protocol
--------
One process, one thread. For each n, uniform weights, k = n / 2, minimised. Ours is
``solve(graph, k, method)`` on a `ChannelGraph`, and on the bare matrix, which has to be
checked and copied first; NumPy's is a function of a few lines that gets the matrix and
returns the set and its value, without any check. Answers are compared once. Times are
CPU microseconds a call: the least of ``--batches`` batches of 20 calls, ours and
NumPy's in turn. Brute force is NumPy over all sets, up to 16 channels. *tabu* is one
iteration, which is its set-up: it has no counterpart, only a time.

    python -m benchmarks.small
"""

from __future__ import annotations

import argparse
import time
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sirfp_opt import ChannelGraph, Limits, solve

if TYPE_CHECKING:
    from collections.abc import Callable

_CALLS = 20
Answer = tuple[np.ndarray, float]


def greedy(weights: np.ndarray, k: int) -> Answer:
    """Delete the channel of the largest row sum until k are left."""
    sums = weights.sum(axis=1)
    left = np.ones(sums.size, dtype=bool)
    for _ in range(sums.size - k):
        worst = sums.argmax()
        left[worst] = False
        sums -= weights[worst]
        sums[worst] = -np.inf
    return _priced(weights, np.flatnonzero(left))


def top_k(weights: np.ndarray, k: int) -> Answer:
    """Keep the k channels of the least row sums."""
    order = np.argsort(weights.sum(axis=1), kind="stable")
    return _priced(weights, np.sort(order[:k]))


def brute_force(weights: np.ndarray, k: int) -> Answer:
    """Price every set."""
    sets = np.array(list(combinations(range(len(weights)), k)))
    values = weights[sets[:, :, None], sets[:, None, :]].sum(axis=(1, 2))
    return _priced(weights, sets[values.argmin()])


def _priced(weights: np.ndarray, kept: np.ndarray) -> Answer:
    return kept, float(weights[np.ix_(kept, kept)].sum() / 2)


def batch(call: Callable[[], object]) -> float:
    """Return the CPU microseconds of one call, of a batch."""
    began = time.process_time()
    for _ in range(_CALLS):
        call()
    return (time.process_time() - began) / _CALLS * 1e6


def least(batches: int, *calls: Callable[[], object]) -> list[float]:
    """Return the least time of each call, measured in turn."""
    times = [[batch(call) for call in calls] for _ in range(batches)]
    return [float(best) for best in np.min(times, axis=0)]


def row(n: int, method: str, batches: int) -> dict[str, object]:
    """Measure one method at one size."""
    weights = np.random.default_rng(n).random((n, n))
    weights += weights.T
    np.fill_diagonal(weights, 0.0)
    graph, k = ChannelGraph.from_redundancy(weights), n // 2
    if method == "tabu":
        limits = Limits(iterations=1)
        ours, bare = least(
            batches,
            lambda: solve(graph, k, method, limits=limits),
            lambda: solve(weights, k, method, sense="minimize", limits=limits),
        )
        return {"method": method, "n": n, "graph": ours, "matrix": bare}
    plain = {"greedy": greedy, "top_k": top_k, "brute_force": brute_force}[method]
    found, (kept, value) = solve(graph, k, method), plain(weights, k)
    if found.selected.tolist() != kept.tolist() or not np.isclose(
        found.objective, value
    ):
        raise RuntimeError(f"{method}, n={n}: {found} against {kept}, {value}")
    ours, bare, theirs = least(
        batches,
        lambda: solve(graph, k, method),
        lambda: solve(weights, k, method, sense="minimize"),
        lambda: plain(weights, k),
    )
    return {
        "method": method,
        "n": n,
        "graph": ours,
        "matrix": bare,
        "NumPy": theirs,
        "graph / NumPy": ours / theirs,
        "matrix / NumPy": bare / theirs,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batches", type=int, default=15)
    options = parser.parse_args()
    sizes = {
        "greedy": (8, 16, 32, 64),
        "top_k": (8, 16, 32, 64),
        "brute_force": (8, 12, 16),
        "tabu": (64, 128, 500),
    }
    rows = []
    for method, ns in sizes.items():
        for n in ns:
            slow = method == "brute_force" and n > 12
            rows.append(row(n, method, 1 if slow else options.batches))
    print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=".4g"))


if __name__ == "__main__":
    main()
