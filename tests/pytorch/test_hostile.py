"""Networks made to be cut wrongly: exact on other inputs, or whole with a reason."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sirfp_opt.network.plan import PruningPlan
from sirfp_opt.pytorch import apply_plan, couple, mask
from sirfp_opt.pytorch.batches import frozen_outputs
from tests.pytorch.hostile import HOSTILE
from tests.pytorch.test_structures import by_hand, gap, halves


@pytest.mark.parametrize("name", HOSTILE)
def test_no_wrong_network(name: str) -> None:
    """Units are those that are listed; random halves are exact on inputs not seen."""
    structure, expected = HOSTILE[name]
    net, x = structure.build(), structure.input()
    coupling = couple(net, x)
    found = {unit.name: len(unit.classes) for unit in coupling.units}
    assert found == expected, [str(e) for e in coupling.exclusions]
    assert all(e.reason and e.size for e in coupling.exclusions)
    if not found:
        return
    rng = np.random.default_rng(0)
    generator = torch.Generator().manual_seed(7)
    other = torch.randn(*structure.shape, generator=generator, dtype=torch.float64)
    for _ in range(2):
        plan = PruningPlan(coupling.units, halves(coupling.units, rng))
        outputs = frozen_outputs(apply_plan(net, plan), other)
        assert all(bool(t.isfinite().all()) for t in outputs)
        assert gap(outputs, frozen_outputs(mask(net, plan), other)) < 1e-11
        twin = by_hand(structure.build(), plan)
        assert gap(outputs, frozen_outputs(twin, other)) < 1e-11
