"""Measure `auto` against the two that it chooses between, exact and tabu.

Protocol
--------
One process, one thread, compiled code warmed up; CPU seconds of the process, the
canonical form included. Each instance is solved by "exact" (at most ``--seconds`` CPU
seconds), by "tabu" and by "auto", which end by themselves, in this order,
``--repeats`` times over; the least time of each counts. Instances: uniform weights and
measured layers of ``--graphs`` from 12 to 512 channels, those of
`benchmarks._structured` of up to 100, and files of ``--mdplib``.

A method's *result* is its objective and whether it is proved. The better of "exact" and
"tabu" is the one of the better objective; where both have the same, the one with a
proof, if it comes within ``--moment`` seconds, else the faster one. Columns: seconds,
"!" where proved, "-" where the objective is worse than the best of the three; then
auto's time as a multiple of the better one's, whether its result is as good, and when
it had its set, whatever it did for the bound after that.

    python -m benchmarks.auto --repeats 2
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from benchmarks._clocked import CpuSearch
from benchmarks._instances import layers, published
from benchmarks._structured import distances, structured
from sirfp_opt import ChannelGraph, LayerConstraints, Limits, PruningProblem
from sirfp_opt.registry import create_solver
from sirfp_opt.solution import OPTIMALITY_TOLERANCE
from sirfp_opt_solvers._local.compilation import warm_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sirfp_opt.search import Search
    from sirfp_opt.trace import TraceEvent

SHARED = Path(__file__).resolve().parents[2] / "shared"
METHODS = ("exact", "tabu", "auto")
_LAYERS = ("stem.0", "stem.1", "layer1.0", "layer2.0.c1", "layer3.0.c1", "layer4.0.c1")


class Result(NamedTuple):
    """How one method ended."""

    value: float
    proved: bool
    seconds: float
    found: float


def instances(graphs: Path, mdplib: Path) -> Iterator[PruningProblem]:
    """Yield the instances, small ones first."""
    for n, k in ((12, 6), (16, 8), (20, 5), (48, 12), (128, 64), (200, 50)):
        weights = np.random.default_rng(n).random((n, n))
        yield _named(weights + weights.T, k, f"uniform {n}")
    yield _named(distances(200), 100, "distances, n=200")
    yield from structured(100)
    if graphs.exists():
        for problem in layers(graphs):
            if any(f"small__{part}" in problem.title for part in _LAYERS):
                yield problem
    yield from (p for p in published(mdplib) if "_1_" in p.title or "SOM" in p.title)


def _named(weights: np.ndarray, k: int, name: str) -> PruningProblem:
    graph = ChannelGraph.from_diversity(weights, name=name)
    return PruningProblem(graph, LayerConstraints(k))


def measure(problem: PruningProblem, seconds: float, repeats: int) -> dict[str, Result]:
    """Return each method's result; the least time of the repeats."""
    found: dict[str, Result] = {}
    for method in METHODS * repeats:
        _, solver = create_solver(method)
        fresh = PruningProblem(problem.graph, problem.constraints)
        limits = Limits(time=seconds if method == "exact" else None)
        search = CpuSearch(fresh, limits=limits, started=time.process_time())
        solver.solve(search)
        least = search.seconds
        if method in found:
            least = min(least, found[method].seconds)
        gap = math.inf if search.gap is None else search.gap
        value = math.nan if search.objective is None else search.objective
        last = max((e.seconds for e in _improvements(search)), default=math.nan)
        if method in found:
            last = min(last, found[method].found)
        found[method] = Result(value, gap <= OPTIMALITY_TOLERANCE, least, last)
    return found


def _improvements(search: Search) -> Iterator[TraceEvent]:
    """Yield the events at which the incumbent became better."""
    before = None
    for event in search.trace():
        if event.incumbent != before:
            yield event
        before = event.incumbent


def compare(
    problem: PruningProblem, found: dict[str, Result], moment: float
) -> dict[str, object]:
    """Return one row of the table."""
    sign = problem.sense.sign
    best = max(sign * result.value for result in found.values())
    slack = 1e-9 * max(1.0, abs(best))

    def good(name: str) -> bool:
        return sign * found[name].value >= best - slack

    exact, tabu, auto = (found[name] for name in METHODS)
    better = "tabu"
    if good("exact") and (
        not good("tabu")
        or exact.seconds < tabu.seconds
        or (exact.proved and exact.seconds <= moment)
    ):
        better = "exact"
    kept = f"k={problem.constraints.k}"
    name = problem.title if kept in problem.title else f"{problem.title} {kept}"
    row: dict[str, object] = {"instance": name}
    for name, result in found.items():
        marks = ("!" if result.proved else "") + ("" if good(name) else "-")
        row[name] = f"{result.seconds:.4f}{marks}"
    row["better"] = better
    row["auto / better"] = auto.seconds / found[better].seconds
    row["as good"] = good("auto") and (auto.proved or not found[better].proved)
    row["set found"] = f"{auto.found:.4f}"
    return row


def main() -> None:
    """Print the table and what it comes to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--graphs", type=Path, default=SHARED / "graphs")
    parser.add_argument("--mdplib", type=Path, default=SHARED / "mdplib")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--moment", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--only", default="", help="a part of the instances' names")
    options = parser.parse_args()
    warm_up("exact")
    rows = []
    for problem in instances(options.graphs / "channel_graphs.npz", options.mdplib):
        if options.only in problem.title:
            found = measure(problem, options.seconds, options.repeats)
            rows.append(compare(problem, found, options.moment))
            print(*rows[-1].values(), sep=" | ", flush=True)
    frame = pd.DataFrame(rows)
    print(frame.to_markdown(index=False, floatfmt=".2f"))
    ratios = frame["auto / better"].to_numpy(dtype=float)
    mean = np.exp(np.log(ratios).mean())
    print(
        f"{len(rows)} instances, auto as good on {int(frame['as good'].sum())}; its "
        f"time over the better one's: geometric mean {mean:.2f}"
        f", largest {ratios.max():.2f}"
    )


if __name__ == "__main__":
    main()
