"""From what was measured on layers to one graph for each pruning unit."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.graph import ChannelGraph
from sirfp_opt.pytorch.coupling.units import Coupling, Exclusion, Member
from sirfp_opt.pytorch.extraction.averages import Counts, LayerStatistics
from sirfp_opt.pytorch.extraction.filters import filters
from sirfp_opt.pytorch.extraction.graphs import ExtractedGraphs, combine, normalize
from sirfp_opt.pytorch.extraction.inputs import (
    Contributions,
    ReaderInputs,
    places_of,
    summed,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from sirfp_opt._validate import FloatArray, IntArray
    from sirfp_opt.network.plan import PruningUnit
    from sirfp_opt.pytorch.extraction.averages import Measured
    from sirfp_opt.pytorch.extraction.metrics import Metric

__all__ = [
    "Reading",
    "Scaling",
    "assemble",
    "reading_of",
    "reading_of_filters",
    "that_ran",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scaling:
    """How matrices of layers become the graph of a unit; see `Extractor`.

    With `errors` they are inner products of contributions, and not of likeness.
    """

    absolute: bool = True
    normalize: str = "cosine"
    combine: str = "mean"
    importance_weight: float = 0.0
    errors: bool = False

    @classmethod
    def of(
        cls,
        metric: Metric,
        absolute: bool | None,
        normalize: str | None,
        combine: str,
        importance_weight: float,
    ) -> Scaling:
        """Put in what suits the metric for what was left open."""
        errors = metric.source == "inputs"
        if normalize is None:
            normalize = "none" if errors else "cosine"
        absolute = not errors if absolute is None else absolute
        return cls(absolute, normalize, combine, importance_weight, errors)

    def __post_init__(self) -> None:
        tiny = np.ones((1, 1))
        combine([normalize(tiny, self.normalize)], self.combine)  # raises on names
        weight = self.importance_weight
        if not (isinstance(weight, (int, float)) and isfinite(weight) and weight >= 0):
            raise InvalidProblemError(
                f"`importance_weight` must be a finite number >= 0, got {weight!r}. "
                "With 1, a unit's importances weigh as much as its redundancy."
            )
        if self.errors and (self.absolute or weight):
            name, value = (
                ("absolute", self.absolute)
                if self.absolute
                else ("importance_weight", weight)
            )
            raise InvalidProblemError(
                f"`{name}` must be left out with contributions to other layers, got "
                f"{value!r}: signs count, and what a channel is worth is in them. "
                "Take metric='spatial' for it."
            )

    def graph(
        self, matrix: FloatArray, terms: list[FloatArray], name: str
    ) -> ChannelGraph:
        """Return the graph of a unit's one matrix."""
        if self.errors:
            return ChannelGraph.from_reconstruction(matrix, name=name)
        weights = _vertex_weights(matrix, terms, self.importance_weight)
        return ChannelGraph.from_redundancy(matrix, vertex_weights=weights, name=name)


@dataclass(frozen=True)
class Reading:
    """What was measured on one layer: a matrix, or what it is the product of."""

    matrix: FloatArray | None
    counts: Counts
    map_size: tuple[int, ...] = ()
    inputs: ReaderInputs | None = None

    def whole(self) -> Any:
        """Return the matrix, shape (C, C)."""
        if self.inputs is not None:
            return self.inputs.contributions
        return self.matrix


def assemble(
    coupling: Coupling,
    members: Mapping[str, tuple[Member, ...]],
    readings: Mapping[str, Reading],
    term_members: Mapping[str, tuple[Member, ...]],
    terms: Mapping[str, FloatArray],
    scaling: Scaling,
    *,
    raising: bool,
) -> ExtractedGraphs:
    """Return the graphs of all units that were measured well.

    Parameters
    ----------
    coupling : Coupling
        The units.
    members, term_members : mapping of str to tuple of Member
        By unit: the layers of its matrices, and of its importances.
    readings : mapping of str to Reading
        By layer, in the order in which the layers ran.
    terms : mapping of str to ndarray
        By layer: importances.
    scaling : Scaling
        Signs, normalisation, combination.
    raising : bool
        Raise on NaN and inf instead of excluding.
    """
    coupling = coupling.without(
        _unmeasured(coupling, members, readings, term_members, terms, raising)
    )
    graphs, importance, dead = {}, {}, {}
    redundancy: dict[str, Mapping[str, FloatArray]] = {}
    inputs = {k: r.inputs for k, r in readings.items() if r.inputs is not None}
    notes = []
    for unit in coupling.units:
        name = unit.name
        if inputs:
            redundancy[name] = Contributions(unit, members[name], inputs)
        else:
            redundancy[name] = {
                layer: _shown(readings[layer].whole(), places, unit, scaling.errors)
                for layer, places in places_of(members[name]).items()
            }
        importance[name] = {
            member.layer: terms[member.layer][_channels(member, unit)]
            for member in term_members[name]
            if member.layer in terms
        }
        parts = list(redundancy[name].values())
        if scaling.absolute:
            parts = [np.abs(part) for part in parts]
            redundancy[name] = dict(zip(redundancy[name], parts, strict=True))
        scaled = [normalize(part, scaling.normalize) for part in parts]
        matrix = combine(scaled, scaling.combine)
        graphs[name] = scaling.graph(matrix, list(importance[name].values()), name)
        silent = np.all([part.diagonal() == 0 for part in parts], axis=0)
        if silent.any():
            dead[name] = np.flatnonzero(silent)
            what = "constant, or not read" if scaling.errors else "zero everywhere"
            notes.append(
                f"{name}: {int(silent.sum())} of {unit.size} channels are {what} (dead)"
            )
        if scaling.importance_weight and not importance[name]:
            notes.append(f"{name}: no importance was measured on its layers")
    for layer, reading in readings.items():
        notes += _notes(layer, reading.counts)
    for note in notes:
        logger.info(note)
    return ExtractedGraphs(
        graphs=graphs,
        coupling=coupling,
        redundancy=redundancy,
        importance=importance,
        map_sizes={k: r.map_size for k, r in readings.items() if r.map_size},
        dead=dead,
        notes=tuple(notes),
        images=max((r.counts.images for r in readings.values()), default=0),
        inputs=inputs,
        reads={u.name: members[u.name] for u in coupling.units} if inputs else {},
    )


def reading_of(
    measured: Measured, products: Tensor | None = None, apart: bool = False
) -> Reading:
    """Return a layer's matrix; with products of filters, that of contributions."""
    matrix, counts, size = measured.redundancy(), measured.counts, measured.map_size
    if products is None or not matrix.numel():
        return Reading(matrix.cpu().numpy(), counts, size)
    if apart:
        parts = (measured.mass, matrix, products)
        inputs = ReaderInputs(*(part.cpu().numpy() for part in parts))
        # Multiplied for one unit at a time, and not held.
        return Reading(None, counts, size, inputs)
    matrix = matrix * products
    # Relative to what would come out if all that is read were independent.
    total = matrix.trace()
    matrix = torch.where(total > 0, matrix / total, matrix)
    return Reading(matrix.cpu().numpy(), counts, size)


def reading_of_filters(module: nn.Module, metric: Metric) -> Reading:
    """Return how a layer's filters compare."""
    record = LayerStatistics(metric, importance=None, pool_constant=False)
    record.update(filters(module)[None])
    return Reading(reading_of(record.result()).matrix, Counts(images=1))


def _notes(layer: str, counts: Counts) -> list[str]:
    notes = []
    if counts.constant:
        notes.append(
            f"{layer}: its channels were compared over {counts.images} images, not "
            "over positions"
        )
    if counts.skipped:
        notes.append(
            f"{layer}: {counts.skipped} of {counts.images + counts.skipped} images "
            "were left out for NaN or inf"
        )
    return notes


def that_ran(
    members: Mapping[str, tuple[Member, ...]], readings: Mapping[str, Reading]
) -> dict[str, tuple[Member, ...]]:
    """Leave out layers that no batch came by, such as heads of the training mode."""
    some = {k for k, r in readings.items() if r.counts.images or r.counts.skipped}
    # Where none of a unit's has run, all of them stay: that is said later on.
    return {
        unit: tuple(member for member in all_ if member.layer in some) or all_
        for unit, all_ in members.items()
    }


def _unmeasured(
    coupling: Coupling,
    members: Mapping[str, tuple[Member, ...]],
    readings: Mapping[str, Reading],
    term_members: Mapping[str, tuple[Member, ...]],
    terms: Mapping[str, FloatArray],
    raising: bool,
) -> list[Exclusion]:
    """Find units with a layer that did not run, or ran into NaN."""
    order = {layer: i for i, layer in enumerate(readings)}
    found: list[tuple[int, Exclusion, int]] = []
    for unit in coupling.units:
        if not members[unit.name]:
            reason = "no convolution or linear layer is there to measure this metric on"
            found.append((-1, Exclusion(unit.name, unit.size, unit.name, reason), 0))
        for member in members[unit.name]:
            reading = readings.get(member.layer)
            bad, reason = 0, ""
            if reading is None or reading.counts.images == 0:
                reason = "it did not run on any batch"
                if reading is not None and reading.counts.skipped:
                    bad = unit.size
                    reason = (
                        f"it gave NaN or inf in all {reading.counts.skipped} images"
                    )
            else:
                matrix = reading.whole()
                diagonal = matrix.diagonal()[_channels(member, unit)]
                bad = int((~np.isfinite(diagonal)).sum())
                # A product of two large but finite maps may overflow, too.
                whole = _block(matrix, member, member, unit)
                bad = bad or int((~np.isfinite(whole)).any(axis=1).sum())
                if bad:
                    reason = f"it gave NaN or inf in {bad} of {unit.size} channels"
            if reason:
                exclusion = Exclusion(unit.name, unit.size, member.layer, reason)
                found.append((order.get(member.layer, len(order)), exclusion, bad))
        for member in term_members[unit.name]:
            term = terms.get(member.layer)
            if term is None:
                continue
            bad = int((~np.isfinite(term[_channels(member, unit)])).sum())
            if bad:
                reason = (
                    f"its importance is NaN or inf in {bad} of {unit.size} channels"
                )
                exclusion = Exclusion(unit.name, unit.size, member.layer, reason)
                found.append((order.get(member.layer, len(order)), exclusion, bad))
    found.sort(key=lambda entry: entry[0])
    nans = [exclusion for _, exclusion, bad in found if bad]
    if raising and nans:
        # Of several the first that ran is to blame.
        others = len({e.unit for e in nans}) - 1
        more = f", and in {others} more units after it" if others else ""
        raise InvalidProblemError(
            "`batches` must give finite activations, got NaN or inf in "
            f"{nans[0].layer!r} of unit {nans[0].unit!r}: {nans[0].reason}{more}. "
            "Check the input and the weights, or pass on_nan='exclude' to leave such "
            "layers whole, or on_nan='skip' to leave such images out."
        )
    return list({e.unit: e for _, e, _ in reversed(found)}.values())[::-1]


def _vertex_weights(
    matrix: FloatArray, terms: list[FloatArray], weight: float
) -> FloatArray | None:
    """Share the unit's total redundancy out to its channels, by importance."""
    if not weight or not terms:
        return None
    mean = np.mean(terms, axis=0, dtype=np.float64)
    total = mean.sum()
    redundancy = (matrix.sum() - matrix.trace()) / 2
    if total <= 0:
        return None
    weights: FloatArray = -weight * redundancy * mean / total
    return weights


def _channels(member: Member, unit: PruningUnit) -> IntArray:
    return member.positions(unit.size)


def _shown(
    matrix: FloatArray, places: list[Member], unit: PruningUnit, errors: bool
) -> FloatArray:
    """Return a unit's matrix on one layer, which may have its channels twice."""
    if not errors:
        return _block(matrix, places[-1], places[-1], unit)  # they are all alike
    return summed(matrix, places, unit)


def _block(
    matrix: FloatArray, rows: Member, columns: Member, unit: PruningUnit
) -> FloatArray:
    block = matrix[np.ix_(_channels(rows, unit), _channels(columns, unit))]
    if rows.repeat == columns.repeat == 1:
        return block
    split = block.reshape(unit.size, rows.repeat, unit.size, columns.repeat)
    summed: FloatArray = split.sum(axis=(1, 3))
    return summed
