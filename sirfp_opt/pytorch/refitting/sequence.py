"""Readers refitted one after the other, to what they read in the network cut so far."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sirfp_opt.pytorch.batches import Forward, device_of, evaluating, run, to_model
from sirfp_opt.pytorch.extraction.parts import draw, most_at_a_time, parts
from sirfp_opt.pytorch.refitting.gather import count_pictures
from sirfp_opt.pytorch.refitting.hooks import Enough, watching
from sirfp_opt.pytorch.refitting.moments import Moments
from sirfp_opt.pytorch.refitting.outcome import (
    NOTHING,
    judged,
    put,
    settle,
    shares,
)
from sirfp_opt.pytorch.refitting.patches import (
    Source,
    as_maps,
    padded,
    patches,
    sources,
)
from sirfp_opt.pytorch.refitting.records import (
    HeldOut,
    Rows,
    most_rows,
    seen_and_lacking,
)
from sirfp_opt.pytorch.refitting.report import LayerRefit
from sirfp_opt.pytorch.refitting.solve import fit_full, fit_mapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sirfp_opt.pytorch.refitting.gather import Gatherer
    from sirfp_opt.pytorch.refitting.outcome import Place
    from sirfp_opt.pytorch.refitting.readers import Reader

__all__ = ["InOrder"]

STORED = 1 << 26
"""Numbers of the original network that are held at a time (256 MiB in float32)."""

JUDGING = 16
"""Positions of a picture that judge a fit."""


@dataclass(frozen=True, eq=False)
class Wanted:
    """What a reader had and made of one batch in the original network.

    Attributes
    ----------
    outputs : Tensor of shape (N, outputs that stay, P)
    chosen : Tensor of shape (P,)
        At these positions.
    sizes : tuple of int
        Of the output.
    inputs : Tensor of shape (N, C, Q), optional
        To be merged.
    at : Tensor of shape (Q,), optional
    """

    outputs: Tensor
    chosen: Tensor
    sizes: tuple[int, ...]
    inputs: Tensor | None = None
    at: Tensor | None = None


@dataclass
class Task:
    """One reader that is to be fitted, and what has been seen of it.

    Attributes
    ----------
    reader : Reader
    place : Place
    full : bool
        Whether every weight is free; else inputs are mapped, see `fit_mapped`.
    number : int
        In the order of the calls; seeds its positions.
    cost : int
        Numbers of the original network that it needs.
    reason : str
        Why it is merged.
    wanted : dict of int to Wanted
        By batch.
    """

    reader: Reader
    place: Place
    full: bool
    number: int
    cost: int
    reason: str = ""
    wanted: dict[int, Wanted] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.moments = [Moments() for _ in self.reader.blocks]
        most = most_rows(self.reader)
        self.judged, self.held = Rows(most), Rows(most)


class InOrder:
    """The readers of a pruned network, refitted in place in the order of their calls.

    Reader r is fitted to u, what it reads in the pruned network in which readers in
    front of it have been refitted, and to y, what it made in the original one: V and b
    of the least mean square of y - Σ_t V_t u(p + t) - b, plus the ridge towards the
    weights as they were cut (asymmetric reconstruction: Zhang, Zou, He and Sun, TPAMI
    2016, arXiv 1505.06798).

    Parameters
    ----------
    model, pruned : nn.Module
        Every reader of `pruned` has been fitted to the original's inputs already: what
        shares a pass reads through these fits.
    batches : list
    forward : callable, optional
    together : bool
        Over the ranks of `torch.distributed`.
    gatherer : Gatherer
        What the pass of the original network has shown.

    Attributes
    ----------
    passes : list of int
        Of the original network and of the cut one, so far.
    """

    def __init__(
        self,
        model: nn.Module,
        pruned: nn.Module,
        batches: Sequence[Any],
        gatherer: Gatherer,
        *,
        forward: Forward | None,
        together: bool,
    ) -> None:
        self.model, self.pruned, self.batches = model, pruned, batches
        self.gatherer, self.how = gatherer, gatherer.how
        self.forward, self.together = forward, together
        self.passes = [0, 0]
        self._pictures = sum(map(count_pictures, batches))
        self._number, self._held = 0, HeldOut(self.how.held_out)
        self._generator = torch.Generator().manual_seed(self.how.seed)

    def refit(
        self, rows: Sequence[LayerRefit], places: Mapping[str, Place]
    ) -> Iterator[LayerRefit]:
        """Refit layers.

        Parameters
        ----------
        rows : sequence of LayerRefit
            How each was fitted to the original's inputs; in the order of their calls.
        places : mapping of str to Place

        Yields
        ------
        LayerRefit
            In the same order.
        """
        tasks = [
            self._task(number, row, places[row.layer])
            for number, row in enumerate(rows)
        ]
        count = min(self.how.passes, len(tasks))
        groups = [
            tasks[len(tasks) * i // count : len(tasks) * (i + 1) // count]
            for i in range(count)
        ]
        while groups:
            some = [groups.pop(0)]
            while groups and _cost(some) + _cost(groups[:1]) <= STORED:
                some.append(groups.pop(0))
            several = [task for group in some for task in group]
            self._watch(self.model, several, self._store, before=False)
            for group in some:
                self._watch(self.pruned, group, self._compare, before=True)
                for task in group:
                    task.wanted.clear()
                    yield self._fit(task)

    def _task(self, number: int, row: LayerRefit, place: Place) -> Task:
        reader, how = self.gatherer.readers[row.layer], self.how
        full = how.kind == "full" and reader.fold == 1
        full = full and how.max_unknowns >= reader.unknowns <= row.rows
        full = full and row.kind != "merge"
        full = full or reader.pointwise
        record = self.gatherer.records[row.layer]
        each = min(record.positions, how.positions or record.positions)
        wide = len(reader.outputs) + (0 if full else reader.width)
        cost = self._pictures * each * wide
        reason = row.reason if row.kind == "merge" else ""
        return Task(reader, place, full, number, cost, reason)

    def _watch(
        self, network: nn.Module, tasks: Sequence[Task], take: Any, *, before: bool
    ) -> None:
        """Run a network over all batches, each time until all tasks had their turn."""
        self.passes[int(before)] += 1
        self._held = HeldOut(self.how.held_out)
        by_layer = {task.reader.layer: task for task in tasks}

        def hand(layer: str, tensor: Tensor, output: Tensor | None) -> None:
            take(by_layer[layer], tensor, output)

        with (
            evaluating(network),
            torch.no_grad(),
            watching(network, by_layer, hand, before=before) as left,
        ):
            for number, batch in enumerate(self.batches):
                self._number = number
                here = to_model(batch, network)
                self._held.begin(count_pictures(here))
                left.clear()
                left.update(by_layer)
                with suppress(Enough):
                    run(network, here, self.forward)

    def _seed(self, task: Task) -> int:
        return hash((self.how.seed, self._number, task.number)) % (1 << 31)

    def _store(self, task: Task, tensor: Tensor, output: Tensor | None) -> None:
        """Keep what the original network makes, at some positions."""
        assert output is not None
        reader, seed = task.reader, self._seed(task)
        made = as_maps(reader.module, output)
        count = self.how.positions if task.full else JUDGING
        chosen = draw(prod(made.shape[2:]), count, seed)
        outputs = made.flatten(2).index_select(1, reader.outputs.to(made.device))
        outputs = outputs.index_select(2, chosen.to(made.device))
        inputs = at = None
        if not task.full:
            flat = as_maps(reader.module, tensor, reader.fold).flatten(2)
            at = draw(flat.shape[2], self.how.positions, seed)
            inputs = flat.index_select(2, at.to(flat.device))
        task.wanted[self._number] = Wanted(
            outputs, chosen, tuple(made.shape[2:]), inputs, at
        )

    def _compare(self, task: Task, tensor: Tensor, _: None) -> None:
        """Add what the pruned network reads where the original made this."""
        reader, wanted = task.reader, task.wanted.get(self._number)
        if wanted is None:
            return
        maps = as_maps(reader.target, tensor, reader.fold)
        finite = torch.ones(len(maps), dtype=torch.bool)
        for part in (maps, wanted.outputs, wanted.inputs):
            if part is not None:
                finite &= torch.isfinite(part).flatten(1).all(dim=1).cpu()
        hold = self._held.among(len(maps))
        fitted = (~hold & finite).to(maps.device)
        judging = (hold & finite).to(maps.device)
        if wanted.inputs is not None and wanted.at is not None:
            flat = maps.flatten(2).index_select(2, wanted.at.to(maps.device))
            self._add_inputs(task, flat[fitted], wanted.inputs[fitted])
        maps, done = padded(reader.target, maps)
        few = draw(len(wanted.chosen), JUDGING, self._seed(task))
        for which, rows, chosen in (
            (fitted, None if task.full else task.judged, None if task.full else few),
            (judging, task.held, few),
        ):
            at = wanted.chosen if chosen is None else wanted.chosen[chosen]
            outputs = wanted.outputs
            if chosen is not None:
                outputs = outputs.index_select(2, chosen.to(outputs.device))
            taps = sources(
                reader.target, reader.fold, maps.shape[2:], wanted.sizes, at, done=done
            )
            each = most_at_a_time(maps) // max(1, len(taps) * len(at) * maps.shape[1])
            for part, made in zip(
                parts(maps[which], 0, each), parts(outputs[which], 0, each), strict=True
            ):
                if not len(part):
                    continue
                seen, lacking = _columns(task, part, made, taps)
                if rows is not None:
                    rows.add(seen_and_lacking(seen, lacking), self._generator)
                    continue
                for moments, had, lacks in zip(
                    task.moments, seen, lacking, strict=True
                ):
                    moments.add(had, lacks)

    def _add_inputs(self, task: Task, kept: Tensor, whole: Tensor) -> None:
        """Add what is kept of inputs, and what the original's differ from them."""
        wide = whole.shape[1] // int(getattr(task.reader.module, "groups", 1))
        first = 0
        for block, moments in zip(task.reader.blocks, task.moments, strict=True):
            mine = kept[:, first : first + len(block.kept)]
            first += len(block.kept)
            lower = block.group * wide
            lacking = whole[:, lower : lower + wide].clone()
            lacking[:, (block.kept - lower).to(whole.device)] -= mine
            moments.add(
                mine.transpose(0, 1).flatten(1), lacking.transpose(0, 1).flatten(1)
            )

    def _fit(self, task: Task) -> LayerRefit:
        reader, place, how = task.reader, task.place, self.how
        device = device_of(self.pruned)
        ranks = device if self.together else None
        taps = reader.taps if task.full else 1
        normals = []
        for block, moments in zip(reader.blocks, task.moments, strict=True):
            high = len(block.outputs) if task.full else reader.width
            sizes = (len(block.kept) * taps, high)
            normals.append(
                moments.over_ranks(sizes, device) if ranks else moments.result()
            )
        task.moments = []
        row = LayerRefit(
            reader.layer,
            how.kind if task.full else "merge",
            reader.unknowns // (1 if how.kind == "full" and task.full else reader.taps),
            normals[0].rows,
            offset=place.kind,
            reason=task.reason,
        )
        if not row.rows:
            put(reader, None, place)
            return replace(row, kind="cut", offset="none", reason=NOTHING)
        if task.full:
            fit = fit_full(reader, normals, how.ridge, place.kind)
            errors = fit.errors
        else:
            level = self.gatherer.records[reader.layer].shares
            fit = fit_mapped(reader, normals, level, how.ridge, place.kind)
            errors, _ = judged(reader, fit, task.judged, place, ranks)
        held, count = judged(reader, fit, task.held, place, ranks)
        before, after = shares(errors)
        row = replace(row, before=before, after=after)
        if count:
            before, after = shares(held)
            row = replace(row, held_before=before, held_after=after)
        return settle(reader, fit, row, errors, held, place)


def _columns(
    task: Task, maps: Tensor, made: Tensor, taps: list[Source]
) -> tuple[list[Tensor], list[Tensor]]:
    """Return what taps see of kept inputs and what the cut layer lacks, by block."""
    reader, place = task.reader, task.place
    seen, lacking, first, above = [], [], 0, 0
    for block, weight in zip(reader.blocks, reader.cut.flatten(2), strict=True):
        kept = torch.arange(first, first + len(block.kept))
        rows = patches(maps, taps, kept).flatten(2).flatten(0, 1)
        outputs = slice(above, above + len(block.outputs))
        lacks = made[:, outputs].transpose(0, 1).flatten(1).to(rows)
        lacks = lacks - weight.to(rows) @ rows
        if place.kind == "bias" and place.start is not None:
            lacks -= place.start[outputs, None].to(rows)
        seen.append(rows)
        lacking.append(lacks)
        first, above = first + len(block.kept), outputs.stop
    return seen, lacking


def _cost(groups: Sequence[Sequence[Task]]) -> int:
    return sum(task.cost for group in groups for task in group)
