"""What goes wrong first in a cut network: the operation, by its place in the run.

The masked and the cut network run the same operations one after the other.  At each of
them the labels say which elements of the masked result are kept; these must be the
cut result.  The first operation at which they are not, or that fails, is the evidence:
the channels that it touches are to blame.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import sirfp_opt.pytorch.cutting as cutting
from sirfp_opt.pytorch.coupling.labels.internals import DispatchMode, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sirfp_opt._validate import IntArray
    from sirfp_opt.pytorch.coupling.labels.engine import Step
    from sirfp_opt.pytorch.coupling.labels.tables import Tables

__all__ = ["Witness"]

_CUTTING = os.path.dirname(cutting.__file__)
NEAR = 1e-6


@dataclass(frozen=True)
class _Print:
    """What an operation made: its elements' number, and a sum that tells them apart."""

    name: str
    elements: int
    total: float
    size: float

    def fits(self, other: _Print) -> bool:
        """Tell whether the results are the same, but for rounding."""
        if self.name != other.name or self.elements != other.elements:
            return False
        scale = max(self.size, other.size)
        off = abs(self.total - other.total)
        return not off > NEAR * scale


class _Recorder(DispatchMode):  # type: ignore[no-untyped-call]
    """Notes what each operation makes; what surgery brought in is not counted.

    Parameters
    ----------
    keeps : list of (Tensor or None), optional
        By operation: which elements of its result are kept. Without, all are.
    """

    def __init__(
        self, keeps: Sequence[Callable[[Tensor], Tensor] | None] | None
    ) -> None:
        super().__init__()
        self.keeps = keeps
        self.prints: list[_Print] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if _by_surgery():
            return result
        made = [t for t in pytree.tree_leaves(result) if isinstance(t, Tensor)]
        number = len(self.prints)
        self.prints.append(self._print(name_of(func), made, number))
        return result

    def _print(self, name: str, made: list[Tensor], number: int) -> _Print:
        if not made or not made[0].is_floating_point():
            return _Print(name, made[0].numel() if made else 0, 0.0, 0.0)
        tensor = made[0].detach()
        if self.keeps is not None:
            keep = self.keeps[number] if number < len(self.keeps) else None
            if keep is not None:
                tensor = keep(tensor)
        flat = tensor.reshape(-1).double()
        flat = torch.nan_to_num(flat, nan=0.0, posinf=0.0, neginf=0.0)
        weights = torch.arange(1, flat.numel() + 1, dtype=torch.float64)
        weights = (weights * 0.7548776662466927) % 1.0
        size = float(flat.abs().sum()) if flat.numel() else 0.0
        return _Print(name, flat.numel(), float(flat @ weights), size)


def _by_surgery() -> bool:
    """Tell whether code of `cutting` runs: a slim layer, a mask's hook."""
    frame: Any = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith(_CUTTING):
            return True
        frame = frame.f_back
    return False


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
        replaced: set[str],
        masked: Callable[[], Any],
        pruned: Callable[[], Any],
    ) -> Step | None:
        """Return the first operation at which two runs part.

        Parameters
        ----------
        removed : ndarray
            Classes of channels that are removed.
        replaced : set of str
            Modules that surgery has put others in the place of.
        masked, pruned : callable
            Run the networks.

        Returns
        -------
        Step or None
            None where nothing is seen, or the runs cannot be lined up.
        """
        steps = [
            step
            for step in self.steps
            if not any(
                step.where == r or step.where.startswith(r + ".") for r in replaced
            )
        ]
        gone = np.zeros(len(self.tables.roots), dtype=bool)
        gone[removed] = True
        keeps = [self._keep(step, gone) for step in steps]
        before = _Recorder(keeps)
        with before:
            masked()
        told = [one.name.rstrip("_") for one in before.prints]
        if told != [step.name.rstrip("_") for step in steps]:
            return None
        after = _Recorder(None)
        try:
            with after:
                pruned()
        except Exception:  # whatever the network raises is the finding
            pass
        for step, one, other in zip(steps, before.prints, after.prints, strict=False):
            if not one.fits(other):
                return step
        if len(after.prints) < len(steps):
            return steps[len(after.prints)]
        return None

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


def replaced_modules(model: nn.Module, pruned: nn.Module) -> set[str]:
    """Return the modules that surgery has put others in the place of."""
    before = {name: type(module) for name, module in model.named_modules()}
    return {
        name
        for name, module in pruned.named_modules()
        if before.get(name) is not type(module)
    }
