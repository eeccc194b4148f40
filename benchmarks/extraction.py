"""Measure what it costs to extract channel graphs while a network runs.

Protocol
--------
Three small networks of the tests with random weights on random images; the demo's,
which is trained, on scenes of its own (96 x 96), for the errors' sake; and DeepLabV3
with a ResNet-50 with random weights (torchvision's where it can be imported, else our
own of the same shape). All at ``--batch`` images of ``--size``², in evaluation mode
without gradients, with ``--threads`` threads, on the CPU and, where there is one, on a
CUDA device. Ways:

per image, per image + edge
    What a straightforward hook on each batch norm does: image by image, maps divided by
    their L1 norm, one product, the average kept on the CPU; edges by a 3 x 3
    convolution. Written for this comparison from the formulas.
ours, ours + edge
    `Extractor` of the same measure ("spatial"), without and with the edge term.
bfloat16, positions
    The two approximations, ``dtype=torch.bfloat16`` and ``positions=256``, without
    the edge term.
reconstruction
    `Extractor`'s default, without importances. It is another measure, of what layers
    read, and is not compared with the hook's.

All ways take turns, ``--rounds`` times after a warm-up, on the same batch of each
round; all average exponentially with r = 0.9 from zero. On the CPU seconds are CPU
seconds of the process, so that a busy neighbour costs less than it else would; on a
device they are wall-clock between synchronisations. Columns:

seconds, overhead
    Median over the rounds; the time beyond *forward*'s in the same round, in forward
    passes, median.
ratio
    Median over the rounds of the straightforward hook's overhead over this way's, both
    with the edge term or both without.
error
    Largest difference from the straightforward hook's matrices and edges, relative to
    the largest entry of each layer, the worst layer. Exact ways must stay below
    1e-6 in double precision (``--double``). In single precision the straightforward
    hook's own rounding shows, too: up to 4e-6 where few channels have 65 536 positions.
off_diagonal
    Norm of the difference of the cosine-scaled off-diagonals over their norm: median
    layer and worst layer. ``common``: of the halves that greedy keeps by these and by
    the exact graphs, the share in common, mean over units.
extra_MiB, graphs_MiB, memory
    Peak of the tensors' memory in the first step beyond *forward*'s, averages included,
    as the allocator counts it; the size of all matrices; the first over the second.

    python -m benchmarks.extraction --out results
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from functools import partial
from importlib import import_module
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from benchmarks.networks import deeplab_network
from sirfp_opt import solve
from sirfp_opt.demo.network import load_checkpoint
from sirfp_opt.demo.scenes import make_scenes
from sirfp_opt.pytorch import Coupling, Extractor, couple
from sirfp_opt.pytorch.extraction.graphs import normalize
from tests.pytorch.networks import SOUND, randomized

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

DECAY = 0.9
SMALL = ("residual", "unet", "deeplab")
LARGE = "deeplabv3_resnet50"
SPATIAL = {"metric": "spatial", "normalize": "none", "importance": None}
WAYS: dict[str, dict[str, Any]] = {
    "ours": SPATIAL,
    "ours + edge": SPATIAL | {"importance": "edge"},
    "bfloat16": SPATIAL | {"dtype": torch.bfloat16},
    "positions": SPATIAL | {"positions": 256},
    "reconstruction": {"importance": None},
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the networks asked for; print the table and write it to ``--out``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [*SMALL, "demo", LARGE]
    parser.add_argument("--networks", nargs="+", default=names, choices=names)
    parser.add_argument("--devices", nargs="+", default=None)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--double", action="store_true")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    found = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    frames = [
        measure(name, device, options)
        for name in options.networks
        for device in options.devices or found
    ]
    frame = pd.concat(frames, ignore_index=True)
    table = frame.to_markdown(index=False, floatfmt=".3g")
    print(table, flush=True)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        frame.to_csv(options.out / "extraction.csv", index=False)
        (options.out / "extraction.md").write_text(table + "\n", encoding="utf-8")


def measure(name: str, device: str, options: argparse.Namespace) -> pd.DataFrame:
    """Return the table of one network on one device."""
    dtype = torch.float64 if options.double else torch.float32
    model = network(name).to(device, dtype)
    generator = torch.Generator().manual_seed(0)
    shape = (options.rounds + 1, options.batch, 3, options.size, options.size)
    if name == "demo":
        images = torch.stack(torch.split(make_scenes(shape[0] * shape[1])[0], shape[1]))
    else:
        images = torch.randn(shape, generator=generator)
    rounds = list(images.to(device, dtype))
    coupling = couple(model, rounds[0][:1])

    def forward(x: Tensor) -> None:
        with torch.no_grad():
            model(x)

    def made() -> dict[str, Any]:
        common: dict[str, Any] = {"decay": DECAY, "bias_correction": False}
        return {
            "per image": PerImage(model, coupling, edge=False),
            "per image + edge": PerImage(model, coupling, edge=True),
        } | {
            way: Extractor(model, coupling=coupling, **common, **kwargs)
            for way, kwargs in WAYS.items()
        }

    def watched(context: Any, x: Tensor) -> None:
        with context:
            forward(x)

    forward(rounds[0])
    alone = peak(partial(forward, rounds[0]), device)
    extra = {}
    for way in made():
        context = made()[way]
        extra[way] = peak(partial(watched, context, rounds[0]), device) - alone
        del context
    contexts = made()
    calls = {"forward": forward} | {k: partial(watched, c) for k, c in contexts.items()}
    for call in calls.values():
        call(rounds[0])
    seconds: dict[str, list[float]] = {way: [] for way in calls}
    for x in rounds[1:]:
        for way, call in calls.items():
            seconds[way].append(clocked(partial(call, x), device))
    base = np.array(seconds["forward"])
    overhead = {way: np.array(s) / base - 1 for way, s in seconds.items()}
    reference = contexts["per image + edge"]
    size = sum(a.nbytes for a in reference.matrices.values()) / 2**20
    exact = contexts["ours"].graphs()
    rows = []
    for way, call_seconds in seconds.items():
        row: dict[str, Any] = {
            "network": name,
            "device": device,
            "way": way,
            "seconds": np.median(call_seconds),
            "overhead": np.median(overhead[way]),
        }
        if way != "forward":
            other = "per image + edge" if way.endswith("edge") else "per image"
            row |= {
                "ratio": np.median(overhead[other] / overhead[way]),
                "extra_MiB": extra[way] / 2**20,
                "graphs_MiB": size,
                "memory": extra[way] / 2**20 / size,
            }
        if "metric" in WAYS.get(way, {}):
            row |= compare(contexts[way].graphs(), exact, reference)
        rows.append(row)
    return pd.DataFrame(rows)


class PerImage:
    """A context manager like `Extractor`, with the straightforward hook."""

    def __init__(self, model: nn.Module, coupling: Coupling, *, edge: bool) -> None:
        self.edge = edge
        modules = dict(model.named_modules())
        members = coupling.members.values()
        layers = dict.fromkeys(m.layer for some in members for m in some)
        self.modules = {layer: modules[layer] for layer in layers}
        self.matrices: dict[str, Tensor] = {}
        self.edges: dict[str, Tensor] = {}
        self.hooks: list[Any] = []

    def __enter__(self) -> None:
        for layer, module in self.modules.items():

            def hook(
                module: nn.Module, args: Any, output: Tensor, layer: str = layer
            ) -> None:
                self.add(layer, output)

            self.hooks.append(module.register_forward_hook(hook))

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()
        self.hooks.clear()

    def add(self, layer: str, maps: Tensor) -> None:
        """Take in a batch (N, C, H, W), image by image."""
        channels = maps.shape[1]
        matrix = torch.zeros(channels, channels, dtype=maps.dtype)
        for image in maps:
            rows = image.flatten(1)
            rows = rows / (rows.abs().sum(dim=1, keepdim=True) + 1e-5)
            matrix += (rows @ rows.T).cpu()
        self.matrices[layer] = self.averaged(
            self.matrices.get(layer), matrix / len(maps)
        )
        if not self.edge:
            return
        x = torch.tensor([-1.0, 0.0, 1.0], dtype=maps.dtype)
        square = (x[:, None] ** 2 + x**2).clamp(min=1)
        kernel = (x / square).to(maps.device)
        kernels = torch.stack([kernel, kernel.T])[:, None]
        gradient = F.conv2d(maps.flatten(0, 1)[:, None], kernels, padding=1)
        strength = gradient.square().sum(dim=1).sqrt().flatten(1)
        spread = strength.square().mean(dim=1) - strength.mean(dim=1).square()
        edge = spread.clamp(min=0).sqrt().view(len(maps), channels).mean(dim=0).cpu()
        self.edges[layer] = self.averaged(self.edges.get(layer), edge)

    @staticmethod
    def averaged(before: Tensor | None, now: Tensor) -> Tensor:
        """Return the next exponential average, from zero."""
        return (1 - DECAY) * now + (0.0 if before is None else DECAY * before)


def compare(found: Any, exact: Any, reference: PerImage) -> dict[str, float]:
    """Return how far graphs are from those of the reference hook."""
    errors, distances, common = [0.0], [], []
    for unit, parts in found.redundancy.items():
        for layer, matrix in parts.items():
            if any(note.startswith(f"{layer}:") for note in found.notes):
                continue  # 1 x 1 maps, which we compare over images
            expected = reference.matrices[layer].abs().numpy()
            errors.append(np.abs(matrix - expected).max() / expected.max())
            if layer in found.importance[unit]:
                edge = reference.edges[layer].numpy()
                difference = np.abs(found.importance[unit][layer] - edge)
                errors.append(difference.max() / edge.max())
            scaled = _cosine(expected)
            distance = np.linalg.norm(_cosine(matrix) - scaled)
            distances.append(distance / np.linalg.norm(scaled))
        one, two = (
            solve(graphs[unit], max(1, graphs[unit].n // 2), "greedy").selected
            for graphs in (found, exact)
        )
        common.append(len(np.intersect1d(one, two)) / len(one))
    return {
        "error": float(max(errors)),
        "off_diagonal": float(np.median(distances)),
        "worst": float(max(distances)),
        "common": float(np.mean(common)),
    }


def _cosine(matrix: NDArray[Any]) -> NDArray[Any]:
    scaled = normalize(matrix, "cosine")
    np.fill_diagonal(scaled, 0.0)
    return scaled


def clocked(call: Callable[[], None], device: str) -> float:
    """Return the seconds of one call: CPU seconds, or wall-clock on a device."""
    if device == "cpu":
        began = time.process_time()
        call()
        return time.process_time() - began
    torch.cuda.synchronize()
    began = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def peak(call: Callable[[], None], device: str) -> float:
    """Return the bytes of tensors held at most during a call, beyond those before."""
    gc.collect()
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return float(torch.cuda.max_memory_allocated() - before)
    # Resident memory would count the heap's holes, too, and differ from run to run.
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    events = profiler.profiler.kineto_results.events()
    events = [event for event in events if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return float(max(accumulate((event.nbytes() for event in events), initial=0)))


def network(name: str) -> nn.Module:
    """Return one of the networks, in evaluation mode."""
    if name == "demo":
        return load_checkpoint().eval()
    if name != LARGE:
        return randomized(SOUND[name])
    torch.manual_seed(0)
    try:
        models = _torchvision_models()
    except ImportError:
        return deeplab_network()
    made: nn.Module = models.deeplabv3_resnet50(weights=None, weights_backbone=None)
    return made.eval()


def _torchvision_models() -> Any:
    name = "torchvision.models.segmentation"
    try:
        return import_module(name)
    except RuntimeError:
        # Built for another torch, its operators are missing. The networks here use
        # none of them; they only have to be declared.
        for module in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
            del sys.modules[module]
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for operator in ("nms", "qnms"):
            schema = f"{operator}(Tensor dets, Tensor scores, float t) -> Tensor"
            library.define(schema)  # type: ignore[no-untyped-call]
        _KEPT.append(library)
        return import_module(name)


_KEPT: list[Any] = []  # a library that is collected takes its operators along


if __name__ == "__main__":
    main()
