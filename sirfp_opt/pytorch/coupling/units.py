"""Pruning units: which channels of a network go together, and which may go at all."""

from __future__ import annotations

import logging
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from sirfp_opt.errors import InvalidProblemError, UnsupportedError
from sirfp_opt.pytorch.batches import (
    Forward,
    evaluating,
    first_and_all,
    run,
    small_sample,
    to_model,
)
from sirfp_opt.pytorch.coupling.attributes import Counting
from sirfp_opt.pytorch.coupling.coupling import Coupling, Exclusion, Member
from sirfp_opt.pytorch.coupling.drafting import Drafting, members_of
from sirfp_opt.pytorch.coupling.labels.engine import trace
from sirfp_opt.pytorch.coupling.labels.tables import Tables
from sirfp_opt.pytorch.coupling.probe import probe

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import nn

__all__ = ["Coupling", "Exclusion", "Member", "couple", "matches"]

logger = logging.getLogger(__name__)


def couple(
    model: nn.Module,
    batches: Any,
    *,
    forward: Forward | None = None,
    ignore: Sequence[str] = (),
    seed: int = 0,
) -> Coupling:
    """Find the pruning units of a network, and prove on a copy that they can be cut.

    Parameters
    ----------
    model : nn.Module
        The network; not touched.
    batches : Tensor, mapping or iterable of batches
        The first sample of the first batch is run, cut to 128 pixels a side where the
        network takes pictures of that size.
    forward : callable, optional
        ``forward(model, batch)``; by default `model` is called with the batch.
    ignore : sequence of str
        Patterns (``"head.*"``) of layers whose outputs stay whole.
    seed : int
        Of the random channels that the trials cut.

    Returns
    -------
    Coupling

    Raises
    ------
    UnsupportedError
        If the network cannot be copied or run.

    Notes
    -----
    The network is run once, and a label of each channel travels with the activations
    (`sirfp_opt.pytorch.coupling.labels`): what ends up with one label is one channel.
    Whatever is found so is then tried on a copy, whose output must be that of the
    masked network.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from sirfp_opt.pytorch import couple
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1))
    >>> coupling = couple(net, torch.rand(1, 3, 8, 8))
    >>> [unit.name for unit in coupling.units], coupling.exclusions[0].reason
    (['0'], "its channels are the network's output")
    """
    first, _ = first_and_all(batches)
    ignore = _as_patterns(ignore)
    example = small_sample(model, to_model(first, model), forward)
    modules = dict(model.named_modules())
    tables = _follow(model, example, forward)
    drafting = Drafting(tables, Counting(tables, modules), modules)
    drafts = tables.drafts(tables.groups([]))
    ignored = dict(matches(modules, ignore))
    candidates, exclusions = drafting.sort(drafts, ignored)
    units = [candidate.unit for candidate in candidates]
    failed = probe(model, units, example, forward=forward, seed=seed)
    coupling = Coupling(
        units=tuple(units),
        members={unit.name: members_of(unit, modules) for unit in units},
        exclusions=tuple(exclusions),
        untraced=drafting.untraced(),
    )
    sizes = {unit.name: unit.size for unit in units}
    coupling = coupling.without(
        Exclusion(name, sizes[name], layer, reason)
        for name, (layer, reason) in failed.items()
    )
    for exclusion in coupling.exclusions:
        logger.info("not pruned: %s", exclusion)
    return coupling


def _follow(model: nn.Module, example: Any, forward: Forward | None) -> Tables:
    """Trace the network in evaluation mode."""
    from torch import Tensor
    from torch.utils import _pytree as pytree

    inputs = pytree.tree_map_only(Tensor, lambda t: t.clone(), example)
    try:
        with evaluating(model):
            tracker = trace(model, [(inputs, lambda batch: run(model, batch, forward))])
    except Exception as error:  # whatever the network raises
        raise UnsupportedError(
            f"`model` must run on the first sample of the first batch, got "
            f"{type(error).__name__}: {error}. Check the batch, or pass `forward`."
        ) from error
    return Tables(tracker)


def matches(layers: Iterable[str], patterns: Sequence[str]) -> list[tuple[str, str]]:
    """Return the (layer, pattern) pairs that match."""
    return [(o, p) for o in layers for p in patterns if fnmatchcase(o, p)]


def _as_patterns(ignore: Any) -> tuple[str, ...]:
    if isinstance(ignore, str) or not all(isinstance(p, str) for p in ignore):
        raise InvalidProblemError(
            f"`ignore` must be a sequence of layer name patterns, got {ignore!r}. "
            "Pass for instance ['head.*']."
        )
    return tuple(ignore)
