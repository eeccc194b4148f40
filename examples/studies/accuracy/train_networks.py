"""Train the study's own networks; the weights in this folder were made so.

::

    python -m examples.studies.accuracy.train_networks unet
    python -m examples.studies.accuracy.train_networks mobile --steps 1200
"""

from __future__ import annotations

import json
import time
from typing import Annotated

import torch
import typer

from examples.studies.accuracy.networks import BUILDERS, checkpoint, load_network
from sirfp_opt.demo.network import save_checkpoint
from sirfp_opt.demo.scenes import make_scenes, scene_batches
from sirfp_opt.demo.training import evaluate, mean_iou, train
from sirfp_opt.pytorch import count_macs, count_params


def main(
    name: Annotated[str, typer.Argument(help=f"One of {list(BUILDERS)}.")],
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = 900,
    batch_size: Annotated[int, typer.Option(help="Scenes per step.")] = 16,
    seed: Annotated[int, typer.Option(help="Of weights and scenes.")] = 0,
) -> None:
    """Train on the training hands only, store, read back, judge."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = BUILDERS[name]().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    start = time.process_time()
    batches = scene_batches(steps, batch_size, seed=seed)

    def on_step(step: int, loss: float) -> None:
        if step % 50 == 0:
            seconds = time.process_time() - start
            typer.echo(f"{step:5d}  {seconds:5.0f} s  loss {loss:.3f}")

    train(model, batches, steps, learning_rate=4e-3, on_step=on_step)
    seconds = time.process_time() - start
    save_checkpoint(model, checkpoint(name))
    stored = load_network(name)
    images, labels = make_scenes(256, split="calibration", seed=seed)
    figures = {
        "miou": round(mean_iou(evaluate(stored, images, labels)), 4),
        "judged_on": "256 scenes of the calibration hand",
        "parameters": count_params(stored),
        "macs": count_macs(stored, images[:1]),
        "seed": seed,
        "steps": steps,
        "batch_size": batch_size,
        "cpu_seconds": round(seconds, 1),
        "torch": torch.__version__,
    }
    text = json.dumps(figures, indent=2) + "\n"
    checkpoint(name).with_suffix(".json").write_text(text, encoding="utf-8")
    typer.echo(text)


if __name__ == "__main__":
    typer.run(main)
