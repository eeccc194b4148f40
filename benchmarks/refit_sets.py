"""Measure refit sets: greedy, swaps, pool, proof and bounds on the demo's layers.

Protocol
--------
Covariances of the demo network's units on 64 calibration scenes, `extract` with
``metric="refit"``, ridge 1e-3. One thread, CPU seconds; compiled code is warmed up
first. For each unit and each share of its channels, in % of the readers' signal that is
lost, the less the better:

clique
    Tabu search's set for the problem without refit (`ReconstructionProblem.as_graph`),
    priced with refit: the wrong problem, solved well.
greedy, swaps, local, pool
    Backward elimination; made 1-swap optimal; ten descents; ten descents that start
    from the bound's pool, too.
exact
    The best set after ``--seconds``, and whether it is proved optimal.
eigenvalue, quadratic
    What is lost at least, by the levels of `sirfp_opt.bound`.

    python -m benchmarks.refit_sets --units decoder --seconds 60 --out results
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from benchmarks._clocked import CpuSearch
from sirfp_opt import (
    LayerConstraints,
    Limits,
    ReconstructionProblem,
    Solution,
    Status,
    bound,
    solve,
)
from sirfp_opt.registry import create_solver
from sirfp_opt.sense import relative_gap
from sirfp_opt.solution import OPTIMALITY_TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SHARES = (0.25, 0.5, 0.75)


def demo_layers(scenes: int = 64) -> Iterator[ReconstructionProblem]:
    """Yield the demo network's units as problems with refitted readers."""
    from sirfp_opt.demo.network import load_checkpoint
    from sirfp_opt.demo.scenes import make_scenes
    from sirfp_opt.pytorch import extract

    model = load_checkpoint().eval()
    images, _ = make_scenes(scenes, split="calibration")
    graphs = extract(
        model, [images[i : i + 16] for i in range(0, scenes, 16)], metric="refit"
    )
    for unit in graphs.reads:
        yield graphs.problem(unit)


def proof(problem: ReconstructionProblem, seconds: float) -> dict[str, Any]:
    """Run the exact tree for some CPU seconds."""
    _, solver = create_solver("exact", {})
    search = CpuSearch(
        problem,
        limits=Limits(time=seconds),
        started=time.process_time(),
        solver="exact",
    )
    solver.solve(search)
    assert search.objective is not None
    assert search.bound is not None
    gap = relative_gap(search.objective, search.bound)
    return {
        "exact": 100 * (1 - search.objective),
        "at least": 100 * (1 - search.bound),
        "proved": gap <= OPTIMALITY_TOLERANCE,
        "nodes": search.trace()[-1].iteration,
        "seconds": search.seconds,
    }


def row(layer: ReconstructionProblem, k: int, seconds: float) -> dict[str, Any]:
    """Measure one layer at one count."""
    clique = solve(layer.as_graph(), k, method="tabu", time_limit=2.0)

    def lost(solution: Solution) -> float:
        return 100 * (1 - layer.value_of(solution))

    def method(name: str, **options: Any) -> float:
        return lost(solve(layer, k, method=name, **options))

    started = time.process_time()
    levels = bound(layer, k).levels
    spent = time.process_time() - started
    return {
        "unit": layer.name,
        "n": layer.n,
        "readers": layer.readers,
        "k": k,
        "clique": lost(clique),
        "greedy": method("greedy"),
        "swaps": method("greedy", polish=True),
        "local": method("local_search"),
        "pool": method("local_search", pool=True),
        **proof(layer.constrained(LayerConstraints(k)), seconds),
        "eigenvalue": 100 * (1 - levels["eigenvalue"]),
        "quadratic": 100 * (1 - min(levels.values())),
        "bound seconds": spent,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", nargs="*", default=[""], help="parts of names")
    parser.add_argument("--sizes", type=int, nargs=2, default=(0, 4096))
    parser.add_argument("--shares", type=float, nargs="*", default=SHARES)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    for layer in demo_layers():
        low, high = options.sizes
        named = any(part in layer.name for part in options.units)
        if not (named and low <= layer.n <= high):
            continue
        if not rows:  # compile
            small = layer.constrained(LayerConstraints(layer.n // 4))
            assert solve(small, method="exact", max_nodes=2).status in Status
        for share in options.shares:
            rows.append(row(layer, max(1, int(share * layer.n)), options.seconds))
            print(pd.DataFrame(rows[-1:]).to_string(header=len(rows) == 1), flush=True)
    if options.out is not None and rows:
        options.out.mkdir(parents=True, exist_ok=True)
        frame = pd.DataFrame(rows)
        frame.to_csv(options.out / "refit_sets.csv", index=False)
        text = frame.to_markdown(index=False, floatfmt=".4g")
        (options.out / "refit_sets.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
