"""Trial cuts on a copy of the network: the judge of what labels say."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.prune import BasePruningMethod, remove
from torch.utils import _pytree as pytree

from sirfp_opt.network.plan import PruningPlan
from sirfp_opt.pytorch.batches import corner, frozen_outputs, run, shapes_of
from sirfp_opt.pytorch.comparison import compare
from sirfp_opt.pytorch.coupling.bench import (
    cut_for_a_while,
    masked_for_a_while,
    same_in,
)
from sirfp_opt.pytorch.coupling.evidence import Operations, kinds
from sirfp_opt.pytorch.coupling.labels import internals
from sirfp_opt.pytorch.cutting.baking import bake, duplicate
from sirfp_opt.pytorch.cutting.fitting import fit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from sirfp_opt._validate import IntArray
    from sirfp_opt.network.plan import PruningUnit
    from sirfp_opt.pytorch.batches import Forward
    from sirfp_opt.pytorch.coupling.evidence import Witness
    from sirfp_opt.pytorch.coupling.labels.records import Step
    from sirfp_opt.pytorch.cutting.fitting import Fitted

__all__ = ["Finding", "Trials", "plain_copy", "staggered"]

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}
HALF = {torch.float16, torch.bfloat16}

SMALL = 64
"""Pixels of a side of the corner of a picture that verdicts are made on."""

LARGE = 50_000_000
"""Parameters above which a copy in float64 takes more memory than it is worth."""


def plain_copy(model: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode whose weights are parameters of their own."""
    twin = duplicate(model).eval()
    bake(twin)
    for module in twin.modules():
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, BasePruningMethod):
                remove(module, hook._tensor_name)  # type: ignore[no-untyped-call]
    return twin


def staggered(
    units: Sequence[PruningUnit], rng: np.random.Generator, turn: int
) -> dict[str, IntArray]:
    """Keep random sets of all units, of counts as different as can be.

    Units of the same number of groups get other counts, one after the other, the whole
    unit included: what works only if two counts are equal does not pass. At each turn
    every unit gets another count, until all of them have had their turn.
    """
    seen: dict[int, int] = {}
    kept = {}
    for unit in units:
        groups = unit.classes
        size = len(groups)
        number = seen[size] = seen.get(size, -1) + 1
        leap = next(n for n in range(max(1, size * 5 // 8), 0, -1) if gcd(n, size) == 1)
        if size == 2:  # one, the other, both
            chosen = np.array(([0], [1], [0, 1])[(number + turn) % 3])
        else:
            start = size // 2 + number * max(1, size // 3)
            count = 1 + (start + turn * leap) % size
            if turn == 0 and count == size:
                count = size // 2
            chosen = rng.choice(size, size=count, replace=False)
        kept[unit.name] = np.sort(np.array(groups)[chosen], axis=None)
    return kept


@dataclass(frozen=True)
class Finding:
    """What is wrong with a trial cut.

    Attributes
    ----------
    text : str
        A clause.
    step : Step, optional
        The operation of the trace at which the networks part.
    removed : ndarray
        Classes of the channels that were removed.
    """

    text: str
    step: Step | None
    removed: IntArray

    @property
    def line(self) -> tuple[str, int]:
        """File and line of the user's code at which they part."""
        return ("", 0) if self.step is None else self.step.line


class Trials:
    """Cuts copies of a network, and compares them with masked ones.

    Parameters
    ----------
    model : nn.Module
        A copy in evaluation mode (`plain_copy`); it may be changed.
    example : Any
        One small batch.
    forward : callable, optional
        How the network is called.
    rng : numpy.random.Generator
        Of what stands in for small parameters.
    original : nn.Module, optional
        What `model` is a copy of; only read. Numbers that a mask overwrites are put
        back from there.
    """

    def __init__(
        self,
        model: nn.Module,
        example: Any,
        forward: Forward | None,
        rng: np.random.Generator,
        original: nn.Module | None = None,
    ) -> None:
        self.forward = forward
        self.runs = 0
        self.base, self.example = model, example
        self.sample = example  # what verdicts are made on
        self.tolerance = TOLERANCE[torch.float32]
        self._given = self._large = example
        self._dtypes = [tensor.dtype for tensor in _tensors(model)]
        self._may_widen = sum(p.numel() for p in model.parameters()) <= LARGE
        if self._may_widen and not HALF.isdisjoint(
            self._dtypes
        ):  # not every operation knows these
            self._widen()
            self.example = pytree.tree_map_only(Tensor, _double, example)
            if self._kinds(self.example) is None:
                self._narrow()
                self.example = example
        _enliven(model, rng)
        # Wider numbers of a copy are the original's, too: all of float32 are float64.
        self._originals = {} if original is None else same_in(model, original)

    def shrink(self) -> bool:
        """Go over to a corner of the pictures; tell whether that is any smaller."""
        large = self._given
        small = corner(large, SMALL)
        if self.example is not large or shapes_of(small) == shapes_of(large):
            return False
        self._large = large
        self._given = self.example = self.sample = small
        return True

    def grow(self) -> None:
        """Go back to the pictures from before `shrink`."""
        self._given = self.example = self.sample = self._large

    def prepare(self, steps: Sequence[Step]) -> bool:
        """Go over to float64, and to smaller pictures, where the network allows it.

        A verdict needs no large pictures: it is made on a corner on which the network
        does the same operations. Evidence is taken on the example itself.

        Parameters
        ----------
        steps : sequence of Step
            What the network has done with the example.

        Returns
        -------
        bool
            Whether it does the same in trials; if not, it is to be traced again.
        """
        expected = kinds(step.name for step in steps)
        example = self._given
        small = corner(example, SMALL)
        samples = [example]
        if shapes_of(small) != shapes_of(example):
            samples.insert(0, small)
        if self._may_widen:
            self._widen()
            for sample in samples:
                done = self._kinds(pytree.tree_map_only(Tensor, _double, sample))
                if done == expected or (done is not None and sample is example):
                    self.sample = pytree.tree_map_only(Tensor, _double, sample)
                    self.example = pytree.tree_map_only(Tensor, _double, example)
                    return done == expected
            self._narrow()
            self.example = self.sample = example
        if len(samples) > 1 and self._kinds(small) == expected:
            self.sample = small
        return True

    def _widen(self) -> None:
        self.base.double()
        self.tolerance = TOLERANCE[torch.float64]

    def _narrow(self) -> None:
        """Go back to the network's own precision: it is tied to that."""
        for tensor, dtype in zip(_tensors(self.base), self._dtypes, strict=True):
            tensor.data = tensor.data.to(dtype)
        self.tolerance = TOLERANCE[torch.float32]

    def _kinds(self, sample: Any) -> list[str] | None:
        """Return the operations of a run on a sample, None if it fails."""
        go = self._ready(sample)
        try:
            with internals.eagerly(), Operations() as seen:
                go()
        except Exception:  # whatever: the network wants the size and dtype it is given
            return None
        return kinds(seen.names)

    def run(
        self,
        units: Sequence[PruningUnit],
        kept: dict[str, IntArray],
        labels: dict[str, dict[int, int]],
        witness: Witness | None,
    ) -> Finding | None:
        """Cut units to given sets; return what is wrong with that, None if nothing.

        Parameters
        ----------
        units : sequence of PruningUnit
        kept : dict of str to ndarray
            By unit: the channels that stay.
        labels : dict of str to dict of int to int
            By unit: its classes, and the channel of each.
        witness : Witness or None
            Finds out where the trouble begins; None where nobody asks.
        """
        self.runs += 1
        removed = _removed(units, kept, labels)
        text = ""
        with internals.eagerly():
            try:
                plan = PruningPlan(units, kept)
                fitted = fit(self.base, plan)
                with cut_for_a_while(self.base, plan, fitted):
                    try:
                        outputs = self.outputs()
                    except Exception as error:  # whatever it raises is the finding
                        text = _told("the cut network fails", error)
            except Exception as error:  # whatever: surgery does not know it
                return Finding(_told("it cannot be cut", error), None, removed)
            if not text:
                with self._masked(plan, fitted):
                    expected = self.outputs()
                found = compare(outputs, expected)
                if found.relative <= self.tolerance:
                    return None
                text = f"the cut network is not the masked one: off by {found}"
            step = (
                None
                if witness is None
                else witness.first(
                    removed,
                    self.base,
                    lambda: self._ready(self.example),
                    lambda: self._masked(plan, fitted),
                    lambda: cut_for_a_while(self.base, plan, fitted),
                )
            )
        return Finding(text, step, removed)

    def _masked(
        self, plan: PruningPlan, fitted: Fitted
    ) -> AbstractContextManager[None]:
        return masked_for_a_while(self.base, plan, fitted, self._originals)

    def outputs(self) -> list[Tensor]:
        """Return what the network makes of the sample."""
        return frozen_outputs(self.base, self.sample, self.forward)

    def _ready(self, sample: Any) -> Callable[[], Any]:
        """Return what runs the network once, and does nothing else."""
        inputs = pytree.tree_map_only(Tensor, torch.clone, sample)

        def go() -> Any:
            with torch.no_grad():
                return run(self.base, inputs, self.forward)

        return go

    def can_cut(self, unit: PruningUnit) -> bool:
        """Tell whether surgery knows how to cut a unit, whatever comes out of it."""
        try:
            plan = PruningPlan([unit], {unit.name: unit.classes[0]})
            with cut_for_a_while(self.base, plan):
                pass
        except Exception:  # whatever: it does not
            return False
        return True


def _told(what: str, error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{what}: {type(error).__name__}: {lines[0]}"


def _removed(
    units: Sequence[PruningUnit],
    kept: dict[str, IntArray],
    labels: dict[str, dict[int, int]],
) -> IntArray:
    found: list[int] = []
    for unit in units:
        stays = set(kept[unit.name].tolist())
        found += [one for one, c in labels[unit.name].items() if c not in stays]
    return np.array(sorted(found), dtype=np.int64)


def _double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def _enliven(model: nn.Module, rng: np.random.Generator) -> None:
    """Put ordinary numbers in the place of ones behind which a mistake could hide.

    A channel that a bias silences, a scale of zero or 1e-6, weights that are all zero:
    what such a channel does is not seen. Matrices with something in them stay.
    """
    generator = torch.Generator().manual_seed(int(rng.integers(1 << 31)))

    def uniform(tensor: Tensor, low: float, high: float) -> None:
        random = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
        tensor.copy_(low + (high - low) * random)

    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if not tensor.is_floating_point() or not tensor.numel():
                continue
            leaf = name.rpartition(".")[2]
            if tensor.dim() > 1 and tensor.squeeze().dim() > 1:
                if float(tensor.min()) == float(tensor.max()):
                    uniform(tensor, -0.1, 0.1)
            elif "bias" in leaf or leaf.startswith("b"):
                uniform(tensor, -0.3, 0.5)
            elif tensor.numel() > 1:
                uniform(tensor, 0.5, 1.5)
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._NormBase):
                if isinstance(module.running_mean, Tensor):
                    uniform(module.running_mean, -0.2, 0.2)
                if isinstance(module.running_var, Tensor):
                    uniform(module.running_var, 0.5, 1.5)
