"""What a network's outputs lose when one unit alone is cut, on a few samples."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sirfp_opt.errors import SirfpError
from sirfp_opt.network.allocation import Measured, create_allocator
from sirfp_opt.network.plan import PruningPlan
from sirfp_opt.network.response import Response
from sirfp_opt.pytorch.batches import Forward, few, frozen_outputs
from sirfp_opt.pytorch.coupling.bench import cut_for_a_while
from sirfp_opt.pytorch.cutting.baking import duplicate
from sirfp_opt.pytorch.refitting.passes import some_of
from sirfp_opt.pytorch.refitting.refit import refit_pruned

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from sirfp_opt.network.curve import ValueCurve
    from sirfp_opt.network.problem import NetworkProblem
    from sirfp_opt.pytorch.extraction.graphs import ExtractedGraphs
    from sirfp_opt.pytorch.refitting.settings import Refit
    from sirfp_opt.pytorch.request import PruneRequest

__all__ = ["ResponseMeter", "meter_of"]

POSITIONS = 1 << 18
"""Pixels or tokens that the outputs are looked at on, all samples together: each unit
takes two passes of the network over them."""

SHARES = (0.25, 0.5)
"""Of its channels that a unit keeps while the outputs are looked at. The response goes
through the first: from there it has to reach to numbers that are smaller still."""

MOST = 0.999
"""Share of the signal that counts as lost where the outputs have nothing left of it."""


class ResponseMeter:
    """Measures a network's responses; what was measured before is kept.

    Each unit is cut alone, the layers that read it are merged where they will be
    refitted, and the outputs in evaluation mode are held against the network's own:
    their squared difference as a share of their variance, channel by channel, the mean
    over all outputs of floating point.

    Parameters
    ----------
    model : nn.Module
        The network; it is not changed.
    batch : Any
        A few samples, on the network's device.
    forward : callable, optional
        ``forward(model, batch)``.
    few : sequence of batches
        What merged layers are judged on; by default on `batch`. The judgement is not
        asked for here: one sample will do.
    refit : Refit, optional
        How layers will be refitted; None leaves them as they are cut.
    skipping : bool
        As for `refit_pruned`.
    """

    def __init__(
        self,
        model: nn.Module,
        batch: Any,
        forward: Forward | None = None,
        *,
        few: Sequence[Any] = (),
        refit: Refit | None = None,
        skipping: bool = False,
    ) -> None:
        self.model, self.batch, self.forward = model, batch, forward
        self.few = few
        self.refit = None
        if refit is not None:
            self.refit = replace(
                refit,
                kind="merge",
                inputs="original",
                batch_norms="kept",
                held_out=0.0,
            )
        self.skipping = skipping
        self._own: list[Tensor] | None = None
        self._bench: nn.Module | None = None  # a copy, to be cut for a while
        self._known: dict[tuple[str, int, int], float] = {}

    def __call__(
        self,
        problem: NetworkProblem,
        graphs: ExtractedGraphs,
        tick: Callable[[], None] = lambda: None,
    ) -> dict[str, Response]:
        """Return the response of every unit that has something to lose.

        Parameters
        ----------
        problem : NetworkProblem
            Its curves say which channels a unit keeps.
        graphs : ExtractedGraphs
        tick : callable
            Called once for each unit.
        """
        curves, factors, worth = problem.curves, problem.factors, problem.worth
        price = worth.price_of(curves, factors)
        found = {}
        for name, curve in curves.items():
            shares = worth.share(curve, factors[name], price)
            points = []
            for place in _places(curve):
                count = int(curve.counts[place])
                error = self._error(name, curve, count, graphs)
                if error is not None:
                    points.append((1.0 - float(shares[place]), error))
            if any(lost > 0 for lost, _ in points):
                found[name] = Response.through(points)
            tick()
        return found

    def _error(
        self, name: str, curve: ValueCurve, count: int, graphs: ExtractedGraphs
    ) -> float | None:
        """Return what the outputs lose; None where the unit cannot be cut alone."""
        key = (name, curve.n, count)
        if key not in self._known:
            units = graphs.coupling.units
            kept = {unit.name: range(unit.size) for unit in units}
            plan = PruningPlan(units, kept | {name: curve.selected(count)})
            if self._own is None:
                self._own = frozen_outputs(self.model, self.batch, self.forward)
            try:
                made = self._outputs(plan, graphs)
            except SirfpError:
                return None
            self._known[key] = _lost(self._own, made)
        return self._known[key]

    def _outputs(self, plan: PruningPlan, graphs: ExtractedGraphs) -> list[Tensor]:
        """Return the outputs of the network cut by a plan, its readers merged."""
        if self._bench is None:
            self._bench = duplicate(self.model)
        bench = self._bench
        try:
            with cut_for_a_while(bench, plan):
                if self.refit is not None:
                    refit_pruned(
                        self.model,
                        bench,
                        plan,
                        [self.batch],
                        self.refit,
                        forward=self.forward,
                        inputs=graphs.inputs,
                        few=self.few,
                        pairings=graphs.coupling.pairings,
                        skipping=self.skipping,
                    )
                return frozen_outputs(bench, self.batch, self.forward)
        finally:
            # The refit has written into biases and norms that are not cut.
            _copy_numbers(self.model, bench)


def meter_of(
    model: nn.Module,
    batch: Any,
    whole: bool,
    forward: Forward | None,
    request: PruneRequest,
) -> ResponseMeter | None:
    """Return what measures responses, if the split of a request asks for them.

    Where a batch is no row of samples, the `whole` of it is run.
    """
    allocator = create_allocator(request.split)
    if request.keep is not None or not isinstance(allocator, Measured):
        return None
    return ResponseMeter(
        model,
        batch if whole else few(batch, allocator.samples, POSITIONS),
        forward,
        few=some_of(batch, 1, whole=whole),
        refit=request.refit,
        skipping=request.measured.on_nan != "raise",
    )


def _places(curve: ValueCurve) -> list[int]:
    """Return where a curve has the counts nearest to the shares, the whole left out."""
    below = curve.counts[curve.counts < curve.n]
    if not len(below):
        return []
    nearest = [int(abs(below - share * curve.n).argmin()) for share in SHARES]
    return list(dict.fromkeys(nearest))


def _copy_numbers(model: nn.Module, twin: nn.Module) -> None:
    """Give a copy of a network the numbers of its parameters and buffers again."""
    for tensors in (nn.Module.parameters, nn.Module.buffers):
        for one, other in zip(tensors(model), tensors(twin), strict=True):
            other.data.copy_(one.data)


def _lost(own: Sequence[Tensor], made: Sequence[Tensor]) -> float:
    """Return the share of the outputs' variance that differs, at most `MOST`."""
    shares = []
    for one, other in zip(own, made, strict=True):
        sound = one.isfinite() & other.isfinite()
        one, other = (torch.where(sound, t, 0.0).double() for t in (one, other))
        beside = [dim for dim in range(one.dim()) if dim != 1 or one.dim() < 2]
        signal = (one - one.mean(dim=beside, keepdim=True)).square().sum()
        if not signal > 0:  # one entry a channel, or constants
            signal = one.square().sum()
        if signal > 0:
            shares.append(float((other - one).square().sum() / signal))
    return min(sum(shares) / len(shares), MOST) if shares else 0.0
