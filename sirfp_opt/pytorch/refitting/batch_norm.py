"""The batch norms of a network that was cut: statistics of what they see now."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sirfp_opt.pytorch.batches import (
    Forward,
    evaluating,
    first_and_all,
    run,
    to_model,
)

__all__ = ["reestimate_batch_norm", "running_norms"]


def reestimate_batch_norm(
    model: nn.Module,
    batches: Any,
    *,
    inplace: bool = False,
    forward: Forward | None = None,
    distributed: bool = False,
) -> nn.Module:
    """Measure the running statistics of a network's batch norms anew.

    After a cut each layer gets inputs that it never saw in training, and the stored
    means and variances are those of another network. Each is replaced by the plain mean
    of the batches' means and (unbiased) variances, every batch of equal weight.
    Only the batch norms run in training mode: dropout stays off, in contrast to
    ``torch.optim.swa_utils.update_bn``. Nothing is trained; weights stay as they are.

    Parameters
    ----------
    model : nn.Module
        The network. Training modes and momenta stay as they are.
    batches : Tensor, mapping or iterable of batches
        As for `extract`: a few hundred images, in batches of the size of training.
    inplace : bool
        Write into `model` itself instead of a copy.
    forward : callable, optional
        ``forward(model, batch)``.
    distributed : bool
        Take the mean over the ranks of `torch.distributed`, a batch of any of them
        weighing the same. Every rank must call this.

    Returns
    -------
    nn.Module

    Raises
    ------
    InvalidProblemError
        If there is no batch.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from sirfp_opt.pytorch import reestimate_batch_norm
    >>> batch = torch.arange(8.0).reshape(4, 2)
    >>> reestimate_batch_norm(nn.BatchNorm1d(2), [batch]).running_mean
    tensor([3., 4.])
    """
    _, every = first_and_all(batches)
    target = model if inplace else copy.deepcopy(model)
    norms = running_norms(target)
    momenta = [norm.momentum for norm in norms]
    with evaluating(target), torch.no_grad():
        try:
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # a plain mean over the batches
                norm.train()
            for batch in every:
                run(target, to_model(batch, target), forward)
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
        if distributed:
            for norm in norms:
                _average(norm)
        measured = [[b.clone() for b in norm.buffers()] for norm in norms]
    with torch.no_grad():  # what ran may leave no other trace: it has been put back
        for norm, values in zip(norms, measured, strict=True):
            for buffer, value in zip(norm.buffers(), values, strict=True):
                buffer.copy_(value)
    return target


def running_norms(model: nn.Module) -> list[_BatchNorm]:
    """Return the batch norms that keep running statistics."""
    return [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    ]


def _average(norm: _BatchNorm) -> None:
    """Average a norm's statistics over the ranks, by the batches that each has seen."""
    mean, variance = norm.running_mean, norm.running_var
    count = norm.num_batches_tracked
    assert mean is not None
    assert variance is not None
    assert count is not None
    total = count.clone()
    dist.all_reduce(total)
    for values in (mean, variance):
        weighed = values * count
        dist.all_reduce(weighed)
        values.copy_(weighed / total.clamp(min=1))
