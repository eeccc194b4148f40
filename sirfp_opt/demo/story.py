"""The demo: from a trained network to a smaller one, every step of it measured."""

from __future__ import annotations

import copy
import json
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from sirfp_opt import SirfpError, available_solvers, solve
from sirfp_opt.demo import picture
from sirfp_opt.demo.network import checkpoint_figures, load_checkpoint
from sirfp_opt.demo.scenes import make_scenes, scene_batches
from sirfp_opt.demo.training import evaluate, mean_iou, train
from sirfp_opt.pytorch import (
    apply_plan,
    count_macs,
    count_params,
    extract,
    mask,
    prune,
    reestimate_batch_norm,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from sirfp_opt import ChannelGraph, Solution

MACS = 0.4
"""Fraction of the multiply-accumulates that may remain."""

LAYER = "decoder.fuse_fine.0"
"""The unit that every solver gets to solve: small enough for a proof in seconds."""

REFITTED = "pruned, refitted: no labels"

METHODS = ("greedy", "anneal", "tabu", "cpsat", "milp", "exact")
TOLERANCE = 1e-5
SCENE = 12  # of the validation scenes, for the picture


@dataclass(frozen=True)
class Pace:
    """How much of everything the demo does.

    Parameters
    ----------
    calibration_batches, batch_size : int
        Batches of training scenes for the graphs and for the batch norms.
    validation_scenes : int
        Scenes to judge by.
    exact_seconds, heuristic_seconds : float
        Time limits of the two kinds of solvers.
    tuning_steps : int
        Optimiser steps after pruning.
    timed_passes : int
        Forward passes whose median is the latency.
    """

    calibration_batches: int = 8
    batch_size: int = 16
    validation_scenes: int = 192
    exact_seconds: float = 15.0
    heuristic_seconds: float = 2.0
    tuning_steps: int = 150
    timed_passes: int = 31


FULL = Pace()
QUICK = Pace(
    calibration_batches=2,
    batch_size=8,
    validation_scenes=24,
    exact_seconds=1.5,
    heuristic_seconds=0.5,
    tuning_steps=5,
    timed_passes=5,
)


def run_demo(
    out: str | Path,
    *,
    seed: int = 0,
    quick: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Prune the demo's network to 40 % of its MACs, and show what that does.

    Writes ``plan.json``, ``figures.json`` and ``demo.png``.

    Parameters
    ----------
    out : str or Path
        Folder to write to; made if it is not there.
    seed : int
        Of the calibration and training scenes and of the solvers.  The networks are
        always judged on the same validation scenes.
    quick : bool
        A little of everything: shows that it works, not how well.
    console : rich.console.Console, optional
        Where to report.

    Returns
    -------
    dict
        The figures, as they are in ``figures.json``.

    Raises
    ------
    SirfpError
        If the pruned network does not compute what its masked twin computes.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    threads = torch.get_num_threads()
    # One thread: latencies compare, and a busy machine does not make threads spin.
    torch.set_num_threads(1)
    try:
        return _run(folder, seed, quick, console or Console())
    finally:
        torch.set_num_threads(threads)


def _run(folder: Path, seed: int, quick: bool, console: Console) -> dict[str, Any]:
    started = time.perf_counter()
    pace = QUICK if quick else FULL
    here = {row.name: row for row in available_solvers() if row.installed}
    methods = [method for method in METHODS if method in here]
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        # Weighted by what the steps take, so that the bar moves evenly.
        total = 40 + 10 * len(methods) + pace.tuning_steps
        task = progress.add_task("composing scenes", total=total)

        def tick(doing: str, done: float = 10) -> None:
            """Say what comes next, and that what came before it is done."""
            progress.update(task, description=doing, advance=done)

        network = load_checkpoint()
        images, labels = make_scenes(
            pace.validation_scenes,
            split="validation",
            seed=checkpoint_figures()["validation_seed"],
        )
        batches = [
            batch
            for batch, _ in scene_batches(
                pace.calibration_batches, pace.batch_size, seed=seed
            )
        ]

        tick("extracting the channel graphs")
        # Cliques for the solvers; what `prune` needs for a refit is kept beside them.
        graphs = extract(network, batches, metric="refit", progress=False)

        solutions: dict[str, Solution] = {}
        for method in methods:
            tick(f"solving {LAYER} by {method}")
            exact = here[method].kind == "exact"
            solutions[method] = solve(
                graphs[LAYER],
                graphs[LAYER].n // 4,  # where methods differ most
                method,
                time_limit=pace.exact_seconds if exact else pace.heuristic_seconds,
                seed=seed,
            )
        console.print(_solver_table(graphs[LAYER], solutions))

        tick(f"pruning to {MACS:.0%} of the MACs")
        result = prune(
            network,
            batches,
            macs=MACS,
            method="greedy",
            graphs=graphs,
            seed=seed,
            progress=False,
        )
        result.plan.to_json(folder / "plan.json")
        cut = apply_plan(network, result.plan)
        difference = _check_against_masked(
            cut, mask(network, result.plan), images[: pace.batch_size]
        )
        console.print(
            f"pruned and masked network differ by at most {difference:.1e} "
            f"on {min(pace.batch_size, len(images))} scenes"
        )

        tick("re-estimating the batch norms")
        networks: dict[str, nn.Module] = {"original": network, "pruned": cut}
        networks["+ BN re-estimated"] = reestimate_batch_norm(cut, batches)
        networks[REFITTED] = result.model
        networks["+ fine-tuned"] = tuned = copy.deepcopy(result.model)
        tick("fine-tuning")
        train(
            tuned,
            # Other scenes than those of the batch norms.
            scene_batches(pace.tuning_steps, pace.batch_size, seed=seed + 1),
            pace.tuning_steps,
            learning_rate=2e-3,
            on_step=lambda step, loss: tick(f"fine-tuning, loss {loss:.3f}", 1),
        )
        tuned.eval()

        tick("measuring")
        rows = _measure(networks, images, labels, pace)
    console.print(_network_table(rows, len(images)))

    picture.draw(
        folder / "demo.png",
        graphs=graphs,
        plan=result.plan,
        image=images[SCENE].permute(1, 2, 0).numpy(),
        maps={
            "truth": labels[SCENE].numpy(),
            **{
                f"{title}: {rows[name]['macs'] / 1e6:.0f} M MACs": (
                    _predict(networks[name], images[SCENE])
                )
                for name, title in (("original", "original"), (REFITTED, "refitted"))
            },
        },
    )
    figures = {
        "seed": seed,
        "quick": quick,
        "layer": LAYER,
        "k": graphs[LAYER].n // 4,
        "channels": graphs[LAYER].n,
        "solvers": {name: _solution_row(s) for name, s in solutions.items()},
        "pruned_against_masked": difference,
        "validation_scenes": len(images),
        "networks": rows,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "seconds": round(time.perf_counter() - started, 1),
    }
    (folder / "figures.json").write_text(
        json.dumps(figures, indent=2) + "\n", encoding="utf-8"
    )
    console.print(
        f"{figures['seconds']:.0f} s; plan.json, figures.json and demo.png "
        f"are in {folder}"
    )
    return figures


def _check_against_masked(
    pruned: nn.Module, masked: nn.Module, images: Tensor
) -> float:
    """Largest absolute difference of the two networks' scores."""
    with torch.inference_mode():
        difference = float((pruned.eval()(images) - masked.eval()(images)).abs().max())
    if not difference <= TOLERANCE:
        raise SirfpError(
            f"the pruned network must equal its masked twin to {TOLERANCE:.0e}, got a "
            f"difference of {difference:.1e}. This is a bug: please report it."
        )
    return difference


def _measure(
    networks: Mapping[str, nn.Module], images: Tensor, labels: Tensor, pace: Pace
) -> dict[str, dict[str, float]]:
    """Judge and time the networks, all on the same scenes and in the same minutes."""
    latency = _latency(networks, images[:1], pace.timed_passes)
    return {
        name: {
            "miou": mean_iou(evaluate(network, images, labels)),
            "macs": count_macs(network, images[:1]),
            "parameters": count_params(network),
            "latency_ms": latency[name],
        }
        for name, network in networks.items()
    }


def _latency(
    networks: Mapping[str, nn.Module], image: Tensor, passes: int
) -> dict[str, float]:
    """Median milliseconds of a forward pass on one scene.

    The networks take turns, so that a busy moment of the machine meets all of them.
    """
    times: dict[str, list[float]] = {name: [] for name in networks}
    with torch.inference_mode():
        for turn in range(passes + 2):
            for name, network in networks.items():
                start = time.perf_counter()
                network(image)
                if turn >= 2:  # the first passes warm up
                    times[name].append(1e3 * (time.perf_counter() - start))
    return {name: median(taken) for name, taken in times.items()}


def _predict(network: nn.Module, image: Tensor) -> NDArray[np.int64]:
    with torch.inference_mode():
        classes: NDArray[np.int64] = network(image[None])[0].argmax(dim=0).numpy()
    return classes


def _solution_row(solution: Solution) -> dict[str, Any]:
    return {
        "objective": solution.objective,
        "bound": solution.bound,
        "gap": solution.gap,
        "status": solution.status.value,
        "seconds": solution.runtime,
    }


def _solver_table(graph: ChannelGraph, solutions: Mapping[str, Solution]) -> Table:
    table = Table(
        title=f"{graph.name}: {graph.n // 4} of {graph.n} channels, {graph.sense.value}"
    )
    table.add_column("solver")
    for heading in ("objective", "bound", "gap", "seconds"):
        table.add_column(heading, justify="right")
    table.add_column("status")
    sign = graph.sense.sign
    best = max(sign * solution.objective for solution in solutions.values())
    for name, solution in solutions.items():
        is_best = sign * solution.objective >= best - 1e-9 * abs(best)
        table.add_row(
            name,
            f"{solution.objective:.6g}",
            "–" if solution.bound is None else f"{solution.bound:.6g}",
            "–" if solution.gap is None else f"{solution.gap:.2%}",
            f"{solution.runtime:.2f}",
            solution.status.value,
            style="bold" if is_best else None,
        )
    return table


def _network_table(rows: Mapping[str, Mapping[str, float]], scenes: int) -> Table:
    table = Table(title=f"the network, on {scenes} validation scenes")
    table.add_column("network")
    for heading in ("mIoU", "M MACs", "parameters", "latency, ms"):
        table.add_column(heading, justify="right")
    whole = rows["original"]
    for name, row in rows.items():
        table.add_row(
            name,
            f"{row['miou']:.3f}",
            f"{row['macs'] / 1e6:.1f} ({row['macs'] / whole['macs']:.0%})",
            f"{row['parameters']:,} ({row['parameters'] / whole['parameters']:.0%})",
            f"{row['latency_ms']:.1f} ({row['latency_ms'] / whole['latency_ms']:.0%})",
        )
    return table
