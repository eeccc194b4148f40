"""From the measured matrices of several layers to one graph per pruning unit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.graph import ChannelGraph
from sirfp_opt.pytorch.extraction.inputs import ReaderInputs, pairs_of

if TYPE_CHECKING:
    from sirfp_opt import ReconstructionProblem
    from sirfp_opt._validate import FloatArray, IntArray
    from sirfp_opt.pytorch.coupling.units import Coupling, Exclusion, Member
    from sirfp_opt.pytorch.extraction.settings import Extraction

__all__ = ["COMBINATIONS", "NORMALIZATIONS", "ExtractedGraphs", "combine", "normalize"]

NORMALIZATIONS = ("none", "trace", "cosine")
COMBINATIONS = ("mean", "max", "sum", "union")


def normalize(redundancy: FloatArray, mode: str) -> FloatArray:
    """Return a redundancy matrix on a scale that layers can share.

    The paper's measure is an inner product of L1-normalised maps; it shrinks as one
    over the map's positions, so that raw values of two layers do not compare.

    Parameters
    ----------
    redundancy : ndarray of shape (n, n)
        Symmetric, non-negative diagonal.
    mode : {"none", "trace", "cosine"}
        As it is; divided by Σ_i R_ii; or R_ij / sqrt(R_ii R_jj). A channel that is
        zero everywhere stays zero.

    Returns
    -------
    ndarray of float64, shape (n, n)

    Examples
    --------
    >>> import numpy as np
    >>> normalize(np.array([[4.0, 1.0], [1.0, 1.0]]), "cosine")
    array([[1. , 0.5],
           [0.5, 1. ]])
    """
    _check_mode(mode, NORMALIZATIONS, "normalize")
    matrix: FloatArray = np.array(redundancy, dtype=np.float64)
    diagonal = matrix.diagonal().copy()
    if mode == "trace":
        total = diagonal.sum()
        return matrix / total if total > 0 else matrix
    if mode == "cosine":
        scale = np.zeros_like(diagonal)
        alive = diagonal > 0
        scale[alive] = 1.0 / np.sqrt(diagonal[alive])
        matrix *= scale[:, None]
        matrix *= scale[None, :]
    return matrix


def combine(matrices: Sequence[FloatArray], mode: str) -> FloatArray:
    """Return one matrix for channels that several layers show.

    Parameters
    ----------
    matrices : sequence of ndarray of shape (n, n)
        One for each layer, already normalised.
    mode : {"mean", "max", "sum", "union"}
        Elementwise; "sum" is exactly the sum of the layers' objectives. "union" means
        that the kept sets, not the matrices, are combined (the reference; see
        `Threshold`): its matrix is the mean.
    """
    _check_mode(mode, COMBINATIONS, "combine")
    if len(matrices) == 1:
        return matrices[0]
    total = matrices[0].copy()
    for matrix in matrices[1:]:
        if mode == "max":
            np.maximum(total, matrix, out=total)
        else:
            total += matrix
    if mode in ("mean", "union"):
        total /= len(matrices)
    return total


def _check_mode(mode: str, valid: tuple[str, ...], name: str) -> None:
    if mode not in valid:
        raise InvalidProblemError(
            f"`{name}` must be one of {', '.join(map(repr, valid))}, got {mode!r}. "
            f"The default is {'cosine' if name == 'normalize' else 'mean'!r}."
        )


@dataclass(frozen=True, eq=False)
class ExtractedGraphs(Mapping[str, ChannelGraph]):
    """What `extract` found: ``graphs[unit]`` is the unit's `ChannelGraph`.

    Attributes
    ----------
    coupling : Coupling
        The units, their layers, and what was excluded.
    redundancy : dict of str to dict of str to ndarray
        By unit and layer: the measured matrix, as it is (|S| or S), diagonal kept.
    importance : dict of str to dict of str to ndarray
        By unit and layer: what each channel is worth, where it was measured; by
        default the edge term.
    map_sizes : dict of str to tuple of int
        By layer: height and width of its maps.
    dead : dict of str to ndarray
        By unit: channels that were zero everywhere, in all of its layers; where
        contributions are measured, those that gave no layer anything that varies.
    notes : tuple of str
        What was unusual, in words.
    images : int
        Samples seen.
    inputs : dict of str to ReaderInputs
        By reading layer, with metric "refit": covariances and products of filters.
    reads : dict of str to tuple of Member
        By unit, with metric "refit": the layers that read it.
    extraction : Extraction or None
        What was measured, and how.
    """

    graphs: Mapping[str, ChannelGraph]
    coupling: Coupling
    redundancy: Mapping[str, Mapping[str, FloatArray]]
    importance: Mapping[str, Mapping[str, FloatArray]] = field(default_factory=dict)
    map_sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    dead: Mapping[str, IntArray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    images: int = 0
    inputs: Mapping[str, ReaderInputs] = field(default_factory=dict)
    reads: Mapping[str, tuple[Member, ...]] = field(default_factory=dict)
    extraction: Extraction | None = None

    def __getitem__(self, unit: str) -> ChannelGraph:
        return self.graphs[unit]

    def __iter__(self) -> Iterator[str]:
        return iter(self.graphs)

    def __len__(self) -> int:
        return len(self.graphs)

    def __repr__(self) -> str:
        channels = sum(graph.n for graph in self.graphs.values())
        return (
            f"ExtractedGraphs({len(self)} units, {channels} channels, "
            f"{self.images} images, {len(self.coupling.exclusions)} excluded)"
        )

    def without(self, exclusions: Iterable[Exclusion]) -> ExtractedGraphs:
        """Return a copy in which these units are excluded as well."""
        coupling = self.coupling.without(exclusions)
        names = [unit.name for unit in coupling.units]
        return replace(
            self, coupling=coupling, graphs={name: self.graphs[name] for name in names}
        )

    def problem(self, unit: str, *, ridge: float = 1e-3) -> ReconstructionProblem:
        """Return the problem in which the layers that read a unit are refitted.

        Made anew at each call, so that no more than one unit's is held.

        Parameters
        ----------
        unit : str
        ridge : float
            In units of the mean variance, see `sirfp_opt.ReconstructionProblem`.

        Raises
        ------
        InvalidProblemError
            If covariances were not kept.
        """
        from sirfp_opt import ReconstructionProblem

        if unit not in self.reads:
            raise InvalidProblemError(
                f"`unit` must have been measured with metric='refit', got {unit!r}. "
                "Extract with that metric."
            )
        found = self.coupling.unit(unit)
        covariances, products = pairs_of(found, self.reads[unit], self.inputs)
        if not len(products):  # all that is read is constant: no set is worth more
            zeros = np.zeros((1, found.size, found.size))
            covariances, products = zeros + np.eye(found.size), zeros
        return ReconstructionProblem(covariances, products, ridge=ridge, name=unit)

    def dead_channels(self) -> dict[str, tuple[int, ...]]:
        """Return the dead channels of the units that are left, by unit."""
        return {n: tuple(self.dead[n].tolist()) for n in self if n in self.dead}

    def mean_importance(self, unit: str) -> FloatArray | None:
        """Return the unit's importances, averaged over its layers; None without."""
        terms = list(self.importance.get(unit, {}).values())
        return np.mean(terms, axis=0) if terms else None
