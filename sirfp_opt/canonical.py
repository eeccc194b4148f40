"""CanonicalProblem: the one form that every solver of clique problems sees."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt._validate import (
    BoolArray,
    FloatArray,
    IntArray,
    frozen,
    row_magnitudes,
)
from sirfp_opt.canonical_form import CanonicalForm, Singles
from sirfp_opt.errors import InfeasibleError
from sirfp_opt.grain import common_step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sirfp_opt.constraints import LayerConstraints
    from sirfp_opt.graph import ChannelGraph

__all__ = ["CanonicalProblem", "canonicalize", "divide", "reachable"]

# Weights between 2^-100 and 2^100 are worked with as they are: the copy is saved.
_ORDINARY = 100
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False, kw_only=True)
class CanonicalProblem(CanonicalForm):
    """Choose items X to maximise Σ_{i<j in X} W_ij + Σ_{i in X} c_i.

    The chosen items' sizes must add up to one of `counts`, and no two of them may be
    in conflict. An item stands for one free channel or one free tied group; channels
    that are kept for certain have become part of `values` and `offset`.

    Attributes
    ----------
    weights : ndarray of shape (m, m)
        W, symmetric with a zero diagonal, already signed so that more is better.
    values : ndarray of shape (m,)
        c, the items' own gains, those from channels kept for certain included.
    graph : ChannelGraph or None
        Whose weights W are, but for the sign, where that is so.
    """

    weights: FloatArray
    values: FloatArray
    graph: ChannelGraph | None = None

    @property
    def row_sums(self) -> FloatArray:
        """Σ_j W_ij of each item; a graph keeps its own from one call to the next."""
        if self.graph is None:
            sums: FloatArray = self.weights.sum(axis=1)
            return sums
        return self.graph.row_sums if self.sign > 0 else -self.graph.row_sums

    @property
    def reach(self) -> FloatArray:
        """max_j |W_ij| of each item, likewise."""
        if self.graph is None:
            return row_magnitudes(self.weights)
        return self.graph.reach

    @cached_property
    def rounding_error(self) -> float:
        """How far a float64 value of this problem can be off.

        A sum of N terms is off by at most (N - 1) · eps · Σ|terms| (Higham 2002,
        §4.2); row by row, N is at most m + 2.
        """
        total = float(np.abs(self.weights).sum() + np.abs(self.values).sum())
        return _EPS * (self.m + 2) * (total + abs(self.offset))

    @property
    def scores(self) -> FloatArray:
        """c_i + ½ · Σ_j W_ij: half of each pair, whoever is chosen."""
        scores: FloatArray = self.row_sums / 2
        scores += self.values
        return scores

    def bounds_by_count(self) -> dict[int, float]:
        """Return the combinatorial bound for each allowed count."""
        from sirfp_opt.partner_bound import bounds_by_count

        return bounds_by_count(self)

    def values_of(self, chosen: BoolArray) -> FloatArray:
        """Return the values of sets given as rows of a mask of shape (b, m)."""
        inside = chosen.astype(np.float64)
        pairs = np.einsum("bi,bi->b", inside @ self.weights, inside) / 2
        values: FloatArray = pairs + inside @ self.values
        return values

    def evaluate(self, items: Sequence[int] | IntArray) -> float:
        """Return the value of a set of items in this form, without the offset."""
        chosen = np.asarray(items, dtype=np.int64)
        pairs = self.weights[np.ix_(chosen, chosen)].sum() / 2
        return float(pairs + self.values[chosen].sum())

    @property
    def grain(self) -> float:
        """A step that the objective, in this form, is a multiple of; 0.0 if none.

        Up to rounding: 0.1, 0.2 and 0.7 have the step 0.1. See `common_step`.
        """
        return self._grid[0]

    @cached_property
    def _grid(self) -> tuple[float, float]:
        """The grain, and how far off a multiple of it a value can be."""
        # A pair stands there twice, so `off` covers each number once and more.
        step, off = common_step(
            np.concatenate(
                (self.weights.ravel(), self.values, self.values, [self.offset] * 2)
            )
        )
        if step == 0.0:
            return 0.0, 0.0
        largest = self.rounding_error / _EPS / step
        whole = Fraction(step).numerator
        if off == 0.0 and whole * largest < 2.0**53:
            return step, 0.0  # all sums are exact
        off += self.rounding_error / 2
        return (step, off) if step > 8.0 * off else (0.0, 0.0)

    def on_grid(self, bound: float) -> float:
        """Lower an upper bound on the canonical value to one that a set can have."""
        step, off = self._grid
        if step == 0.0 or not math.isfinite(bound):
            return bound
        steps = math.floor((bound + self.offset + off) / step)
        return min(bound, steps * step - self.offset + off)


def canonicalize(
    graph: ChannelGraph, constraints: LayerConstraints
) -> CanonicalProblem:
    """Work sense, forced channels and tied groups into a `CanonicalProblem`.

    Parameters
    ----------
    graph : ChannelGraph
    constraints : LayerConstraints
        Indices already known to lie within the graph.

    Returns
    -------
    CanonicalProblem

    Raises
    ------
    InfeasibleError
        If it can be seen here that no set of channels meets the constraints.
    """
    n, sign = graph.n, graph.sense.sign
    k = constraints.k
    if graph.adjacency is None and constraints.only_k and k is not None and k <= n:
        return _plain(graph, sign, (k,))
    missing = None if graph.adjacency is None else ~graph.adjacency
    kept, free, counts = divide(n, constraints, missing)
    edges, values, exponent = _in_reach(graph)
    offset = 0.0
    if kept.size:
        offset = float(edges[np.ix_(kept, kept)].sum() / 2 + values[kept].sum())
        values = values + edges[:, kept].sum(axis=1)

    conflicts: BoolArray | None
    singles = not constraints.tied or all(len(g) == 1 for g in free)
    if singles:
        index = np.arange(n, dtype=np.int64)
        weights, conflicts = edges, missing
        if len(free) < n:
            index = np.asarray([g[0] for g in free], dtype=np.int64)
            weights, values = edges[np.ix_(index, index)], values[index]
            if missing is not None:
                conflicts = missing[np.ix_(index, index)]
    else:
        weights, values, conflicts = _contract(edges, values, missing, free)
    if conflicts is not None and not conflicts.any():
        conflicts = None
    weights = weights if sign > 0 else -weights
    values = sign * values
    members: Singles | tuple[IntArray, ...]
    if singles:
        sizes = np.ones(len(free), dtype=np.int64)
        frozen(index)
        members = Singles(index)  # views of what is read-only are, too
    else:
        sizes = np.asarray([len(g) for g in free], dtype=np.int64)
        members = tuple(np.asarray(g, dtype=np.int64) for g in free)
        for member in members:
            frozen(member)
    for array in (weights, values, sizes, kept):
        frozen(array)
    if conflicts is not None:
        frozen(conflicts)
    return CanonicalProblem(
        weights=weights,
        values=values,
        sizes=sizes,
        conflicts=conflicts,
        counts=counts,
        offset=sign * offset,
        sign=sign,
        kept=kept,
        members=members,
        n=n,
        exponent=exponent,
    )


def _plain(graph: ChannelGraph, sign: int, counts: tuple[int, ...]) -> CanonicalProblem:
    """Canonicalize where every channel is an item: most problems, so it is quick."""
    edges, values, exponent = _in_reach(graph)
    nobody, sizes, members = _everyone(graph.n)
    weights = edges if sign > 0 else -edges
    frozen(weights)
    if graph.has_vertex_weights:
        values = sign * values
        frozen(values)
    return CanonicalProblem(
        weights=weights,
        values=values,
        sizes=sizes,
        conflicts=None,
        counts=counts,
        offset=0.0,
        sign=sign,
        kept=nobody,
        members=members,
        n=graph.n,
        exponent=exponent,
        graph=graph if exponent == 0 else None,
    )


@lru_cache(maxsize=64)
def _everyone(n: int) -> tuple[IntArray, IntArray, Singles]:
    """Return an empty array, ones and the numbers up to n, all read-only."""
    nobody = np.zeros(0, dtype=np.int64)
    sizes = np.ones(n, dtype=np.int64)
    numbers = np.arange(n, dtype=np.int64)
    for array in (nobody, sizes, numbers):
        frozen(array)
    return nobody, sizes, Singles(numbers)


def _in_reach(graph: ChannelGraph) -> tuple[FloatArray, FloatArray, int]:
    """Return edge and vertex weights, and the power of two they were divided by.

    Ordinary weights come back as they are. Others are brought to about 1, which is
    exact but for entries 2^1000 times smaller than the largest.
    """
    edges, vertices = graph.weights, graph.vertex_weights
    exponent = math.frexp(graph.largest)[1] if graph.largest else 0
    if abs(exponent) <= _ORDINARY:
        return edges, vertices, 0
    return _ldexp(edges, -exponent), _ldexp(vertices, -exponent), exponent


def _ldexp(array: FloatArray, exponent: int) -> FloatArray:
    """Multiply by a power of two that may itself be out of range."""
    half = exponent // 2
    scaled: FloatArray = np.ldexp(np.ldexp(array, half), exponent - half)
    return scaled


def divide(
    n: int, constraints: LayerConstraints, missing: BoolArray | None = None
) -> tuple[IntArray, list[tuple[int, ...]], tuple[int, ...]]:
    """Tell which channels stay for certain, and what is left to choose.

    Parameters
    ----------
    n : int
        Number of channels.
    constraints : LayerConstraints
    missing : ndarray of bool, shape (n, n), optional
        Pairs that may not both be kept.

    Returns
    -------
    kept : ndarray of int64
        Channels in every solution.
    free : list of tuple of int
        Channels and tied groups to choose from, by their first channel.
    counts : tuple of int
        Allowed totals that these can make up, without those kept.

    Raises
    ------
    InfeasibleError
        If it can be seen here that no set of channels meets the constraints.
    """
    k = constraints.k
    if constraints.only_k and missing is None and k is not None and k <= n:
        return np.zeros(0, dtype=np.int64), list(zip(range(n))), (k,)
    kept, free = _fix(_groups(n, constraints), constraints, missing)
    sizes = list(map(len, free)) if constraints.tied else [1] * len(free)
    counts = reachable(sizes, [c - kept.size for c in constraints.counts(n)])
    if not counts:
        raise InfeasibleError(
            f"`constraints` must leave a number of channels that can be kept: "
            f"{kept.size} are kept for certain, the free ones come in groups of sizes "
            f"{sorted({len(g) for g in free})}, allowed totals are "
            f"{_brief(constraints.counts(n))}. Loosen k, multiple_of, must_keep, "
            "must_drop or tied."
        )
    return kept, free, counts


def _groups(n: int, constraints: LayerConstraints) -> list[tuple[int, ...]]:
    """Return all channels as groups, singles included, by their first channel."""
    if not constraints.tied:
        return list(zip(range(n)))
    tied = {c for group in constraints.tied for c in group}
    singles = [(c,) for c in range(n) if c not in tied]
    return sorted([*singles, *constraints.tied])


def _fix(
    groups: list[tuple[int, ...]],
    constraints: LayerConstraints,
    missing: BoolArray | None,
) -> tuple[IntArray, list[tuple[int, ...]]]:
    """Return the channels kept for certain and the groups still free to choose."""
    must_keep, must_drop = set(constraints.must_keep), set(constraints.must_drop)
    if not (must_keep or must_drop or (missing is not None and constraints.tied)):
        return np.zeros(0, dtype=np.int64), groups
    kept: list[int] = []
    free = []
    for group in groups:
        stays, goes = not must_keep.isdisjoint(group), not must_drop.isdisjoint(group)
        broken = False
        if missing is not None and len(group) > 1:
            broken = bool(missing[np.ix_(group, group)].any())
        if stays and (goes or broken):
            why = "must_drop names another of them" if goes else "an edge is missing"
            raise InfeasibleError(
                f"`must_keep` must agree with the tied group {_brief(group)}: it keeps "
                f"the group whole, but {why}. Take the group apart or free a channel."
            )
        if stays:
            kept.extend(group)
        elif not (goes or broken):
            free.append(group)
    fixed = np.asarray(sorted(kept), dtype=np.int64)
    if missing is not None and fixed.size:
        clash = missing[np.ix_(fixed, fixed)]
        if clash.any():
            i, j = fixed[np.argwhere(clash)[0]]
            raise InfeasibleError(
                f"`must_keep` must hold channels that are joined by edges, got {i} and "
                f"{j}, whose edge is missing. Free one of them."
            )
        barred: BoolArray = np.any(missing[:, fixed], axis=1)
        free = [g for g in free if not barred[list(g)].any()]
    return fixed, free


def _contract(
    weights: FloatArray,
    values: FloatArray,
    missing: BoolArray | None,
    free: list[tuple[int, ...]],
) -> tuple[FloatArray, FloatArray, BoolArray | None]:
    """Shrink each group to one item: weights between groups add up."""
    member = np.zeros((len(free), weights.shape[0]))
    for item, group in enumerate(free):
        member[item, list(group)] = 1.0
    between = member @ weights @ member.T
    between = (between + between.T) / 2
    inside = between.diagonal() / 2
    own = member @ values + inside
    np.fill_diagonal(between, 0.0)
    conflicts = None
    if missing is not None:
        conflicts = (member @ missing.astype(np.float64) @ member.T) > 0.5
        np.fill_diagonal(conflicts, False)
    return between, own, conflicts


def reachable(sizes: list[int], counts: list[int]) -> tuple[int, ...]:
    """Return the counts that some subset of `sizes` adds up to.

    Parameters
    ----------
    sizes : list of int
        Positive.
    counts : list of int
        Of any sign; no negative one is ever reached.

    Returns
    -------
    tuple of int
    """
    if max(sizes, default=1) == 1:
        return tuple(c for c in counts if 0 <= c <= len(sizes))
    sums = 1  # a set of sums: bit s = sum s
    for size in sizes:
        sums |= sums << size
    return tuple(c for c in counts if c >= 0 and sums >> c & 1)


def _brief(values: Sequence[int]) -> str:
    """Show a long run of numbers by its ends."""
    if len(values) <= 6:
        return str(list(values))
    return f"[{values[0]}, {values[1]}, ..., {values[-1]}]"
