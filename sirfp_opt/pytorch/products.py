"""What products of two activations cost by the channels that are kept.

A product with a weight shows in the weight's shape. One of two activations (attention,
a sum over channels) has no weight: what it depends on is read off runs of cut networks.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, takewhile
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt.network.cost import Affine
from sirfp_opt.network.plan import PruningPlan
from sirfp_opt.pytorch.coupling.trial import staggered
from sirfp_opt.pytorch.cutting.surgery import apply_plan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

    from sirfp_opt.network.plan import PruningUnit
    from sirfp_opt.pytorch.counting import Product, Tally

__all__ = ["activation_products"]

RUNS = 6


def activation_products(
    model: nn.Module,
    units: Sequence[PruningUnit],
    products: Sequence[Product],
    count: Callable[[nn.Module], Tally],
) -> list[tuple[float, Affine, Affine]]:
    """Return the products of activations that channels take part in, for a cost form.

    Parameters
    ----------
    model : nn.Module
    units : sequence of PruningUnit
    products : sequence of Product
        All of the whole network's, on the sample that costs are told for.
    count : callable
        Counts a network on some sample, a small one.

    Notes
    -----
    Random sets of all units are cut, and each product's share r of its former cost is
    compared with the units' shares k_u / n_u: the unit with r = k_u / n_u in every run,
    or the two whose shares multiply to r, is what it depends on.
    """
    here = [product for product in products if not product.weights]
    if not here or not units:
        return []

    def counted(network: nn.Module) -> list[int]:
        # Slim layers may multiply their weights otherwise, not their activations.
        return [p.macs for p in count(network).products if not p.weights]

    before = counted(model)
    if len(before) != len(here):
        return []
    rest = range(len(here))
    rng = np.random.default_rng(0)
    shares: list[dict[str, Fraction]] = []
    found: list[list[Fraction]] = []
    choices: dict[int, list[tuple[str, ...]]] = {}
    for turn in range(RUNS):
        plan = PruningPlan(units, staggered(units, rng, turn))
        after = counted(apply_plan(model, plan))
        if len(after) != len(before):
            continue  # torch.einsum over one channel is no product
        shares.append({u: Fraction(plan.counts[u], plan.sizes[u]) for u in plan})
        found.append(
            [Fraction(a, max(1, b)) for a, b in zip(after, before, strict=True)]
        )
        choices = {i: _depends(i, found, shares, choices.get(i)) for i in rest}
        if len(found) > 1 and all(len(some) < 2 for some in choices.values()):
            break
    forms = []
    for i in rest:
        some = choices.get(i)
        if not some or not some[0]:
            continue
        names = min(some, key=lambda names: -_nearness(names, here[i].module, units))
        sides = [Affine(0.0, {name: 1.0 / _size(name, units)}) for name in names]
        left, right = [*sides, Affine(1.0)][:2]
        forms.append((float(here[i].macs), left, right))
    return forms


def _depends(
    number: int,
    found: list[list[Fraction]],
    shares: list[dict[str, Fraction]],
    before: list[tuple[str, ...]] | None,
) -> list[tuple[str, ...]]:
    """Return the sets of units whose shares multiply to a product's in every run."""

    def fits(names: tuple[str, ...]) -> bool:
        for ratios, share in zip(found, shares, strict=True):
            total = Fraction(1)
            for name in names:
                total *= share[name]
            if total != ratios[number]:
                return False
        return True

    if before is not None:
        return [names for names in before if fits(names)]
    names = list(shares[0])
    if fits(()):  # or by chance: all that it may depend on were left whole
        return [(), *[(name,) for name in names if fits((name,))]]
    single = [(name,) for name in names if fits((name,))]
    return single + [pair for pair in combinations(names, 2) if fits(pair)]


def _nearness(names: tuple[str, ...], module: str, units: Sequence[PruningUnit]) -> int:
    """Return how much of its path a product's module shares with units' layers."""
    layers = [s.layer for unit in units if unit.name in names for s in unit.ports]
    path = module.split(".")
    shared = [
        sum(
            1
            for _ in takewhile(
                lambda pair: pair[0] == pair[1], zip(path, one, strict=False)
            )
        )
        for one in (layer.split(".") for layer in layers)
    ]
    return max(shared, default=0) * 2 - len(names)


def _size(name: str, units: Sequence[PruningUnit]) -> int:
    return next(unit.size for unit in units if unit.name == name)
