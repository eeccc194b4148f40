"""Queries and keys of a cut network, before its readers are refitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sirfp_opt.errors import SirfpError
from sirfp_opt.pytorch.batches import Forward, first_and_all
from sirfp_opt.pytorch.coupling.units import pairings_of
from sirfp_opt.pytorch.refitting.logits import Logits
from sirfp_opt.pytorch.refitting.passes import run_over
from sirfp_opt.pytorch.refitting.readers import KINDS
from sirfp_opt.pytorch.refitting.turning import Cut, Fold, turned

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import nn

    from sirfp_opt._parallel import Clock
    from sirfp_opt.network.plan import PruningPlan
    from sirfp_opt.pytorch.coupling.pairings import Pairing
    from sirfp_opt.pytorch.refitting.report import LayerRefit
    from sirfp_opt.pytorch.refitting.settings import Refit

__all__ = ["pairings_cut", "refit_logits"]


def refit_logits(
    model: nn.Module,
    cuts: Sequence[Cut],
    batches: Any,
    settings: Refit,
    *,
    forward: Forward | None,
    ranks: torch.device | None,
    skipping: bool,
    clock: Clock,
) -> tuple[dict[str, LayerRefit], list[Fold], nn.Module, Logits]:
    """Take queries and keys to bases in which few dimensions carry their logits.

    Returns
    -------
    dict of str to LayerRefit
    list of Fold
        To be applied when the layers have their weights.
    nn.Module
        What takes the original's place: it makes the same, in those bases.
    Logits
        What was seen.
    """
    rows, turns, folds = {}, [], []
    open_ = [cut for cut in cuts if not cut.reason]
    logits = Logits(model, open_, settings, skipping=skipping)
    if open_:
        with clock.stage("logits", 0):
            run_over(model, batches, logits, forward, clock, "logits")
    for cut in cuts:
        row, turn, fold = logits.fit(cut, ranks)
        rows[row.layer] = row
        if turn is not None and fold is not None:
            turns.append(turn)
            folds.append(fold)
    return rows, folds, turned(model, turns) if turns else model, logits


def pairings_cut(
    model: nn.Module, plan: PruningPlan, batches: Any, forward: Forward | None
) -> Sequence[Pairing]:
    """Trace a network for queries and keys, where a plan may have cut such."""
    modules = dict(model.named_modules())
    for unit in plan.units:
        made = sum(
            site.table(unit.size).shape[1]
            for site in unit.ports
            if site.side == "out" and isinstance(modules.get(site.layer), KINDS)
        )
        read = any(site.side == "in" for site in unit.ports)
        if (made > 1 or not read) and len(plan[unit.name]) < unit.size:
            try:
                return pairings_of(model, first_and_all(batches)[0], forward)
            except SirfpError:  # it cannot be traced: they are left as they were cut
                return ()
    return ()
