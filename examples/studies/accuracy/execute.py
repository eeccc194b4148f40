"""One run: measure, cut, re-estimate, tune, judge."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from examples.studies.accuracy.criteria import (
    MostRedundant,
    graphs_of,
    reference_of,
)
from examples.studies.accuracy.networks import load_network
from examples.studies.accuracy.runs import FULL, QUICK, SCORES, Pace, Run
from examples.studies.attempt import attempt, fingerprint
from examples.studies.scores import ACROSS
from sirfp_opt import solve
from sirfp_opt.demo.scenes import make_scenes, scene_batches
from sirfp_opt.demo.training import evaluate, mean_iou, train
from sirfp_opt.network.plan import PruningPlan
from sirfp_opt.pytorch import (
    apply_plan,
    count_macs,
    count_params,
    couple,
    extract,
    prune,
    reestimate_batch_norm,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sirfp_opt.pytorch import Coupling, ExtractedGraphs, PruneResult

__all__ = ["FIGURES", "execute"]

Scenes = tuple["Tensor", "Tensor"]

FIGURES = (
    "status",
    "macs",
    "params",
    "miou_cut",
    "miou",
    "density",
    "objective",
    "bound",
    "proven",
    "units",
    "plan",
    "reused",
    "seconds",
)
"""What is measured of a run, beside its identity; README.md says what each one is."""

TUNED = ("macs", "params", "miou_cut", "miou")
LEARNING_RATE = 2e-3

_known: dict[tuple[Any, ...], dict[str, Any]] = {}


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
    pace = FULL if run.pace == "full" else QUICK
    network = load_network(run.network)
    seen = _test(pace)
    one = seen[0][:1]
    whole = {"macs": count_macs(network, one), "params": count_params(network)}
    if run.criterion == "none":
        miou = _rounded(mean_iou(evaluate(network, *seen)))
        return {"macs": 1.0, "params": 1.0, "miou_cut": miou, "miou": miou}

    batches = _calibration(pace, run.seed)
    shares = (
        [run.budget] if run.schedule == "once" else [(1 + run.budget) / 2, run.budget]
    )
    steps = np.linspace(0, pace.steps, len(shares) + 1).astype(int)
    figures: dict[str, Any] = {}
    for number, share in enumerate(shares):
        first = number == 0
        coupling, base = (
            _base(run.network, run.seed, pace) if first else measure(network, batches)
        )
        budget = share * whole["macs"] / count_macs(network, one)
        result = _prune(run, network, batches, coupling, base, min(1.0, budget), pace)
        figures |= _described(result, base)
        # The same cut tuned in the same way comes to the same: many solvers agree.
        same = (run.network, run.seed, run.pace, run.schedule, figures["plan"])
        if run.schedule == "once" and same in _known:
            return figures | _known[same] | {"reused": 1}
        network = reestimate_batch_norm(result.model, batches)
        cut = mean_iou(evaluate(network, *seen))
        tuning = _tuning(pace, run.seed)[steps[number] : steps[number + 1]]
        network = network.to(memory_format=_layout(network))  # type: ignore[call-overload]
        scenes = ((images, labels.long()) for images, labels in tuning)
        train(network, scenes, len(tuning), learning_rate=LEARNING_RATE)
        network.eval()
    tuned = {
        "macs": _rounded(count_macs(network, one) / whole["macs"]),
        "params": _rounded(count_params(network) / whole["params"]),
        "miou_cut": _rounded(cut),
        "miou": _rounded(mean_iou(evaluate(network, *seen))),
    }
    _known[same] = tuned
    return figures | tuned | {"reused": 0}


def _layout(network: nn.Module) -> torch.memory_format:
    """Return channels last, which is faster, where it is safe."""
    # Between fewer than 16 channels oneDNN's gradient of a 1 x 1 convolution with a
    # stride writes past its workspace (its issue 6035), and the process crashes.
    unsafe = any(
        isinstance(layer, torch.nn.Conv2d)
        and layer.kernel_size == (1, 1)
        and layer.stride != (1, 1)
        and max(layer.in_channels, layer.out_channels) < 16
        for layer in network.modules()
    )
    return torch.contiguous_format if unsafe else torch.channels_last


def measure(
    network: nn.Module, batches: list[Scenes]
) -> tuple[Coupling, ExtractedGraphs]:
    """Couple a network's channels, and measure the spatial graphs."""
    coupling = couple(network, batches[:1])
    return coupling, extract(network, batches, coupling=coupling, metric="spatial")


def _prune(
    run: Run,
    network: nn.Module,
    batches: list[Scenes],
    coupling: Coupling,
    base: ExtractedGraphs,
    budget: float,
    pace: Pace,
) -> PruneResult:
    if run.criterion.startswith("reference"):
        options = reference_of(run.criterion)
        return prune(network, batches, macs=budget, reference=options)
    plain = run.criterion == "spatial"
    graphs = base if plain else graphs_of(
        network, run.criterion, batches, coupling, base, run.seed
    )  # fmt: skip
    scored = run.criterion in SCORES
    method: Any = {"rank": "top_k", "worst": MostRedundant()}.get(
        run.solver, run.solver
    )
    across = scored and run.allocation == "threshold"
    result = prune(
        network,
        batches,
        macs=budget,
        graphs=graphs,
        method=method,
        allocation=ACROSS if across else run.allocation,
        time_limit=pace.exact_seconds if run.solver == "exact" else None,
        drop_dead=not scored,
        multiple_of=1,
        seed=run.seed,
        refit=None,
    )
    if run.solver in ("worst", "random"):  # `prune` would not deliver so bad a set
        return _spoilt(result, network, method, run.seed)
    return result


def _spoilt(
    result: PruneResult, network: nn.Module, method: Any, seed: int
) -> PruneResult:
    """Return the same numbers of channels, chosen by a control."""
    solutions, kept = {}, dict(result.plan)
    for name, solution in result.solutions.items():
        bad = solve(solution.problem, method=method, seed=seed)
        solutions[name], kept[name] = bad, bad.selected
    plan = PruningPlan(result.plan.units, kept)
    return replace(
        result,
        model=apply_plan(network, plan),
        plan=plan,
        solution=replace(result.solution, solutions=solutions),
    )


def _described(result: PruneResult, base: ExtractedGraphs) -> dict[str, Any]:
    """Say which plan it is, how well it was solved, and what redundancy it leaves."""
    figures: dict[str, Any] = {
        "density": _rounded(density(result.plan, base)),
        "plan": fingerprint(result.plan),
    }
    solutions = list(result.solutions.values())
    if solutions:
        bounds = [np.nan if s.bound is None else s.bound for s in solutions]
        figures["objective"] = _rounded(sum(s.objective for s in solutions))
        figures["bound"] = _rounded(float(np.sum(bounds)))
        figures["proven"] = sum(s.status.value == "optimal" for s in solutions)
        figures["units"] = len(solutions)
    return figures


def density(plan: PruningPlan, graphs: ExtractedGraphs) -> float:
    """Return how alike the kept channels are: 1 as much as all channels of their unit.

    The mean redundancy of a pair of kept channels over that of any pair, averaged over
    the units that were cut and keep a pair.
    """
    ratios = []
    for name, kept in plan.items():
        weights = graphs[name].weights
        n, k = len(weights), len(kept)
        if 2 <= k < n and weights.sum() > 0:
            among = weights[np.ix_(kept, kept)].sum() / (k * (k - 1))
            ratios.append(among / (weights.sum() / (n * (n - 1))))
    return float(np.mean(ratios)) if ratios else float("nan")


@lru_cache(maxsize=4)
def _base(name: str, seed: int, pace: Pace) -> tuple[Coupling, ExtractedGraphs]:
    return measure(load_network(name), _calibration(pace, seed))


@lru_cache(maxsize=1)
def _test(pace: Pace) -> Scenes:
    return make_scenes(pace.test_scenes, split="test", seed=0)


@lru_cache(maxsize=5)
def _calibration(pace: Pace, seed: int) -> list[Scenes]:
    batches = scene_batches(
        pace.calibration_batches, pace.batch_size, split="calibration", seed=seed
    )
    return list(batches)


@lru_cache(maxsize=3)
def _tuning(pace: Pace, seed: int) -> list[Scenes]:
    # Made once for all runs of a seed: to compose a scene takes as long as to learn it.
    batches = scene_batches(
        pace.steps, pace.batch_size, split="train", seed=1000 + seed
    )
    return [(images, labels.to(torch.uint8)) for images, labels in batches]


def _rounded(value: float) -> float:
    return round(float(value), 6)
