"""ChannelGraph: the complete graph of a layer's channels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sirfp_opt._copies import ReadOnly
from sirfp_opt._foreign import (
    Foreign,
    make_networkx,
    read_networkx,
    read_pandas,
    read_sparse,
)
from sirfp_opt._validate import (
    BoolArray,
    Checked,
    FloatArray,
    IntArray,
    as_adjacency,
    as_labels,
    as_vector,
    checked_square,
    frozen,
    magnitude,
    row_magnitudes,
)
from sirfp_opt.sense import Sense

if TYPE_CHECKING:
    from collections.abc import Sequence

    import networkx as nx
    import pandas as pd
    from numpy.typing import ArrayLike

__all__ = ["ChannelGraph"]

# Rows that are priced at a time.
_ROWS = 64


@dataclass(frozen=True, eq=False, repr=False, init=False)
class ChannelGraph(ReadOnly):
    """A weighted graph whose vertices are the n channels of one layer.

    Build one with `from_redundancy`, `from_diversity`, `from_reconstruction`,
    `from_networkx` or `from_pandas`. Arrays are copied, checked once and read-only
    ever after.

    Parameters
    ----------
    weights : array_like of shape (n, n)
        Symmetric edge weights w_ij. The diagonal is moved to `self_redundancy`
        and is no part of the objective.
    sense : Sense or str
        "minimize" for redundancies, "maximize" for diversities.
    vertex_weights : array_like of shape (n,), optional
        v_i, added to the objective for every channel kept. Zero by default.
    adjacency : array_like of bool, shape (n, n), optional
        False off the diagonal marks a missing edge: these two channels may not
        both be kept. By default the graph is complete.
    name : str
        Shown in reports, for instance the layer's name.
    labels : sequence of str, optional
        A name for each channel.
    self_redundancy : array_like of shape (n,), optional
        What a channel's redundancy with itself is; the diagonal of `weights` if not
        given. No part of the objective.

    Raises
    ------
    InvalidProblemError
        If an array is not real, finite, symmetric or of the right shape.

    Notes
    -----
    The value of a set S of channels is Σ_{i<j in S} w_ij + Σ_{i in S} v_i, the
    objective of the maximum edge weight clique problem of fixed size, also known
    as the maximum diversity problem (SIRFP, arXiv 2412.12672, section 3).

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import ChannelGraph
    >>> graph = ChannelGraph.from_redundancy(np.array([[0.0, 0.9], [0.9, 0.0]]))
    >>> graph.n, graph.sense.value
    (2, 'minimize')
    """

    weights: FloatArray
    sense: Sense
    vertex_weights: FloatArray
    adjacency: BoolArray | None
    name: str
    labels: tuple[str, ...] | None
    self_redundancy: FloatArray

    def __init__(
        self,
        weights: ArrayLike | Checked,
        *,
        sense: Sense | str = Sense.MAXIMIZE,
        vertex_weights: ArrayLike | None = None,
        adjacency: ArrayLike | None = None,
        name: str = "",
        labels: Sequence[str] | None = None,
        self_redundancy: ArrayLike | None = None,
    ) -> None:
        matrix, largest = checked_square(weights, "weights")
        n = matrix.shape[0]
        diagonal = (
            matrix.diagonal().copy()
            if self_redundancy is None
            else as_vector(self_redundancy, n, "self_redundancy")
        )
        np.fill_diagonal(matrix, 0.0)
        vertex = np.zeros(n)
        if vertex_weights is not None:
            vertex = as_vector(vertex_weights, n, "vertex_weights")
        edges = None if adjacency is None else as_adjacency(adjacency, n)
        if edges is not None:
            # A missing edge carries no weight, whatever the matrix said.
            matrix[~edges] = 0.0
            frozen(edges)
        for array in (matrix, diagonal, vertex):
            frozen(array)
        store = object.__setattr__
        store(self, "weights", matrix)
        store(self, "sense", Sense.of(sense))
        store(self, "vertex_weights", vertex)
        store(self, "adjacency", edges)
        store(self, "name", str(name))
        store(self, "labels", None if labels is None else as_labels(labels, n))
        store(self, "self_redundancy", diagonal)
        # Known already, unless the diagonal or a missing edge may have held it.
        plain = vertex_weights is self_redundancy is edges is None
        if plain and magnitude(diagonal) < largest:
            self.__dict__["largest"] = largest

    @property
    def n(self) -> int:
        """Number of channels."""
        return len(self.weights)

    def value_of(self, channels: IntArray) -> float:
        """Return Σ_{i<j in S} w_ij + Σ_{i in S} v_i of distinct channels.

        Parameters
        ----------
        channels : ndarray of int64
            Not checked, in contrast to `PruningProblem.evaluate`.
        """
        # Some rows at a time: a copy of the block may be as large as the graph.
        sums: list[float] = []
        many = 4 * channels.size >= self.n  # then whole rows are quicker to take
        for start in range(0, channels.size, _ROWS):
            rows = channels[start : start + _ROWS]
            if many:
                block = self.weights.take(rows, 0).take(channels, 1)
            else:
                block = self.weights[rows[:, None], channels]
            sums += block.sum(axis=1).tolist()
        own = self.vertex_weights[channels].sum() if self.has_vertex_weights else 0.0
        return sum(sums) / 2 + float(own)

    @cached_property
    def reach(self) -> FloatArray:
        """Largest magnitude of an edge at each channel, shape (n,)."""
        reach = row_magnitudes(self.weights)
        frozen(reach)
        return reach

    @cached_property
    def row_sums(self) -> FloatArray:
        """Σ_j w_ij for each channel i, shape (n,)."""
        sums: FloatArray = self.weights.sum(axis=1)
        frozen(sums)
        return sums

    @cached_property
    def largest(self) -> float:
        """Largest magnitude of an edge or a vertex weight."""
        own = np.abs(self.vertex_weights).max() if self.has_vertex_weights else 0.0
        return max(float(self.weights.max()), -float(self.weights.min()), float(own))

    @cached_property
    def has_vertex_weights(self) -> bool:
        """Whether any vertex weight is not 0."""
        return bool(self.vertex_weights.any())

    def __repr__(self) -> str:
        parts = [f"n={self.n}", f"sense={self.sense.value!r}"]
        if self.adjacency is not None:
            parts.append(f"missing_edges={int((~self.adjacency).sum()) // 2}")
        parts += [f"name={self.name!r}"] if self.name else []
        return f"ChannelGraph({', '.join(parts)})"

    @classmethod
    def from_redundancy(
        cls,
        redundancy: ArrayLike,
        *,
        absolute: bool = False,
        vertex_weights: ArrayLike | None = None,
        adjacency: ArrayLike | None = None,
        name: str = "",
        labels: Sequence[str] | None = None,
    ) -> ChannelGraph:
        """Make a graph to be minimised from how alike each pair of channels is.

        Parameters
        ----------
        redundancy : array_like of shape (n, n)
            Symmetric, taken as given (signs kept); its diagonal is kept aside.
        absolute : bool
            Take abs(R) instead, as the paper does when it prunes.
        vertex_weights, adjacency, name, labels
            As for `ChannelGraph`.
        """
        checked = checked_square(redundancy, "redundancy")
        if absolute:
            np.abs(checked.array, out=checked.array)
        return cls(
            weights=checked,
            sense=Sense.MINIMIZE,
            vertex_weights=vertex_weights,
            adjacency=adjacency,
            name=name,
            labels=labels,
        )

    @classmethod
    def from_diversity(
        cls,
        diversity: ArrayLike,
        *,
        vertex_weights: ArrayLike | None = None,
        adjacency: ArrayLike | None = None,
        name: str = "",
        labels: Sequence[str] | None = None,
    ) -> ChannelGraph:
        """Make a graph to be maximised from how unlike each pair of channels is.

        Parameters
        ----------
        diversity : array_like of shape (n, n)
            Symmetric; its diagonal is kept aside.
        vertex_weights, adjacency, name, labels
            As for `ChannelGraph`.
        """
        return cls(
            weights=checked_square(diversity, "diversity"),
            sense=Sense.MAXIMIZE,
            vertex_weights=vertex_weights,
            adjacency=adjacency,
            name=name,
            labels=labels,
        )

    @classmethod
    def from_reconstruction(
        cls,
        errors: ArrayLike,
        *,
        adjacency: ArrayLike | None = None,
        name: str = "",
        labels: Sequence[str] | None = None,
    ) -> ChannelGraph:
        """Make a graph, to be maximised, of the error that keeping channels avoids.

        Where dropping a set D of channels costs Σ_{i,j in D} E_ij, keeping the rest, K,
        avoids Σ_{i,j} E_ij - Σ_{i,j in D} E_ij, which is

        Σ_{i in K} (2 Σ_j E_ij - E_ii) - 2 Σ_{i<j in K} E_ij.

        With E_ij the inner product of what channels i and j contribute to the layers
        that read them, that cost is the squared error which these layers see (Luo et
        al., ICCV 2017, arXiv 1707.06342, section 3.2).

        Parameters
        ----------
        errors : array_like of shape (n, n)
            E, symmetric; its diagonal is kept aside, too, as `self_redundancy`.
        adjacency, name, labels
            As for `ChannelGraph`.

        Examples
        --------
        Two channels that cancel each other are best dropped together:

        >>> from sirfp_opt import ChannelGraph, solve
        >>> errors = [[1.0, -0.9, 0.0], [-0.9, 1.0, 0.0], [0.0, 0.0, 0.5]]
        >>> graph = ChannelGraph.from_reconstruction(errors)
        >>> solve(graph, 1, "exact").selected.tolist()
        [2]
        """
        matrix = checked_square(errors, "errors").array
        own = matrix.diagonal().copy()
        return cls(
            weights=-2.0 * matrix,
            sense=Sense.MAXIMIZE,
            vertex_weights=2.0 * matrix.sum(axis=1) - own,
            adjacency=adjacency,
            name=name,
            labels=labels,
            self_redundancy=own,
        )

    @classmethod
    def from_networkx(
        cls,
        graph: nx.Graph[Any],
        *,
        weight: str = "weight",
        vertex_weight: str | None = None,
        sense: Sense | str = Sense.MAXIMIZE,
        name: str = "",
    ) -> ChannelGraph:
        """Make a graph from a `networkx.Graph`; a missing edge = incompatible.

        Parameters
        ----------
        graph : networkx.Graph
            Undirected, without parallel edges. Channels are numbered in the order
            of ``graph.nodes``; the nodes' names become the labels.
        weight : str
            Edge attribute that holds w_ij; every edge must have it.
        vertex_weight : str, optional
            Node attribute that holds v_i; every node must have it.
        sense : Sense or str
            Which way to optimise, "maximize" by default as in the MEWCP literature.
        name : str
            Defaults to the graph's own name.

        Raises
        ------
        InvalidProblemError
            If the graph is directed, has parallel edges, or an attribute is missing
            or no number.
        """
        return cls._of(read_networkx(graph, weight, vertex_weight), sense, name)

    @classmethod
    def from_pandas(
        cls,
        frame: pd.DataFrame,
        *,
        sense: Sense | str = Sense.MAXIMIZE,
        name: str = "",
    ) -> ChannelGraph:
        """Make a graph from a square DataFrame whose index equals its columns.

        Parameters
        ----------
        frame : pandas.DataFrame of shape (n, n)
            Edge weights; index and columns hold the channels' labels.
        sense : Sense or str
            Which way to optimise, "maximize" by default as in the MEWCP literature.
        name : str
            Shown in reports.

        Raises
        ------
        InvalidProblemError
            If index and columns differ, or the values are no valid weights.
        """
        return cls._of(read_pandas(frame), sense, name)

    @classmethod
    def from_sparse(
        cls,
        matrix: Any,
        *,
        absent: str,
        sense: Sense | str = Sense.MAXIMIZE,
        name: str = "",
    ) -> ChannelGraph:
        """Make a graph from a scipy.sparse matrix, once it is said what is not there.

        Parameters
        ----------
        matrix : scipy.sparse array or matrix of shape (n, n)
            Symmetric; entries that come twice add up, stored zeros are entries.
        absent : {"zero", "missing"}
            What two channels without an entry are: a pair that weighs 0, or one whose
            edge is missing, so that the two may not both be kept.
        sense, name
            As for `ChannelGraph`.

        Raises
        ------
        InvalidProblemError
            If the matrix is not sparse, real, finite, square and symmetric.
        """
        return cls._of(read_sparse(matrix, absent), sense, name)

    @classmethod
    def _of(cls, read: Foreign, sense: Sense | str, name: str) -> ChannelGraph:
        return cls(
            weights=read.weights,
            sense=Sense.of(sense),
            vertex_weights=read.vertex_weights,
            adjacency=read.adjacency,
            name=name or read.name,
            labels=read.labels,
        )

    def to_networkx(self) -> nx.Graph[int]:
        """Return the graph as a `networkx.Graph` over 0..n-1, missing edges left out.

        Edges carry "weight", nodes "weight" (v_i) and, where known, "label".
        """
        return make_networkx(
            self.weights, self.vertex_weights, self.adjacency, self.labels, self.name
        )
