"""Queries and keys: two layers whose outputs meet in a product, channel by channel."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from sirfp_opt.pytorch.cutting.layers import channel_dim

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from sirfp_opt._validate import IntArray
    from sirfp_opt.network.plan import PruningUnit
    from sirfp_opt.pytorch.coupling.labels.engine import Tracker

__all__ = ["Pairing", "find_pairings"]

MIXED = "what is multiplied is not what it makes (a norm or a rotation in between)"
UNSEEN = "the network's outputs do not depend on it"

NOTHING = 1e-13
"""Of the outputs' size: a change that rounding makes as well."""

SURE = {torch.float64: 1e-6, torch.float32: 1e-2}
"""Shares of a change of the queries alone that count as none."""

Table = tuple[tuple[int, ...], ...]
Change = dict[str, Any]


@dataclass(frozen=True)
class Pairing:
    """Queries and keys whose products q k' are logits, head by head.

    Attributes
    ----------
    queries, keys : str
        The layers that make them; one and the same where they are fused.
    query_rows, key_rows : tuple of tuple of int, (heads, n)
        The layers' outputs: entry (h, d) of the one is multiplied with that of the
        other. Several heads may share their keys.
    centred : bool
        Whether it makes no difference to the outputs what is added to all keys: a
        softmax over them follows.
    reason : str
        Why the logits are no matter of these two layers alone; empty if they are.
    """

    queries: str
    keys: str
    query_rows: Table
    key_rows: Table
    centred: bool = False
    reason: str = ""

    @property
    def name(self) -> str:
        """Both layers."""
        return f"{self.queries} @ {self.keys}"

    @property
    def turned(self) -> Pairing:
        """The same two layers, the other way round."""
        return replace(
            self,
            queries=self.keys,
            keys=self.queries,
            query_rows=self.key_rows,
            key_rows=self.query_rows,
        )

    def terms_of(self, unit: PruningUnit) -> tuple[int, ...] | None:
        """Return the terms of the logits that a unit's channels are, in order.

        Parameters
        ----------
        unit : PruningUnit

        Returns
        -------
        tuple of int or None
            None if its channels are no such terms, or a head's go all together: its
            logits go with it then.
        """
        made = (self.queries, "out")
        sites = [site for site in unit.ports if (site.layer, site.side) == made]
        if not sites:
            return None
        flat = [row for head in self.query_rows for row in head]
        place = {row: term for term, row in enumerate(flat)}
        tables = [
            [[place[row] for row in rows if row in place] for rows in table]
            for site in sites
            for table in [site.table(unit.size).tolist()]
        ]
        table = next((t for t in tables if t[0]), None)
        if table is None or len({len(terms) for terms in table}) > 1:
            return None
        width = len(self.query_rows[0])
        for group in unit.classes:
            heads = [term // width for channel in group for term in table[channel]]
            if heads.count(heads[0]) == width:
                return None
        return tuple(term for terms in table for term in terms)


def find_pairings(
    tracker: Tracker,
    model: nn.Module,
    run: Callable[[], Sequence[Tensor]],
    units: Collection[PruningUnit] | None = None,
) -> tuple[Pairing, ...]:
    """Return the pairs of layers whose outputs meet in a product of a traced network.

    What happens between layer and product is tried, not read: if queries go through
    any invertible map and keys through its inverse, transposed, ::

        (q M) (k M⁻ᵀ)' = q k',

    then the network's outputs are what they were, or something in between is neither a
    view nor a scale; and where a constant that is added to all keys changes nothing, it
    is a softmax that reads the logits.

    Parameters
    ----------
    tracker : Tracker
        After the run.
    model : nn.Module
        The traced network; left as it is.
    run : callable
        Returns its outputs on some example.
    units : collection of PruningUnit, optional
        Of what they cannot cut in part nothing is tried, nor returned.
    """
    modules = dict(model.named_modules())
    found: dict[Pairing, None] = {}
    for score in tracker.scores:
        sides = [_rows(tracker, side, modules) for side in (score.left, score.right)]
        if sides[0] is not None and sides[1] is not None:
            (one, left), (other, right) = sides[0], sides[1]
            if not (one == other and np.array_equal(left, right)):
                found[Pairing(one, other, _table(left), _table(right))] = None
    pairings = [
        replace(pairing, reason=_plainly_mixed(pairing))
        for pairing in found
        if units is None or any(_touched(pairing, unit) for unit in units)
    ]
    open_ = [pairing for pairing in pairings if not pairing.reason]
    if not open_:
        return tuple(pairings)
    judged = dict(zip(open_, _judged(_Trial(modules, run), open_), strict=True))
    return tuple(judged.get(pairing, pairing) for pairing in pairings)


def _judged(trial: _Trial, pairings: list[Pairing]) -> list[Pairing]:
    """Judge all together; where something is wrong with some of them, by halves."""
    tested = trial.judge(pairings)
    half = len(pairings) // 2
    if not half or not any(pairing.reason for pairing in tested):
        return tested
    return _judged(trial, pairings[:half]) + _judged(trial, pairings[half:])


def _touched(pairing: Pairing, unit: PruningUnit) -> bool:
    """Whether a unit may take some of the terms of a head, and leave others."""
    both = pairing, pairing.turned
    return any(one.terms_of(unit) is not None for one in both)


def _rows(
    tracker: Tracker, labels: IntArray, modules: Mapping[str, nn.Module]
) -> tuple[str, IntArray] | None:
    """Return the layer and its outputs at which labels start; None if there is none."""
    starts = np.array([node.start for node in tracker.nodes])
    places = np.searchsorted(starts, labels.ravel(), side="right") - 1
    if (places < 0).any() or len(set(places.tolist())) != 1:
        return None
    node = tracker.nodes[int(places[0])]
    layer, _, leaf = node.name.rpartition(".")
    module = modules[layer]
    plain = isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))
    if not plain or leaf != "weight" or node.dim != 0:
        return None
    return layer, labels - node.start


def _table(rows: IntArray) -> Table:
    return tuple(tuple(int(n) for n in row) for row in rows)


def _plainly_mixed(pairing: Pairing) -> str:
    tables = pairing.query_rows, pairing.key_rows
    single = all(len(set(row)) == len(row) for table in tables for row in table)
    counts = Counter(row for table in pairing.query_rows for row in table)
    return "" if single and max(counts.values()) == 1 else MIXED


class _Trial:
    """Changes what layers make, and looks at the outputs."""

    def __init__(
        self, modules: Mapping[str, nn.Module], run: Callable[[], Sequence[Tensor]]
    ) -> None:
        self.modules, self.run = modules, run
        self.base = [output.clone() for output in run()]
        self.size = max(
            (float(o.abs().max()) for o in self.base if o.numel()), default=0
        )
        kinds = {output.dtype for output in self.base}
        self.sure = SURE[torch.float64 if kinds == {torch.float64} else torch.float32]

    def judge(self, pairings: Sequence[Pairing]) -> list[Pairing]:
        """Say of pairings together whether they are what they seem."""
        generator = np.random.default_rng(0)
        alone: dict[str, Any] = {}
        both: dict[str, Any] = {}
        lifted: tuple[Change, Change] = ({}, {})
        for pairing in pairings:
            maps: dict[tuple[int, ...], IntArray] = {}
            heads = zip(pairing.query_rows, pairing.key_rows, strict=True)
            for queries, keys in heads:
                n = len(queries)
                new = keys not in maps
                if new:
                    noise = generator.normal(size=(n, n)) / (2 * n**0.5)
                    maps[keys] = np.eye(n) + noise
                turn = maps[keys]
                for change in (alone, both):
                    self._put(change, pairing.queries, queries, turn)
                if new:
                    self._put(both, pairing.keys, keys, np.linalg.inv(turn).T)
            for change, layer, table in (
                (lifted[0], pairing.queries, pairing.query_rows),
                (lifted[1], pairing.keys, pairing.key_rows),
            ):
                rows = sorted({row for head in table for row in head})
                shift = change.setdefault(layer, np.zeros(self._width(layer)))
                shift[rows] = generator.normal(size=len(rows))
        effect = self._effect(alone)
        if effect <= NOTHING * self.size:
            return [replace(pairing, reason=UNSEEN) for pairing in pairings]
        if not self._effect(both) <= self.sure * effect:
            return [replace(pairing, reason=MIXED) for pairing in pairings]
        of_queries, of_keys = (self._effect(change) for change in lifted)
        if of_keys <= self.sure * of_queries:
            return [replace(pairing, centred=True) for pairing in pairings]
        if of_queries <= self.sure * of_keys:  # the product is k q'
            return [replace(pairing.turned, centred=True) for pairing in pairings]
        return list(pairings)

    def _width(self, layer: str) -> int:
        weight = self.modules[layer].weight
        assert isinstance(weight, Tensor)
        return int(weight.shape[0])

    def _put(
        self, change: Change, layer: str, rows: Sequence[int], turn: np.ndarray
    ) -> None:
        whole = change.setdefault(layer, np.eye(self._width(layer)))
        whole[np.ix_(rows, rows)] = turn

    def _effect(self, change: Change) -> float:
        """Return the largest difference of the outputs where layers make other ones."""

        def changed(array: np.ndarray) -> Any:
            def made(module: nn.Module, _: Any, output: Tensor) -> Tensor:
                values = torch.from_numpy(array).to(output)
                dim = channel_dim(module, output)
                moved = output.movedim(dim, -1)
                moved = moved @ values if values.dim() > 1 else moved + values
                return moved.movedim(-1, dim)

            return made

        with ExitStack() as stack:
            for layer, array in change.items():
                handle = self.modules[layer].register_forward_hook(changed(array))
                stack.callback(handle.remove)
            outputs = self.run()
        differences = [
            float((one - other).abs().nan_to_num().max())
            for one, other in zip(outputs, self.base, strict=True)
            if one.numel()
        ]
        return max(differences, default=0.0)
