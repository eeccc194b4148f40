"""Prune torchvision's DeepLabV3 with a ResNet-50, and time each step.

Protocol
--------
Pictures of ``--side`` pixels, 40 % of the MACs by the `uniform`, `threshold`, `optimal`
and `balanced` allocations: CPU seconds of finding units, and of counting costs,
planning and surgery (not of extraction and of the last comparison of outputs); MACs
ratio; CPU seconds of a forward pass before and after, alternating, median. What can be
cut of all networks of the zoo is measured by `benchmarks.zoo`.

Also here: DeepLabV3 with a ResNet-50 as a cost model alone, and as a torch network.

    python -m benchmarks.networks --side 257
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sirfp_opt import ChannelGraph
from sirfp_opt.network.cost import Affine, CostForm, CostModel

if TYPE_CHECKING:
    from torch import nn

STAGES = ((3, 64, 1, 1), (4, 128, 2, 1), (6, 256, 1, 2), (3, 512, 1, 4))
"""Blocks, width, stride and dilation of each stage, at output stride 8."""

RATES = (1, 12, 24, 36)


def deeplab_cost(size: int = 513, classes: int = 21) -> CostModel:
    """Return MACs and parameters of DeepLabV3-ResNet50 in the counts of its 44 units.

    Parameters
    ----------
    size : int
        Height and width of the picture.
    classes : int
    """
    units: dict[str, int] = {}
    macs: list[tuple[float, Affine, Affine]] = []
    params: list[tuple[float, Affine, Affine]] = []

    def conv(
        inputs: Affine | int, outputs: str | int, kernel: int, side: int, width: int = 0
    ) -> Affine:
        left = Affine(inputs) if isinstance(inputs, int) else inputs
        if isinstance(outputs, str):
            units.setdefault(outputs, width)
            right = Affine(0, {outputs: 1})
            params.append((2.0, Affine(1), right))  # scale and shift of its batch norm
        else:
            right = Affine(outputs)
            params.append((1.0, Affine(1), right))  # bias
        macs.append((float(kernel**2 * side**2), left, right))
        params.append((float(kernel**2), left, right))
        return right

    side = (size + 1) // 2
    x = conv(3, "stem", 7, side, 64)
    side = (side + 1) // 2
    for number, (blocks, width, stride, _) in enumerate(STAGES, 1):
        stage = f"layer{number}"
        for block in range(blocks):
            name = f"{stage}.{block}"
            y = conv(x, f"{name}.conv1", 1, side, width)
            if block == 0:
                side = (side + stride - 1) // stride
            y = conv(y, f"{name}.conv2", 3, side, width)
            y = conv(y, stage, 1, side, 4 * width)
            if block == 0:
                conv(x, stage, 1, side)
            x = y
    parts = {}
    for number, rate in enumerate(RATES):
        parts[f"aspp.{number}"] = 1.0
        conv(x, f"aspp.{number}", 1 if rate == 1 else 3, side, 256)
    parts["aspp.pool"] = 1.0
    conv(x, "aspp.pool", 1, 1, 256)
    x = conv(Affine(0, parts), "aspp.project", 1, side, 256)
    x = conv(x, "head", 3, side, 256)
    conv(x, classes, 1, side)
    names = list(units)
    forms = {
        "macs": CostForm.from_products(names, macs),
        "params": CostForm.from_products(names, params),
    }
    return CostModel(tuple(names), np.array(list(units.values())), forms)


def simulated_graphs(cost: CostModel, seed: int = 0) -> dict[str, ChannelGraph]:
    """Return a graph for each unit: |X X'| of maps with a few common patterns.

    Ranks and strengths are drawn so that off-diagonals spread as they do in measured
    networks: the scale differs by a factor of 100 between layers, as 1 / (H W) does.
    """
    rng = np.random.default_rng(seed)
    graphs = {}
    for name, n in zip(cost.units, cost.sizes.tolist(), strict=True):
        rank = int(rng.integers(6, 60))
        patterns = rng.normal(size=(n, rank)) * rng.uniform(0.2, 1.0, size=rank)
        own = rng.normal(size=(n, 2 * rank)) * rng.uniform(0.1, 0.6)
        maps = np.hstack([patterns + rng.uniform(0.0, 0.5), own])
        maps *= rng.lognormal(0.0, 0.3, size=(n, 1))
        scale = 10.0 ** rng.uniform(-4, -2)
        graphs[name] = ChannelGraph.from_redundancy(
            scale * (maps @ maps.T), absolute=True, name=name
        )
    return graphs


def deeplab_network(classes: int = 21) -> nn.Module:
    """Return a randomly initialised DeepLabV3-ResNet50 in torch."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    def conv_bn(i: int, o: int, kernel: int, **kwargs: Any) -> nn.Sequential:
        padding = kwargs.get("dilation", 1) * (kernel // 2)
        conv = nn.Conv2d(i, o, kernel, padding=padding, bias=False, **kwargs)
        return nn.Sequential(conv, nn.BatchNorm2d(o))

    class Bottleneck(nn.Module):
        def __init__(self, inputs: int, width: int, stride: int, dilation: int) -> None:
            super().__init__()
            self.conv1 = conv_bn(inputs, width, 1)
            self.conv2 = conv_bn(width, width, 3, stride=stride, dilation=dilation)
            self.conv3 = conv_bn(width, 4 * width, 1)
            self.shortcut: nn.Module = nn.Identity()
            if stride != 1 or inputs != 4 * width:
                self.shortcut = conv_bn(inputs, 4 * width, 1, stride=stride)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = F.relu(self.conv2(F.relu(self.conv1(x))))
            return F.relu(self.conv3(y) + self.shortcut(x))

    class DeepLab(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = conv_bn(3, 64, 7, stride=2)
            inputs, stages = 64, []
            for blocks, width, stride, dilation in STAGES:
                stage = []
                for block in range(blocks):
                    first = stride if block == 0 else 1
                    stage.append(Bottleneck(inputs, width, first, dilation))
                    inputs = 4 * width
                stages.append(nn.Sequential(*stage))
            self.stages = nn.Sequential(*stages)
            self.aspp = nn.ModuleList(
                conv_bn(inputs, 256, 1 if r == 1 else 3, dilation=r) for r in RATES
            )
            self.pool = conv_bn(inputs, 256, 1)
            self.project = conv_bn(256 * 5, 256, 1)
            self.head = conv_bn(256, 256, 3)
            self.classifier = nn.Conv2d(256, classes, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = F.max_pool2d(F.relu(self.stem(x)), 3, stride=2, padding=1)
            x = self.stages(x)
            maps = [F.relu(branch(x)) for branch in self.aspp]
            pooled = F.relu(self.pool(x.mean((2, 3), keepdim=True)))
            maps.append(pooled.expand(-1, -1, *x.shape[-2:]))
            x = F.relu(self.project(torch.cat(maps, 1)))
            scores: torch.Tensor = self.classifier(F.relu(self.head(x)))
            return scores

    return DeepLab().eval()


def try_deeplab(side: int) -> pd.DataFrame:
    """Prune torchvision's DeepLabV3-ResNet50 to 40 % of its MACs, and time it."""
    import torch

    from sirfp_opt.pytorch import couple, extract, prune
    from sirfp_opt.pytorch.batches import frozen_outputs
    from tests.pytorch.zoo import ZOO

    model = ZOO["torchvision/deeplabv3_resnet50"].build()
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    began = time.process_time()
    coupling = couple(model, images)
    building = time.process_time() - began
    graphs = extract(model, [images], coupling=coupling)
    rows = []
    for allocation in ("uniform", "threshold", "optimal", "balanced"):
        began = time.process_time()
        result = prune(
            model,
            [images],
            macs=0.4,
            graphs=graphs,
            allocation=allocation,
            verify=False,
        )
        planning = time.process_time() - began
        times: dict[str, list[float]] = {"before": [], "after": []}
        for _ in range(7):
            for which, network in (("before", model), ("after", result.model)):
                start = time.process_time()
                frozen_outputs(network, images[:1])
                times[which].append(time.process_time() - start)
        before, after = (float(np.median(times[which])) for which in times)
        rows.append(
            {
                "side": side,
                "allocation": allocation,
                "building_s": building,
                "planning_and_surgery_s": planning,
                "limit": (result.report.split or {}).get("limit"),
                "macs": result.report.reached["macs"],
                "latency": after / before,
                "before_s": before,
                "after_s": after,
            }
        )
        print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def main() -> None:
    """Measure, print, and write a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--side", type=int, default=257)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    frame = try_deeplab(options.side)
    frame.to_csv(options.out / f"deeplab_{options.side}.csv", index=False)


if __name__ == "__main__":
    main()
