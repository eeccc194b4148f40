"""A pruned network is a network like any other: exported, compiled, run elsewhere."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sirfp_opt.demo.network import load_checkpoint
from sirfp_opt.pytorch import prune
from tests.pytorch.networks import DeepLab, randomized

BATCH = torch.export.Dim("batch", min=1, max=64)


def scenes(count: int, seed: int, size: int = 96) -> torch.Tensor:
    """Return random pictures, by default of the demo's size."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, size, size, generator=generator)


@pytest.fixture(scope="module")
def small() -> nn.Module:
    """Prune the demo's trained network to 40 % of its MACs."""
    return prune(load_checkpoint(), scenes(2, 0), macs=0.4).model


@pytest.fixture(scope="module")
def program(small: nn.Module) -> torch.export.ExportedProgram:
    """Export it with a free batch size."""
    return torch.export.export(small, (scenes(2, 0),), dynamic_shapes=({0: BATCH},))


def test_onnx_runtime_computes_the_same(
    small: nn.Module, program: torch.export.ExportedProgram, tmp_path: Path
) -> None:
    """At batch sizes that were not traced."""
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    file = tmp_path / "small.onnx"
    torch.onnx.export(program, (), file, dynamo=True, verbose=False)
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    for count in (1, 3):
        images = scenes(count, count)
        with torch.inference_mode():
            expected = small(images).numpy()
        (found,) = session.run(None, {name: images.numpy()})
        size = float(np.abs(expected).max())
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * size)


def test_torch_export_computes_the_same(
    small: nn.Module, program: torch.export.ExportedProgram
) -> None:
    """The exported program, written and read back, gives the same bits."""
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    images = scenes(3, 3)
    with torch.inference_mode():
        assert torch.equal(loaded(images), small(images))


def test_torch_compile_takes_it_in_one_graph() -> None:
    """No graph break; outputs and gradients are those of the network itself."""
    images, gradients = scenes(2, 5, 16), []
    small = prune(randomized(DeepLab), images, macs=0.5).model
    torch.compiler.reset()
    for network in (small, torch.compile(small, backend="aot_eager", fullgraph=True)):
        small.zero_grad()
        loss = torch.stack([y.square().mean() for y in network(images).values()]).sum()
        torch.autograd.backward(loss)
        gradients.append([loss.detach()])
        gradients[-1] += [p.grad for p in small.parameters() if p.grad is not None]
    assert len(gradients[0]) > 20
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
    torch.compiler.reset()


def test_it_trains_distributed_and_in_mixed_precision(tmp_path: Path) -> None:
    """Wrapped after the cut, under autocast: every parameter gets a finite gradient."""
    images = scenes(2, 5, 16)
    small = prune(randomized(DeepLab), images, macs=0.5).model.train()
    torch.distributed.init_process_group(
        "gloo", init_method=(tmp_path / "store").as_uri(), rank=0, world_size=1
    )
    try:
        network = nn.parallel.DistributedDataParallel(small)
        with torch.autocast("cpu", torch.bfloat16):
            outputs = network(images)
        assert outputs["out"].dtype == torch.bfloat16
        loss = torch.stack([y.float().square().mean() for y in outputs.values()]).sum()
        torch.autograd.backward(loss)
    finally:
        torch.distributed.destroy_process_group()
    gradients = [p.grad for p in small.parameters()]
    assert all(g is not None and bool(torch.isfinite(g).all()) for g in gradients)
