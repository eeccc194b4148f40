"""Train the demo's network on digit scenes and store its checkpoint.

The shipped checkpoint was made by this script with its defaults::

    python examples/digit_scenes/train.py --out sirfp_opt/demo

Each step sees fresh scenes of training digits; validation scenes hold other digits, by
other hands.  What is recorded beside the weights is measured on the stored file.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from sirfp_opt.demo.network import (
    CHECKPOINT,
    FIGURES,
    build_network,
    load_checkpoint,
    save_checkpoint,
)
from sirfp_opt.demo.scenes import CLASS_NAMES, SceneStyle, make_scenes, scene_batches
from sirfp_opt.demo.training import evaluate, iou, mean_iou, train
from sirfp_opt.pytorch import count_macs, count_params


def main(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("out"),
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = 2000,
    batch_size: Annotated[int, typer.Option(help="Scenes per step.")] = 24,
    learning_rate: Annotated[float, typer.Option(help="Largest rate.")] = 4e-3,
    seed: Annotated[int, typer.Option(help="Of weights and scenes.")] = 0,
    validation_scenes: Annotated[int, typer.Option(help="Scenes to judge by.")] = 512,
    report_every: Annotated[int, typer.Option(help="Steps between reports.")] = 250,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
) -> None:
    """Train, store, read back, judge."""
    torch.set_num_threads(threads)
    console = Console()
    out.mkdir(parents=True, exist_ok=True)
    model = build_network(seed=seed)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images, labels = make_scenes(validation_scenes, split="validation", seed=seed)
    head = slice(0, 96)  # the reports on the way; no choice is made by them

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("training", total=steps)

        def on_step(step: int, loss: float) -> None:
            progress.update(task, advance=1, description=f"loss {loss:.3f}")
            if step % report_every == 0:
                miou = mean_iou(evaluate(model, images[head], labels[head]))
                seconds = time.perf_counter() - start
                console.print(f"{step:5d}  {seconds:5.0f} s  mIoU {miou:.3f}")
                save_checkpoint(model, out / CHECKPOINT)  # in case of a power cut

        start = time.perf_counter()
        batches = scene_batches(steps, batch_size, seed=seed)
        train(model, batches, steps, learning_rate=learning_rate, on_step=on_step)
        seconds = time.perf_counter() - start

    save_checkpoint(model, out / CHECKPOINT)
    stored = load_checkpoint(out / CHECKPOINT)
    per_class = iou(confusion := evaluate(stored, images, labels))
    size = SceneStyle().size
    figures = {
        "miou": round(mean_iou(confusion), 4),
        "iou": dict(zip(CLASS_NAMES, per_class.round(4).tolist(), strict=True)),
        "validation_scenes": validation_scenes,
        "validation_seed": seed,
        "scene_size": size,
        "parameters": count_params(stored),
        "macs": count_macs(stored, images[:1]),
        "seed": seed,
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seconds": round(seconds, 1),
        "threads": threads,
        "torch": torch.__version__,
    }
    (out / FIGURES).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    console.print_json(data=figures)


if __name__ == "__main__":
    typer.run(main)
