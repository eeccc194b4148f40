"""Pruning on an accelerator: time by stage, peak memory, and the plan of the CPU.

Protocol. DeepLabV3-ResNet50 of torchvision with random weights, one batch of 8 pictures
of 512 x 1024 pixels (``--pictures``, ``--height``, ``--width``), float32.

1. *Forward pass.* Median of five, after two.
2. *Extraction.* For each metric: seconds of `extract` beside a given coupling, in
   forward passes of the batch, and the peak of allocated memory over that of a forward
   pass.
3. *prune* to 40 % of the MACs, with each kind of refit: seconds by stage, peak memory.
4. *The same plan.* On two small pictures: does the device keep the channels that the
   CPU keeps? Plans are compared unit by unit; where they differ, by how many channels.

Nothing else may run on the device. ``python -m benchmarks.accelerator --device cuda``.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import platform
import statistics
import time
from typing import Any

import torch
from torch import nn

from sirfp_opt.pytorch import couple, extract, prune

METRICS = ("spatial", "reconstruction", "refit")
REFITS = (None, "merge", "full")


def network() -> nn.Module:
    """Return DeepLabV3-ResNet50 with random weights, and norms that are not one."""
    models = importlib.import_module("torchvision").models.segmentation
    torch.manual_seed(0)
    model: nn.Module = models.deeplabv3_resnet50(
        weights=None, weights_backbone=None, num_classes=19
    ).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    return model


def forward(model: nn.Module, batch: Any) -> Any:
    """Return the main output."""
    return model(batch)["out"]


class Meter:
    """Seconds and peak memory of a block, on any device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = self.peak = 0.0

    def __enter__(self) -> Meter:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
        self.began = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            self.peak = (torch.cuda.max_memory_allocated() - self.before) / 2**20
        self.seconds = time.perf_counter() - self.began


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--width", type=int, default=1024)
    asked = parser.parse_args()
    device = torch.device(asked.device)
    name = (
        torch.cuda.get_device_name() if device.type == "cuda" else platform.processor()
    )
    print(f"torch {torch.__version__}, {name}", flush=True)
    model = network().to(device)
    batch = torch.randn(
        asked.pictures, 3, asked.height, asked.width, device=device
    ).clamp_(-2, 2)

    meter = Meter(device)
    with torch.no_grad():
        times = []
        for _ in range(7):
            with meter:
                forward(model, batch)
            times.append(meter.seconds)
    one, memory = statistics.median(times[2:]), meter.peak
    print(f"\nforward pass {one:.4f} s, peak {memory:.0f} MiB", flush=True)

    with meter:
        coupling = couple(model, [batch], forward=forward)
    print(f"couple {meter.seconds:.2f} s, {len(coupling.units)} units", flush=True)
    print("\n| metric | s | forward passes | peak MiB | beside a forward pass |")
    print("|---|---|---|---|---|")
    for metric in METRICS:
        for _ in range(2):  # the first pass chooses kernels
            with meter:
                extract(
                    model, [batch], coupling=coupling, metric=metric, forward=forward
                )
        ratio = meter.seconds / one
        print(
            f"| {metric} | {meter.seconds:.3f} | {ratio:.2f} | {meter.peak:.0f} "
            f"| {meter.peak / max(memory, 1e-9):.2f} |",
            flush=True,
        )

    print("\n| refit | s | peak MiB | MACs | by stage |\n|---|---|---|---|---|")
    for refit in REFITS:
        try:
            with meter:
                result = prune(model, [batch], macs=0.4, refit=refit, forward=forward)
        except Exception as error:  # the other rows are wanted all the same
            print(f"| {refit} | {type(error).__name__}: {str(error)[:200]} |")
            continue
        stages = ", ".join(f"{k} {v:.1f}" for k, v in result.report.seconds.items())
        print(
            f"| {refit} | {meter.seconds:.1f} | {meter.peak:.0f} "
            f"| {result.report.reached['macs']:.4f} | {stages} |",
            flush=True,
        )

    if device.type == "cuda":
        _same_plan(model, device)


def _same_plan(model: nn.Module, device: torch.device) -> None:
    small = torch.randn(2, 3, 129, 129).clamp_(-2, 2)
    plans = [
        prune(
            copy.deepcopy(model).to(where),
            [small.to(where)],
            macs=0.4,
            metric="reconstruction",
            refit=None,
            forward=forward,
        ).plan
        for where in (device, torch.device("cpu"))
    ]
    counts = sum(plans[0].counts[unit] != plans[1].counts[unit] for unit in plans[0])
    other = sum(
        len(set(plans[0][unit].tolist()) ^ set(plans[1][unit].tolist())) / 2
        for unit in plans[0]
    )
    kept = sum(plans[0].counts.values())
    print(
        f"\nplans of device and CPU: {counts} of {len(plans[0])} units keep another "
        f"number; {other:g} of {kept} kept channels are others",
        flush=True,
    )


if __name__ == "__main__":
    main()
