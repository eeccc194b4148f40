"""Measure the time and memory that it takes to find which channels go together.

Protocol
--------
Each network is built with random weights, and coupled in a process of its own, with
one thread, after a small network has been (that imports what is imported late).
Pictures are of the side given here. Columns:

- units; share of the channels that may be cut;
- couple_s: CPU seconds of `couple`, all of it; trial_s: of the trial cuts alone, with
  what is tabulated between them. Medians of ``--repeats`` runs;
- weights_mb: the network's parameters and buffers; peak_mb: the resident memory at its
  highest during the first run, above what it was before (Linux alone tells); times:
  peak and weights, as a multiple of the weights.

``--chains`` couples chains of convolutions, batch norms and ReLUs, and residual ones,
of 100, 300 and 1,000 layers instead; ms_a_layer is couple_s by layers.

    python -m benchmarks.coupling --out results
    python -m benchmarks.coupling --chains --out results
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pandas as pd
import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

LAYERS = (100, 300, 1000)


def torchvision_net(name: str, **options: Any) -> nn.Module:
    """Return a network of torchvision."""
    torchvision: Any = importlib.import_module("torchvision")
    model: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    return model


def timm_net(name: str, **options: Any) -> nn.Module:
    """Return a network of timm."""
    timm: Any = importlib.import_module("timm")
    model: nn.Module = timm.create_model(name, pretrained=False, **options)
    return model


def segformer() -> nn.Module:
    """Return SegFormer-B0."""
    transformers: Any = importlib.import_module("transformers")
    config = transformers.SegformerConfig(num_labels=21)
    model: nn.Module = transformers.SegformerForSemanticSegmentation(config)
    return model


class Detector(nn.Module):
    """DETR-R50; of its outputs, those that are used."""

    def __init__(self) -> None:
        super().__init__()
        transformers: Any = importlib.import_module("transformers")
        self.net = transformers.DetrForObjectDetection(transformers.DetrConfig())

    def forward(self, x: torch.Tensor) -> Any:
        """Return scores and boxes."""
        found = self.net(x)
        return found.logits, found.pred_boxes


def segment_anything() -> nn.Module:
    """Return the picture encoder of SAM ViT-B."""
    transformers: Any = importlib.import_module("transformers")
    model: nn.Module = transformers.SamVisionModel(transformers.SamVisionConfig())
    return model


def chain(layers: int) -> nn.Sequential:
    """Return convolutions of 8 channels one after the other."""
    body: list[nn.Module] = [nn.Conv2d(3, 8, 1)]
    for _ in range(layers - 2):
        body += [nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    return nn.Sequential(*body, nn.Conv2d(8, 2, 1))


class Block(nn.Module):
    """Two convolutions around a bypass."""

    def __init__(self) -> None:
        super().__init__()
        self.body = chain(4)[1:-1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the input."""
        y: torch.Tensor = x + self.body(x)
        return y


def residual(layers: int) -> nn.Module:
    """Return blocks of two convolutions, all on one stream."""
    blocks = [Block() for _ in range((layers - 2) // 2)]
    return nn.Sequential(nn.Conv2d(3, 8, 1), *blocks, nn.Conv2d(8, 2, 1))


NETWORKS: dict[str, tuple[str, Callable[[], nn.Module], int]] = {
    "deeplabv3_resnet50": (
        "torchvision",
        lambda: torchvision_net(
            "deeplabv3_resnet50", weights_backbone=None, aux_loss=True
        ),
        128,
    ),
    "shufflenet_v2_x1_0": (
        "torchvision",
        lambda: torchvision_net("shufflenet_v2_x1_0"),
        64,
    ),
    "swin_t": ("torchvision", lambda: torchvision_net("swin_t"), 64),
    "swin_t (timm)": (
        "timm",
        lambda: timm_net("swin_tiny_patch4_window7_224", img_size=64, window_size=2),
        64,
    ),
    "vit_tiny (timm)": (
        "timm",
        lambda: timm_net("vit_tiny_patch16_224", img_size=64),
        64,
    ),
    "pvt_v2_b0 (timm)": ("timm", lambda: timm_net("pvt_v2_b0"), 64),
    "segformer_b0": ("transformers", segformer, 64),
    "detr_resnet50": ("transformers", Detector, 128),
    "sam_vit_b": ("transformers", segment_anything, 1024),
}
"""name -> package, how it is built, the picture's side"""

CHAINS: dict[str, tuple[str, Callable[[], nn.Module], int]] = {
    f"{kind.__name__} {n}": ("torch", lambda kind=kind, n=n: kind(n), 8)  # type: ignore[misc]
    for kind in (chain, residual)
    for n in LAYERS
}


def measure(name: str, repeats: int) -> dict[str, Any]:
    """Couple one network; to be called in a process of its own."""
    from sirfp_opt.pytorch import couple
    from sirfp_opt.pytorch.coupling.settling import settle

    torch.set_num_threads(1)
    torch.manual_seed(0)
    package, build, side = (NETWORKS | CHAINS)[name]
    if package != "torch":
        from tests.pytorch.zoo import _declare_operators

        _declare_operators()  # torchvision's, which the other packages ask for, too
    model = build().eval()
    batch = torch.randn(1, 3, side, side)
    couple(chain(4).eval(), batch[..., :8, :8])
    trials: list[float] = []

    def clocked(*args: Any) -> Any:
        began = time.process_time()
        try:
            return settle(*args)
        finally:
            trials.append(time.process_time() - began)

    seconds: list[float] = []
    peak: float | None = None
    for _ in range(repeats):
        before = _resident("VmRSS", reset=True)
        began = time.process_time()
        with patch("sirfp_opt.pytorch.coupling.units.settle", clocked):
            coupling = couple(model, batch)
        seconds.append(time.process_time() - began)
        after = _resident("VmHWM")
        if peak is None and before is not None and after is not None:
            peak = (after - before) / 1024
    tensors = [*model.parameters(), *model.buffers()]
    weights = sum(t.numel() * t.element_size() for t in tensors) / 2**20
    return {
        "network": name,
        "side": side,
        "units": len(coupling.units),
        "share": coupling.share,
        "couple_s": statistics.median(seconds),
        "trial_s": statistics.median(trials),
        "weights_mb": weights,
        "peak_mb": peak,
        "times": None if peak is None else (peak + weights) / weights,
    }


def _resident(what: str, *, reset: bool = False) -> int | None:
    """Return this process's resident memory now or at its highest, in KiB."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    if reset:
        Path("/proc/self/clear_refs").write_text("5")  # the highest is that of now
    line = next(one for one in status.read_text().splitlines() if what in one)
    return int(line.split()[1])


def main() -> None:
    """Measure, print, and write a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--networks", nargs="*", help=f"of {', '.join(NETWORKS)}")
    parser.add_argument("--chains", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    known = CHAINS if options.chains else NETWORKS
    rows = []
    for name in options.networks or known:
        if importlib.util.find_spec(known[name][0]) is None:
            continue
        # Memory that one network has taken is not given back for the next one.
        spawning = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawning) as pool:
            rows.append(pool.submit(measure, name, options.repeats).result())
        if options.chains:
            rows[-1]["ms_a_layer"] = 1000 * rows[-1]["couple_s"] / int(name.split()[-1])
        print(rows[-1], flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    table = "coupling_chains.csv" if options.chains else "coupling.csv"
    pd.DataFrame(rows).to_csv(options.out / table, index=False)


if __name__ == "__main__":
    main()
