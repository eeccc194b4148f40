"""One average out of those of all ranks of `torch.distributed`."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING
from zlib import crc32

import torch
from torch import Tensor, distributed

from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.pytorch.extraction.averages import (
    Averaging,
    Counts,
    LayerStatistics,
    Measured,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sirfp_opt.network.plan import Side

__all__ = ["has_ranks", "over_ranks"]

# Beside the counts: entries of the matrix' side and of the term, whether the averages
# are in float64, how many sizes a map has and, at most, three of them.
EXTRA = 7


def has_ranks(asked: bool | None) -> bool:
    """Return whether to sum over the ranks of `torch.distributed`.

    Raises
    ------
    InvalidProblemError
        If that is asked for, and there are none.
    """
    ready = distributed.is_available() and distributed.is_initialized()
    if asked is None:
        return ready and distributed.get_world_size() > 1
    if asked and not ready:
        raise InvalidProblemError(
            "`distributed` must be False without torch.distributed, got True. "
            "Call torch.distributed.init_process_group first."
        )
    return asked


def over_ranks(
    statistics: Mapping[tuple[str, Side], LayerStatistics],
    averaging: Averaging,
    device: torch.device,
) -> Iterator[tuple[tuple[str, Side], Measured]]:
    """Yield each layer's average over all ranks; every rank must come here.

    A plain mean is that over all images of all ranks, however many each one saw. An
    exponential average is the mean of the ranks' averages.

    Raises
    ------
    InvalidProblemError
        On every rank alike, if ranks measure different layers, or an exponential
        average saw more batches on one of them than on another.
    """
    ours = [_describe(record) for record in statistics.values()]
    checksum = crc32(repr(list(statistics)).encode())
    # Only then is it sure that the tables below have one shape.
    heads = _gathered(torch.tensor([[len(ours), checksum]]), device)
    if len({tuple(row) for row in heads[:, 0].tolist()}) > 1:
        raise InvalidProblemError(
            "`model` must have the same pruning units on every rank, got different "
            "ones. Pass one `coupling` to all ranks."
        )
    if not ours:
        return
    tables = _gathered(torch.tensor(ours), device)
    width = len(fields(Counts))
    for number, (point, record) in enumerate(statistics.items()):
        rows = tables[:, number].tolist()
        counts = [Counts(*row[:width]) for row in rows]
        steps = [c.batches if c.batches else c.term_steps for c in counts]
        if averaging.decay is not None and len(set(steps)) > 1:
            raise InvalidProblemError(
                "`batches` must be as many on every rank for an exponential average, "
                f"got {steps} at {point[0]!r}. Drop the last ones, or pass decay=None."
            )
        yield point, _reduced(record, counts, [r[width:] for r in rows], device)


def _describe(record: LayerStatistics) -> list[int]:
    state = record.state()
    sizes = record.map_size[:3]
    double = int(state["mass"].dtype == torch.float64)
    known = [len(state["mass"]), len(state["term"]), double, len(sizes), *sizes]
    return [*state["counts"].tolist(), *known, *[0] * (EXTRA - len(known))]


def _gathered(table: Tensor, device: torch.device) -> Tensor:
    """Return the tables of all ranks, stacked: a sum, which any back end can do."""
    world, rank = distributed.get_world_size(), distributed.get_rank()
    stack = torch.zeros(world, *table.shape, dtype=torch.int64, device=device)
    stack[rank] = table.to(device)
    distributed.all_reduce(stack)
    return stack.cpu()


def _reduced(
    record: LayerStatistics,
    counts: list[Counts],
    extras: list[list[int]],
    device: torch.device,
) -> Measured:
    seen = [c.images > 0 for c in counts]
    varying = [s and not c.constant for s, c in zip(seen, counts, strict=True)]
    # Where a layer's maps vary on one rank, constant ones elsewhere were blank images.
    active = varying if any(varying) else seen
    exponential = record.averaging.decay is not None
    result = record.result()
    rank = distributed.get_rank()

    def total(values: Tensor, shape: tuple[int, ...], weights: list[float]) -> Tensor:
        whole = torch.zeros(shape, dtype=dtype, device=device)
        if weights[rank]:
            whole.copy_(values).mul_(weights[rank] / sum(weights))
        distributed.all_reduce(whole)
        return whole

    dtype = torch.float64 if any(extra[2] for extra in extras) else torch.float32
    channels = max(extra[0] for extra in extras)
    terms = max(extra[1] for extra in extras)
    images = [
        float(a) if exponential else float(a * c.images)
        for a, c in zip(active, counts, strict=True)
    ]
    of_maps = record.importance is not None and record.importance.source == "maps"
    backward = [
        float(c.term_images > 0) if exponential else float(c.term_images)
        for c in counts
    ]
    first = next((e for e, a in zip(extras, active, strict=True) if a), extras[0])
    merged = Counts(
        images=sum(c.images for c, a in zip(counts, active, strict=True) if a),
        steps=max(c.steps for c in counts),
        batches=sum(c.batches for c in counts),
        skipped=sum(c.skipped for c in counts),
        constant=int(any(seen) and not any(varying)),
        term_images=sum(c.term_images for c in counts),
        term_steps=max(c.term_steps for c in counts),
    )
    mass = total(result.mass, (channels,), images)
    gram = result.gram
    if result.centred and images[rank]:
        # About the mean of all ranks, which is not that of each.
        away = result.mass - mass
        gram = torch.addr(gram, away, away)
    return Measured(
        total(gram, (channels, channels), images),
        mass,
        total(result.term, (terms,), images if of_maps else backward),
        merged,
        tuple(first[4 : 4 + first[3]]),
        result.centred,
    )
