"""One run: measure, cut, repair, judge."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from examples.studies.accuracy.criteria import graphs_of
from examples.studies.accuracy.networks import load_network
from examples.studies.attempt import attempt, fingerprint
from examples.studies.refit.runs import SCORES, Run
from sirfp_opt.demo.scenes import make_scenes, scene_batches
from sirfp_opt.demo.training import evaluate, mean_iou, train
from sirfp_opt.pytorch import (
    count_macs,
    couple,
    extract,
    prune,
    reestimate_batch_norm,
    refit,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sirfp_opt.network.plan import PruningPlan
    from sirfp_opt.pytorch import ExtractedGraphs

__all__ = ["FIGURES", "execute"]

Scenes = tuple["Tensor", "Tensor"]

FIGURES = ("status", "macs", "miou", "plan", "refitted", "repair_s", "seconds")
"""What is measured of a run, beside its identity; README.md says what each one is."""

BATCH = 16
TEST = 192
LEARNING_RATE = 2e-3


def execute(run: Run) -> dict[str, Any]:
    """Do one run; what fails is a result too.

    Parameters
    ----------
    run : Run

    Returns
    -------
    dict
        The `FIGURES` that there are.
    """
    return attempt(lambda: _execute(run))


def _execute(run: Run) -> dict[str, Any]:
    network, batches = load_network(run.network), _calibration(run.pictures, run.seed)
    plan = _plan(run.network, run.sets, run.split, run.budget, run.pictures, run.seed)
    images = [some for some, _ in batches]
    began = time.process_time()
    refitted = ""
    if run.repair == "bn":
        cut = prune(
            network,
            images,
            keep=plan.counts,
            graphs=_graphs(run.network, run.sets, run.pictures, run.seed),
            method="top_k" if run.sets in SCORES else "greedy",
            drop_dead=run.sets not in SCORES,
            refit=None,
            seed=run.seed,
        ).model
        repaired = reestimate_batch_norm(cut, images)
    else:
        result = refit(network, plan, images, run.repair)
        repaired = result.model
        done = sum(row.kind != "cut" for row in result.report.layers)
        refitted = f"{done}/{len(result.report.layers)}"
    taken = time.process_time() - began
    if run.steps:
        scenes = scene_batches(run.steps, BATCH, split="train", seed=1000 + run.seed)
        train(repaired, scenes, run.steps, learning_rate=LEARNING_RATE)
    repaired.eval()
    one = images[0][:1]
    return {
        "macs": round(count_macs(repaired, one) / count_macs(network, one), 6),
        "miou": round(float(mean_iou(evaluate(repaired, *_test()))), 6),
        "plan": fingerprint(plan),
        "refitted": refitted,
        "repair_s": round(taken, 2),
    }


@lru_cache(maxsize=64)
def _plan(
    name: str, sets: str, split: str, budget: float, pictures: int, seed: int
) -> PruningPlan:
    network = load_network(name)
    images = [some for some, _ in _calibration(pictures, seed)]
    rules: dict[str, Any] = {"macs": budget, "refit": None, "multiple_of": 1}
    if split == "measured":
        rules |= {"allocation": "measured", "refit": "merge"}
    own = "clique" if split == "clique" else "refit"
    if sets != own:
        counts = _plan(name, own, split, budget, pictures, seed).counts
        rules = {"keep": counts, "refit": None}
    return prune(
        network,
        images,
        **rules,
        graphs=_graphs(name, sets, pictures, seed),
        method="top_k" if sets in SCORES else "greedy",
        drop_dead=sets not in SCORES,
        seed=seed,
    ).plan


@lru_cache(maxsize=8)
def _graphs(name: str, sets: str, pictures: int, seed: int) -> ExtractedGraphs:
    network, batches = load_network(name), _calibration(pictures, seed)
    base = _measured(name, pictures, seed)
    if sets in SCORES:
        return graphs_of(network, sets, batches, base.coupling, base, seed)
    # One measurement serves both: without covariances it is that of the cliques.
    return base if sets == "refit" else replace(base, reads={}, inputs={})


@lru_cache(maxsize=2)
def _measured(name: str, pictures: int, seed: int) -> ExtractedGraphs:
    network: nn.Module = load_network(name)
    images = [some for some, _ in _calibration(pictures, seed)]
    coupling = couple(network, images[:1])
    return extract(network, images, coupling=coupling, metric="refit")


@lru_cache(maxsize=4)
def _calibration(pictures: int, seed: int) -> list[Scenes]:
    batch = min(BATCH, pictures)
    return list(scene_batches(pictures // batch, batch, split="calibration", seed=seed))


@lru_cache(maxsize=1)
def _test() -> Scenes:
    return make_scenes(TEST, split="test", seed=0)
