"""Train the study's own networks: ``python -m examples.studies.real.stamps train``.

The weights in this folder were made so. Stop it at any time; the same command goes on
where it stopped.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from examples.studies.real.pictures import unpack
from examples.studies.real.stamps.cutouts import PACKAGES, cutouts, photographs
from examples.studies.real.stamps.judge import score
from examples.studies.real.stamps.networks import NAMES, build, checkpoint, load
from examples.studies.real.stamps.scenes import compose, varied
from examples.studies.real.stamps.task import predicted
from examples.studies.real.stamps.training import learn
from sirfp_opt.demo.network import save_checkpoint
from sirfp_opt.pytorch import count_macs, count_params

app = typer.Typer(add_completion=False)


@app.callback()
def main() -> None:
    """Cut-outs on photographs: what is prepared before the study."""


@app.command()
def train(
    name: Annotated[list[str] | None, typer.Argument(help=f"Of {list(NAMES)}.")] = None,
    folder: Annotated[Path, typer.Option(help="Of packages and states.")] = Path(
        "out/real"
    ),
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = 900,
    decay: Annotated[int, typer.Option(help="The last steps, of falling rate.")] = 150,
    batch_size: Annotated[int, typer.Option(help="Scenes per step.")] = 8,
    seed: Annotated[int, typer.Option(help="Of weights and scenes.")] = 0,
    store: Annotated[bool, typer.Option(help="Renew the stored weights.")] = True,
) -> None:
    """Train on the tuning objects only, store, read back, judge."""
    pictures = folder / "pictures"
    if not unpack(pictures, PACKAGES):
        typer.echo(f"missing in {folder / 'debs'}: {', '.join(PACKAGES)}")
        raise typer.Exit(2)
    torch.set_num_threads(1)
    objects, grounds = cutouts(pictures, "tuning"), photographs(pictures, "tuning")
    unseen = compose(
        cutouts(pictures, "calibration"),
        photographs(pictures, "calibration"),
        128,
        seed=seed,
    )
    shown = np.bincount(compose(objects, grounds, 256, seed=seed).labels.ravel())
    rare = torch.from_numpy(shown.mean() / shown).sqrt().float()
    one = torch.zeros(1, *np.moveaxis(unseen.images[0], -1, 0).shape)
    for network in name or NAMES:
        torch.manual_seed(seed)
        model = build(network)

        def on_step(step: int, loss: float, who: str = network) -> None:
            if step % 25 == 0:
                typer.echo(f"{who} {step:5d}  loss {loss:.3f}")

        spent = learn(
            model,
            lambda step: varied(objects, grounds, batch_size, (seed << 32) + step),
            steps,
            decay,
            folder / f"{network}-{seed}-{batch_size}.pt",
            rare=rare,
            on_step=on_step,
        )
        if store:
            save_checkpoint(model, checkpoint(network))
            load.cache_clear()
            model = load(network)
        judged = score(predicted(model, unseen.images), unseen)
        figures = {
            "miou": round(judged.iou, 4),
            "foreground_iou": round(judged.foreground, 4),
            "iou": {kind: round(one, 3) for kind, one in judged.by_class.items()},
            "judged_on": "128 scenes of the calibration objects",
            "parameters": count_params(model),
            "macs": count_macs(model, one),
            "objects": len(objects),
            "seed": seed,
            "steps": steps,
            "decay": decay,
            "batch_size": batch_size,
            "cpu_seconds": round(spent, 1),
            "torch": torch.__version__,
        }
        text = json.dumps(figures, indent=2) + "\n"
        if store:
            checkpoint(network).with_suffix(".json").write_text(text, encoding="utf-8")
        typer.echo(text)


if __name__ == "__main__":
    app()
