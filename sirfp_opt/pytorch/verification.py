"""Is the pruned network the masked one? On every batch given, in both modes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from sirfp_opt.network.plan import PruningPlan
from sirfp_opt.pytorch.batches import (
    Forward,
    evaluating,
    first_sample,
    leading,
    outputs_of,
    run,
    to_model,
)
from sirfp_opt.pytorch.comparison import Comparison, compare
from sirfp_opt.pytorch.coupling.bench import cut_for_a_while, masked_for_a_while
from sirfp_opt.pytorch.cutting.baking import bake, duplicate
from sirfp_opt.pytorch.cutting.masking import mask
from sirfp_opt.pytorch.cutting.surgery import apply_plan
from sirfp_opt.pytorch.dice import Loaded

if TYPE_CHECKING:
    from sirfp_opt.network.plan import PruningUnit

__all__ = ["TOLERANCE", "Verdict", "Verifier"]

TOLERANCE = 1e-5
"""Share of an output channel's size up to which two networks are the same."""

SAME = 1e-6
"""Likewise for two runs of one network in training mode."""


@dataclass(frozen=True)
class Verdict:
    """What a verification found.

    Attributes
    ----------
    failed : dict of str to str
        Units that must not be cut, each with the reason.
    worst : Comparison or None
        The largest difference that was seen between pruned and masked network, in
        the network's own precision; None where nothing could be compared.
    notes : tuple of str
        What was not verified, and why; rounding.
    """

    failed: dict[str, str] = field(default_factory=dict)
    worst: Comparison | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Road:
    """One way through the network: a batch, in one mode."""

    batch: Any
    training: bool
    name: str


class Verifier:
    """Compares pruned networks with their masked twins, on all roads.

    Roads are the first sample of every batch that can be read again (of a generator,
    the first batch alone) in evaluation mode, and one of them in training mode, where
    heads and branches may run that evaluation never sees. Dropouts
    drop nothing and noise is its mean (`Loaded`); a network that is still random is
    not compared in training mode.

    Where a difference is more than `tolerance` in the network's own precision, both
    networks are compared in float64, which tells rounding from errors.

    Parameters
    ----------
    model : nn.Module
        The network before pruning; it is not changed.
    first : Any
        The first batch.
    batches : Any
        All batches, as the user gave them.
    forward : callable, optional
        ``forward(model, batch)``.
    tolerance : float
        Share of an output channel's size; see `comparison.compare`.
    """

    def __init__(
        self,
        model: nn.Module,
        first: Any,
        batches: Any,
        forward: Forward | None = None,
        *,
        tolerance: float = TOLERANCE,
    ) -> None:
        self.model = model
        self.forward = forward
        self.tolerance = tolerance
        self.notes: list[str] = []
        self._wide: nn.Module | None = None  # a copy in float64, where one is asked for
        self.roads = list(self._roads(first, batches))

    def _roads(self, first: Any, batches: Any) -> Iterator[_Road]:
        first = to_model(first, self.model)
        one = first_sample(self.model, first, self.forward)
        whole = one is first
        yield _Road(one, False, "batch 0")
        if isinstance(batches, Iterator):
            self.notes.append(
                "verified on the first batch alone: a generator cannot be read twice. "
                "Pass a list or a DataLoader to verify on every batch."
            )
        elif not isinstance(batches, (Tensor, Mapping)):
            for number, batch in enumerate(islice(batches, 1, None), start=1):
                here = to_model(batch, self.model)
                # What is a sample in the first batch is one in the others.
                here = here if whole else leading(here, 1)
                yield _Road(here, False, f"batch {number}")
        # Statistics of a batch want more than one sample.
        two = first if whole else leading(first, 2)
        training = _Road(two, True, "training mode")
        try:
            once, again = (self._run(self.model, training) for _ in range(2))
        except Exception as error:  # whatever the network raises
            self.notes.append(
                "not verified in training mode, where the original itself fails: "
                f"{_short(error)}"
            )
            return
        if compare(again, once).relative > SAME:
            self.notes.append(
                "not verified in training mode, where two runs of the original differ: "
                "it is random"
            )
            return
        yield training

    def __call__(self, pruned: nn.Module, plan: PruningPlan) -> Verdict:
        """Compare a pruned network with the masked original.

        Returns
        -------
        Verdict
            With the units that make a difference, if any does.
        """
        notes = list(self.notes)
        worst: Comparison | None = None
        failed: dict[str, str] = {}
        twin = mask(self.model, plan)
        for road in self.roads:
            found = self._compare(pruned, twin, road)
            if isinstance(found, Comparison):
                if worst is None or found.relative > worst.relative:
                    worst = found
                if found.relative <= self.tolerance:
                    continue
                exact = self._in_double(plan, road)
                if isinstance(exact, Comparison) and exact.relative <= self.tolerance:
                    notes.append(
                        f"{road.name}: pruned and masked outputs differ by {found} by "
                        f"rounding; in float64 by {exact.relative:.2g}"
                    )
                    continue
            failed |= self._culprits(plan, road, set(failed))
        return Verdict(failed, worst, tuple(notes))

    def _culprits(
        self, plan: PruningPlan, road: _Road, known: set[str]
    ) -> dict[str, str]:
        """Find the units that spoil a cut, by halving: this is rare."""
        failed: dict[str, str] = {}
        good: list[PruningUnit] = []
        reading = f"in {road.name} " if road.training else f"on {road.name} "

        def add(candidates: Sequence[PruningUnit]) -> None:
            nonlocal good
            trial = PruningPlan(
                [*good, *candidates],
                {u.name: plan[u.name] for u in [*good, *candidates]},
            )
            found = self._in_double(trial, road)
            if isinstance(found, Comparison) and found.relative <= self.tolerance:
                good = [*good, *candidates]
            elif len(candidates) == 1:
                what = (
                    f"the cut network fails: {found}"
                    if isinstance(found, str)
                    else f"the cut network is not the masked one: it is off by {found}"
                )
                failed[candidates[0].name] = reading + what
            else:
                half = len(candidates) // 2
                add(candidates[:half])
                add(candidates[half:])

        cut = [
            unit
            for unit in plan.units
            if unit.name not in known and len(plan[unit.name]) < unit.size
        ]
        if cut:
            add(cut)
        return failed

    def _in_double(self, plan: PruningPlan, road: _Road) -> Comparison | str:
        """Compare in float64, or in the network's own precision if it is tied to it."""
        try:
            if self._wide is None:
                self._wide = duplicate(self.model)
                bake(self._wide)
                self._wide.double()
            batch = pytree.tree_map_only(
                Tensor, lambda t: t.double() if t.is_floating_point() else t, road.batch
            )
            wide, here = self._wide, _Road(batch, road.training, road.name)
            with cut_for_a_while(wide, plan):
                found = self._run(wide, here)
            with masked_for_a_while(wide, plan):
                return compare(found, self._run(wide, here))
        except Exception:  # whatever: the network is tied to its own dtype
            try:
                pruned = apply_plan(self.model, plan)
            except Exception as error:
                return _short(error)
            return self._compare(pruned, mask(self.model, plan), road)

    def _compare(
        self, pruned: nn.Module, twin: nn.Module, road: _Road
    ) -> Comparison | str:
        try:
            return self._differ(pruned, twin, road)
        except Exception as error:  # whatever the network raises is the finding
            return _short(error)

    def _differ(self, pruned: nn.Module, twin: nn.Module, road: _Road) -> Comparison:
        return compare(self._run(pruned, road), self._run(twin, road))

    def _run(self, model: nn.Module, road: _Road) -> list[Tensor]:
        batch = pytree.tree_map_only(Tensor, torch.clone, road.batch)
        with evaluating(model, training=road.training), torch.no_grad(), Loaded():  # type: ignore[no-untyped-call]
            return outputs_of(run(model, batch, self.forward))


def _short(error: Exception) -> str:
    text = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {text}"
