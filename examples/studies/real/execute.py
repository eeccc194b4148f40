"""One run: measure, cut, refit, distil, judge."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from examples.studies.attempt import attempt, fingerprint
from examples.studies.real.criteria import scores
from examples.studies.real.data import Data, inputs, make, probabilities
from examples.studies.real.judge import score
from examples.studies.real.pictures import TEXT
from examples.studies.real.runs import SCORES, Run
from examples.studies.real.weights import load
from examples.studies.scores import ACROSS, as_graphs
from sirfp_opt import SirfpError
from sirfp_opt.pytorch import count_macs, count_params, couple, extract, prune

if TYPE_CHECKING:
    from torch import Tensor, nn

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

CALIBRATION = 24
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
    return attempt(lambda: _judged(run, *pruned_network(run)), FAILURES)


def pruned_network(run: Run) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network of a run, and what is known of how it was made."""
    dense = load(run.network)
    if run.criterion == "dense":
        return dense, {"macs": 1.0, "params": 1.0}
    data = make(run.pace)
    batches = _calibration(data, run.seed)
    one = batches[0][:1]
    whole = {"macs": count_macs(dense, one), "params": count_params(dense)}
    began = time.process_time()
    if run.criterion == "torch_pruning":
        model, plan = _by_torch_pruning(dense, one, run.budget), ""
    else:
        result = _prune(run, dense, batches, data)
        model, plan = result.model, fingerprint(result.plan)
    spent = time.process_time() - began
    model = _distilled(model, dense, data, run)
    return model.eval(), {
        "macs": round(count_macs(model, one) / whole["macs"], 6),
        "params": round(count_params(model) / whole["params"], 6),
        "plan": plan,
        "prune_seconds": round(spent, 2),
    }


def _judged(run: Run, model: nn.Module, made: dict[str, Any]) -> dict[str, Any]:
    data = make(run.pace)
    seen = probabilities(model, data.test.images) > TEXT
    real = score(seen, _dense(run.network, run.pace) > TEXT, data.test.files)
    assert data.written.labels is not None
    written = probabilities(model, data.written.images) > TEXT
    true = score(written, data.written.labels, data.written.files)
    figures = {
        "iou": real.iou,
        "f1": real.f1,
        "low": real.low,
        "high": real.high,
        "true_iou": true.iou,
        "true_f1": true.f1,
    }
    return made | {name: round(value, 6) for name, value in figures.items()}


def _prune(run: Run, dense: nn.Module, batches: list[Tensor], data: Data) -> Any:
    options: dict[str, Any] = {"macs": run.budget, "seed": run.seed}
    if run.criterion == "paper":
        return prune(dense, batches, reference=True, **options)
    options["refit"] = None if run.refit == "none" else run.refit
    options["multiple_of"] = run.multiple_of or None
    if run.criterion in SCORES:
        base = _base(run.network, run.seed, run.pace)
        units = base.coupling.units
        values = scores(
            dense, units, run.criterion, _labelled(data, run.seed), run.seed
        )
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


def _distilled(model: nn.Module, dense: nn.Module, data: Data, run: Run) -> nn.Module:
    """Tune a network on the dense one's word, for `run.steps` steps."""
    if not run.steps:
        return model
    images = data.tuning.images
    dice = np.random.default_rng(1000 + run.seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATES[run.refit != "none"]
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, run.steps)
    for _ in range(run.steps):
        batch = inputs(images[dice.choice(len(images), min(BATCH, len(images)))])
        with torch.no_grad():
            told = dense(batch)
        loss = functional.binary_cross_entropy(model(batch).clamp(1e-6, 1 - 1e-6), told)
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
    low, high, best = 0.0, 0.95, None
    for _ in range(7):
        ratio = (low + high) / 2
        model = copy.deepcopy(dense)
        pruner = tp.pruner.MetaPruner(
            model,
            one,
            importance=tp.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=ratio,
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


def _calibration(data: Data, seed: int) -> list[Tensor]:
    images = data.calibration.images
    dice = np.random.default_rng(seed)
    chosen = dice.permutation(len(images))[:CALIBRATION]
    return list(torch.split(inputs(images[chosen]), BATCH))


def _labelled(data: Data, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Return rendered text with its true labels, for a criterion that needs them.

    It is of the files that the test does not use; so is what is tuned on.
    """
    from examples.studies.real.pictures import rendered

    crops = rendered(None, "tuning", CALIBRATION, seed=100 + seed)
    assert crops.labels is not None
    images = torch.split(inputs(crops.images), BATCH)
    labels = torch.split(torch.from_numpy(crops.labels).float(), BATCH)
    return list(zip(images, labels, strict=True))


@lru_cache(maxsize=4)
def _base(name: str, seed: int, pace: str) -> ExtractedGraphs:
    """Return some graphs, for the criteria that put their own in their place."""
    dense, batches = load(name), _calibration(make(pace), seed)
    coupling = couple(dense, batches[:1])
    return extract(dense, batches[:1], coupling=coupling, metric="pooled")


@lru_cache(maxsize=4)
def _dense(name: str, pace: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    return probabilities(load(name), make(pace).test.images)
