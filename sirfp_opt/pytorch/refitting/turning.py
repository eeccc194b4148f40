"""Queries and keys in another basis: head by head, the network's outputs the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from sirfp_opt.pytorch.cutting.baking import duplicate
from sirfp_opt.pytorch.refitting.readers import owners_of, why_odd

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sirfp_opt.network.plan import PruningPlan
    from sirfp_opt.pytorch.coupling.pairings import Pairing

__all__ = ["Cut", "CutHead", "Fold", "Side", "Turn", "find_cuts", "turned"]


@dataclass(frozen=True)
class CutHead:
    """A head that lost dimensions.

    Attributes
    ----------
    number : int
        Which head of the pairing.
    kept, gone : tuple of int
        Its dimensions that stay, and that do not.
    """

    number: int
    kept: tuple[int, ...]
    gone: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Side:
    """The layer that makes queries, or that makes keys, before and after the cut.

    Attributes
    ----------
    layer : str
    target : nn.Module
        It in the pruned network.
    table : tuple of tuple of int, (heads, n)
        Where it makes each dimension in the original network.
    place : dict of int to int
        Where it makes what stays in the pruned one.
    columns : list of int
        The inputs that it still reads.
    scale : float
        What the cut has multiplied its weights with, for the sake of a head's width.
    """

    layer: str
    target: Any
    table: tuple[tuple[int, ...], ...]
    place: dict[int, int]
    columns: list[int]
    scale: float = 1.0

    def rows(self, head: CutHead) -> list[int]:
        """Return where the pruned layer makes a head's dimensions that stay."""
        return [self.place[self.table[head.number][d]] for d in head.kept]

    def take_over(self, source: Any, head: CutHead) -> None:
        """Give the pruned layer what a layer of the original's shape has there."""
        new = self.rows(head)
        old = [self.table[head.number][d] for d in head.kept]
        with torch.no_grad():
            part = source.weight[old][:, self.columns]
            self.target.weight[new] = self.scale * part
            if self.target.bias is not None:
                self.target.bias[new] = self.scale * source.bias[old]


@dataclass(frozen=True, eq=False)
class Cut:
    """Queries and keys of which some dimensions are gone.

    Attributes
    ----------
    pairing : Pairing
    heads : tuple of CutHead
        Those that lost some, and kept others.
    queries, keys : Side, optional
        None where they are left as they were cut.
    reason : str
        Why they are; empty if they are not.
    """

    pairing: Pairing
    heads: tuple[CutHead, ...]
    queries: Side | None = None
    keys: Side | None = None
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Turn:
    """Bases of the heads of two layers: queries become T'q, keys R'k, where TR' = I.

    Attributes
    ----------
    cut : Cut
    maps : dict of CutHead to (Tensor, Tensor)
        T and R, (n, n); what stays of a head comes first in them.
    """

    cut: Cut
    maps: dict[CutHead, tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class Fold:
    """A map of queries, to be folded into the layer that makes them.

    Attributes
    ----------
    side : Side
    maps : dict of CutHead to (Tensor, Tensor)
        M of shape (s, s) and b of shape (s,): queries become M'q + b.
    """

    side: Side
    maps: dict[CutHead, tuple[Tensor, Tensor]]

    def apply(self) -> None:
        """Fold it into the weights that the layer has now."""
        for head, (matrix, shift) in self.maps.items():
            _mix(self.side.target, self.side.rows(head), matrix)
            bias = self.side.target.bias
            if bias is not None:
                rows = self.side.rows(head)
                with torch.no_grad():
                    bias[rows] += (self.side.scale * shift).to(bias)


def find_cuts(
    model: nn.Module,
    pruned: nn.Module,
    plan: PruningPlan,
    pairings: Sequence[Pairing],
) -> tuple[Cut, ...]:
    """Return every pair of layers that makes queries and keys of which some went."""
    modules, targets = dict(model.named_modules()), dict(pruned.named_modules())
    owners, removed = owners_of(modules), plan.removed_positions()
    found = []
    for pairing in pairings:
        tables = (pairing.query_rows, pairing.key_rows)
        layers = (pairing.queries, pairing.keys)
        gone = [set(map(int, removed.get((layer, "out"), ()))) for layer in layers]
        heads, uneven = [], False
        for number, rows in enumerate(zip(*tables, strict=True)):
            stays = [
                tuple(d for d, row in enumerate(some) if row not in lost)
                for some, lost in zip(rows, gone, strict=True)
            ]
            uneven |= stays[0] != stays[1]
            lost = tuple(d for d in range(len(rows[0])) if d not in stays[0])
            if stays[0] and lost:
                heads.append(CutHead(number, stays[0], lost))
        if not heads:
            continue
        reason = pairing.reason
        if not reason and uneven:
            reason = "its queries lost other dimensions than its keys"
        sides: list[Side] = []
        for layer, table, out in zip(layers, tables, gone, strict=True):
            module: Any = modules[layer]
            reason = reason or why_odd(module, targets[layer], owners)
            if reason:
                break
            stay = [r for r in range(len(module.weight)) if r not in out]
            dead = removed.get((layer, "in"), ())
            columns = np.setdiff1d(np.arange(module.weight.shape[1]), dead).tolist()
            left = [
                row for head in heads for row in table[head.number] if row not in out
            ]
            place = {row: number for number, row in enumerate(stay)}
            part = module.weight.detach()[left][:, columns]
            scale = _scale(part, targets[layer], [place[row] for row in left])
            if scale is None:
                reason = "its weights after the cut are no part of those before it"
                break
            sides.append(Side(layer, targets[layer], table, place, columns, scale))
        if reason:
            found.append(Cut(pairing, tuple(heads), reason=reason))
        else:
            found.append(Cut(pairing, tuple(heads), sides[0], sides[1]))
    return tuple(found)


def _scale(part: Tensor, target: Any, rows: Sequence[int]) -> float | None:
    """Return by which factor a layer's rows are such a part; None if they are none."""
    if max(rows) >= len(target.weight) or target.weight.shape[1:] != part.shape[1:]:
        return None
    left, part = target.weight.detach()[list(rows)].double(), part.double()
    scale = float((part * left).sum() / part.square().sum().clamp_min(1e-300))
    near = torch.allclose(left, scale * part, rtol=1e-3, atol=1e-6)
    return scale if near and scale > 0 else None


def turned(model: nn.Module, turns: Iterable[Turn]) -> nn.Module:
    """Return a copy of the network in other bases, and give the pruned one its part.

    The copy makes what the network does. What stays of it, cut as the pruned network
    is, takes the place of what stayed of the network.
    """
    copied = duplicate(model)
    modules = dict(copied.named_modules())
    for turn in turns:
        done: set[tuple[int, ...]] = set()
        for side, which in ((turn.cut.queries, 0), (turn.cut.keys, 1)):
            assert side is not None
            for head, maps in turn.maps.items():
                rows = side.table[head.number]
                if which == 0 or rows not in done:
                    _mix(modules[side.layer], rows, maps[which])
                if which == 1:
                    done.add(rows)  # several heads may share their keys
            for head in turn.maps:
                side.take_over(modules[side.layer], head)
    return copied


def _mix(layer: Any, rows: Sequence[int], matrix: Tensor) -> None:
    """Replace rows of a layer's weight and bias by M' times them."""
    index = list(rows)
    with torch.no_grad():
        for own in (layer.weight, layer.bias):
            if own is not None:
                old = own[index].flatten(1) if own.dim() > 1 else own[index, None]
                new = matrix.to(old.device).T @ old.double()
                own[index] = new.reshape(own[index].shape).to(own.dtype)
