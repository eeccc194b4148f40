"""Measure what a refit costs on a DeepLabV3 with a ResNet-50.

Protocol
--------
DeepLabV3-ResNet50 of our own (torchvision's shape, random weights) at ``--pictures``
random pictures of ``--size``² in batches of ``--batch``, one thread. Its units are
coupled, its inputs measured once with ``metric="refit"``, value curves are made of
every count from one to n, and it is pruned to ``--macs`` of its MACs. Steps, one after
the other, each with its CPU seconds, the pictures' forward passes that these come to,
and the peak of the process' resident memory up to its end:

forward
    All pictures through the original network, without hooks.
extract
    The measurement, its forward passes included.
curves
    Backward elimination of all units.
sets
    The split, and each unit's set by greedy, on these curves.
cut, norms
    Surgery; and re-estimated batch norms, as after any cut.
merge, full
    `refit_pruned` without the batch norms: the merge with what was extracted, "full"
    with a pass of its own.

With ``--uniform`` nothing is extracted: a random set of the same share of every unit is
kept, sqrt(``--macs``), and only forward, cut and full are measured.

Random weights make channels that depend on each other less than trained ones do, which
changes no count and hardly a time.

    python -m benchmarks.refit --out results
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from benchmarks.networks import deeplab_network
from sirfp_opt.network import Budget, PruningPlan, solve_network
from sirfp_opt.pytorch import (
    PruneRequest,
    Refit,
    apply_plan,
    couple,
    extract,
    reestimate_batch_norm,
)
from sirfp_opt.pytorch.cost import read_cost
from sirfp_opt.pytorch.planning import network_problem
from sirfp_opt.pytorch.refitting.passes import some_of
from sirfp_opt.pytorch.refitting.refit import refit_pruned

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> None:
    """Run the protocol and write a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=257)
    parser.add_argument("--macs", type=float, default=0.4)
    parser.add_argument("--uniform", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("out"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = measure(options)
    options.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out / "refit.csv", index=False)


def measure(options: argparse.Namespace) -> pd.DataFrame:
    """Return one row for each step."""
    generator = torch.Generator().manual_seed(0)
    shape = (options.pictures, 3, options.size, options.size)
    batches: Any = torch.rand(shape, generator=generator)
    batches = list(torch.split(batches, options.batch))
    model = deeplab_network().eval()
    rows: list[dict[str, Any]] = []

    def step(name: str, began: float) -> float:
        seconds = time.process_time() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        whole = rows[0]["cpu_seconds"] if rows else seconds
        rows.append(
            {
                "step": name,
                "cpu_seconds": round(seconds, 2),
                "forwards": round(seconds / whole, 2),
                "peak_MiB": round(peak),
            }
        )
        print(rows[-1], flush=True)
        return time.process_time()

    coupling = couple(model, batches[:1])
    clock = time.process_time()
    with torch.inference_mode():
        for batch in batches:
            model(batch)
    clock = step("forward", clock)
    graphs = None
    if options.uniform:
        rng = np.random.default_rng(0)
        kept = {
            unit.name: np.sort(
                rng.permutation(unit.size)[: int(unit.size * options.macs**0.5)]
            )
            for unit in coupling.units
        }
        plan = PruningPlan(coupling.units, kept)
    else:
        graphs, plan = _chosen(model, batches, coupling, options.macs, step)
    clock = time.process_time()
    pruned = apply_plan(model, plan)
    clock = step("cut", clock)
    reestimate_batch_norm(pruned, batches)
    clock = step("norms", clock)
    kinds: tuple[Any, ...] = ("full",) if graphs is None else ("merge", "full")
    for kind in kinds:
        pruned = apply_plan(model, plan)
        how = Refit(kind, batch_norms="kept")
        clock = time.process_time()
        report = refit_pruned(
            model,
            pruned,
            plan,
            batches,
            how,
            inputs=None if graphs is None else graphs.inputs,
            pictures=0 if graphs is None else graphs.images,
            few=() if graphs is None else some_of(batches[0], graphs.images),
        )
        step(kind, clock)
        merged = [row for row in report.layers if row.kind == "merge"]
        print(f"{len(report.layers)} layers, {len(merged)} merged", flush=True)
    return pd.DataFrame(rows)


def _chosen(
    model: Any, batches: Any, coupling: Any, macs: float, step: Callable[..., float]
) -> tuple[Any, PruningPlan]:
    """Extract, split and solve, each a step of its own."""
    clock = time.process_time()
    graphs = extract(model, batches, coupling=coupling, metric="refit", importance=None)
    clock = step("extract", clock)
    cost = read_cost(model, coupling.units, batches[0][:1])
    request = PruneRequest(budget=Budget(macs=macs), allocation="balanced")
    problem = network_problem(graphs, cost, request)
    clock = time.process_time()
    problem.curves.build()
    clock = step("curves", clock)
    solution = solve_network(problem, "greedy", allocation="balanced")
    plan = solution.plan(coupling.units)
    del problem, solution
    step("sets", clock)
    return graphs, plan


if __name__ == "__main__":
    main()
