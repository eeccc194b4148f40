"""Measured latency: torch, ONNX Runtime and OpenVINO, one thread, interleaved.

By the processor's clock: what else runs on the machine does not count.
"""

from __future__ import annotations

import importlib.util
import io
import statistics
import time
import warnings
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

__all__ = ["latencies", "to_onnx"]

SHAPE = (1, 3, 320, 320)
ROUNDS = 15


def to_onnx(model: nn.Module, example: Tensor) -> bytes:
    """Return a network as an ONNX file."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.eval(),
            (example,),
            file,  # type: ignore[arg-type]
            dynamo=False,
            input_names=["x"],
            output_names=["y"],
        )
    return file.getvalue()


def latencies(models: dict[str, nn.Module]) -> list[dict[str, Any]]:
    """Time networks against each other, each run of one beside a run of the others.

    Parameters
    ----------
    models : dict of str to nn.Module
        The first one is what the others are compared with.

    Returns
    -------
    list of dict
        By engine and network: median milliseconds, the median of the ratios to the
        first one in the same round, and the size of the ONNX file in bytes.
    """
    torch.set_num_threads(1)
    example = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0))
    files = {name: to_onnx(model, example) for name, model in models.items()}
    rows = []
    for engine, start in ENGINES.items():
        if engine != "torch" and importlib.util.find_spec(engine) is None:
            continue
        calls = {name: start(models[name], files[name], example) for name in models}
        for call in calls.values():
            call(), call()
        taken: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(ROUNDS):
            for name, call in calls.items():
                began = time.process_time()
                call()
                taken[name].append(1e3 * (time.process_time() - began))
        first = taken[next(iter(models))]
        for name, times in taken.items():
            ratios = [one / other for one, other in zip(times, first, strict=True)]
            rows.append(
                {
                    "engine": engine,
                    "network": name,
                    "ms": round(statistics.median(times), 3),
                    "ratio": round(statistics.median(ratios), 4),
                    "bytes": len(files[name]),
                }
            )
    return rows


def _torch(model: nn.Module, _: bytes, example: Tensor) -> Callable[[], Any]:
    def call() -> Any:
        with torch.inference_mode():
            return model(example)

    return call


def _onnxruntime(_: nn.Module, file: bytes, example: Tensor) -> Callable[[], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(file, options, providers=providers)
    fed = {"x": example.numpy()}
    return lambda: session.run(None, fed)


def _openvino(_: nn.Module, file: bytes, example: Tensor) -> Callable[[], Any]:
    import openvino

    core = openvino.Core()
    core.set_property("CPU", {"INFERENCE_NUM_THREADS": 1})
    compiled = core.compile_model(core.read_model(io.BytesIO(file)), "CPU")
    array = example.numpy()
    return lambda: compiled([array])


ENGINES: dict[str, Callable[[Any, bytes, Tensor], Callable[[], Any]]] = {
    "torch": _torch,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}
