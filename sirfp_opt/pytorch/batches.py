"""Handing batches to a network: what counts as a batch, and how it is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from sirfp_opt.errors import InvalidProblemError

__all__ = [
    "Forward",
    "device_of",
    "evaluating",
    "first_and_all",
    "frozen_outputs",
    "one_sample",
    "outputs_of",
    "run",
    "small_sample",
    "to_model",
]

CORNER = 128
"""Pixels of a picture's side on which a network's channels are followed."""

Forward = Callable[[nn.Module, Any], Any]
"""How a network is called on one batch: ``forward(model, batch)``."""


def first_and_all(batches: Any) -> tuple[Any, Iterator[Any]]:
    """Return the first batch, and an iterator over all of them, the first included.

    A tensor or a dict stands for a single batch.
    """
    if isinstance(batches, (Tensor, Mapping)):
        return batches, iter([batches])
    if not isinstance(batches, Iterable):
        raise InvalidProblemError(
            "`batches` must be an iterable of tensors, tuples or dicts, got "
            f"{type(batches).__name__}. Pass a DataLoader or a list of tensors."
        )
    iterator = iter(batches)
    try:
        first = next(iterator)
    except StopIteration:
        raise InvalidProblemError(
            "`batches` must hold at least one batch, got none. "
            "A generator that was read before is empty: make a fresh one."
        ) from None
    return first, chain([first], iterator)


def to_model(batch: Any, model: nn.Module) -> Any:
    """Return `batch` with every tensor on the device of the model's parameters."""
    device = device_of(model)
    return pytree.tree_map_only(Tensor, lambda t: t.to(device), batch)


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a network's first parameter or buffer, else the CPU."""
    tensors = chain(model.parameters(), model.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


def one_sample(batch: Any) -> Any:
    """Return `batch` cut to its first sample, to trace and to count on."""
    leading = [t.shape[0] for t in pytree.tree_leaves(batch) if _is_batched(t)]
    if not leading:
        return batch

    def cut(tensor: Tensor) -> Tensor:
        batched = _is_batched(tensor) and tensor.shape[0] == leading[0]
        return tensor[:1] if batched else tensor

    return pytree.tree_map_only(Tensor, cut, batch)


def small_sample(model: nn.Module, batch: Any, forward: Forward | None = None) -> Any:
    """Return one sample with its pictures cut to a corner, if the network takes it.

    Which channels go together does not depend on the size of a picture; the time that
    it takes to find out does.
    """
    sample = one_sample(batch)

    def corner(tensor: Tensor) -> Tensor:
        picture = tensor.dim() == 4 and tensor.is_floating_point()
        return tensor[..., :CORNER, :CORNER] if picture else tensor

    small = pytree.tree_map_only(Tensor, corner, sample)
    sizes = [
        [
            tensor.shape
            for tensor in pytree.tree_leaves(one)
            if isinstance(tensor, Tensor)
        ]
        for one in (sample, small)
    ]
    if sizes[0] != sizes[1]:
        try:
            frozen_outputs(model, small, forward)
        except Exception:  # whatever: the network wants the size that it is given
            return sample
    return small


def _is_batched(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.dim() > 0


def run(model: nn.Module, batch: Any, forward: Forward | None = None) -> Any:
    """Call `model` on one batch.

    A tensor is the argument, a dict holds keyword arguments.  Of a tuple or list only
    as many entries are passed as the network requires arguments: (images, labels) from
    a data loader reaches a network of one argument as images.

    Parameters
    ----------
    model : nn.Module
        The network.
    batch : Tensor, tuple, list, mapping or anything
        One batch, already on the right device.
    forward : callable, optional
        ``forward(model, batch)``, where these rules do not fit.
    """
    if forward is not None:
        return forward(model, batch)
    if isinstance(batch, Mapping):
        return model(**batch)
    if isinstance(batch, (tuple, list)):
        if not batch:
            raise InvalidProblemError(
                "`batches` must not hold an empty tuple, got one. "
                "Pass the network's arguments in it."
            )
        return model(*batch[: max(1, _required_arguments(model))])
    return model(batch)


def _required_arguments(model: nn.Module) -> int:
    """Count the positional arguments without default of ``model.forward``."""
    kinds = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    )
    return sum(
        parameter.kind in kinds and parameter.default is inspect.Parameter.empty
        for parameter in inspect.signature(model.forward).parameters.values()
    )


def outputs_of(result: Any) -> list[Tensor]:
    """Return the floating-point tensors in a network's result, in a fixed order."""
    if hasattr(result, "__dataclass_fields__") and not isinstance(result, Mapping):
        result = vars(result)
    leaves = pytree.tree_leaves(result)
    return [t for t in leaves if isinstance(t, Tensor) and t.is_floating_point()]


def frozen_outputs(
    model: nn.Module, batch: Any, forward: Forward | None = None
) -> list[Tensor]:
    """Return a network's outputs in evaluation mode, without gradients."""
    # A network may write into its input: hand it a copy.
    batch = pytree.tree_map_only(Tensor, torch.clone, batch)
    with evaluating(model), torch.no_grad():
        return outputs_of(run(model, batch, forward))


@contextmanager
def evaluating(model: nn.Module, *, training: bool | None = False) -> Iterator[None]:
    """Run a block in evaluation mode and leave no trace of it.

    The training flag of each module, and in training mode every buffer (the running
    statistics of batch norms), are put back whatever happens inside.

    Parameters
    ----------
    model : nn.Module
        The network.
    training : bool, optional
        The mode to run in; None leaves each module in the mode it is in.
    """
    modes = {module: module.training for module in model.modules()}
    if training is not None:
        model.train(training)
    saved: list[tuple[nn.Module, str, Tensor, Tensor]] = []
    if any(module.training for module in model.modules()):
        saved = [
            (module, name, buffer, buffer.detach().clone())
            for module in model.modules()
            for name, buffer in module.named_buffers(recurse=False)
        ]
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        with torch.no_grad():
            for module, name, buffer, before in saved:
                # A module may have put another tensor in the buffer's place.
                module._buffers[name] = buffer
                buffer.copy_(before)
