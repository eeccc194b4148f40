"""The batch norms of a network that was cut: statistics of what they see now."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.modules.batchnorm import _BatchNorm

from sirfp_opt.pytorch.batches import (
    Forward,
    evaluating,
    first_and_all,
    run,
    to_model,
)

if TYPE_CHECKING:
    from sirfp_opt.network.plan import PruningPlan

__all__ = ["correct_batch_norm", "reestimate_batch_norm", "running_norms"]


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
    target = model if inplace else copy.deepcopy(model)
    measured = _measured(target, batches, forward, distributed)
    modules = dict(target.named_modules())
    with torch.no_grad():
        for name, values in measured.items():
            _write(modules[name], values)
    return target


def correct_batch_norm(
    pruned: nn.Module,
    model: nn.Module,
    plan: PruningPlan,
    batches: Any,
    *,
    inplace: bool = False,
    forward: Forward | None = None,
    distributed: bool = False,
) -> nn.Module:
    """Change what batch norms store by as much as a cut has changed what they see.

    The statistics that a network was trained with are those of its training pictures.
    Measured anew on a few others (`reestimate_batch_norm`), they would be of those, and
    a network of which nothing was cut would change. So both networks are measured on
    the same batches, and only the difference goes into what is stored:

        μ' = μ + (m_pruned - m_model),    σ²' = σ² · v_pruned / v_model,

    with m and v the means and variances that `reestimate_batch_norm` would write.

    Parameters
    ----------
    pruned : nn.Module
        What `apply_plan` has made of `model`, refitted or not.
    model : nn.Module
        The network before; it is not changed.
    plan : PruningPlan
    batches : Tensor, mapping or iterable of batches
        Two passes: one of each network. They need not be those of training.
    inplace : bool
        Write into `pruned` itself instead of a copy.
    forward : callable, optional
        ``forward(model, batch)``.
    distributed : bool
        As for `reestimate_batch_norm`.

    Returns
    -------
    nn.Module
        Equal to `pruned`, bit for bit, where nothing was cut.

    Raises
    ------
    InvalidProblemError
        If there is no batch.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from sirfp_opt.pytorch import apply_plan, correct_batch_norm, couple
    >>> from sirfp_opt.network import PruningPlan
    >>> _ = torch.manual_seed(0)
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4))
    >>> net = nn.Sequential(*net, nn.Conv2d(4, 1, 1)).eval()
    >>> images = torch.rand(8, 3, 6, 6)
    >>> plan = PruningPlan(couple(net, images).units, {"0": [0, 1, 2], "1": range(4)})
    >>> small = correct_batch_norm(apply_plan(net, plan), net, plan, images)
    >>> change = small[2].running_mean - net[2].running_mean
    >>> with torch.no_grad():
    ...     seen = small[:2](images).mean((0, 2, 3)) - net[:2](images).mean((0, 2, 3))
    >>> torch.allclose(change, seen, atol=1e-6)
    True
    """
    batches = list(batches) if isinstance(batches, Iterator) else batches
    target = pruned if inplace else copy.deepcopy(pruned)
    before = _measured(model, batches, forward, distributed)
    after = _measured(target, batches, forward, distributed)
    stored, modules = dict(model.named_modules()), dict(target.named_modules())
    removed = plan.removed_positions()
    with torch.no_grad():
        for name, new in after.items():
            own = stored[name]
            assert isinstance(own, _BatchNorm)
            stay = torch.ones(own.num_features, dtype=torch.bool)
            stay[removed.get((name, "out"), [])] = False
            old, kept = before[name].of(stay), _Statistics.stored(own).of(stay)
            _write(modules[name], kept.changed(old, new))
    return target


@dataclass(frozen=True, eq=False)
class _Statistics:
    """What a batch norm stores, in double precision, on its device."""

    mean: Tensor
    variance: Tensor
    batches: Tensor

    @classmethod
    def stored(cls, norm: _BatchNorm) -> _Statistics:
        mean, variance = norm.running_mean, norm.running_var
        count = norm.num_batches_tracked
        assert mean is not None
        assert variance is not None
        assert count is not None
        return cls(mean.double(), variance.double(), count.clone())

    def of(self, channels: Tensor) -> _Statistics:
        channels = channels.to(self.mean.device)
        return replace(self, mean=self.mean[channels], variance=self.variance[channels])

    def changed(self, old: _Statistics, new: _Statistics) -> _Statistics:
        """Return these statistics, changed as from `old` to `new`."""
        some = old.variance > 0
        ratio = new.variance / old.variance.where(some, 1.0)
        # A channel that did not vary is one that has nothing to compare with.
        variance = torch.where(
            some, self.variance * ratio, self.variance + new.variance
        )
        return replace(self, mean=self.mean + (new.mean - old.mean), variance=variance)

    def over_ranks(self) -> _Statistics:
        """Average over the ranks, by the batches that each has seen."""
        total = self.batches.clone()
        dist.all_reduce(total)
        mean, variance = self.mean * self.batches, self.variance * self.batches
        for weighed in (mean, variance):
            dist.all_reduce(weighed)
            weighed /= total.clamp(min=1)
        return _Statistics(mean, variance, total)


def _measured(
    model: nn.Module, batches: Any, forward: Forward | None, distributed: bool
) -> dict[str, _Statistics]:
    """Return what a network's batch norms would store, and leave them as they are."""
    _, every = first_and_all(batches)
    norms = running_norms(model)
    momenta = {name: norm.momentum for name, norm in norms.items()}
    with evaluating(model), torch.no_grad():
        try:
            for norm in norms.values():
                norm.reset_running_stats()
                norm.momentum = None  # a plain mean over the batches
                norm.train()
            for batch in every:
                run(model, to_model(batch, model), forward)
        finally:
            for name, norm in norms.items():
                norm.momentum = momenta[name]
        found = {name: _Statistics.stored(norm) for name, norm in norms.items()}
    if distributed:
        found = {name: statistics.over_ranks() for name, statistics in found.items()}
    return found


def _write(norm: nn.Module, statistics: _Statistics) -> None:
    buffers = (norm.running_mean, norm.running_var, norm.num_batches_tracked)
    values = (statistics.mean, statistics.variance, statistics.batches)
    for buffer, value in zip(buffers, values, strict=True):
        assert isinstance(buffer, Tensor)
        buffer.copy_(value)


def running_norms(model: nn.Module) -> dict[str, _BatchNorm]:
    """Return the batch norms that keep running statistics, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    }
