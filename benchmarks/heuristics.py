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
    Iterations a second with two threads and with one, by both clocks.

``--against COMMAND`` runs another program on the files of *published* and *generated*
(written as MDPLIB text): with {file}, {n}, {k}, {seconds}, {seed} in its words, or
these appended. It must print a line "seconds value" at each improvement, or whatever
``--pattern`` says. Its own clock is believed, its values are not better known than
ours: they are printed sums.

    python -m benchmarks.heuristics --suites published speed --out results
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from benchmarks._clocked import PATTERN, run, run_external, warm_up
from benchmarks._instances import FAMILIES, generated, layers, published
from benchmarks._machine import compilation, greedy, network, speed, threads
from sirfp_opt import PruningProblem, Status, solve
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
    frame = pd.read_csv(path)
    return dict(zip(frame["instance"], frame["value"], strict=True))


def draw(runs: Sequence[RunRecord], out: Path | None) -> None:
    """Write an anytime plot of the runs of one instance."""
    if out is None:
        return
    from matplotlib.figure import Figure

    from sirfp_opt.plotting import plot_anytime

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    plot_anytime(runs, log_time=True, ax=axes)
    axes.set_title(runs[0].instance)
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / f"{runs[0].instance}.svg")


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
