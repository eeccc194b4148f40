"""The explorer of a pruned network: its sets are the plan's, its maps the network's."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sirfp_opt import InvalidProblemError
from sirfp_opt.pytorch import prune
from sirfp_opt.pytorch.exploring import unit_maps


@pytest.fixture(scope="module")
def network() -> Any:
    """Two convolutions that are joined by a concatenation, and a linear layer."""

    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(3, 6, 3, padding=1)
            self.b = nn.Conv2d(3, 8, 3, padding=1)
            self.c = nn.Conv2d(14, 5, 1)
            self.d = nn.Linear(5, 4)
            self.e = nn.Linear(4, 2)

        def forward(self, x: Any) -> Any:
            joined = torch.cat([self.a(x), self.b(x)], 1).relu()
            return self.e(self.d(self.c(joined).mean((2, 3))).relu())

    torch.manual_seed(0)
    return Joined()


def test_the_plans_sets_and_the_networks_maps(network: Any) -> None:
    """Chosen sets, their values, and what the reader sees, behind a concatenation."""
    batch = torch.rand(2, 3, 8, 8)
    result = prune(network, [batch], macs=0.6, refit=None)
    page = result.explore(model=network, batch=batch)
    told = {layer["name"]: layer for layer in page.data["layers"]}
    assert set(told) == set(result.plan)
    for name, kept in result.plan.items():
        layer = told[name]
        bits = np.frombuffer(base64.b64decode(layer["chosen"]["set"]), np.uint8)
        inside = np.unpackbits(bits, bitorder="little")[: layer["n"]]
        assert np.flatnonzero(inside).tolist() == kept.tolist()
        value = result.solution.curves[name].problem.evaluate(kept)
        assert layer["chosen"]["value"] == value
    with torch.no_grad():
        expected = network.b(batch[:1])[0].relu().double().numpy()
    maps = unit_maps(network, batch, result.graphs.coupling.units)
    assert maps["b"] == pytest.approx(expected, abs=1e-6)
    assert "d" not in maps  # a linear layer sees no picture
    assert told["d"]["maps"] is None
    assert not network.a._forward_hooks
    assert not network.c._forward_pre_hooks
    with pytest.raises(InvalidProblemError, match="must be given together"):
        result.explore(model=network)
