"""Measure how good, proven and quick the split of a budget over a network is.

Protocol
--------
Network: DeepLabV3 with a ResNet-50 (44 pruning units of 64 to 2048 channels, 168.65
GMACs at 513 x 513, 39.64 M parameters). By default its cost model is written down and
its channel graphs are simulated (`benchmarks.networks`), so that nothing but this
package is needed; ``--torch`` extracts both from a randomly initialised network.

1. *Budgets.* For MACs budgets of 0.2 to 0.8, and for MACs and parameters together,
   every allocation splits the same greedy value curves, no layer below 10 % of its
   channels. Objective: loss of worth, product over layers and, apart, the sum (see
   `sirfp_opt.network.Worth`). Columns: objective, gap to the bound, budget reached,
   seconds, and by how much the optimal split lowers the objective of the others.
2. *End to end.* Curves, optimal split and greedy sets for a budget of 0.4, from graphs.
3. *CP-SAT alone* (``--cpsat``): the same integers without prices and narrowing.
4. *Networks* (``--accuracy``): the demo's trained network cut to ``--shares`` of its
   MACs by each allocation; mIoU after the batch norms are estimated anew, and
   after fine-tuning for ``--steps`` steps, over ``--seeds`` seeds.

Seconds are wall-clock, CPU seconds beside them; run on an idle machine to compare.

    python -m benchmarks.allocation --out results
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from benchmarks.networks import deeplab_cost, deeplab_network, simulated_graphs
from sirfp_opt.network import NetworkProblem, solve_network
from sirfp_opt.network.allocation import Lagrangian, Optimal, Worth
from sirfp_opt.network.allocation.optimal import solve_by_cpsat
from sirfp_opt.network.frontier import sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sirfp_opt import ChannelGraph
    from sirfp_opt.network.cost import CostModel
    from sirfp_opt.network.splitting.problem import Split

BUDGETS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
ALLOCATIONS = ("uniform", "threshold", "lagrangian", "optimal")


def main() -> None:
    """Run what is asked for, print it, and write CSV files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--torch", action="store_true")
    parser.add_argument("--cpsat", action="store_true")
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--size", type=int, default=513)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--shares", nargs="*", type=float, default=[0.7, 0.5, 0.3])
    parser.add_argument("--objectives", nargs="*", default=["product", "sum"])
    options = parser.parse_args()
    if options.accuracy:
        frame = accuracy(options.shares, options.seeds, options.steps)
        show(frame, "accuracy", options.out)
        return
    graphs, cost = extracted(options.size) if options.torch else simulated(options.size)
    base = NetworkProblem(graphs, cost, {"macs": 0.4}, min_keep=0.1)
    show(end_to_end(base), "end_to_end", options.out)
    for objective in options.objectives:
        problem = replace(base, worth=Worth(objective))
        show(budgets(problem), f"budgets_{objective}", options.out)
        if options.cpsat:
            show(cpsat_alone(problem), f"cpsat_{objective}", options.out)


def show(frame: pd.DataFrame, name: str, out: Path | None) -> None:
    """Print a table, and write it."""
    print(f"\n{name}\n{frame.to_string(index=False)}", flush=True)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        frame.to_csv(out / f"allocation_{name}.csv", index=False)


def simulated(size: int) -> tuple[dict[str, ChannelGraph], CostModel]:
    """Return simulated graphs and the written-down cost model."""
    cost = deeplab_cost(size)
    return simulated_graphs(cost), cost


def extracted(size: int) -> tuple[Mapping[str, ChannelGraph], CostModel]:
    """Return graphs and costs read off a randomly initialised torch network."""
    import torch

    from sirfp_opt.pytorch import couple, extract, read_cost

    torch.manual_seed(0)
    network = deeplab_network()
    sample = torch.rand(1, 3, size, size)
    started = time.perf_counter()
    coupling = couple(network, sample)
    graphs = extract(network, [torch.rand(1, 3, size, size)], coupling=coupling)
    cost = read_cost(network, coupling.units, sample)
    spent = time.perf_counter() - started
    print(f"coupled, extracted and priced in {spent:.1f} s: {graphs!r}")
    return dict(graphs), cost


def end_to_end(problem: NetworkProblem) -> pd.DataFrame:
    """Curves, optimal split and greedy sets, from graphs."""
    fresh = replace(problem)  # without the curves that another run has built
    wall, cpu = time.perf_counter(), time.process_time()
    solution = solve_network(fresh, "greedy")
    row = {
        "layers": len(solution),
        "gap": solution.gap,
        "reached": solution.reached["macs"],
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        **{f"{stage}_s": spent for stage, spent in solution.seconds.items()},
    }
    return pd.DataFrame([row])


def budgets(problem: NetworkProblem) -> pd.DataFrame:
    """Every allocation along the budgets, and what the optimal split gains."""
    asked: list[dict[str, float]] = [{"macs": share} for share in BUDGETS]
    asked += [{"macs": 0.4, "params": 0.5}, {"macs": 0.5, "params": 0.4}]
    front = sweep(problem, asked, ALLOCATIONS)
    rows = []
    for point in front:
        best = next(
            p for p in front if p.allocation == "optimal" and p.asked == point.asked
        )
        rows.append(
            {
                "allocation": point.allocation,
                **{f"asked_{b}": round(x, 6) for b, x in point.asked.items()},
                **{f"reached_{b}": point.reached[b] for b in ("macs", "params")},
                "objective": point.objective,
                "gap": point.gap,
                "optimal_lowers_by": 1 - best.objective / point.objective,
                "redundancy": point.redundancy,
                "seconds": point.seconds,
            }
        )
    return pd.DataFrame(rows)


def cpsat_alone(problem: NetworkProblem, seconds: float = 30.0) -> pd.DataFrame:
    """Split by CP-SAT on all counts at once, beside the two of ours."""
    numbers = problem.split_problem()
    rows = []
    runs: tuple[tuple[str, Callable[[], Split]], ...] = (
        ("cpsat alone", lambda: solve_by_cpsat(numbers, time_limit=seconds, workers=2)),
        ("lagrangian", lambda: Lagrangian(time_limit=seconds).split(numbers)),
        ("optimal", lambda: Optimal(time_limit=seconds).split(numbers)),
    )
    for name, run in runs:
        wall, cpu = time.perf_counter(), time.process_time()
        split = run()
        rows.append(
            {
                "method": name,
                "objective": split.objective,
                "bound": split.bound,
                "gap": split.gap,
                "seconds": time.perf_counter() - wall,
                "cpu_seconds": time.process_time() - cpu,
            }
        )
    return pd.DataFrame(rows)


def accuracy(shares: list[float], seeds: int, steps: int) -> pd.DataFrame:
    """Judge the demo's network after each split, on its validation scenes."""
    import torch

    from sirfp_opt.demo.network import load_checkpoint
    from sirfp_opt.demo.scenes import make_scenes
    from sirfp_opt.demo.training import evaluate, mean_iou, train
    from sirfp_opt.pytorch import prune, reestimate_batch_norm

    network = load_checkpoint()
    seen = make_scenes(128, split="validation")
    images, labels = make_scenes(480, split="train", seed=5)
    graphs, rows = None, []
    splits: dict[str, Any] = {
        "uniform": "uniform",
        "threshold": "threshold",
        "optimal product": Optimal(Worth("product")),
        "optimal sum": Optimal(Worth("sum")),
    }
    for share in shares:
        for name, allocation in splits.items():
            for seed in range(seeds):
                result = prune(
                    network,
                    [images[:48], images[48:96]],
                    macs=share,
                    allocation=allocation,
                    graphs=graphs,
                    multiple_of=1,
                )
                graphs = result.graphs
                small = reestimate_batch_norm(
                    result.model, torch.split(images, 48)
                ).eval()
                row = {
                    "macs": share,
                    "allocation": name,
                    "seed": seed,
                    "params": result.report.reached["params"],
                    "miou_batch_norms": mean_iou(evaluate(small, *seen)),
                }
                if steps:
                    generator = torch.Generator().manual_seed(seed)
                    train(
                        small,
                        _batches(images, labels, generator),
                        steps,
                        learning_rate=2e-3,
                    )
                    row["miou_tuned"] = mean_iou(evaluate(small.eval(), *seen))
                rows.append(row)
                print(row, flush=True)
                if not steps:
                    break  # nothing is drawn: one seed says it all
    return pd.DataFrame(rows)


def _batches(images: Any, labels: Any, generator: Any) -> Iterator[tuple[Any, Any]]:
    import torch

    while True:
        chosen = torch.randint(0, len(images), (16,), generator=generator)
        yield images[chosen], labels[chosen]


if __name__ == "__main__":
    np.set_printoptions(linewidth=120)
    main()
