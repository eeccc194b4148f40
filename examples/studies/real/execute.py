"""One run: measure, cut, refit, distil, judge."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from examples.studies.attempt import attempt, fingerprint
from examples.studies.real.criteria import scores
from examples.studies.real.runs import SCORES, Run
from examples.studies.real.tasks import task_of
from examples.studies.scores import ACROSS, as_graphs
from sirfp_opt import SirfpError
from sirfp_opt.pytorch import (
    count_macs,
    count_params,
    couple,
    extract,
    prune,
    reestimate_batch_norm,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

    from examples.studies.real.tasks import Task
    from sirfp_opt.pytorch import ExtractedGraphs

__all__ = ["FIGURES", "execute", "pruned_network"]

FIGURES = (
    "status",
    "macs",
    "params",
    "iou",
    "f1",
    "low",
    "high",
    "true_iou",
    "true_f1",
    "plan",
    "prune_seconds",
    "seconds",
)
"""What is measured of a run, beside its identity; README.md says what each one is."""

FAILURES = (SirfpError, RuntimeError, ValueError, KeyError)
"""Of the peers as of ours."""

REFITS = ("merge", "full")
BATCH = 8
EXACT_SECONDS = 2.0
LEARNING_RATES = {True: 1e-4, False: 1e-3}
"""Of the distillation, after a refit and without one.

A refitted network has little to lose but what it has: at 50 % of the MACs 40 steps with
3e-5, 1e-4, 3e-4 take its IoU from 0.821 to 0.833, 0.834, 0.815 (seed 0), 1e-3 below.
"""


def execute(run: Run) -> dict[str, Any]:
    """Do one run; what fails is a result, too.

    Returns
    -------
    dict
        The `FIGURES` that there are.
    """
    return attempt(lambda: _executed(run), FAILURES)


def _executed(run: Run) -> dict[str, Any]:
    model, made = pruned_network(run)
    figures = task_of(run.network).judge(model, run.network, run.pace)
    return made | {name: round(value, 6) for name, value in figures.items()}


def pruned_network(run: Run) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network of a run, and what is known of how it was made."""
    task = task_of(run.network)
    dense = task.load(run.network)
    if run.criterion == "dense":
        return dense, {"macs": 1.0, "params": 1.0}
    batches = task.calibration(run.seed, run.pace)
    one = batches[0][:1]
    whole = {"macs": count_macs(dense, one), "params": count_params(dense)}
    began = time.process_time()
    if run.criterion == "torch_pruning":
        model, plan = _by_torch_pruning(dense, one, run.budget), ""
    else:
        result = _prune(run, dense, batches, task)
        model, plan = result.model, fingerprint(result.plan)
    if run.refit == "norms":
        model = reestimate_batch_norm(model, batches)
    spent = time.process_time() - began
    model = _distilled(model, dense, task, run)
    return model.eval(), {
        "macs": round(count_macs(model, one) / whole["macs"], 6),
        "params": round(count_params(model) / whole["params"], 6),
        "plan": plan,
        "prune_seconds": round(spent, 2),
    }


def _prune(run: Run, dense: nn.Module, batches: list[Tensor], task: Task) -> Any:
    options: dict[str, Any] = {"macs": run.budget, "seed": run.seed}
    if run.criterion == "paper":
        return prune(dense, batches, reference=True, **options)
    options["refit"] = run.refit if run.refit in REFITS else None
    options["multiple_of"] = run.multiple_of or None
    if run.criterion in SCORES:
        base = _base(run.network, run.seed, run.pace)
        units = base.coupling.units
        labelled = task.labelled(run.seed, run.pace)
        values = scores(dense, units, run.criterion, labelled, task.loss, run.seed)
        allocation: Any = ACROSS if run.split == "global" else run.split
        return prune(
            dense,
            batches,
            graphs=as_graphs(base, values),
            method="top_k",
            allocation=allocation,
            drop_dead=False,
            **options,
        )
    return prune(
        dense,
        batches,
        method=run.solver,
        allocation=run.split,
        metric=run.criterion,
        time_limit=EXACT_SECONDS if run.solver == "exact" else None,
        **options,
    )


def _distilled(model: nn.Module, dense: nn.Module, task: Task, run: Run) -> nn.Module:
    """Tune a network on the dense one's word, for `run.steps` steps."""
    if not run.steps:
        return model
    images = task.tuning(run.pace)
    dice = np.random.default_rng(1000 + run.seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATES[run.refit in REFITS]
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, run.steps)
    for _ in range(run.steps):
        batch = images[dice.choice(len(images), min(BATCH, len(images)))]
        with torch.no_grad():
            told = dense(batch)
        loss = task.imitation(model(batch), told)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    return model


def _by_torch_pruning(dense: nn.Module, one: Tensor, budget: float) -> nn.Module:
    """Prune by Torch-Pruning's own pruner, its defaults, until the budget is kept."""
    import copy

    import torch_pruning as tp

    whole = count_macs(dense, one)
    with torch.no_grad():
        classes = dense(one).shape[1]
    low, high, best = 0.0, 0.95, None
    for _ in range(7):
        ratio = (low + high) / 2
        model = copy.deepcopy(dense)
        pruner = tp.pruner.MetaPruner(
            model,
            one,
            importance=tp.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=ratio,
            # It would cut the network's answer, too.
            ignored_layers=[
                layer
                for layer in model.modules()
                if getattr(layer, "out_channels", None) == classes
            ],
            global_pruning=True,
            max_pruning_ratio=0.9,
        )
        pruner.step()
        if count_macs(model, one) <= budget * whole:
            best, high = model, ratio
        else:
            low = ratio
    if best is None:
        raise ValueError("the budget is out of Torch-Pruning's reach")
    return best


@lru_cache(maxsize=4)
def _base(name: str, seed: int, pace: str) -> ExtractedGraphs:
    """Return some graphs, for the criteria that put their own in their place."""
    task = task_of(name)
    dense, batches = task.load(name), task.calibration(seed, pace)
    coupling = couple(dense, batches[:1])
    return extract(dense, batches[:1], coupling=coupling, metric="pooled")
