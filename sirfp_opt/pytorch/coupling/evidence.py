"""What goes wrong first in a cut network: the operation, by its place in the run.

The masked and the cut network run the same operations one after the other.  At each of
them the labels say which elements of the masked result are kept; these must be the
cut result.  The first operation at which they are not, or that fails, is the evidence:
the channels that it touches are to blame.
"""

from __future__ import annotations

import math
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
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from sirfp_opt._validate import IntArray
    from sirfp_opt.pytorch.coupling.labels.records import Step
    from sirfp_opt.pytorch.coupling.labels.tables import Tables

__all__ = ["Operations", "Witness", "kinds"]

NEAR = 1e-6

CAST = "_to_copy"
"""What a network does more or less of in another precision."""


def kinds(names: Iterable[str]) -> list[str]:
    """Return which operations a run consists of, casts and writing in place apart."""
    return [name.rstrip("_") for name in names if name != CAST]


class Operations(DispatchMode):
    """Notes the names of the operations of a run.

    Attributes
    ----------
    names : list of str
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.names.append(name_of(func))
        return func(*args, **(kwargs or {}))


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
    weights : callable
        Gives the weights of the sum that tells results apart.
    """

    def __init__(self, network: nn.Module, quiet: set[str], weights: _Weights) -> None:
        super().__init__()
        self.quiet, self.weights = quiet, weights
        self.prints: list[_Print] = []
        self.running = Running(network)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = name_of(func)
        if name != CAST and self.quiet.isdisjoint(self.running.stack):
            made = [t for t in pytree.tree_leaves(result) if isinstance(t, Tensor)]
            self._note(name, made)
        return result

    def _note(self, name: str, made: list[Tensor]) -> None:
        self.prints.append(self._print(name, made))

    def _print(
        self,
        name: str,
        made: list[Tensor],
        keep: Callable[[Tensor], Tensor] | None = None,
    ) -> _Print:
        if not made or not made[0].is_floating_point():
            elements = made[0].numel() if made else 0
            return _Print(name, self.running.where, elements, 0.0, 0.0)
        tensor = made[0].detach().cpu()
        if keep is not None:
            tensor = keep(tensor)
        flat = tensor.reshape(-1).double()
        size = float(flat.abs().sum())
        if not math.isfinite(size):
            flat = torch.nan_to_num(flat, nan=0.0, posinf=0.0, neginf=0.0)
            size = float(flat.abs().sum())
        total = float(flat @ self.weights(flat.numel()))
        return _Print(name, self.running.where, flat.numel(), total, size)


class _Done(BaseException):
    """Ends a run of which no more has to be seen; no network catches it."""


class _Comparer(_Recorder):
    """Compares what each operation makes with what one of another run has made.

    It ends the run by `_Done` at the first result that differs, after the last one to
    be compared, and where the operations are not those of the trace.

    Parameters
    ----------
    network, quiet, weights
        As for `_Recorder`.
    steps : sequence of Step
        The operations of the trace, those in quiet modules left out.
    others : dict of int to _Print
        By the number of a step: what its result is to be.
    keep : callable
        Gives what picks the kept elements of a step's result.

    Attributes
    ----------
    found : Step or None
        The first one that differs.
    lost : bool
        Whether the run did other operations than the trace.
    """

    def __init__(
        self,
        network: nn.Module,
        quiet: set[str],
        weights: _Weights,
        steps: Sequence[Step],
        others: dict[int, _Print],
        keep: Callable[[Step], Callable[[Tensor], Tensor] | None],
    ) -> None:
        super().__init__(network, quiet, weights)
        self.steps, self.others, self.keep = steps, others, keep
        self.last = max(others, default=-1)
        self.number = 0
        self.found: Step | None = None
        self.lost = False

    def _note(self, name: str, made: list[Tensor]) -> None:
        number, self.number = self.number, self.number + 1
        step = self.steps[number] if number < len(self.steps) else None
        if step is None or kinds([name]) != kinds([step.name]):
            self.lost = True
            raise _Done
        other = self.others.get(number)
        if other is not None and step.followed:
            mine = self._print(name, made, self.keep(step))
            if not mine.fits(other):
                self.found = step
                raise _Done
        if number >= self.last:
            raise _Done


class _Weights:
    """Numbers in [0, 1) that tell orders apart, the same ones each time."""

    def __init__(self) -> None:
        self._known = torch.zeros(0, dtype=torch.float64)

    def __call__(self, count: int) -> Tensor:
        """Return the first `count` of them."""
        if len(self._known) < count:
            self._known = torch.arange(1, count + 1, dtype=torch.float64)
            self._known.mul_(0.7548776662466927).frac_()
        return self._known[:count]


class Witness:
    """Compares a masked run with a cut one, operation by operation.

    Parameters
    ----------
    tables : Tables
        Of the trace, whose first run is the one to compare with.
    """

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.weights = _Weights()
        self.steps: list[Step] = tables.tracker.steps[0]

    def first(
        self,
        removed: IntArray,
        network: nn.Module,
        ready: Callable[[], Callable[[], Any]],
        masked: Callable[[], AbstractContextManager[None]],
        pruned: Callable[[], AbstractContextManager[set[str]]],
    ) -> Step | None:
        """Return the first operation at which two runs part.

        Parameters
        ----------
        removed : ndarray
            Classes of channels that are removed.
        network : nn.Module
            The network.
        ready : callable
            Returns what runs it once, and does nothing else.
        masked, pruned : callable
            Mask and cut it for the length of a block.

        Returns
        -------
        Step or None
            None where nothing is seen, or the runs cannot be lined up.
        """
        go = ready()
        with pruned() as quiet:
            after = _Recorder(network, quiet, self.weights)
            # Whatever the network raises is the finding.
            with suppress(Exception), after.running.watching(), after:
                go()
        steps = [
            step
            for step in self.steps
            if step.name != CAST
            and not any(
                step.where == q or step.where.startswith(f"{q}.") for q in quiet
            )
        ]
        # A layer may take other operations where another layout comes in.
        one = [(step.where, *kinds([step.name])) for step in steps]
        other = [(p.where, *kinds([p.name])) for p in after.prints]
        matcher = SequenceMatcher(a=one, b=other, autojunk=False)
        others = {
            block.a + i: after.prints[block.b + i]
            for block in matcher.get_matching_blocks()
            for i in range(block.size)
        }
        gone = np.zeros(len(self.tables.roots), dtype=bool)
        gone[removed] = True
        before = _Comparer(
            network,
            quiet,
            self.weights,
            steps,
            others,
            lambda step: self._keep(step, gone),
        )
        go = ready()
        with suppress(_Done), masked(), before.running.watching(), before:
            go()
        if before.found is not None or before.lost:
            return before.found
        rest = [step for step in steps[before.last + 1 :] if step.followed]
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
        wide = [dim for dim, size in enumerate(kept.shape) if size > 1]
        line = kept.flatten().nonzero().flatten() if len(wide) == 1 else None

        def keep(tensor: Tensor) -> Tensor:
            if tuple(tensor.shape) != step.shape:
                return tensor  # not the run that was traced
            if line is not None:
                return tensor.index_select(wide[0], line)
            return tensor[kept.expand(tensor.shape)]

        return keep
