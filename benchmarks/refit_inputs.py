"""Fit readers to what they read in the original network, or in the one cut so far.

Protocol
--------
The study's networks, as they are and with their batch norms folded into the
convolutions; 64 unlabelled scenes in batches of 16, refit sets by greedy on the
balanced split, chosen once for both. Each cut is refitted by "merge" and "full" to the
original's inputs, and by "full" in the order of the calls; where there are batch norms
they are re-estimated. Mean IoU on the study's 192 test scenes, CPU seconds of the
refit on one thread, and the passes of the original and of the cut network for it.

    python -m benchmarks.refit_inputs --networks unet --budgets 0.15 --seeds 0
"""

from __future__ import annotations

import argparse
import copy
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from examples.studies.accuracy.networks import load_network
from sirfp_opt.demo.scenes import make_scenes, scene_batches
from sirfp_opt.demo.training import evaluate, mean_iou
from sirfp_opt.network.plan import PruningPlan
from sirfp_opt.pytorch import Refit, couple, prune, refit

if TYPE_CHECKING:
    from collections.abc import Iterator

ARMS = (
    Refit("merge", "original"),
    Refit("full", "original"),
    Refit("full", "cut"),
)


def main() -> None:
    """Run the protocol and write a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=["deeplab", "unet", "mobile"])
    parser.add_argument("--budgets", nargs="+", type=float, default=[0.15, 0.3])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out", type=Path, default=Path("out"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for row in measure(options):
        print(row, flush=True)
        rows.append(row)
        pd.DataFrame(rows).to_csv(options.out / "refit_inputs.csv", index=False)


def measure(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Give one row for each refit."""
    test = make_scenes(192, split="test", seed=0)
    for seed in options.seeds:
        scenes = scene_batches(4, 16, split="calibration", seed=seed)
        batches = [images for images, _ in scenes]
        for name in options.networks:
            network = load_network(name).eval()
            for budget in options.budgets:
                rules = {"macs": budget, "multiple_of": 1}
                kept = prune(network, batches, rules, method="greedy").plan
                for norms, model in (("kept", network), ("folded", folded(network))):
                    plan = PruningPlan(couple(model, batches[:1]).units, dict(kept))
                    for how in ARMS:
                        began = time.process_time()
                        result = refit(model, plan, batches, how)
                        seconds = time.process_time() - began
                        yield {
                            "network": name,
                            "macs": budget,
                            "seed": seed,
                            "norms": norms,
                            "kind": how.kind,
                            "inputs": how.inputs,
                            "miou": round(
                                float(mean_iou(evaluate(result.model, *test))), 3
                            ),
                            "cpu_seconds": round(seconds, 1),
                            "passes": "{} + {}".format(*result.report.passes),
                        }


def folded(model: nn.Module) -> nn.Module:
    """Return a copy whose batch norms are part of the convolutions before them."""
    copied = copy.deepcopy(model).eval()
    for parent in list(copied.modules()):
        for first, second in pairwise(list(parent._modules)):
            one, two = parent._modules[first], parent._modules[second]
            if isinstance(one, nn.Conv2d) and isinstance(two, nn.BatchNorm2d):
                parent._modules[first] = fuse_conv_bn_eval(one, two)
                parent._modules[second] = nn.Identity()
    return copied


if __name__ == "__main__":
    main()
