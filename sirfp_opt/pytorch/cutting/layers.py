"""What PyTorch's own layers keep beside their tensors: sides, widths, counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from sirfp_opt.network.plan import Side

__all__ = [
    "BATCH_NORM",
    "CONTAINERS",
    "COUNTED",
    "channel_dim",
    "is_depthwise",
    "sides_of",
    "sync",
    "width",
]

BATCH_NORM = nn.modules.batchnorm._NormBase
"""Batch norms, and instance norms, of all ranks."""

COUNTED = (
    nn.modules.conv._ConvNd,
    nn.Linear,
    nn.Embedding,
    nn.PReLU,
    BATCH_NORM,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)
"""Layers whose own counts follow from their tensors: no plan may set them."""


CONTAINERS = (
    nn.Module,
    nn.Sequential,
    nn.ModuleList,
    nn.ModuleDict,
    nn.ParameterList,
    nn.ParameterDict,
)
"""Types of PyTorch's own that hold tensors and count nothing."""


def is_depthwise(module: nn.Module) -> bool:
    """Tell whether each input channel has filters of its own, one or several."""
    return (
        isinstance(module, nn.modules.conv._ConvNd)
        and module.groups > 1
        and module.groups == module.in_channels
    )


def sides_of(module: nn.Module, side: Side) -> list[tuple[str, int]]:
    """Return a layer's tensors of one side, and which of their dimensions it is.

    An empty list for what has none, and for layers that are not known.
    """
    if isinstance(module, nn.modules.conv._ConvNd):
        made = 1 if module.transposed else 0
        if side == "in":
            return [] if is_depthwise(module) else [("weight", 1 - made)]
        made = 0 if is_depthwise(module) else made
        return _present(module, [("weight", made), ("bias", 0)])
    if isinstance(module, nn.Linear):
        if side == "in":
            return [("weight", 1)]
        return _present(module, [("weight", 0), ("bias", 0)])
    if side == "in":
        return []
    names = ("weight", "bias", "running_mean", "running_var")
    if isinstance(module, COUNTED):
        return _present(module, [(name, 0) for name in names])
    return []


def _present(
    module: nn.Module, entries: list[tuple[str, int]]
) -> list[tuple[str, int]]:
    return [e for e in entries if isinstance(getattr(module, e[0], None), Tensor)]


def channel_dim(module: nn.Module, tensor: Tensor) -> int:
    """Return the dimension of a layer's input or output that counts channels."""
    if isinstance(module, nn.Linear):
        return tensor.dim() - 1
    if isinstance(module, nn.modules.conv._ConvNd):
        return tensor.dim() - len(module.kernel_size) - 1
    return 1


def width(module: Any, side: Side) -> int | None:
    """Return how many channels a known layer reads or makes, None for another layer."""
    if isinstance(module, nn.modules.conv._ConvNd):
        return module.in_channels if side == "in" else module.out_channels
    if isinstance(module, nn.Linear):
        return module.in_features if side == "in" else module.out_features
    if isinstance(module, nn.PReLU):
        return module.num_parameters
    if isinstance(module, nn.GroupNorm):
        return module.num_channels
    if isinstance(module, BATCH_NORM):
        return module.num_features
    if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        return int(module.normalized_shape[0])
    return None


def sync(module: Any) -> None:
    """Let a known layer's counts follow the shapes of its tensors.

    Those of group norms and grouped convolutions are set where these are cut: their
    shapes alone do not tell the number of groups.
    """
    if isinstance(module, nn.modules.conv._ConvNd):
        first, second = module.weight.shape[:2]
        if module.transposed:
            module.in_channels, module.out_channels = first, second * module.groups
        else:
            module.out_channels, module.in_channels = first, second * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = module.weight.shape
        if (
            module.padding_idx is not None
            and module.padding_idx >= module.num_embeddings
        ):
            module.padding_idx = None
    elif isinstance(module, nn.PReLU):
        module.num_parameters = module.weight.numel()
    elif isinstance(module, BATCH_NORM):
        for name in ("weight", "bias", "running_mean", "running_var"):
            tensor = getattr(module, name)
            if isinstance(tensor, Tensor):
                module.num_features = tensor.numel()
    elif isinstance(module, nn.GroupNorm) and isinstance(module.weight, Tensor):
        module.num_channels = module.weight.numel()
    elif isinstance(module, (nn.LayerNorm, nn.RMSNorm)) and isinstance(
        module.weight, Tensor
    ):
        module.normalized_shape = tuple(module.weight.shape)
