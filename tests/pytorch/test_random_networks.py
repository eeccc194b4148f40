"""No random network is ever cut wrongly, nor costs what was not predicted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sirfp_opt.plan import PruningPlan
from sirfp_opt.pytorch import (
    apply_plan,
    count_macs,
    count_params,
    couple,
    mask,
    read_cost,
)
from sirfp_opt.pytorch.batches import frozen_outputs
from sirfp_opt.pytorch.probe import random_plan
from sirfp_opt.pytorch.surgery import largest_difference
from tests.pytorch.networks import randomized
from tests.pytorch.random_networks import RandomNetwork

IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("seed", range(40))
def test_random_network(seed: int) -> None:
    """What is not excluded is exact in float64 for random sets, and so is its cost."""
    model = randomized(lambda: RandomNetwork(np.random.default_rng(seed)), seed)
    coupling = couple(model, IMAGES)
    assert coupling.exclusions  # its outputs, at least
    cost = read_cost(model, coupling.units, IMAGES)
    model, images = model.double(), IMAGES.double()
    rng = np.random.default_rng(seed + 1000)
    for _ in range(3):
        plan = PruningPlan(coupling.units, random_plan(coupling.units, rng))
        pruned = apply_plan(model, plan)
        gap, scale = largest_difference(
            frozen_outputs(pruned, images), frozen_outputs(mask(model, plan), images)
        )
        assert gap <= 1e-9 * max(1.0, scale)
        measured = {
            "macs": count_macs(pruned, images[:1]),
            "params": count_params(pruned),
        }
        assert cost.predict(plan.counts) == measured
