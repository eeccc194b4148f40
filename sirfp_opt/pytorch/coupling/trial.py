"""Trial cuts on a copy of the network: the judge of what labels say."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.prune import BasePruningMethod, remove
from torch.utils import _pytree as pytree

from sirfp_opt.network.plan import PruningPlan
from sirfp_opt.pytorch.batches import frozen_outputs, run
from sirfp_opt.pytorch.comparison import compare
from sirfp_opt.pytorch.coupling.labels import internals
from sirfp_opt.pytorch.cutting.baking import bake, duplicate
from sirfp_opt.pytorch.cutting.masking import zero
from sirfp_opt.pytorch.cutting.surgery import cut

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sirfp_opt._validate import IntArray
    from sirfp_opt.network.plan import PruningUnit
    from sirfp_opt.pytorch.batches import Forward
    from sirfp_opt.pytorch.coupling.evidence import Witness
    from sirfp_opt.pytorch.coupling.labels.records import Step

__all__ = ["Finding", "Trials", "plain_copy", "staggered"]

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}
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
    every unit gets another count.
    """
    seen: dict[int, int] = {}
    first: dict[int, int] = {}
    kept = {}
    for unit in units:
        groups = unit.classes
        size = len(groups)
        number = seen[size] = seen.get(size, -1) + 1
        start = first.setdefault(size, int(rng.integers(size)))
        if size == 2:  # one, the other, both
            chosen = [[0], [1], [0, 1]][(number + turn) % 3]
        else:
            count = 1 + (start + number * max(1, size // 3) + turn) % size
            if turn == 0 and count == size:
                count = size // 2
            chosen = rng.choice(size, size=count, replace=False).tolist()
        kept[unit.name] = np.sort(np.concatenate([groups[i] for i in chosen]))
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
    """

    def __init__(
        self,
        model: nn.Module,
        example: Any,
        forward: Forward | None,
        rng: np.random.Generator,
    ) -> None:
        self.forward = forward
        self.runs = 0
        total = sum(p.numel() for p in model.parameters())
        self.base, self.example = model, example
        self.tolerance = TOLERANCE[torch.float32]
        if total <= LARGE:
            self._widen(model, example)
        _enliven(self.base, rng)

    def _widen(self, model: nn.Module, example: Any) -> None:
        """Go over to float64, where the network runs in it."""
        wide = duplicate(model).double()
        inputs = pytree.tree_map_only(
            Tensor, lambda t: t.double() if t.is_floating_point() else t, example
        )
        try:
            with internals.eagerly():
                frozen_outputs(wide, inputs, self.forward)
        except Exception:  # whatever: the network is tied to its own dtype
            self.base = model
            return
        self.base, self.example = wide, inputs
        self.tolerance = TOLERANCE[torch.float64]

    def run(
        self,
        units: Sequence[PruningUnit],
        kept: dict[str, IntArray],
        labels: dict[str, dict[int, int]],
        witness: Witness,
    ) -> Finding | None:
        """Cut units to given sets; return what is wrong with that, None if nothing.

        Parameters
        ----------
        units : sequence of PruningUnit
        kept : dict of str to ndarray
            By unit: the channels that stay.
        labels : dict of str to dict of int to int
            By unit: its classes, and the channel of each.
        witness : Witness
            Finds out where the trouble begins.
        """
        self.runs += 1
        removed = _removed(units, kept, labels)
        try:
            plan = PruningPlan(units, kept)
            twin = duplicate(self.base)
            zero(twin, plan)
            pruned = _sharing(self.base)
            cut(pruned, plan)
        except Exception as error:  # whatever: surgery does not know it
            return Finding(_told("it cannot be cut", error), None, removed)
        with internals.eagerly():
            expected = frozen_outputs(twin, self.example, self.forward)
            text = ""
            try:
                outputs = frozen_outputs(pruned, self.example, self.forward)
            except Exception as error:  # whatever the network raises is the finding
                text = _told("the cut network fails", error)
            else:
                found = compare(outputs, expected)
                if not found.relative <= self.tolerance:
                    text = f"the cut network is not the masked one: off by {found}"
            if not text:
                return None
            step = witness.first(
                removed, (twin, self._ready(twin)), (pruned, self._ready(pruned))
            )
        return Finding(text, step, removed)

    def _ready(self, model: nn.Module) -> Callable[[], Any]:
        """Return what runs a network and does nothing else."""
        inputs = pytree.tree_map_only(Tensor, torch.clone, self.example)

        def go() -> Any:
            with torch.no_grad():
                return run(model, inputs, self.forward)

        return go

    def can_cut(self, unit: PruningUnit) -> bool:
        """Tell whether surgery knows how to cut a unit, whatever comes out of it."""
        try:
            plan = PruningPlan([unit], {unit.name: unit.classes[0]})
            cut(_sharing(self.base), plan)
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


def _sharing(model: nn.Module) -> nn.Module:
    """Return a copy of a network with the same tensors: surgery replaces these."""
    tensors = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


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
