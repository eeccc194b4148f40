"""Every structure that people build: cut by random halves of all units, and exact."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sirfp_opt.network.plan import PruningPlan, PruningUnit
from sirfp_opt.pytorch import apply_plan, couple, mask
from sirfp_opt.pytorch.batches import frozen_outputs, outputs_of
from tests.pytorch.structures import STRUCTURES


def halves(
    units: Sequence[PruningUnit], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Keep a random half of each unit, tied groups whole."""
    kept = {}
    for unit in units:
        groups = unit.classes
        chosen = rng.choice(len(groups), max(1, len(groups) // 2), replace=False)
        kept[unit.name] = np.sort(np.concatenate([groups[i] for i in chosen]))
    return kept


def by_hand(net: nn.Module, plan: PruningPlan) -> nn.Module:
    """Return a twin that is not ours: tensors multiplied with zeros and ones.

    Only what reads removed channels is zero, and what makes them where it is added or
    multiplied: biases, scales, rows of weights. No hook, no code of the package but
    the positions on paper.
    """
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    for unit in plan.units:
        gone = plan.removed(unit.name)
        for site in unit.sites:
            tensor = tensors.get(site.tensor)
            if tensor is None or site.tensor.endswith("running_var"):
                continue
            assert site.dim is not None
            groups = site.channels // tensor.shape[site.dim]
            for position in site.positions(gone).tolist():
                if groups == 1:
                    tensor.data.select(site.dim, position).zero_()
                else:  # a grouped convolution's inner side
                    group, column = divmod(position, tensor.shape[1])
                    rows = tensor.shape[0] // groups
                    tensor.data[group * rows : (group + 1) * rows, column] = 0
    return net


def gap(one: list[Tensor], other: list[Tensor]) -> float:
    """Return the largest difference, by the size of each output."""
    pairs = list(zip(one, other, strict=True))
    assert all(b.abs().max() > 0 for _, b in pairs)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


@pytest.mark.parametrize("name", STRUCTURES)
def test_random_halves_of_all_units_at_once(name: str) -> None:
    """Pruned = masked = masked by hand, to the last digits; enough of it is gone."""
    structure = STRUCTURES[name]
    net, x = structure.build(), structure.input()
    units = couple(net, x).units
    rng = np.random.default_rng(0)
    left = 1.0
    for _ in range(2):
        plan = PruningPlan(units, halves(units, rng))
        pruned = apply_plan(net, plan)
        found = frozen_outputs(pruned, x)
        assert gap(found, frozen_outputs(mask(net, plan), x)) < 1e-11
        twin = by_hand(structure.build(), plan)
        assert gap(found, frozen_outputs(twin, x)) < 1e-11
        whole = sum(p.numel() for p in net.parameters())
        left = sum(p.numel() for p in pruned.parameters()) / whole
    assert left <= 1 - structure.least
    with torch.no_grad():  # whatever runs in training mode only fits, too
        outputs_of(apply_plan(net, plan).train()(x))
    with torch.no_grad():  # a batch of another size runs, too
        net(x[:1]) if name in ("decoder",) else apply_plan(net, plan)(x[:1])
