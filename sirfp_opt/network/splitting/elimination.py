"""Exact minimisation of a sum of unary and pairwise terms, unit after unit.

The convolutions of a network couple its pruning units like the edges of a graph, and
that graph is thin: a residual stage is a hub with triangles. Once the units in between
are minimised out, one after another, what is left is small (bucket elimination,
R. Dechter, Artificial Intelligence 113, 1999, doi:10.1016/S0004-3702(99)00059-4).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sirfp_opt._validate import FloatArray, IntArray

__all__ = ["Elimination", "elimination_order", "largest_scope"]

Pair = tuple[int, int]


@dataclass(eq=False)
class _Bucket:
    """Terms over a set of units of which the first one is minimised out."""

    scope: tuple[int, ...]
    share: float
    pairs: list[Pair]
    table: FloatArray
    message: FloatArray
    children: list[_Bucket] = field(default_factory=list)
    parent: _Bucket | None = None


class Elimination:
    """Minimise Σ_u unary_u(x_u) + Σ_(u,v) c_uv left_u(x_u) left_v(x_v) over states x.

    Parameters
    ----------
    unary : sequence of ndarray of shape (states,)
        One for each unit.
    levels : sequence of ndarray of shape (states,)
        left_u: what stands for a state in the products.
    pairs : mapping of (int, int) to float
        c_uv for u < v.
    max_table : int
        Most entries of a table. Where the graph is too thick for it, a unit is split
        into copies that share its unary term and need not agree: the minimum becomes
        a lower bound (mini-buckets, Dechter and Rish, doi:10.1145/636865.636866).

    Attributes
    ----------
    value : float
        The minimum, or the lower bound.
    exact : bool
        Whether no unit had to be split.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt.network.splitting.elimination import Elimination
    >>> unary, levels = [np.array([0.0, -3.0])] * 2, [np.array([1.0, 2.0])] * 2
    >>> Elimination(unary, levels, {(0, 1): 1.0}).value
    -2.0
    """

    def __init__(
        self,
        unary: Sequence[FloatArray],
        levels: Sequence[FloatArray],
        pairs: Mapping[Pair, float],
        *,
        max_table: int = 4_000_000,
    ) -> None:
        self.unary = unary
        self.levels = levels
        self.pairs = dict(pairs)
        self.exact = True
        self.value = 0.0
        self._states = [len(u) for u in unary]
        self._order = elimination_order(self._states, list(pairs))
        self._rank = {unit: place for place, unit in enumerate(self._order)}
        self._buckets: list[_Bucket] = []
        self._roots: list[_Bucket] = []
        self._run(max_table)

    def _run(self, max_table: int) -> None:
        own: dict[int, list[Pair]] = {unit: [] for unit in self._order}
        for u, v in self.pairs:
            own[min((u, v), key=self._rank.__getitem__)].append((u, v))
        waiting: dict[int, list[_Bucket]] = {unit: [] for unit in self._order}
        for unit in self._order:
            groups = self._groups(unit, own[unit], waiting[unit], max_table)
            self.exact &= len(groups) == 1
            for scope, pairs, children in groups:
                bucket = self._fill(scope, 1.0 / len(groups), pairs, children)
                self._buckets.append(bucket)
                if len(scope) > 1:
                    waiting[scope[1]].append(bucket)
                else:
                    self._roots.append(bucket)
                    self.value += float(bucket.message)

    def _groups(
        self, unit: int, pairs: list[Pair], children: list[_Bucket], max_table: int
    ) -> list[tuple[tuple[int, ...], list[Pair], list[_Bucket]]]:
        """Put a unit's terms into as few groups as fit the largest table."""
        terms: list[tuple[set[int], Pair | _Bucket]] = [
            *((set(child.scope[1:]), child) for child in children),
            *((set(pair), pair) for pair in pairs),
        ]
        terms.sort(key=lambda term: -self._entries(term[0]))
        groups: list[tuple[set[int], list[Pair], list[_Bucket]]] = []
        for scope, term in terms:
            for group in groups:
                if self._entries(group[0] | scope) <= max_table:
                    group[0].update(scope)
                    break
            else:
                group = ({unit} | scope, [], [])
                groups.append(group)
            if isinstance(term, _Bucket):
                group[2].append(term)
            else:
                group[1].append(term)
        ranked = [
            (tuple(sorted(scope, key=self._rank.__getitem__)), some, below)
            for scope, some, below in groups
        ]
        return ranked or [((unit,), [], [])]

    def _entries(self, scope: set[int]) -> float:
        return float(np.prod([float(self._states[unit]) for unit in scope]))

    def _fill(
        self,
        scope: tuple[int, ...],
        share: float,
        pairs: list[Pair],
        children: list[_Bucket],
    ) -> _Bucket:
        table = np.zeros([self._states[unit] for unit in scope])
        table += _spread(self.unary[scope[0]] * share, scope[:1], scope)
        for u, v in pairs:
            product = self.pairs[u, v] * np.multiply.outer(
                self.levels[u], self.levels[v]
            )
            table += _spread(product, (u, v), scope)
        for child in children:
            table += _spread(child.message, child.scope[1:], scope)
        bucket = _Bucket(scope, share, pairs, table, table.min(axis=0), children)
        for child in children:
            child.parent = bucket
        return bucket

    def minimizer(self) -> tuple[IntArray, list[tuple[_Bucket, dict[int, int]]]]:
        """Return a state for each unit, and for each bucket the states it assumed.

        Where units were split, a unit's copies may assume several states; the first
        found is returned.
        """
        states: dict[int, int] = {}
        assumed: list[tuple[_Bucket, dict[int, int]]] = []
        below: list[tuple[_Bucket, dict[int, int]]] = [(b, {}) for b in self._roots]
        while below:
            bucket, known = below.pop()
            known = {unit: known[unit] for unit in bucket.scope[1:]}
            rows = np.moveaxis(bucket.table, 0, -1)[tuple(known.values())]
            known[bucket.scope[0]] = int(rows.argmin())
            states.setdefault(bucket.scope[0], known[bucket.scope[0]])
            assumed.append((bucket, known))
            below.extend((child, known) for child in bucket.children)
        return np.array([states[u] for u in range(len(states))]), assumed

    def marginals(self) -> list[FloatArray]:
        """Return, for each unit and state, the minimum over all x with that state.

        A lower bound on it where units were split.
        """
        out = [np.full(states, -np.inf) for states in self._states]
        beliefs: dict[int, FloatArray] = {}
        for bucket in reversed(self._buckets):  # parents before children
            belief, parent = bucket.table, bucket.parent
            if parent is not None:
                passed = bucket.scope[1:]
                rest = beliefs[id(parent)] - _spread(
                    bucket.message, passed, parent.scope
                )
                gone = [i for i, u in enumerate(parent.scope) if u not in passed]
                belief = belief + rest.min(axis=tuple(gone))[np.newaxis]
            beliefs[id(bucket)] = belief
            unit = bucket.scope[0]
            low = belief.min(axis=tuple(range(1, belief.ndim)))
            np.maximum(out[unit], self.value + low - low.min(), out=out[unit])
        return out


def elimination_order(states: Sequence[int], pairs: Sequence[Pair]) -> list[int]:
    """Return units in an order of elimination: the smallest table first.

    Parameters
    ----------
    states : sequence of int
        Number of states of each unit.
    pairs : sequence of (int, int)
        Units that are coupled.
    """
    return [scope[0] for scope in _scopes(states, pairs)]


def largest_scope(states: Sequence[int], pairs: Sequence[Pair]) -> tuple[int, ...]:
    """Return the units of the largest table that the elimination will need."""
    size = np.log(np.asarray(states, dtype=np.float64))
    scopes = _scopes(states, pairs)
    return max(scopes, key=lambda scope: float(size[list(scope)].sum()))


def _scopes(states: Sequence[int], pairs: Sequence[Pair]) -> list[tuple[int, ...]]:
    """Return, in order of elimination, a unit and those it is coupled with by then."""
    near: list[set[int]] = [set() for _ in states]
    for u, v in pairs:
        near[u].add(v)
        near[v].add(u)
    size = np.log(np.asarray(states, dtype=np.float64)).tolist()
    table = [size[u] + sum(size[v] for v in near[u]) for u in range(len(size))]
    left, scopes = set(range(len(size))), []
    while left:
        unit = min(left, key=lambda u: (table[u], u))
        left.remove(unit)
        scopes.append((unit, *sorted(near[unit])))
        for v in near[unit]:
            near[v] |= near[unit] - {v}
            near[v].discard(unit)
        for v in near[unit]:
            table[v] = size[v] + sum(size[w] for w in near[v])
    return scopes


def _spread(
    table: FloatArray, scope: tuple[int, ...], wide: tuple[int, ...]
) -> FloatArray:
    """Return `table` over `scope` with an axis of length one for the rest of `wide`."""
    here = [unit for unit in wide if unit in scope]
    ordered = np.transpose(table, [scope.index(unit) for unit in here])
    shape = [table.shape[scope.index(u)] if u in scope else 1 for u in wide]
    return ordered.reshape(shape)
