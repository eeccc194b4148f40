"""The reference-faithful mode answers what the authors' code answered."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sirfp_opt import ChannelGraph, solve
from sirfp_opt.deletion import backward_order
from sirfp_opt.network import Budget, CostForm, CostModel
from sirfp_opt.network.allocation import Threshold
from sirfp_opt.network.unit import MemberGraph, UnitView
from sirfp_opt.pytorch import (
    ExtractedGraphs,
    PruneRequest,
    ReferenceOptions,
    extract,
)
from sirfp_opt.pytorch.extraction.averages import Averaging, LayerStatistics
from sirfp_opt.pytorch.extraction.importances import edge_strength
from sirfp_opt.pytorch.planning import network_problem
from tests.pytorch.golden import CASES, NAMES, NEAR, TIED, array, maps

FLOORS = {2: 0.02, 25: 0.25}


def reference_layer(name: str, layer: str, floor: float) -> UnitView:
    """Make a layer of the reference's own matrix and edge term."""
    redundancy = np.abs(array(name, "ema_ci")).astype(np.float64)
    edge = array(name, "ema_edge").astype(np.float64)
    least = max(1, int(len(edge) * floor))
    return UnitView(
        layer,
        ChannelGraph.from_redundancy(redundancy),
        tuple(range(least, len(edge) + 1)),
        minimum=least,
        edge=edge,
        members=(MemberGraph(layer, redundancy, edge),),
    )


@pytest.mark.parametrize("name", NAMES)
def test_matrices_and_edge_terms_of_every_step(name: str) -> None:
    """One step, five steps and the edge term of each step agree to 1e-6."""
    batches = torch.from_numpy(maps(name))
    record = LayerStatistics(averaging=Averaging(0.9, False), pool_constant=False)
    for t, batch in enumerate(batches):
        record.update(batch)
        edge = edge_strength(batch).numpy()
        np.testing.assert_allclose(edge, array(name, "edge")[t], atol=1e-6)
        if t in (0, len(batches) - 1):
            single = LayerStatistics(pool_constant=False)
            single.update(batch)
            leaf = "ci_t0" if t == 0 else "ci_last"
            np.testing.assert_allclose(
                single.result().redundancy().numpy(), array(name, leaf), atol=1e-6
            )
    np.testing.assert_allclose(
        record.result().redundancy().numpy(), array(name, "ema_ci"), atol=1e-6
    )
    averaged = record.result().term
    np.testing.assert_allclose(averaged.numpy(), array(name, "ema_edge"), atol=1e-6)


@pytest.mark.parametrize("part", ["backbone", "head"])
@pytest.mark.parametrize("name", NAMES)
def test_scores_and_solo_masks(name: str, part: str) -> None:
    """Scores agree to 1e-6 and masks exactly, with the layer alone in its network."""
    layer = reference_layer(name, f"{part}.{name}", 0.02)
    rule = Threshold.reference()
    ((_, scores),) = rule.scores(layer)
    expected = array(name, f"score_{part}")
    if name in TIED:
        scores, expected = np.sort(scores), np.sort(expected)
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    for percent in (30, 50, 70):
        mask = rule.cut([layer], percent / 100)[layer.name]
        np.testing.assert_array_equal(
            mask, array(name, f"mask_solo_{part}_{percent}"), err_msg=str(percent)
        )


@pytest.mark.parametrize("name", [n for n in NAMES if n not in NEAR | TIED])
def test_greedy_keeps_the_last_of_the_reference_order(name: str) -> None:
    """solve(greedy, diagonal=True) keeps the reference's last k, for every k."""
    order = array(name, "order")
    redundancy = np.abs(array(name, "ema_ci"))
    found, removed = backward_order(redundancy, diagonal=redundancy.diagonal())
    np.testing.assert_array_equal(found, order)
    np.testing.assert_allclose(removed, array(name, "order_value"), atol=1e-6)
    graph = ChannelGraph.from_redundancy(redundancy)
    counts = range(1, graph.n + 1, max(1, graph.n // 16))
    for k in counts:
        solution = solve(graph, k, method="greedy", diagonal=True)
        assert solution.selected.tolist() == sorted(order[-k:].tolist())


@pytest.mark.parametrize("floor", [2, 25])
@pytest.mark.parametrize("percent", [30, 50, 70])
def test_masks_of_all_cases_as_one_network(percent: int, floor: int) -> None:
    """Two pools, two floors, three percentages: thresholds to 1e-6, masks exactly."""
    layers = [
        reference_layer(case["name"], case["bn_name"], FLOORS[floor]) for case in CASES
    ]
    rule = Threshold.reference()
    group = f"net/g{percent}_k{floor}"
    np.testing.assert_allclose(
        rule.thresholds(layers, percent / 100), array(group, "thresh"), atol=1e-6
    )
    masks = rule.cut(layers, percent / 100)
    for case in CASES:
        np.testing.assert_array_equal(
            masks[case["bn_name"]], array(group, f"mask_{case['name']}")
        )


class Spectator(nn.Module):
    """Batch norms, named as in the reference, that pass its maps on unchanged."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = nn.ModuleDict()
        self.outputs = nn.ModuleDict()
        for part in ("backbone", "head"):
            setattr(self, part, nn.ModuleDict())
        for case in CASES:
            part, name = case["bn_name"].split(".")
            identity = nn.Conv2d(case["C"], case["C"], 1, bias=False)
            nn.init.dirac_(identity.weight)
            self.inputs[name] = identity
            getattr(self, part)[name] = nn.BatchNorm2d(case["C"], eps=0.0)
            self.outputs[name] = nn.Conv2d(case["C"], 1, 1)

    def forward(self, **x: Tensor) -> dict[str, Tensor]:
        """Map each case's maps to one channel."""
        norms: dict[str, nn.Module] = {}
        for part in ("backbone", "head"):
            norms |= dict(getattr(self, part).items())
        return {
            name: self.outputs[name](norms[name](self.inputs[name](maps)))
            for name, maps in x.items()
        }


@pytest.fixture(scope="module")
def extracted() -> ExtractedGraphs:
    """Return what the whole reference mode extracts of all cases at once."""
    options = ReferenceOptions(decay=0.9, training=False).extraction
    steps = [
        {name: torch.from_numpy(maps(name)[t]) for name in NAMES} for t in range(5)
    ]
    return extract(Spectator(), steps, **options)


def test_extraction_through_hooks(extracted: ExtractedGraphs) -> None:
    """The hooks on a real network see what the reference's hooks saw."""
    for case in CASES:
        name, layer = case["name"], case["bn_name"]
        unit = f"inputs.{name}"
        np.testing.assert_allclose(
            extracted.redundancy[unit][layer],
            np.abs(array(name, "ema_ci")),
            atol=1e-6,
        )
        np.testing.assert_allclose(
            extracted.importance[unit][layer], array(name, "ema_edge"), atol=1e-6
        )


@pytest.mark.parametrize("floor", [2, 25])
@pytest.mark.parametrize("percent", [30, 50, 70])
def test_masks_from_extraction_to_cut(
    extracted: ExtractedGraphs, percent: int, floor: int
) -> None:
    """Batches in, masks out: exactly the reference's, exact ties aside."""
    least = FLOORS[floor]
    request = PruneRequest(budget=Budget(macs=0.5), min_keep=least, multiple_of=1)
    sizes = {unit.name: unit.size for unit in extracted.coupling.units}
    form = CostForm.from_products(list(sizes), [])
    cost = CostModel(tuple(sizes), np.array(list(sizes.values())), {"macs": form})
    views = network_problem(extracted, cost, request).views()
    masks = Threshold.reference().cut(views, percent / 100)
    for name in NAMES:
        expected = array(f"net/g{percent}_k{floor}", f"mask_{name}")
        mask = masks[f"inputs.{name}"]
        assert mask.sum() == expected.sum()
        if name not in TIED:
            np.testing.assert_array_equal(mask, expected)
