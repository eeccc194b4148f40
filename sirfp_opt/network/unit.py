"""One pruning unit of a network's problem, as an allocation sees it."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt._validate import FloatArray, as_vector
from sirfp_opt.errors import InvalidProblemError

if TYPE_CHECKING:
    from sirfp_opt.graph import ChannelGraph
    from sirfp_opt.reconstruction import ReconstructionProblem

__all__ = ["MemberGraph", "UnitView"]


@dataclass(frozen=True, eq=False)
class MemberGraph:
    """One of the layers that show a unit's channels.

    Parameters
    ----------
    name : str
        The layer's name.
    redundancy : ndarray of shape (n, n)
        Its measured matrix, diagonal included.
    edge : ndarray of shape (n,), optional
        Its edge term.

    Raises
    ------
    InvalidProblemError
        If an array is of another shape.
    """

    name: str
    redundancy: FloatArray
    edge: FloatArray | None = None

    def __post_init__(self) -> None:
        # Not copied: the matrices of a large network fill gigabytes.
        matrix = np.asarray(self.redundancy, dtype=np.float64)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise InvalidProblemError(
                f"`redundancy` of {self.name!r} must be a square matrix, got shape "
                f"{matrix.shape}. One row and one column stand for each channel."
            )
        object.__setattr__(self, "redundancy", matrix)
        if self.edge is not None:
            object.__setattr__(self, "edge", as_vector(self.edge, len(matrix), "edge"))


@dataclass(frozen=True, eq=False)
class UnitView:
    """What an allocation may know of one unit; `NetworkProblem.views` makes them.

    Attributes
    ----------
    name : str
        The unit's name.
    graph : ChannelGraph or ReconstructionProblem
        Its n channels.
    counts : tuple of int
        Every number of channels that may be kept, ascending.
    minimum : int
        The least number asked for, before it is rounded up to the first of `counts`.
    tied : sequence of sequences of int
        Channels that only go together: classes of one size that cover all channels,
        or none.
    must_keep, must_drop : tuple of int
        Channels that are in, or out, of every set.
    edge : ndarray of shape (n,), optional
        Edge term, for scores that start from it.
    members : tuple of MemberGraph
        The single layers, for allocations that score each of them.
    """

    name: str
    graph: ChannelGraph | ReconstructionProblem
    counts: tuple[int, ...]
    minimum: int = 1
    tied: tuple[tuple[int, ...], ...] = ()
    must_keep: tuple[int, ...] = ()
    must_drop: tuple[int, ...] = ()
    edge: FloatArray | None = None
    members: tuple[MemberGraph, ...] = ()

    @property
    def size(self) -> int:
        """Number of channels before pruning."""
        return self.graph.n

    @property
    def classes(self) -> tuple[tuple[int, ...], ...]:
        """The tied classes; single channels where nothing is tied."""
        return self.tied or tuple((c,) for c in range(self.size))

    @property
    def least(self) -> int:
        """Smallest allowed number of channels."""
        return self.counts[0]

    @property
    def most(self) -> int:
        """Largest allowed number of channels."""
        return self.counts[-1]

    def allowed(self, count: float) -> int:
        """Return the largest allowed number of at most `count`, or the least one."""
        return self.counts[max(0, bisect_right(self.counts, count) - 1)]
