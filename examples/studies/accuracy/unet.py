"""The study's second network: a small U-Net, and how it was trained.

O. Ronneberger, P. Fischer and T. Brox, *U-Net: Convolutional Networks for Biomedical
Image Segmentation*, MICCAI 2015, doi:10.1007/978-3-319-24574-4_28, with batch norms,
padded convolutions and bilinear interpolation on the way up. It has no residual add:
each unit is one convolution's outputs, where the demo's network has coupled ones.

The weights beside this file were made by::

    python -m examples.studies.accuracy.unet
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import torch
import typer
from torch import nn
from torch.nn import functional as F

from sirfp_opt.demo.network import conv_bn, save_checkpoint
from sirfp_opt.demo.scenes import NUM_CLASSES, make_scenes, scene_batches
from sirfp_opt.demo.training import evaluate, mean_iou, train
from sirfp_opt.pytorch import count_macs, count_params

if TYPE_CHECKING:
    from torch import Tensor

CHECKPOINT = Path(__file__).with_name("unet.pt")
WIDTHS = (24, 40, 64, 88)


class Twice(nn.Module):
    """Two 3 x 3 convolutions with batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = conv_bn(inputs, outputs, stride=stride)
        self.second = conv_bn(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        return F.relu(self.second(F.relu(self.first(x))))


class UNet(nn.Module):
    """Pictures (N, 3, H, W) to class scores (N, classes, H, W).

    Parameters
    ----------
    widths : tuple of int
        Channels at stride 2, 4, 8 and so on.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            Twice(i, o, stride=2) for i, o in zip((3, *widths), widths, strict=False)
        )
        self.up = nn.ModuleList(
            Twice(i + o, o) for i, o in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.classifier = nn.Conv2d(widths[0], NUM_CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Give the scores of every class at every pixel."""
        size, maps = x.shape[-2:], []
        for stage in self.down:
            maps.append(x := stage(x))
        for stage, skip in zip(self.up, maps[-2::-1], strict=True):
            up = F.interpolate(x, size=skip.shape[-2:], mode="bilinear")
            x = stage(torch.cat([up, skip], dim=1))
        return F.interpolate(self.classifier(x), size=size, mode="bilinear")


def load_unet() -> UNet:
    """Load the trained U-Net, in evaluation mode and single precision."""
    model = UNet()
    model.load_state_dict(torch.load(CHECKPOINT, weights_only=True))
    return model.eval()


def main(
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = 900,
    batch_size: Annotated[int, typer.Option(help="Scenes per step.")] = 16,
    seed: Annotated[int, typer.Option(help="Of weights and scenes.")] = 0,
) -> None:
    """Train on the training hands only, store, read back, judge."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = UNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    start = time.process_time()
    batches = scene_batches(steps, batch_size, seed=seed)

    def on_step(step: int, loss: float) -> None:
        if step % 50 == 0:
            seconds = time.process_time() - start
            typer.echo(f"{step:5d}  {seconds:5.0f} s  loss {loss:.3f}")

    train(model, batches, steps, learning_rate=4e-3, on_step=on_step)
    seconds = time.process_time() - start
    save_checkpoint(model, CHECKPOINT)
    stored = load_unet()
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
    CHECKPOINT.with_suffix(".json").write_text(text, encoding="utf-8")
    typer.echo(text)


if __name__ == "__main__":
    typer.run(main)
