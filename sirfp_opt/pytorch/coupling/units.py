"""Pruning units: which channels of a network go together, and which may go at all."""

from __future__ import annotations

import logging
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from sirfp_opt.errors import InvalidProblemError, SirfpError, UnsupportedError
from sirfp_opt.pytorch.batches import (
    Forward,
    first_and_all,
    outputs_of,
    run,
    small_sample,
    to_model,
)
from sirfp_opt.pytorch.coupling.attributes import Counting
from sirfp_opt.pytorch.coupling.coupling import Coupling, Exclusion, Member
from sirfp_opt.pytorch.coupling.drafting import Drafting, members_of
from sirfp_opt.pytorch.coupling.evidence import kinds
from sirfp_opt.pytorch.coupling.labels.engine import trace
from sirfp_opt.pytorch.coupling.labels.internals import eagerly
from sirfp_opt.pytorch.coupling.labels.tables import Tables
from sirfp_opt.pytorch.coupling.modes import in_every_mode
from sirfp_opt.pytorch.coupling.pairings import Pairing, find_pairings
from sirfp_opt.pytorch.coupling.settling import settle
from sirfp_opt.pytorch.coupling.trial import Trials, plain_copy
from sirfp_opt.pytorch.coupling.ways import inside_heads
from sirfp_opt.pytorch.cutting.norms import norm_of
from sirfp_opt.pytorch.keywords import as_patterns, must_match

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import nn

    from sirfp_opt.network.plan import PruningUnit
    from sirfp_opt.pytorch.coupling.labels.engine import Tracker

__all__ = ["Coupling", "Exclusion", "Member", "couple", "matches", "pairings_of"]

logger = logging.getLogger(__name__)


def couple(
    model: nn.Module,
    batches: Any,
    *,
    forward: Forward | None = None,
    ignore: Sequence[str] = (),
    heads: Literal["whole", "inside"] = "whole",
    seed: int = 0,
) -> Coupling:
    """Find the pruning units of a network, and prove on a copy that they can be cut.

    Parameters
    ----------
    model : nn.Module
        The network; not touched.
    batches : Tensor, mapping or iterable of batches
        The first sample of the first batch is run, cut to 128 pixels a side where the
        network takes pictures of that size, to 64 where it does the same on these.
    forward : callable, optional
        ``forward(model, batch)``; by default `model` is called with the batch.
    ignore : sequence of str
        Patterns (``"head.*"``) of layers whose outputs stay whole.
    heads : {"whole", "inside"}
        What goes of an attention: whole heads, and only where the code does not allow
        that the same place of every head; or these in any case, so that queries with
        keys are one unit, and values another.
    seed : int
        Of the random channels that the trials cut.

    Returns
    -------
    Coupling

    Raises
    ------
    InvalidProblemError
        If a pattern matches no layer of the network, or `heads` is another word.
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
    ignore = as_patterns(ignore, "ignore")
    must_match(ignore, _names(model), "ignore")
    if heads not in ("whole", "inside"):
        raise InvalidProblemError(
            f"`heads` must be 'whole' or 'inside', got {heads!r}. "
            "'inside' cuts the same place of every head."
        )
    first, _ = first_and_all(batches)
    example = small_sample(model, to_model(first, model), forward)
    try:
        plain = plain_copy(model)
    except Exception as error:  # whatever a member of the network raises
        raise UnsupportedError(
            f"`model` must be copyable by copy.deepcopy, got {error!r}. "
            "Remove cached tensors and unpicklable members before pruning."
        ) from error
    forward, names = in_every_mode(plain, example, forward)
    rng = np.random.default_rng(seed)
    trials, tracker = _traced(model, plain, example, forward, rng, names)
    tables = Tables(tracker)
    modules = dict(trials.base.named_modules())
    drafting = Drafting(tables, Counting(tables, modules), modules)
    if heads == "inside":
        tables = inside_heads(drafting)
        drafting = Drafting(tables, Counting(tables, modules), modules)
    settled = settle(drafting, trials, dict(matches(modules, ignore)), rng)
    units = [candidate.unit for candidate in settled.candidates]
    coupling = Coupling(
        units=tuple(units),
        members={unit.name: members_of(unit, modules) for unit in units},
        exclusions=tuple(settled.exclusions),
        untraced=drafting.untraced(),
        pairings=_pairings(trials, tracker, units),
        decided=tuple(tracker.taken),
    )
    for exclusion in coupling.exclusions:
        logger.info("not pruned: %s", exclusion)
    return coupling


def pairings_of(
    model: nn.Module, batch: Any, forward: Forward | None = None
) -> tuple[Pairing, ...]:
    """Return the queries and keys of a network alone, see `Coupling.pairings`.

    Parameters
    ----------
    model : nn.Module
        The network; not touched.
    batch : Any
        As the network takes it.
    forward : callable, optional
        As for `couple`.
    """
    example = small_sample(model, to_model(batch, model), forward)
    rng = np.random.default_rng(0)
    return _pairings(*_traced(model, plain_copy(model), example, forward, rng))


def _pairings(
    trials: Trials, tracker: Tracker, units: Sequence[PruningUnit] | None = None
) -> tuple[Pairing, ...]:
    with eagerly():
        return find_pairings(tracker, trials.base, trials.outputs, units)


def _traced(
    model: nn.Module,
    plain: nn.Module,
    example: Any,
    forward: Forward | None,
    rng: np.random.Generator,
    names: Sequence[str] = (),
) -> tuple[Trials, Tracker]:
    """Follow the very network that is cut in trials: its operations are the same.

    On a smaller picture where it does the same operations there, which are `names`.
    """
    trials = Trials(plain, example, forward, rng, model)
    tracker = None
    if names and trials.shrink():
        with suppress(UnsupportedError):
            tracker = _followed(trials.base, trials.example, forward)
        if tracker is None or kinds(s.name for s in tracker.steps[0]) != names:
            trials.grow()
            tracker = None
    tracker = tracker or _followed(trials.base, trials.example, forward)
    if not trials.prepare(tracker.steps[0]):
        tracker = _followed(trials.base, trials.example, forward)
    return trials, tracker


def _followed(plain: nn.Module, example: Any, forward: Forward | None) -> Tracker:
    """Run a copy of the network once under the tracker."""
    inputs = pytree.tree_map_only(Tensor, torch.clone, example)
    known: dict[nn.Module, bool] = {}

    def accepts(module: nn.Module) -> bool:
        if module not in known:
            known[module] = norm_of(module) is not None
        return known[module]

    def run_and_check(batch: Any) -> Any:
        outputs = run(plain, batch, forward)
        if not outputs_of(outputs):
            raise UnsupportedError(
                "`model` must return a floating-point tensor, got none (an argmax?). "
                "Pass `forward` that returns the scores."
            )
        return outputs

    try:
        return trace(plain, [(inputs, run_and_check)], accepts=accepts)
    except SirfpError:
        raise
    except Exception as error:  # whatever the network raises
        raise UnsupportedError(
            "`model` must run on the first batch, got "
            f"{type(error).__name__}: {error}. Try it by hand first: model(batch), or "
            "pass `forward`."
        ) from error


def _names(model: nn.Module) -> list[str]:
    """Return the names of a network's layers and bare parameters."""
    layers = [name for name, _ in model.named_modules() if name]
    return [*layers, *(name for name, _ in model.named_parameters())]


def matches(layers: Iterable[str], patterns: Sequence[str]) -> list[tuple[str, str]]:
    """Return the (layer, pattern) pairs that match."""
    return [(o, p) for o in layers for p in patterns if fnmatchcase(o, p)]
