"""Handing batches to a network: what counts as a batch, and how it is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from math import prod
from operator import length_hint
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from sirfp_opt.errors import InvalidProblemError, SirfpError
from sirfp_opt.pytorch.comparison import compare

if TYPE_CHECKING:
    from sirfp_opt._parallel import Stages

__all__ = [
    "CORNER",
    "Forward",
    "corner",
    "counted",
    "device_of",
    "evaluating",
    "few",
    "first_and_all",
    "first_sample",
    "frozen_outputs",
    "leading",
    "naming_the_batch",
    "outputs_of",
    "run",
    "shapes_of",
    "small_sample",
    "to_model",
]

CORNER = 128
"""Pixels of a picture's side on which a network's channels are followed."""

SAME = 1e-3
"""Share of a channel's size up to which two answers to one sample are the same."""

Forward = Callable[[nn.Module, Any], Any]
"""How a network is called on one batch: ``forward(model, batch)``."""


def first_and_all(batches: Any) -> tuple[Any, Iterator[Any]]:
    """Return the first batch, and an iterator over all of them, the first included.

    A tensor or a dict stands for a single batch.
    """
    if isinstance(batches, (Tensor, Mapping)):
        return batches, _Batches(iter([batches]), 1)
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
    return first, _Batches(chain([first], iterator), length_hint(batches))


class _Batches(Iterator[Any]):
    """An iterator that knows about how many are to come, for whoever shows a bar."""

    def __init__(self, batches: Iterator[Any], total: int) -> None:
        self._batches = batches
        self._left = total

    def __next__(self) -> Any:
        batch = next(self._batches)
        self._left -= 1
        return batch

    def __length_hint__(self) -> int:
        return max(self._left, 0)


def counted(
    batches: Iterable[Any], most: int | None, stage: str, tell: Stages
) -> Iterator[Any]:
    """Pass batches on, `most` of them, and tell how many have been dealt with.

    Where their number is not known, the total is one ahead until the last.
    """
    total = length_hint(batches)
    total = total if most is None else min(total, most)
    done = 0
    for done, batch in enumerate(islice(batches, most)):
        tell(stage, done, max(total, done + 1))
        yield batch
    tell(stage, done + 1, done + 1)


def to_model(batch: Any, model: nn.Module) -> Any:
    """Return `batch` with every tensor on the device of the model's parameters."""
    device = device_of(model)
    return pytree.tree_map_only(Tensor, lambda t: t.to(device), batch)


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a network's first parameter or buffer, else the CPU."""
    tensors = chain(model.parameters(), model.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


def first_sample(model: nn.Module, batch: Any, forward: Forward | None = None) -> Any:
    """Return `batch` cut to its first sample, to trace and to count on.

    That the first dimension counts samples is not guessed from a shape: the network
    must answer the first of two as it answers the first alone. Where it does not
    ((length, batch, channels) inputs, unbatched ones, a norm over the batch), or there
    is no telling, `batch` comes back as it was given.
    """
    one, two = (leading(batch, count) for count in (1, 2))
    if shapes_of(one) == shapes_of(batch):
        return batch
    small = corner(one)
    try:
        alone = frozen_outputs(model, small, forward)
    except Exception:  # whatever: the network wants the size that it is given
        small = one
    try:
        if small is one:
            alone = frozen_outputs(model, one, forward)
        beside = frozen_outputs(model, two if small is one else corner(two), forward)
    except Exception:  # whatever: it does not take one sample
        return batch
    pairs = [
        (few, many[: len(few)])
        for few, many in zip(alone, beside, strict=False)
        if few.dim() and many.dim() and (len(few), len(many)) == (1, 2)
    ]
    if not pairs or len(alone) != len(beside):
        return batch
    same = compare([few for few, _ in pairs], [many for _, many in pairs])
    return one if same.relative <= SAME else batch


def small_sample(model: nn.Module, batch: Any, forward: Forward | None = None) -> Any:
    """Return one sample with its pictures cut to a corner, if the network takes it.

    Which channels go together does not depend on the size of a picture; the time that
    it takes to find out does.
    """
    sample = first_sample(model, batch, forward)
    small = corner(sample)
    if shapes_of(sample) != shapes_of(small):
        try:
            frozen_outputs(model, small, forward)
        except Exception:  # whatever: the network wants the size that it is given
            return sample
    return small


def leading(batch: Any, count: int) -> Any:
    """Return `count` finite entries, the first, of all tensors as long as the first."""
    batched = [t for t in pytree.tree_leaves(batch) if _is_batched(t)]
    batched = [t for t in batched if t.shape[0] == batched[0].shape[0]]
    if not batched or not len(batched[0]):
        return batch
    sound = torch.stack(
        [t.isfinite().reshape(len(t), -1).all(1).cpu() for t in batched]
    ).all(0)
    chosen = sound.nonzero().flatten()[:count] if sound.any() else torch.zeros(1)
    # Too few of them: one twice will do.
    chosen = torch.cat([chosen, chosen[:1].repeat(count - len(chosen))]).long()

    def cut(tensor: Tensor) -> Tensor:
        own = any(tensor is one for one in batched)
        return tensor[chosen.to(tensor.device)] if own else tensor

    return pytree.tree_map_only(Tensor, cut, batch)


def few(batch: Any, samples: int, positions: int) -> Any:
    """Return the first samples of a batch: so many, or as have so many positions.

    Positions are the pixels, or the tokens, of the first tensor.
    """
    shape = next(iter(shapes_of(batch)), torch.Size())
    if not shape:
        return batch
    each = max(1, prod(shape[2:] if len(shape) > 3 else shape[1:2]))
    return leading(batch, min(samples, max(1, positions // each), max(1, shape[0])))


def corner(batch: Any, side: int = CORNER) -> Any:
    """Return `batch` with pictures cut to a corner of at most `side` pixels a side."""

    def cut(tensor: Tensor) -> Tensor:
        picture = tensor.dim() == 4 and tensor.is_floating_point()
        return tensor[..., :side, :side] if picture else tensor

    return pytree.tree_map_only(Tensor, cut, batch)


def shapes_of(batch: Any) -> list[torch.Size]:
    """Return the sizes of all tensors of a batch."""
    leaves = pytree.tree_leaves(batch)
    return [leaf.shape for leaf in leaves if isinstance(leaf, Tensor)]


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


@contextmanager
def naming_the_batch(number: int, batch: Any) -> Iterator[None]:
    """Say which batch it was that a network could not be run on."""
    try:
        yield
    except (SirfpError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever the network raises is the finding
        text = (str(error).strip().splitlines() or [""])[0]
        raise InvalidProblemError(
            f"`batches` must all be what `model` takes, got {type(error).__name__} on "
            f"batch {number}, of shapes {[*map(tuple, shapes_of(batch))]}: {text}. "
            "Leave that batch out, or pass forward=lambda model, batch: ..."
        ) from error


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

    The training flag of each module and every buffer (running statistics, memory
    banks, counters, observers) are put back whatever happens inside. PyTorch's fused
    inference path of transformer layers is not taken: it calls no hook, and its
    products cannot be counted.

    Parameters
    ----------
    model : nn.Module
        The network.
    training : bool, optional
        The mode to run in; None leaves each module in the mode it is in.
    """
    modes = {module: module.training for module in model.modules()}
    saved = [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        if training is not None:
            model.train(training)
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for module, mode in modes.items():
            module.training = mode
        with torch.no_grad():
            for module, name, buffer, before in saved:
                # A module may have put another tensor in the buffer's place.
                module._buffers[name] = buffer
                if buffer.shape != before.shape:
                    buffer.data = before
                else:  # whatever wrote there, and no trace in autograd
                    buffer.data.copy_(before)
