"""Measure proofs: time to optimality, gaps on the way, certificates, greedy's distance.

Protocol
--------
One process; seconds are CPU seconds of the process where it computes itself ("exact",
bounds) and wall-clock seconds where a back end with threads of its own does ("cpsat",
"milp"). Compiled code is warmed up first. Suites:

proof
    Every method of ``--methods`` on the measured layers of ``--graphs`` (|S|, n within
    ``--sizes``) at n/4, n/2 and 3n/4, ``--seconds`` each. Columns: what was proved,
    seconds to the proof, gap after 10 s and at the end. "cpsat" and "milp" are asked
    only up to ``--linear`` channels, beyond which they prove nothing in minutes.
files
    The same on the GKD-c and SOM-b files of ``--mdplib``.
structured
    The same on problems with ties, copies of channels, whole weights or Euclidean
    distances (`benchmarks._structured`), up to the larger of ``--sizes``.
open
    The same on densest subgraphs of G(160, density), which stay open for long;
    ``--only "0.5), k=40"`` for one of them.
levels
    The gap of tabu's set to each level of `sirfp_opt.bound`, by itself, with its
    seconds, on measured layers and on G(40, 0.5) and uniform weights, all of up to 128
    channels, k = n/4; beside them the doubly non-negative relaxation as SCS solves it
    through cvxpy, to 1e-6, where both are installed.
certificates
    Tabu's set for a second per 500 channels, then `sirfp_opt.bound` for it, on layers
    of at least 512 channels: measured ones, and simulated ones of 1024 and 2048
    (post-ReLU features of random rank, `simulated`). Columns: gap of tabu and of
    greedy to each level, seconds of all levels.
distance
    How far from optimal are the paper's greedy, annealing and tabu search (a second
    each) where "exact" proves the optimum in ``--seconds``: layer by layer, and the
    mean and the largest by n and share.

Each suite prints a table and writes CSV and Markdown to ``--out``; *proof* and *files*
also a performance profile (Dolan and Moré 2002) as SVG.

    python -m benchmarks.exact --suites proof --seconds 60 --out results
    python -m benchmarks.exact --suites structured --sizes 16 2000 --seconds 60
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from benchmarks._clocked import CpuSearch, warm_up
from benchmarks._instances import layers
from benchmarks._structured import clusters, coin_flips, structured
from benchmarks.heuristics import show
from sirfp_opt import ChannelGraph, LayerConstraints, Limits, PruningProblem, bound
from sirfp_opt.bounds import EFFORTS
from sirfp_opt.io import read
from sirfp_opt.registry import create_solver
from sirfp_opt.search import Search
from sirfp_opt.sense import relative_gap
from sirfp_opt.solution import OPTIMALITY_TOLERANCE
from sirfp_opt_solvers.relaxations import levels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SHARED = Path(__file__).resolve().parents[2] / "shared"
EARLY = 10.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the suites asked for; print the tables and write them to ``--out``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suites", nargs="+", default=["proof"], choices=SUITES)
    parser.add_argument("--methods", nargs="+", default=["exact"])
    parser.add_argument("--sizes", nargs=2, type=int, default=[16, 512])
    parser.add_argument("--only", default="", help="part of the layers' names")
    parser.add_argument("--linear", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--mdplib", type=Path, default=SHARED / "mdplib")
    parser.add_argument(
        "--graphs", type=Path, default=SHARED / "graphs" / "channel_graphs.npz"
    )
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args(arguments)
    warm_up({"greedy", "tabu", "anneal", "exact"})
    flips = ChannelGraph(coin_flips(70, 0.5, 1), sense="maximize")
    prove(PruningProblem(flips, LayerConstraints(20)), "exact", 5.0)  # the tree, too
    for suite in options.suites:
        for name, frame in SUITES[suite](options).items():
            show(frame, name, options.out)


def measured(options: argparse.Namespace) -> Iterator[PruningProblem]:
    """Yield the layers asked for, smallest first."""
    low, high = options.sizes
    found = [
        problem
        for problem in layers(options.graphs)
        if low <= problem.graph.n <= high and options.only in problem.graph.name
    ]
    yield from sorted(found, key=lambda problem: problem.graph.n)


def simulated(n: int, seed: int = 0) -> ChannelGraph:
    """Return the redundancy of n post-ReLU channels that share n/8 directions."""
    rng = np.random.default_rng([n, seed])
    mixed = rng.normal(size=(n, n // 8)) @ rng.normal(size=(n // 8, 4 * n))
    maps = np.maximum(mixed + rng.normal(size=(n, 4 * n)), 0.0)
    maps /= maps.sum(axis=1, keepdims=True)
    return ChannelGraph.from_redundancy(maps @ maps.T, name=f"simulated_n{n}")


def prove(problem: PruningProblem, method: str, seconds: float) -> dict[str, Any]:
    """Run a method once; return a row of the table."""
    options: dict[str, Any] = {}
    name, solver = create_solver(method, options)
    own = method not in ("cpsat", "milp")
    clock = time.process_time if own else time.perf_counter
    search = (CpuSearch if own else Search)(
        problem, limits=Limits(time=seconds), started=clock(), solver=name
    )
    solver.solve(search)
    gap = search.gap if search.gap is not None else math.inf
    proved = gap <= OPTIMALITY_TOLERANCE
    early = [e.gap for e in search.trace() if e.seconds <= EARLY and e.gap is not None]
    return {
        "instance": problem.graph.name,
        "n": problem.graph.n,
        "k": problem.constraints.counts(problem.graph.n)[0],
        "method": method,
        "proved": proved,
        "seconds": search.seconds if proved else math.nan,
        "gap_10s": early[-1] if early else math.inf,
        "gap_end": 0.0 if proved else gap,
        "objective": search.objective,
    }


def proofs(
    options: argparse.Namespace, problems: Iterator[PruningProblem], suite: str
) -> dict[str, pd.DataFrame]:
    """Run every method on every problem; draw the profile."""
    rows = []
    for problem in problems:
        for method in options.methods:
            if method in ("cpsat", "milp") and problem.graph.n > options.linear:
                continue
            rows.append(prove(problem, method, options.seconds))
            print(rows[-1], flush=True)
    frame = pd.DataFrame(rows)
    if options.out is not None and not frame.empty:
        draw_profile(frame, options.out / f"{suite}.svg")
    return {suite: frame}


def draw_profile(frame: pd.DataFrame, file: Path) -> None:
    """Draw the share of problems proved against seconds, a line a method."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    for (method, rows), style in zip(
        frame.groupby("method"), ("-", "--", ":", "-."), strict=False
    ):
        times = np.sort(rows["seconds"].dropna().clip(lower=1e-3))
        share = np.arange(1, len(times) + 1) / len(rows)
        axes.step(times, share, style, where="post", color="black", label=str(method))
    axes.set(xscale="log", xlabel="seconds", ylabel="share proved", ylim=(0, 1.02))
    axes.legend(frameon=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)


def on_layers(options: argparse.Namespace) -> dict[str, pd.DataFrame]:
    """*proof*."""
    return proofs(options, measured(options), "proof")


def on_files(options: argparse.Namespace) -> dict[str, pd.DataFrame]:
    """*files*."""

    def problems() -> Iterator[PruningProblem]:
        for file in sorted(options.mdplib.glob("*.txt")):
            if file.name.startswith(("GKD-c", "SOM-b")):
                graph = read(file)
                k = int(file.stem.rpartition("_m")[2])
                yield PruningProblem(graph, LayerConstraints(k))

    return proofs(options, problems(), "files")


def on_structured(options: argparse.Namespace) -> dict[str, pd.DataFrame]:
    """*structured*."""
    return proofs(options, structured(options.sizes[1]), "structured")


def on_open(options: argparse.Namespace) -> dict[str, pd.DataFrame]:
    """*open*."""
    problems = (p for p in clusters(160) if options.only in p.graph.name)
    return proofs(options, problems, "open")


def on_levels(options: argparse.Namespace) -> dict[str, pd.DataFrame]:
    """*levels*."""
    uniform = np.random.default_rng(0).random((64, 64))
    layers_ = {p.graph.name: p.graph for p in measured(options) if p.graph.n <= 128}
    graphs = [
        *layers_.values(),
        ChannelGraph(coin_flips(40, 0.5, 0), sense="maximize", name="G(40, 0.5)"),
        ChannelGraph(uniform + uniform.T, sense="minimize", name="uniform"),
    ]
    rows = []
    for graph in graphs:
        problem = PruningProblem(graph, LayerConstraints(graph.n // 4))
        best = heuristic(problem, "tabu", 0.2)
        row: dict[str, Any] = {"instance": graph.name, "n": graph.n}
        enough = problem.canonical.from_objective(best)
        for name in EFFORTS[1:]:
            for _ in range(1 + (not rows)):  # the first once more, compiled
                started = time.process_time()
                value = getattr(levels, name)(
                    problem.canonical, graph.n // 4, enough, lambda: False
                )
                seconds = time.process_time() - started
            objective = problem.canonical.to_objective(value)
            row |= {name: relative_gap(best, objective), f"{name}_s": seconds}
        row |= scs(problem, best)
        rows.append(row)
        print(row, flush=True)
    return {"levels": pd.DataFrame(rows)}


def scs(problem: PruningProblem, best: float) -> dict[str, float]:
    """Return the gap to the doubly non-negative relaxation by SCS, and its seconds."""
    try:
        import cvxpy
    except ImportError:
        return {}
    if "SCS" not in cvxpy.installed_solvers():
        return {}
    canonical, k = problem.canonical, problem.canonical.counts[0]
    lifted = cvxpy.Variable((canonical.m + 1, canonical.m + 1), PSD=True)
    x, products = lifted[1:, 0], lifted[1:, 1:]
    scale = float(np.abs(canonical.weights).max())
    model = cvxpy.Problem(
        cvxpy.Maximize(
            cvxpy.sum(cvxpy.multiply(canonical.weights / scale / 2, products))
        ),
        [
            lifted[0, 0] == 1,
            cvxpy.diag(products) == x,
            cvxpy.sum(x) == k,
            cvxpy.sum(products, axis=1) == k * x,
            products >= 0,
        ],
    )
    started = time.process_time()
    model.solve(solver="SCS", eps=1e-6, max_iters=20_000)
    bound_ = canonical.to_objective(float(model.value) * scale)
    return {"scs": relative_gap(best, bound_), "scs_s": time.process_time() - started}


def certificates(options: argparse.Namespace) -> dict[str, pd.DataFrame]:
    """*certificates*."""
    graphs = {p.graph.name: p.graph for p in measured(options) if p.graph.n >= 512}
    graphs |= {g.name: g for g in map(simulated, (1024, 2048))}
    rows = []
    for graph in graphs.values():
        for share in (0.25, 0.5, 0.75):
            k = int(share * graph.n)
            problem = PruningProblem(graph, LayerConstraints(k))
            tabu = heuristic(problem, "tabu", graph.n / 500)
            greedy = heuristic(problem, "greedy", math.inf)
            started = time.process_time()
            found = bound(problem)
            rows.append(
                {"instance": graph.name, "n": graph.n, "k": k}
                | {name: relative_gap(tabu, v) for name, v in found.levels.items()}
                | {"greedy": found.gap(greedy)}
                | {"seconds": time.process_time() - started}
            )
            print(rows[-1], flush=True)
    return {"certificates": pd.DataFrame(rows)}


def heuristic(problem: PruningProblem, method: str, seconds: float) -> float:
    """Return the objective after some CPU seconds."""
    name, solver = create_solver(method, {})
    limits = Limits() if math.isinf(seconds) else Limits(time=seconds)
    search = CpuSearch(problem, limits=limits, started=time.process_time(), solver=name)
    solver.solve(search)
    assert search.objective is not None
    return search.objective


def distances(options: argparse.Namespace) -> dict[str, pd.DataFrame]:
    """*distance*."""
    rows = []
    for problem in measured(options):
        row = prove(problem, "exact", options.seconds)
        if not row["proved"]:
            continue
        best = row["objective"]
        rows.append(
            {"instance": row["instance"], "n": row["n"], "k": row["k"]}
            | {
                method: relative_gap(heuristic(problem, method, seconds), best)
                for method, seconds in (
                    ("greedy", math.inf),
                    ("anneal", 1.0),
                    ("tabu", 1.0),
                )
            }
        )
        print(rows[-1], flush=True)
    frame = pd.DataFrame(rows)
    frame["share"] = frame["k"] / frame["n"]
    by = frame.groupby(["n", "share"])[["greedy", "anneal", "tabu"]]
    summary = by.agg(["count", "mean", "max"])
    summary.columns = ["_".join(column) for column in summary.columns]
    return {"distance": frame, "distance_by_size": summary.reset_index()}


SUITES: dict[str, Callable[[argparse.Namespace], dict[str, pd.DataFrame]]] = {
    "proof": on_layers,
    "files": on_files,
    "structured": on_structured,
    "open": on_open,
    "levels": on_levels,
    "certificates": certificates,
    "distance": distances,
}


if __name__ == "__main__":
    main()
