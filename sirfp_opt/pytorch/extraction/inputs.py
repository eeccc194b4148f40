"""What layers read, kept apart from how they read it: covariances and filters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sirfp_opt._validate import FloatArray, IntArray
    from sirfp_opt.network.plan import PruningUnit
    from sirfp_opt.pytorch.coupling.units import Member

__all__ = ["Contributions", "ReaderInputs", "pairs_of", "places_of", "table_of"]


@dataclass(frozen=True, eq=False)
class ReaderInputs:
    """What one layer reads, and by which filters, as it was measured.

    Attributes
    ----------
    mean : ndarray of shape (C,)
        Of each channel, over images and positions.
    covariance : ndarray of shape (C, C)
        Of the channels at the same pixel.
    products : ndarray of shape (C, C)
        Inner products Σ W_roit W_rojt of the filters over outputs and taps.
    """

    mean: NDArray[np.floating]
    covariance: NDArray[np.floating]
    products: NDArray[np.floating]

    @property
    def contributions(self) -> NDArray[np.floating]:
        """Entry by entry their product, relative to its trace."""
        matrix: NDArray[np.floating] = self.covariance * self.products
        total = matrix.trace()
        return matrix / total if total > 0 else matrix


class Contributions(Mapping[str, "FloatArray"]):
    """A unit's matrix of contributions by layer, made anew whenever it is asked for.

    Covariances and products are held once for each layer; what all units make of them
    would be as much again.
    """

    def __init__(
        self,
        unit: PruningUnit,
        members: tuple[Member, ...],
        inputs: Mapping[str, ReaderInputs],
    ) -> None:
        self._unit = unit
        self._places = places_of(members)
        self._inputs = {layer: inputs[layer] for layer in self._places}

    def __getitem__(self, layer: str) -> FloatArray:
        return summed(
            self._inputs[layer].contributions, self._places[layer], self._unit
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def places_of(members: tuple[Member, ...]) -> dict[str, list[Member]]:
    """Return where each layer shows a unit: at several places, if it is read twice."""
    places: dict[str, list[Member]] = {}
    for member in members:
        places.setdefault(member.layer, []).append(member)
    return places


def table_of(member: Member, unit: PruningUnit) -> IntArray:
    """Return a layer's positions of each channel, of shape (n, positions of one)."""
    table: IntArray = member.positions(unit.size).reshape(unit.size, -1)
    return table


def summed(
    matrix: NDArray[np.floating], places: list[Member], unit: PruningUnit
) -> FloatArray:
    """Return a unit's matrix on one layer: what channels give at all places adds up."""
    tables = np.concatenate([table_of(place, unit) for place in places], axis=1)
    size, repeat = tables.shape
    flat = tables.ravel()
    block: FloatArray = matrix[np.ix_(flat, flat)]
    if repeat == 1:
        return block
    total: FloatArray = block.reshape(size, repeat, size, repeat).sum(axis=(1, 3))
    return total


def pairs_of(
    unit: PruningUnit,
    members: tuple[Member, ...],
    inputs: Mapping[str, ReaderInputs],
) -> tuple[FloatArray, FloatArray]:
    """Return a unit's covariances and products of filters, each of shape (R, n, n).

    Where a layer reads copies of the channels, as behind ``cat([y, y])``, its filters
    add up; other positions, those of a flattened map, count like taps. Layers that get
    no signal from the unit are left out.
    """
    covariances, products = [], []
    for layer, places in places_of(members).items():
        found = inputs[layer]
        table = np.concatenate([table_of(place, unit) for place in places], axis=1)
        covariance = np.zeros((unit.size, unit.size))
        product = np.zeros((unit.size, unit.size))
        classes = _copies(table, found.covariance)
        for columns in classes:
            one = table[:, columns[0]]
            covariance += found.covariance[np.ix_(one, one)] / len(classes)
            for row in columns:
                for column in columns:
                    product += found.products[np.ix_(table[:, row], table[:, column])]
        if (covariance * product).sum() > 0:
            covariances.append((covariance + covariance.T) / 2)
            products.append((product + product.T) / 2)
    shape = (len(products), unit.size, unit.size)
    return np.reshape(covariances, shape), np.reshape(products, shape)


def _copies(table: IntArray, covariance: NDArray[np.floating]) -> list[list[int]]:
    """Return which columns of a table of positions hold the same activations."""
    classes: list[list[int]] = []
    for column in range(table.shape[1]):
        here = table[:, column]
        for known in classes:
            there = table[:, known[0]]
            own = [covariance[here, here], covariance[there, there]]
            if all(np.allclose(covariance[here, there], v, 1e-4, 0.0) for v in own):
                known.append(column)
                break
        else:
            classes.append([column])
    return classes
