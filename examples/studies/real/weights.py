"""The networks, read where their wheels have put them; nothing of theirs is copied."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

__all__ = ["NETWORKS", "Network", "as_onnx", "load", "missing"]


@dataclass(frozen=True)
class Network:
    """A pretrained network in a wheel.

    Parameters
    ----------
    package : str
        The wheel's Python package.
    distribution : str
        What to install.
    file : str
        The network's file inside of the package.
    licence : str
    what : str
        One line for the page.
    """

    package: str
    distribution: str
    file: str
    licence: str
    what: str

    @property
    def path(self) -> Path:
        """Where the file lies.

        Raises
        ------
        FileNotFoundError
            If the wheel is not installed.
        """
        # The package is found, not imported: it would load what it needs itself.
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise FileNotFoundError(
                f"{self.distribution} is not installed: pip install --group real"
            )
        return Path(next(iter(spec.submodule_search_locations))) / self.file


NETWORKS = {
    "ppocr4": Network(
        "rapidocr_onnxruntime",
        "rapidocr-onnxruntime",
        "models/ch_PP-OCRv4_det_infer.onnx",
        "Apache-2.0",
        "PP-OCRv4's text segmentation (DBNet), 1.17 M parameters",
    ),
    "ppocr6": Network(
        "rapidocr",
        "rapidocr",
        "models/PP-OCRv6_det_small.onnx",
        "Apache-2.0",
        "PP-OCRv6's text segmentation, 2.44 M parameters",
    ),
}


def missing(name: str) -> list[str]:
    """Return what would have to be installed."""
    needed = [NETWORKS[name].package, "onnx", "onnx2torch", "onnxruntime", "PIL"]
    return [one for one in needed if importlib.util.find_spec(one) is None]


def as_onnx(name: str) -> Any:
    """Return a network's ONNX model, said plainly.

    Constants become initializers, identities go, and automatic padding becomes the
    numbers that it stands for: the same network, in words that the converter knows.
    """
    import onnx

    model = onnx.load(str(NETWORKS[name].path))
    graph = model.graph
    kept, alias = [], {}
    for node in graph.node:
        if node.op_type == "Constant":
            tensor = onnx.TensorProto()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
        elif node.op_type == "Identity":
            alias[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    for node in kept:
        for place, text in enumerate(node.input):
            while text in alias:
                text = alias[text]
            node.input[place] = text
        _pad_by_numbers(node)
    del graph.node[:]
    graph.node.extend(kept)
    return model


def _pad_by_numbers(node: Any) -> None:
    import onnx

    attributes = {one.name: one for one in node.attribute}
    automatic = attributes.get("auto_pad")
    if automatic is None or automatic.s not in (b"SAME_UPPER", b"SAME_LOWER"):
        return
    strides = attributes.get("strides")
    if strides is not None and set(strides.ints) != {1}:
        raise NotImplementedError(
            f"{node.name}: automatic padding depends on the size where it strides"
        )
    extra = [size - 1 for size in attributes["kernel_shape"].ints]
    small, large = [e // 2 for e in extra], [e - e // 2 for e in extra]
    ends = (small, large) if automatic.s == b"SAME_UPPER" else (large, small)
    node.attribute.remove(automatic)
    if "pads" in attributes:
        node.attribute.remove(attributes["pads"])
    node.attribute.append(onnx.helper.make_attribute("pads", [*ends[0], *ends[1]]))


@lru_cache(maxsize=2)
def load(name: str) -> nn.Module:
    """Return a network as torch modules, as it was exported: by onnx2torch."""
    _declare_operators()
    convert: Any = importlib.import_module("onnx2torch").convert
    model: nn.Module = convert(as_onnx(name)).eval()
    return model


_libraries: list[Any] = []


def _declare_operators() -> None:
    """Let torchvision, which onnx2torch imports, stand beside any build of torch."""
    if _libraries or importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError:  # its operators were compiled for another torch
        library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float t) -> Tensor")
        _libraries.append(library)
