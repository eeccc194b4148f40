"""What goes wrong first in a cut network: the operation, by its place in the run.

The masked and the cut network run the same operations one after the other.  At each of
them the labels say which elements of the masked result are kept; these must be the
cut result.  The first operation at which they are not, or that fails, is the evidence:
the channels that it touches are to blame.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from sirfp_opt.pytorch.coupling.labels.internals import DispatchMode, name_of
from sirfp_opt.pytorch.coupling.labels.running import Running

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sirfp_opt._validate import IntArray
    from sirfp_opt.pytorch.coupling.labels.records import Step
    from sirfp_opt.pytorch.coupling.labels.tables import Tables

__all__ = ["Witness"]

NEAR = 1e-6


@dataclass(frozen=True)
class _Print:
    """What an operation made: its elements' number, and a sum that tells them apart."""

    name: str
    where: str
    elements: int
    total: float
    size: float

    def fits(self, other: _Print) -> bool:
        """Tell whether the results are the same, but for rounding."""
        if self.elements != other.elements:
            return False
        scale = max(self.size, other.size)
        off = abs(self.total - other.total)
        return not off > NEAR * scale


class _Recorder(DispatchMode):
    """Notes what each operation makes, but for those inside of some modules.

    Parameters
    ----------
    network : nn.Module
        The network that runs.
    quiet : set of str
        Modules that surgery puts others in the place of: their insides do not compare.
    keeps : sequence of callable or None, optional
        By operation: picks the elements of its result that are kept.
    """

    def __init__(
        self,
        network: nn.Module,
        quiet: set[str],
        keeps: Sequence[Callable[[Tensor], Tensor] | None] = (),
    ) -> None:
        super().__init__()
        self.quiet, self.keeps = quiet, keeps
        self.prints: list[_Print] = []
        self.running = Running(network)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.quiet.isdisjoint(self.running.stack):
            made = [t for t in pytree.tree_leaves(result) if isinstance(t, Tensor)]
            self.prints.append(self._print(name_of(func), made, len(self.prints)))
        return result

    def _print(self, name: str, made: list[Tensor], number: int) -> _Print:
        if not made or not made[0].is_floating_point():
            elements = made[0].numel() if made else 0
            return _Print(name, self.running.where, elements, 0.0, 0.0)
        tensor = made[0].detach()
        keep = self.keeps[number] if number < len(self.keeps) else None
        if keep is not None:
            tensor = keep(tensor)
        flat = tensor.reshape(-1).double()
        flat = torch.nan_to_num(flat, nan=0.0, posinf=0.0, neginf=0.0)
        weights = torch.arange(1, flat.numel() + 1, dtype=torch.float64)
        weights = (weights * 0.7548776662466927) % 1.0
        total, size = float(flat @ weights), float(flat.abs().sum())
        return _Print(name, self.running.where, flat.numel(), total, size)


class Witness:
    """Compares a masked run with a cut one, operation by operation.

    Parameters
    ----------
    tables : Tables
        Of the trace, whose first run is the one to compare with.
    """

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.steps: list[Step] = tables.tracker.steps[0]

    def first(
        self,
        removed: IntArray,
        masked: tuple[nn.Module, Callable[[], Any]],
        pruned: tuple[nn.Module, Callable[[], Any]],
    ) -> Step | None:
        """Return the first operation at which two runs part.

        Parameters
        ----------
        removed : ndarray
            Classes of channels that are removed.
        masked, pruned : (nn.Module, callable)
            The networks, and what runs them.

        Returns
        -------
        Step or None
            None where nothing is seen, or the runs cannot be lined up.
        """
        quiet = _replaced(masked[0], pruned[0])
        steps = [
            step
            for step in self.steps
            if not any(step.where == q or step.where.startswith(f"{q}.") for q in quiet)
        ]
        gone = np.zeros(len(self.tables.roots), dtype=bool)
        gone[removed] = True
        keeps = [self._keep(step, gone) for step in steps]
        before = _Recorder(masked[0], quiet, keeps)
        with before.running.watching(), before:
            masked[1]()
        told = [one.name.rstrip("_") for one in before.prints]
        if told != [step.name.rstrip("_") for step in steps]:
            return None
        after = _Recorder(pruned[0], quiet)
        # Whatever the network raises is the finding.
        with suppress(Exception), after.running.watching(), after:
            pruned[1]()
        # A layer may take other operations where another layout comes in.
        one, other = (
            [(p.where, p.name) for p in recorder.prints] for recorder in (before, after)
        )
        matcher = SequenceMatcher(a=one, b=other, autojunk=False)
        blocks = matcher.get_matching_blocks()
        last = -1
        for block in blocks:
            for i, j in zip(
                range(block.a, block.a + block.size),
                range(block.b, block.b + block.size),
                strict=True,
            ):
                last = i
                fits = before.prints[i].fits(after.prints[j])
                if steps[i].followed and not fits:
                    return steps[i]
        rest = [step for step in steps[last + 1 :] if step.followed]
        there = [step for step in rest if step.where == after.running.last]
        return next(iter(there or rest), None)

    def _keep(self, step: Step, gone: Any) -> Callable[[Tensor], Tensor] | None:
        """Return what picks the kept elements of an operation's result."""
        if step.label is None:
            return None
        lost = gone[self.tables.roots[step.label.numpy()]]
        if not lost.any():
            return None
        kept = torch.from_numpy(~lost)

        def keep(tensor: Tensor) -> Tensor:
            if tuple(tensor.shape) != step.shape:
                return tensor  # not the run that was traced
            return tensor[kept.expand(tensor.shape)]

        return keep


def _replaced(masked: nn.Module, pruned: nn.Module) -> set[str]:
    """Return the modules that surgery has put others in the place of."""
    before = {name: type(module) for name, module in masked.named_modules()}
    return {
        name
        for name, module in pruned.named_modules()
        if before.get(name) is not type(module)
    }
