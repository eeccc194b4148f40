"""The networks that people use: what is cut is exact and costs what was predicted.

The large and slow ones run on request: ``pytest -m zoo tests/pytorch/test_zoo.py``.
"""

from __future__ import annotations

import numpy as np
import pytest

from sirfp_opt.network.plan import PruningPlan
from sirfp_opt.pytorch import (
    apply_plan,
    count_macs,
    count_params,
    couple,
    mask,
    prune,
    read_cost,
)
from sirfp_opt.pytorch.batches import frozen_outputs
from tests.pytorch.cuts import largest_difference, random_plan
from tests.pytorch.zoo import ZOO

QUICK = [name for name, entry in ZOO.items() if not entry.slow]
SLOW = [pytest.param(name, marks=pytest.mark.zoo) for name in ZOO if name not in QUICK]


@pytest.mark.parametrize("name", [*QUICK, *SLOW])
def test_zoo(name: str) -> None:
    """All units at once, random sets: pruned = masked to 1e-5, costs to the unit."""
    entry = ZOO[name]
    if not entry.importable:
        pytest.skip(f"{entry.package} is not installed")
    model, images, forward = entry.build(), entry.images(), entry.forward
    coupling = couple(model, images, forward=forward)
    assert len(coupling.units) >= 5
    cost = read_cost(model, coupling.units, images, forward=forward)
    rng = np.random.default_rng(0)
    plan = PruningPlan(coupling.units, random_plan(coupling.units, rng))
    pruned = apply_plan(model, plan)
    gap, scale = largest_difference(
        frozen_outputs(pruned, images, forward),
        frozen_outputs(mask(model, plan), images, forward),
    )
    assert gap <= 1e-5 * scale
    assert cost.predict(plan.counts) == {
        "macs": count_macs(pruned, images[:1], forward),
        "params": count_params(pruned),
    }


@pytest.mark.parametrize("name", ["smp/FPN", "transformers/segformer"])
def test_prune_a_zoo_network(name: str) -> None:
    """The whole way, within budget, on group norms and on attention heads."""
    entry = ZOO[name]
    if not entry.importable:
        pytest.skip(f"{entry.package} is not installed")
    report = prune(entry.build(), [entry.images()], macs=0.8).report
    assert report.reached["macs"] <= 0.8
    assert report.max_difference is not None
    assert report.max_difference <= 1e-5 * max(1.0, report.output_scale or 0.0)
