"""What the machine gives: iterations a second, compilation, threads, whole networks."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from benchmarks._clocked import run, warm_up
from benchmarks._instances import generated, resnet50_layers
from sirfp_opt import Limits, solve

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


def speed(options: argparse.Namespace) -> pd.DataFrame:
    """Measure iterations a second of drop-add and best-swap tabu."""
    from sirfp_opt_solvers._local.fixed_point import FixedPoint
    from sirfp_opt_solvers._local.swap_run import SwapRun
    from sirfp_opt_solvers.tabu import Tabu

    warm_up(["tabu"])
    rows = []
    for n, k, share in ((500, 50, 1.0), (2000, 200, 0.2), (5000, 500, 0.05)):
        fixed = FixedPoint.of(generated("MDG-b", n, k, 0).canonical)
        for search, iterations in (("drop_add", 1_000_000), ("best_swap", 200_000)):
            rates = []
            for repeat in range(5):
                rng = np.random.default_rng(repeat)
                walk = SwapRun(fixed, rng.permutation(n)[:k], max(3, n // 100), rng)
                began = time.process_time()
                made = getattr(walk, search)(1 << 40, int(share * iterations), 1 << 60)
                rates.append(made / (time.process_time() - began))
            rows.append(
                {
                    "n": n,
                    "k": k,
                    "search": search,
                    "median_M_per_s": np.median(rates) / 1e6,
                    "best_M_per_s": max(rates) / 1e6,
                }
            )
        for method in options.methods:
            if method == Tabu.__name__.lower():
                record = run(generated("MDG-b", n, k, 0), method, 3.0, 0)
                rate = record.trace[-1][1] / record.seconds / 1e6
                rows.append(
                    {
                        "n": n,
                        "k": k,
                        "search": "tabu, all in all",
                        "median_M_per_s": rate,
                        "best_M_per_s": rate,
                    }
                )
    return pd.DataFrame(rows)


def network(options: argparse.Namespace) -> pd.DataFrame:
    """Measure all layers of a network, each solved as `solve` does by default."""
    graphs = resnet50_layers()
    warm_up(options.methods)
    rows = []
    for method in ["greedy", *options.methods]:
        for repeat in range(3):
            began, wall = time.process_time(), time.perf_counter()
            total = sum(solve(g, g.n // 2, method).objective for g in graphs)
            rows.append(
                {
                    "method": method,
                    "repeat": repeat,
                    "layers": len(graphs),
                    "cpu_seconds": time.process_time() - began,
                    "wall_seconds": time.perf_counter() - wall,
                    "redundancy": total,
                }
            )
    return pd.DataFrame(rows)


def greedy(options: argparse.Namespace) -> pd.DataFrame:
    """Measure backward deletion against summing rows anew."""
    from sirfp_opt_solvers._local.backward import delete_smallest

    n = 2048 if options.sizes is None else options.sizes[0]
    rng = np.random.default_rng(0)
    features = rng.normal(size=(n, n // 4)) * rng.gamma(3.0, size=(n, 1))
    redundancy = np.abs(features @ features.T)
    np.fill_diagonal(redundancy, 0.0)
    weights = -redundancy

    def resum() -> np.ndarray:
        left, order = np.arange(n), np.empty(n, dtype=np.int64)
        for step in range(n):
            at = redundancy[np.ix_(left, left)].sum(axis=1).argmax()
            order[step] = left[at]
            left = np.delete(left, at)
        return order

    def incremental(compiled: bool) -> np.ndarray:
        sums = weights.sum(axis=1)
        return delete_smallest(weights, sums, None, compiled=compiled)[0]

    ways: dict[str, tuple[Callable[[], np.ndarray], int]] = {
        "summing anew, O(n³)": (resum, 1),
        "NumPy, O(n²)": (lambda: incremental(False), 5),
        "compiled, O(n²)": (lambda: incremental(True), 5),
    }
    incremental(True)
    rows: list[dict[str, Any]] = []
    orders = []
    for way, (function, repeats) in ways.items():
        times = []
        for _ in range(repeats):
            began = time.process_time()
            order = function()
            times.append(time.process_time() - began)
        orders.append(order)
        rows.append(
            {
                "way": way,
                "n": n,
                "cpu_seconds": min(times),
                # The last two have each other for a sum: a tie up to rounding.
                "same_order": bool((orders[0][:-2] == order[:-2]).all()),
            }
        )
    frame = pd.DataFrame(rows)
    frame["times_faster"] = frame["cpu_seconds"].iloc[0] / frame["cpu_seconds"]
    return frame


_COMPILE = """
import sys, time
import numpy as np
t = time.process_time()
import numba
print("import of numba", time.process_time() - t)
t = time.process_time()
numba.njit(lambda x: x + 1)(1)
print("the first trivial function", time.process_time() - t)
from sirfp_opt import ChannelGraph, LayerConstraints, Limits, solve
w = np.random.default_rng(0).random((40, 40)); w = w + w.T
for name, call in (
    ("greedy", lambda: solve(w, 9, "greedy", compiled=True)),
    ("local_search", lambda: solve(w, 9, "local_search", descents=1)),
    ("tabu", lambda: solve(w, 9, "tabu", limits=Limits(iterations=2000))),
    ("anneal", lambda: solve(w, 9, "anneal", limits=Limits(iterations=2000))),
    ("tabu, mixed sizes", lambda: solve(w, method="tabu", limits=Limits(iterations=99),
        constraints=LayerConstraints(9, tied=[(0, 1, 2)]))),
):
    t = time.process_time(); call(); print(name, time.process_time() - t)
"""


def compilation(options: argparse.Namespace) -> pd.DataFrame:
    """Measure first calls in a fresh process, without and with the cache on disk."""
    del options
    frames = []
    with tempfile.TemporaryDirectory() as cache:
        for state in ("cold", "cached"):
            done = subprocess.run(
                [sys.executable, "-c", _COMPILE],
                capture_output=True,
                text=True,
                check=True,
                env=os.environ | {"NUMBA_CACHE_DIR": cache},
            )
            rows = [line.rsplit(" ", 1) for line in done.stdout.splitlines()]
            frames.append(pd.Series({a: float(b) for a, b in rows}, name=state))
    frame = pd.concat(frames, axis=1)
    frame.loc["sum"] = frame.sum()
    return frame.rename_axis("first call of").reset_index()


def threads(options: argparse.Namespace) -> pd.DataFrame:
    """Measure what a second thread adds, by the wall clock and by the processor's.

    On a machine that is not idle the wall clock says little; iterations for each CPU
    second of both threads, over those of one alone, say what an idle one would gain.
    """
    warm_up(["tabu"])
    rows = []
    for n, k in ((500, 50), (2000, 200)):
        problem = generated("MDG-b", n, k, 0)
        for jobs in (1, 2):
            limits, cpu = Limits(time=min(options.seconds, 5.0)), time.process_time()
            found = solve(problem, method="tabu", limits=limits, n_jobs=jobs)
            cpu = time.process_time() - cpu
            made = found.trace[-1].iteration / 1e6
            rows.append(
                {
                    "n": n,
                    "threads": jobs,
                    "M_per_wall_second": made / found.runtime,
                    "M_per_cpu_second": made / cpu,
                }
            )
    frame = pd.DataFrame(rows)
    alone = frame.groupby("n").transform("first")
    frame["times_one"] = frame["M_per_wall_second"] / alone["M_per_wall_second"]
    efficiency = frame["M_per_cpu_second"] / alone["M_per_cpu_second"]
    frame["times_one_if_idle"] = frame["threads"] * efficiency
    return frame
