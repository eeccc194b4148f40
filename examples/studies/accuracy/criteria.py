"""Criteria as channel graphs; a score of single channels is a graph without edges."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
import torch_pruning as tp
from torch.nn import functional as F

from examples.studies.accuracy.runs import METRICS, SCORES
from examples.studies.scores import as_graphs
from sirfp_opt import SolverInfo
from sirfp_opt.pytorch import ReferenceOptions, extract

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from sirfp_opt import Search
    from sirfp_opt.pytorch import Coupling, ExtractedGraphs

__all__ = ["MostRedundant", "graphs_of", "reference_of", "scores_of"]

WEIGHT = 0.5
"""Of a term as vertex weights: with half of the channels kept, as much as their
redundancy. Fixed before the first run, and not tuned."""

EXTRACTIONS: dict[str, dict[str, Any]] = {
    **{metric: {"metric": metric} for metric in (*METRICS, "reconstruction")},
    **{f"{m}_edge": {"metric": m, "importance_weight": WEIGHT} for m in METRICS},
    # The paper's measure, no cosine:
    "spatial_trace": {"metric": "spatial", "normalize": "trace"},
    "spatial_relu": {"metric": "spatial_relu"},
    **{
        f"spatial_{name}": {
            "metric": "spatial",
            "importance": name,
            "importance_weight": WEIGHT,
        }
        for name in ("l1", "bn_scale")
    },
}
"""Criteria on pairs of channels: what `extract` is asked for."""


@dataclass(frozen=True)
class MostRedundant:
    """Backward deletion of the *least* redundant channel: the control's control."""

    info: ClassVar[SolverInfo] = SolverInfo(
        summary="keep what greedy would drop",
        exact=False,
        supports=frozenset({"vertex_weights", "must_drop"}),
    )

    def solve(self, search: Search) -> None:
        """Offer one set."""
        problem = search.canonical
        left = np.arange(problem.m)
        # The canonical problem is maximised, so large row sums are little redundancy.
        while len(left) > problem.counts[0]:
            among = problem.weights[np.ix_(left, left)].sum(axis=1)
            left = np.delete(left, np.argmax(among + problem.values[left]))
        search.offer_items(left)


def graphs_of(
    model: nn.Module,
    criterion: str,
    batches: list[tuple[Tensor, Tensor]],
    coupling: Coupling,
    base: ExtractedGraphs,
    seed: int,
) -> ExtractedGraphs:
    """Measure a criterion on a network.

    Parameters
    ----------
    model : nn.Module
    criterion : str
        One of `SCORES` or `EXTRACTIONS`.
    batches : list of (images, labels)
        Calibration scenes.
    coupling : Coupling
        The units.
    base : ExtractedGraphs
        Spatial graphs; scores are put in their place.
    seed : int
        Of random scores.
    """
    if criterion in SCORES:
        return as_graphs(base, scores_of(model, criterion, batches, base, seed))
    return extract(model, batches, coupling=coupling, **EXTRACTIONS[criterion])


def scores_of(
    model: nn.Module,
    criterion: str,
    batches: list[tuple[Tensor, Tensor]],
    graphs: ExtractedGraphs,
    seed: int,
) -> dict[str, NDArray[np.float64]]:
    """Return Torch-Pruning's importance of every channel, by unit.

    Its defaults throughout: the mean over all layers of a group that make or read the
    channel, divided by the unit's mean.
    """
    importance: Any = {
        "random": tp.importance.RandomImportance,
        "l1": lambda: tp.importance.MagnitudeImportance(p=1),
        "l2": lambda: tp.importance.MagnitudeImportance(p=2),
        "fpgm": tp.importance.FPGMImportance,
        "bn_scale": tp.importance.BNScaleImportance,
        "taylor": tp.importance.TaylorImportance,
    }[criterion]()
    if criterion == "taylor":
        model.zero_grad()
        for images, labels in batches:
            loss = F.cross_entropy(model(images), labels) / len(batches)
            torch.autograd.backward(loss)
    graph = tp.DependencyGraph().build_dependency(model, (batches[0][0][:1],))
    modules = dict(model.named_modules())
    scores = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for unit in graphs.coupling.units:
            group = graph.get_pruning_group(
                modules[unit.name],
                tp.prune_conv_out_channels,
                idxs=list(range(unit.size)),
            )
            scores[unit.name] = importance(group).double().numpy()
    model.zero_grad()
    return scores


def reference_of(criterion: str) -> ReferenceOptions:
    """Return the authors' rule: with its own search, or one that fills the budget."""
    options = ReferenceOptions()
    if criterion == "reference_bisect":
        threshold = replace(options.threshold, search="bisect")
        options = replace(options, threshold=threshold)
    return options
