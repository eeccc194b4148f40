"""Trial cuts on a copy of the network: what the rules on the trace cannot know."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from sirfp_opt.network.plan import PruningPlan, PruningUnit
from sirfp_opt.pytorch.batches import Forward, frozen_outputs
from sirfp_opt.pytorch.cutting.masking import ZeroChannels, channel_dim
from sirfp_opt.pytorch.cutting.surgery import cut, largest_difference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sirfp_opt._validate import IntArray

__all__ = ["Prober", "probe", "random_plan"]

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
SMALL = 32
EXTRA_ROUNDS = 3

Failures = dict[str, tuple[str, str]]
"""unit -> (layer, reason)"""


def random_plan(
    units: Sequence[PruningUnit], rng: np.random.Generator
) -> dict[str, IntArray]:
    """Keep a random, arbitrary half or so of each unit, tied groups whole."""
    kept = {}
    for unit in units:
        groups = unit.tied or tuple((c,) for c in range(unit.size))
        count = int(rng.integers(1, len(groups)))
        chosen = rng.choice(len(groups), size=count, replace=False)
        kept[unit.name] = np.sort(np.concatenate([groups[i] for i in chosen]))
    return kept


def probe(
    model: nn.Module,
    units: Sequence[PruningUnit],
    example: Any,
    *,
    forward: Forward | None = None,
    seed: int = 0,
) -> Failures:
    """Return the units that must not be cut, each with the layer and the reason.

    Parameters
    ----------
    model : nn.Module
        The network; copies of it are run, in float64 where it can.
    units : sequence of PruningUnit
        Candidates.
    example : Any
        One batch of one sample, on the model's device.
    forward : callable, optional
        How the network is called.
    seed : int
        Of the random channels.
    """
    if not units:
        return {}
    rng = np.random.default_rng(seed)
    kept = random_plan(units, rng)
    prober = Prober(model, example, forward, stir=rng)
    # A wrong permutation may happen to leave a small set in its place.
    few = min(len(unit.tied) or unit.size for unit in units) <= SMALL
    failed: Failures = {}
    for _ in range(EXTRA_ROUNDS if few else 0):
        failed |= prober.nonzero_readers(PruningPlan(units, random_plan(units, rng)))
    plan = PruningPlan(units, kept)
    try:
        exact = prober.in_double()
        failed |= exact.nonzero_readers(plan)
        prober = exact
    except Exception:  # whatever: the network is tied to its own dtype
        failed |= prober.nonzero_readers(plan)
    return failed | prober.admit(
        [unit for unit in units if unit.name not in failed], kept
    )


class _Stir:
    """Forward hook: masked or cut, and every channel that is left made alive.

    A channel that a ReLU silences reads as zero whatever its position, and hides a
    mistake. So each map is scaled to [-1, 1] and shifted by a positive number of its
    channel: the same in the masked and in the cut network, where they are one.
    """

    def __init__(self, removed: IntArray, shift: Tensor, *, is_cut: bool) -> None:
        gone = torch.from_numpy(removed)
        keep = torch.ones(len(shift), dtype=torch.bool)
        keep[gone] = False
        self.gone = None if is_cut else gone
        self.shift = shift[keep] if is_cut else shift * keep

    def __call__(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        dim = channel_dim(module, output)
        if self.gone is not None:
            output = output.index_fill(dim, self.gone.to(output.device), 0.0)
        largest = output.abs().amax()
        scale = torch.where(largest > 0, largest, torch.ones_like(largest))
        shape = [1] * output.dim()
        shape[dim] = -1
        return output / scale + self.shift.to(output).view(shape)


class Prober:
    """Runs masked and cut copies of a network side by side.

    Parameters
    ----------
    model, example, forward
        As for `probe`.
    stir : numpy.random.Generator, optional
        Shift the maps on the way by random numbers, so that nothing hides.
    """

    def __init__(
        self,
        model: nn.Module,
        example: Any,
        forward: Forward | None = None,
        *,
        stir: np.random.Generator | None = None,
    ) -> None:
        self.forward = forward
        self.model = copy.deepcopy(model)
        self.example = example
        self.tolerance = TOLERANCE[torch.float32]
        self.stir = stir
        self._shifts: dict[str, Tensor] = {}
        self._seen: tuple[PruningPlan, list[Tensor]] | None = None

    def in_double(self) -> Prober:
        """Return a prober that runs in float64."""
        twin = Prober(self.model, self.example, self.forward, stir=self.stir)
        twin.model.double()
        twin.example = pytree.tree_map_only(
            Tensor, lambda t: t.double() if t.is_floating_point() else t, self.example
        )
        twin.tolerance = TOLERANCE[torch.float64]
        return twin

    def _outputs(
        self, model: nn.Module, plan: PruningPlan, *, is_cut: bool = False
    ) -> list[Tensor]:
        """Run a masked, or a cut, network."""
        modules = dict(model.named_modules())
        removed = plan.removed_positions()
        widths = {
            (site.layer, site.side): site.channels
            for unit in plan.units
            for site in unit.sites
        }
        hooks = []
        for (layer, side), positions in removed.items():
            if side == "in" or (is_cut and self.stir is None):
                continue
            hook: Any = ZeroChannels(positions)
            if self.stir is not None:
                if layer not in self._shifts:
                    shift = self.stir.uniform(0.5, 1.5, widths[layer, side])
                    self._shifts[layer] = torch.from_numpy(shift)
                hook = _Stir(positions, self._shifts[layer], is_cut=is_cut)
            hooks.append(modules[layer].register_forward_hook(hook))
        try:
            return frozen_outputs(model, self.example, self.forward)
        finally:
            for handle in hooks:
                handle.remove()

    def expected(self, plan: PruningPlan) -> list[Tensor]:
        """Return the masked network's outputs; those of the last plan are kept."""
        if self._seen is None or self._seen[0] != plan:
            self._seen = plan, self._outputs(self.model, plan)
        return self._seen[1]

    def nonzero_readers(self, plan: PruningPlan) -> Failures:
        """Find units that some layer reads as non-zero where they were masked.

        Then some operation on the way does not map zero to zero (a sigmoid, a norm, a
        bias), mixes channels, or moves them to other positions than the trace says.
        """
        modules = dict(self.model.named_modules())
        failed: Failures = {}
        hooks = []

        def reader(unit: str, layer: str, positions: IntArray) -> Any:
            index = torch.from_numpy(positions)

            def check(module: nn.Module, args: Any) -> None:
                read = args[0].index_select(
                    channel_dim(module, args[0]), index.to(args[0].device)
                )
                if unit not in failed and bool((read != 0).any()):
                    failed[unit] = (
                        layer,
                        "it does not read zeros where the unit's channels are masked: "
                        "an operation on the way moves zero, or the channels",
                    )

            return check

        for unit in plan.units:
            for site in unit.sites:
                if site.side == "in":
                    positions = site.positions(plan.removed(unit.name))
                    check = reader(unit.name, site.layer, positions)
                    hooks.append(modules[site.layer].register_forward_pre_hook(check))
        try:
            self.expected(plan)
        finally:
            for hook in hooks:
                hook.remove()
        return failed

    def trial(self, plan: PruningPlan) -> str | None:
        """Cut a copy as `plan` says; return what is wrong with it, None if nothing."""
        expected = self.expected(plan)
        if not all(bool(tensor.isfinite().all()) for tensor in expected):
            return "the outputs are NaN or inf with its channels at zero, if not before"
        pruned = copy.deepcopy(self.model)
        try:
            cut(pruned, plan)
            outputs = self._outputs(pruned, plan, is_cut=True)
        except Exception as error:  # whatever the network raises is the finding
            text = str(error).strip().splitlines() or [""]
            return f"the cut network fails: {type(error).__name__}: {text[0]}"
        difference, scale = largest_difference(outputs, expected)
        if difference > self.tolerance * max(1.0, scale):
            return (
                "the cut network is not the masked one: outputs differ by "
                f"{difference:.2g} of {scale:.2g}"
            )
        return None

    def admit(
        self, units: Sequence[PruningUnit], kept: dict[str, IntArray]
    ) -> Failures:
        """Find the units that spoil a joint trial cut, found by halving."""
        failed: Failures = {}
        good: list[PruningUnit] = []

        def add(candidates: list[PruningUnit]) -> None:
            nonlocal good
            names = {unit.name for unit in [*good, *candidates]}
            chosen = {name: kept[name] for name in kept if name in names}
            wrong = self.trial(PruningPlan([*good, *candidates], chosen))
            if wrong is None:
                good = [*good, *candidates]
            elif len(candidates) == 1:
                failed[candidates[0].name] = (candidates[0].name, wrong)
            else:
                half = len(candidates) // 2
                add(candidates[:half])
                add(candidates[half:])

        if units:
            add(list(units))
        return failed
