"""No random network is ever cut wrongly, nor costs what was not predicted."""

from __future__ import annotations

import os

import numpy as np
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn

from sirfp_opt.network.plan import PruningPlan
from sirfp_opt.pytorch import (
    apply_plan,
    count_macs,
    count_params,
    couple,
    mask,
    read_cost,
)
from sirfp_opt.pytorch.batches import frozen_outputs
from tests.pytorch.cuts import largest_difference, random_plan
from tests.pytorch.networks import randomized
from tests.pytorch.random_networks import Drawn, RandomNetwork

IMAGES, OTHERS = torch.randn(
    2, 2, 3, 16, 16, generator=torch.Generator().manual_seed(1)
)
"""What networks are coupled by, and what they are judged by."""


EXAMPLES = os.environ.get("SIRFP_OPT_NETWORKS")
"""How many networks to draw, others each time; by default the same few."""


@settings(
    max_examples=int(EXAMPLES or 40),
    derandomize=EXAMPLES is None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(st.data(), st.integers(0, 1 << 16))
def test_random_network(data: st.DataObject, seed: int) -> None:
    """What is not excluded is exact in float64 for random sets, and so is its cost."""
    model = randomized(lambda: RandomNetwork(Drawn(data)), seed)
    assume(any(model.get_submodule("heads").children()))  # some have no layer at all
    judge(model, seed + 1000)


def judge(model: nn.Module, seed: int) -> int:
    """Cut random sets of all units three times; return the number of units."""
    coupling = couple(model, IMAGES)
    assert coupling.exclusions  # its outputs, at least
    cost = read_cost(model, coupling.units, IMAGES)
    model, images = model.double(), OTHERS.double()
    rng = np.random.default_rng(seed)
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
    return len(coupling.units)
