"""The readers of pruned channels, refitted in closed form on unlabelled batches."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from sirfp_opt._parallel import Clock, Stages, check_progress, progress_stages
from sirfp_opt.pytorch.batches import (
    Forward,
    device_of,
    first_and_all,
)
from sirfp_opt.pytorch.cutting.surgery import apply_plan
from sirfp_opt.pytorch.extraction.ranks import has_ranks
from sirfp_opt.pytorch.refitting.attention import pairings_cut, refit_logits
from sirfp_opt.pytorch.refitting.batch_norm import (
    correct_batch_norm,
    reestimate_batch_norm,
    running_norms,
)
from sirfp_opt.pytorch.refitting.gather import Gatherer
from sirfp_opt.pytorch.refitting.layers import refit_layer
from sirfp_opt.pytorch.refitting.outcome import take_place
from sirfp_opt.pytorch.refitting.passes import run_over
from sirfp_opt.pytorch.refitting.readers import find_readers
from sirfp_opt.pytorch.refitting.report import LayerRefit, RefitReport
from sirfp_opt.pytorch.refitting.sequence import InOrder
from sirfp_opt.pytorch.refitting.settings import Refit, find_refit
from sirfp_opt.pytorch.refitting.turning import find_cuts

if TYPE_CHECKING:
    from sirfp_opt.network.plan import PruningPlan
    from sirfp_opt.pytorch.coupling.pairings import Pairing
    from sirfp_opt.pytorch.extraction.inputs import ReaderInputs

__all__ = ["RefitResult", "refit", "refit_pruned"]


@dataclass(frozen=True, eq=False)
class RefitResult:
    """A network that was cut and refitted.

    Attributes
    ----------
    model : nn.Module
        The pruned network with new weights.
    report : RefitReport
        Layer by layer: what was done, and the errors before and after.
    """

    model: nn.Module
    report: RefitReport

    def __repr__(self) -> str:
        return f"RefitResult({str(self.report).splitlines()[0]})"


def refit(
    model: nn.Module,
    plan: PruningPlan,
    batches: Any,
    how: str | Refit = "full",
    *,
    forward: Forward | None = None,
    distributed: bool | None = None,
    progress: bool | Stages | None = None,
) -> RefitResult:
    """Cut a network as a plan says, and refit the layers that read what was cut.

    Channels that stay tell much about those that go. Every convolution and linear layer
    that lost inputs gets the weights with which it comes closest, on these batches, to
    what it made in the original network: in closed form, without labels and gradients.

    Parameters
    ----------
    model : nn.Module
        The network before pruning; it is not changed.
    plan : PruningPlan
        From anywhere: `prune`, a file, another criterion.
    batches : Tensor, mapping or iterable of batches
        Some dozens of pictures, of any batch size; read once, twice more where there
        are batch norms, once more where queries and keys lost dimensions. For readers
        that are fitted one after the other (`Refit.inputs`) they are held, and run
        several times: `RefitReport.passes`.
    how : {"full", "merge"} or Refit
        See `Refit`.
    forward : callable, optional
        ``forward(model, batch)``.
    distributed : bool, optional
        Sum over the ranks of `torch.distributed`, each with batches of its own; by
        default where there is more than one. Every rank gets the same network.
    progress : bool or callable, optional
        True for a bar for each stage, or ``callback(stage, done, total)``; by default
        bars on a terminal, and log messages elsewhere. False: neither.

    Returns
    -------
    RefitResult
        ``.model``, ``.report``.

    Raises
    ------
    InvalidProblemError
        If the plan does not fit, there is no batch, or an activation is not finite.

    Notes
    -----
    Layer r makes y = Σ_t W_t x(p + t) of its input x in the original network. Of x only
    the channels S stay. "full" minimises the mean square of y - Σ_t V_t x_S(p + t) - b
    over V and b, plus λ |V - W_S|², λ being `Refit.ridge` times the mean variance of
    the x_S (He et al., ICCV 2017, arXiv 1707.06168, for a chain of layers). "merge"
    predicts the dropped channels of an input, x_D ≈ B x_S + c, and folds B into all
    filters that read it: V_t = W_S,t + W_D,t B. For filters with one tap both are the
    same. With ``inputs="cut"`` x_S is what the layer reads in the network cut and
    refitted so far, layer by layer in the order of the calls; by default so where
    there are few batch norms. What the offset c or b changes goes into the layer's
    bias, else into the running mean of the batch norm behind it.

    Queries and keys that lose dimensions are taken to the basis in which few of them
    carry the logits, before anything else: see `logits.Logits`.

    A layer is left as it was cut, and the report says why, where its weights are not
    simply multiplied with its input (parametrised, quantised, shared, or in a layer
    with a forward pass of its own), and where the refit would err more than the cut.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from sirfp_opt.pytorch import prune, refit
    >>> _ = torch.manual_seed(0)
    >>> net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 2, 1))
    >>> images = torch.rand(8, 3, 16, 16)
    >>> plan = prune(net, images, macs=0.5).plan
    >>> row = refit(net, plan, images).report["2"]
    >>> row.kind, row.after < row.before
    ('full', True)
    """
    settings = find_refit(how)
    check_progress(progress)
    wrappers = (nn.parallel.DistributedDataParallel, nn.DataParallel)
    model = model.module if isinstance(model, wrappers) else model
    pruned = apply_plan(model, plan)
    with progress_stages(progress) as tell:
        report = refit_pruned(
            model,
            pruned,
            plan,
            batches,
            settings,
            forward=forward,
            distributed=distributed,
            tell=tell,
        )
    return RefitResult(pruned, report)


def refit_pruned(
    model: nn.Module,
    pruned: nn.Module,
    plan: PruningPlan,
    batches: Any,
    settings: Refit,
    *,
    forward: Forward | None = None,
    distributed: bool | None = None,
    inputs: Mapping[str, ReaderInputs] | None = None,
    pictures: int = 0,
    few: Sequence[Any] = (),
    pairings: Sequence[Pairing] | None = None,
    skipping: bool = False,
    tell: Stages | None = None,
) -> RefitReport:
    """Refit a network in place that `apply_plan` has cut; see `refit`.

    Parameters
    ----------
    model, pruned, plan, batches, settings, forward, distributed
        As for `refit`, and what it cuts.
    inputs : mapping of str to ReaderInputs, optional
        From ``extract(..., metric="refit")`` on `pictures` pictures.
    pictures : int
    few : sequence of batches
        Where `inputs` are enough to merge, the layers are judged on these; by default
        on all batches.
    pairings : sequence of Pairing, optional
        The network's queries and keys, from `couple`; by default it is traced.
    skipping : bool
        Leave pictures with NaN or inf out of the layers that read them.
    tell : callable, optional
        ``tell(stage, done, total)``.
    """
    hear = (lambda stage, done, total: None) if tell is None else tell
    clock = Clock(lambda stage, done, total: hear(f"refit: {stage}", done, total))
    together = has_ranks(distributed)
    if isinstance(batches, Iterator):
        batches = list(batches)  # they are read again
    if pairings is None:
        pairings = pairings_cut(model, plan, batches, forward)
    rows, folds, model, logits = refit_logits(
        model,
        find_cuts(model, pruned, plan, pairings),
        batches,
        settings,
        forward=forward,
        ranks=device_of(model) if together else None,
        skipping=skipping,
        clock=clock,
    )
    readers = find_readers(model, pruned, plan)
    open_ = [reader for reader in readers if not reader.reason]
    in_order = _in_order(settings, pruned, len(open_))
    if in_order and not isinstance(batches, (Tensor, Mapping, list, tuple)):
        batches = list(batches)  # what is read again must be the same
    known = inputs or {}
    enough = settings.kind == "merge" and all(r.layer in known for r in open_)
    some = known if enough else {}
    gatherer = Gatherer(model, open_, settings, some, skipping=skipping)
    if open_:
        with clock.stage("gather", 0):
            judged = few if enough and few else batches
            run_over(model, judged, gatherer, forward, clock)
    flags, once = _flags(gatherer, device_of(model) if together else None)
    places = {}
    with clock.stage("solve", len(readers)) as tick:
        for reader in readers:
            layer, reason = reader.layer, reader.reason or flags[reader.layer]
            if reason:
                rows[layer] = LayerRefit(layer, "cut", reason=reason)
            else:
                place = places[layer] = take_place(reader, gatherer, pruned)
                rows[layer] = refit_layer(
                    reader, gatherer, pruned, together, known, place
                )
            tick()
    for fold in folds:
        fold.apply()
    passes = [int(bool(open_)) + int(bool(folds)), 0]
    if in_order and places:
        for layer in places.keys() - once:
            text = "it runs several times: fitted to inputs of the original network"
            rows[layer] = replace(rows[layer], reason=rows[layer].reason or text)
        every = first_and_all(batches)[1]
        walk = InOrder(
            model, pruned, list(every), gatherer, forward=forward, together=together
        )
        ordered = [rows[layer] for layer in gatherer.order if layer in once]
        with clock.stage("in order"):
            for row in walk.refit(ordered, places):
                rows[row.layer] = row
                for fold in folds:
                    if fold.side.layer == row.layer:
                        fold.apply()  # into the weights that the layer has now
        passes = [passes[0] + walk.passes[0], walk.passes[1]]
    norms = 0
    how = settings.batch_norms
    if how != "kept" and plan.removed_positions() and running_norms(pruned):
        with clock.stage("batch norms"):
            norms = _settle(
                pruned, model, plan, batches, how, forward, together, skipping
            )
    return RefitReport(
        settings=settings.to_dict(),
        layers=tuple(rows.values()),
        pictures=pictures
        if enough
        else max(gatherer.held.pictures, logits.held.pictures),
        held_out=max(gatherer.held.count, logits.held.count),
        norms=norms,
        inputs="cut" if in_order else "original",
        passes=(passes[0], passes[1]),
        seconds=dict(clock.seconds),
    )


def _in_order(settings: Refit, pruned: nn.Module, readers: int) -> bool:
    """Whether readers are fitted to what they read in the cut network."""
    if settings.inputs == "auto":
        return settings.kind == "full" and 2 * len(running_norms(pruned)) < readers
    return settings.inputs == "cut"


def _settle(
    pruned: nn.Module,
    model: nn.Module,
    plan: PruningPlan,
    batches: Any,
    how: str,
    forward: Forward | None,
    together: bool,
    skipping: bool,
) -> int:
    """Bring a network's batch norms up to date, and return how many there are.

    A picture with NaN would spoil all of them: they stay as they were then.
    """
    norms = running_norms(pruned).values()
    before = [copy.deepcopy(norm.state_dict()) for norm in norms] if skipping else []
    if how == "corrected":
        correct_batch_norm(
            pruned,
            model,
            plan,
            batches,
            inplace=True,
            forward=forward,
            distributed=together,
        )
    else:
        reestimate_batch_norm(
            pruned, batches, inplace=True, forward=forward, distributed=together
        )
    if not all(bool(torch.isfinite(b).all()) for n in norms for b in n.buffers()):
        for norm, state in zip(norms, before, strict=False):
            norm.load_state_dict(state)
        return 0
    return len(norms)


def _flags(
    gatherer: Gatherer, device: torch.device | None
) -> tuple[dict[str, str], set[str]]:
    """Return why layers cannot be refitted after all, on all ranks alike.

    And which of those that can are called once in each forward pass.
    """
    table = torch.tensor(
        [
            [
                float(record.passes),
                float(bool(record.trouble)),
                float(record.passes != gatherer.batch),
            ]
            for record in gatherer.records.values()
        ]
    )
    if device is not None and len(table):
        table = table.to(device)
        dist.all_reduce(table)
    flags, once = {}, set()
    for layer, (passes, trouble, other) in zip(
        gatherer.records, table.tolist(), strict=True
    ):
        flags[layer] = ""
        if passes and not trouble and not other:
            once.add(layer)
        if not passes:
            flags[layer] = "it was not called as a layer on any batch"
        elif trouble:
            flags[layer] = "it shares its input with another layer at times only"
    return flags, once
