"""Measure the heuristics against published values, each other and other programs.

Protocol
--------
One process, one thread, compiled code warmed up; seconds are CPU seconds of the
process (wall-clock only in *threads*), so a busy neighbour costs less than it else
would. It still costs: memory bandwidth and caches are shared. Figures from a machine
that is not idle are lower bounds on speed. Suites:

published
    Every MDPLIB file of ``--mdplib`` that has a best-known value, seeds 0 to 9. A run
    ends at that value (within its tolerance) or after 3 s. Columns: share of seeds
    that reached it, mean and worst time to target.
generated
    Instances of the families MDG-a, -b and -c (`benchmarks._instances`), ``--seeds``
    seeds, each its own instance, ``--seconds`` each. The reference is the best value
    ever seen for that instance, by any method here or kept in ``--best`` (a CSV file
    that is brought up to date). Columns: gap to it, primal integral.
channels
    Measured layers of ``--graphs`` at n/4, n/2 and 3n/4. The reference is the optimum
    where ``--prove`` seconds of method "exact" prove one, else the best seen.
speed
    Iterations a second of both tabu searches on uniform weights.
network
    All 53 layers of a simulated ResNet-50, half of the channels kept, each method
    without limits as `solve` runs it.
greedy
    Backward deletion of 2048 channels: NumPy and compiled against summing all rows
    anew (O(n³)), same process, same order.
compile
    Each kernel compiled in a fresh process without a cache, and loaded from it.
threads
    Iterations in the same wall-clock time with two threads and with one.

``--against COMMAND`` runs another program on the files of *published* and *generated*
(written as MDPLIB text): with {file}, {n}, {k}, {seconds}, {seed} in its words, or
these appended. It must print a line "seconds value" at each improvement, or whatever
``--pattern`` says. Its own clock is believed, its values are not better known than
ours: they are printed sums.

    python -m benchmarks.heuristics --suites published speed --out results
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from benchmarks._clocked import PATTERN, run, run_external
from benchmarks._instances import FAMILIES, generated, layers, published
from benchmarks._instances import resnet50_layers as resnet50
from sirfp_opt import Limits, PruningProblem, Status, solve
from sirfp_opt.io import best_known, write
from sirfp_opt.study.metrics import gap_to, primal_integral

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sirfp_opt.study.record import RunRecord

SHARED = Path(__file__).resolve().parents[2] / "shared"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the suites asked for; print the tables and write them to ``--out``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suites", nargs="+", default=["published"], choices=SUITES)
    parser.add_argument("--methods", nargs="+", default=["tabu"])
    parser.add_argument("--families", nargs="+", default=list(FAMILIES))
    parser.add_argument("--sizes", nargs="+", type=int, default=None, metavar="N")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--prove", type=float, default=0.0)
    parser.add_argument("--mdplib", type=Path, default=SHARED / "mdplib")
    parser.add_argument(
        "--graphs", type=Path, default=SHARED / "graphs" / "channel_graphs.npz"
    )
    parser.add_argument("--best", type=Path, default=None)
    parser.add_argument("--against", default=None, metavar="COMMAND")
    parser.add_argument("--pattern", default=PATTERN)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args(arguments)
    for suite in options.suites:
        show(SUITES[suite](options), suite, options.out)


def show(frame: pd.DataFrame, name: str, out: Path | None) -> None:
    """Print a table; write it as tidy CSV and as Markdown."""
    table = frame.to_markdown(index=False, floatfmt=".6g")
    print(f"\n## {name}\n\n{table}", flush=True)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        frame.to_csv(out / f"{name}.csv", index=False)
        (out / f"{name}.md").write_text(f"## {name}\n\n{table}\n", encoding="utf-8")


def warm_up(methods: Iterable[str]) -> None:
    """Load compiled code before any clock runs."""
    problem = generated("MDG-a", 100, 10, 0)
    for method in methods:
        run(problem, method, 0.05, 0)


def all_runs(
    options: argparse.Namespace,
    problem: PruningProblem,
    seeds: Iterable[int],
    seconds: float,
    target: float | None = None,
) -> list[RunRecord]:
    """Run every method, and the other program, on one instance."""
    runs = [
        run(problem, method, seconds, seed, target=target)
        for method in options.methods
        for seed in seeds
    ]
    if options.against is not None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{problem.graph.name}.txt"
            write(problem, file)
            runs += [
                run_external(
                    options.against, file, problem, seconds, seed, options.pattern
                )
                for seed in seeds
            ]
    return runs


def to_published(options: argparse.Namespace) -> pd.DataFrame:
    """Measure the time to published values."""
    warm_up(options.methods)
    rows: list[dict[str, Any]] = []
    for problem in published(options.mdplib):
        known = best_known(problem.graph.name)
        if known is None:
            continue
        target = known.value * (1 - known.tolerance)
        runs = all_runs(options, problem, range(10), 3.0, target)
        for method in dict.fromkeys(r.method for r in runs):
            times = [r.time_to(target) for r in runs if r.method == method]
            reached = [t for t in times if t is not None]
            rows.append(
                {
                    "instance": problem.graph.name,
                    "method": method,
                    "best_known": known.value,
                    "reached": len(reached),
                    "of": len(times),
                    "mean_seconds": np.mean(reached) if reached else np.nan,
                    "max_seconds": max(reached, default=np.nan),
                }
            )
    return pd.DataFrame(rows)


def to_best_seen(options: argparse.Namespace) -> pd.DataFrame:
    """Measure gaps and primal integrals on generated instances."""
    warm_up(options.methods)
    rows = []
    for family in options.families:
        for n, k in FAMILIES[family][2]:
            if options.sizes is not None and n not in options.sizes:
                continue
            for seed in range(options.seeds):
                problem = generated(family, n, k, seed)
                runs = all_runs(options, problem, [seed], options.seconds)
                rows += measured(runs, options)
                if seed == 0:
                    draw(runs, options.out)
    return pd.DataFrame(rows)


def on_channels(options: argparse.Namespace) -> pd.DataFrame:
    """Measure gaps on measured layers, greedy beside the others."""
    warm_up(options.methods)
    rows = []
    for problem in layers(options.graphs):
        name = f"{problem.graph.name}_k{problem.constraints.counts(problem.graph.n)[0]}"
        greedy = solve(problem, method="greedy").objective
        optimum = None
        if options.prove:
            proof = solve(problem, method="exact", time_limit=options.prove)
            optimum = proof.objective if proof.status is Status.OPTIMAL else None
        runs = [
            run(problem, method, options.seconds, seed, target=optimum)
            for method in options.methods
            for seed in range(options.seeds)
        ]
        for row in measured(runs, options, name, optimum):
            rows.append(
                row
                | {
                    "proven": optimum is not None,
                    "greedy_gap": gap_to(row["reference"], greedy),
                    "worse_than_greedy": row["objective"] > greedy,
                }
            )
    return pd.DataFrame(rows)


def measured(
    runs: Sequence[RunRecord],
    options: argparse.Namespace,
    name: str = "",
    optimum: float | None = None,
) -> list[dict[str, Any]]:
    """Compare runs of one instance with the best value ever seen for it."""
    name = name or runs[0].instance
    best = max if runs[0].sense == "maximize" else min
    seen = best_seen(options.best)
    values = [r.objective for r in runs if r.objective is not None]
    values += [seen[name]] if name in seen else []
    reference = best(values) if optimum is None else optimum
    if options.best is not None:
        seen[name] = reference
        frame = pd.Series(seen, name="value").rename_axis("instance")
        options.best.parent.mkdir(parents=True, exist_ok=True)
        frame.to_csv(options.best, float_format="%.17g")
    return [
        {
            "instance": name,
            "n": r.n,
            "k": r.k,
            "method": r.method,
            "seed": r.seed,
            "seconds": r.seconds,
            "iterations": r.trace[-1][1],
            "objective": r.objective,
            "reference": reference,
            "gap": gap_to(reference, r.objective),
            "primal_integral": primal_integral(r, reference, options.seconds),
            "time_to_reference": r.time_to(reference, 1e-9 * abs(reference)),
        }
        for r in runs
    ]


def best_seen(path: Path | None) -> dict[str, float]:
    """Return the best values kept from earlier invocations."""
    if path is None or not path.exists():
        return {}
    frame = pd.read_csv(path, float_precision="round_trip")
    return dict(zip(frame["instance"], frame["value"], strict=True))


def draw(runs: Sequence[RunRecord], out: Path | None) -> None:
    """Write an anytime plot of the runs of one instance."""
    if out is None:
        return
    from matplotlib.figure import Figure

    from sirfp_opt.plotting import plot_anytime

    axes = Figure(figsize=(7, 4), layout="constrained").subplots()
    plot_anytime(runs, log_time=True, ax=axes)
    axes.set_title(runs[0].instance)
    out.mkdir(parents=True, exist_ok=True)
    axes.figure.savefig(out / f"{runs[0].instance}.svg")


def speed(options: argparse.Namespace) -> pd.DataFrame:
    """Measure iterations a second of drop-add and best-swap tabu."""
    from sirfp_opt_solvers._fixed_point import FixedPoint
    from sirfp_opt_solvers._swap_run import SwapRun
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
    graphs = resnet50()
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
    from sirfp_opt_solvers.greedy import delete_smallest

    n = 2048 if options.sizes is None else options.sizes[0]
    rng = np.random.default_rng(0)
    features = rng.normal(size=(n, n // 4)) * rng.gamma(3.0, size=(n, 1))
    redundancy = np.abs(features @ features.T)
    np.fill_diagonal(redundancy, 0.0)
    weights, sizes = -redundancy, np.ones(n, dtype=np.int64)

    def resum() -> np.ndarray:
        left, order = np.arange(n), np.empty(n, dtype=np.int64)
        for step in range(n):
            at = redundancy[np.ix_(left, left)].sum(axis=1).argmax()
            order[step] = left[at]
            left = np.delete(left, at)
        return order

    def incremental(compiled: bool) -> np.ndarray:
        sums = weights.sum(axis=1)
        return delete_smallest(weights, sums, sizes, compiled=compiled)[0]

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
    """Measure what a second thread adds, in wall-clock time."""
    warm_up(["tabu"])
    rows = []
    for n, k in ((500, 50), (2000, 200)):
        problem = generated("MDG-b", n, k, 0)
        for jobs in (1, 2):
            found = solve(
                problem,
                method="tabu",
                limits=Limits(time=min(options.seconds, 5.0)),
                n_jobs=jobs,
            )
            rate = found.trace[-1].iteration / found.runtime / 1e6
            rows.append({"n": n, "threads": jobs, "M_iterations_per_s": rate})
    frame = pd.DataFrame(rows)
    alone = frame.groupby("n")["M_iterations_per_s"].transform("first")
    return frame.assign(times_one=frame["M_iterations_per_s"] / alone)


SUITES: dict[str, Callable[[argparse.Namespace], pd.DataFrame]] = {
    "published": to_published,
    "generated": to_best_seen,
    "channels": on_channels,
    "speed": speed,
    "network": network,
    "greedy": greedy,
    "compile": compilation,
    "threads": threads,
}


if __name__ == "__main__":
    main()
