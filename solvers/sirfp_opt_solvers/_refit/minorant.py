"""A quadratic function of the dropped set that is nowhere above the loss.

M⁻¹ is at least its tangent 2T − T'MT, so that for *any* vectors x_i, one for each
channel (and one set of them for each reader), with P = WW' and w_i the rows of W,

    f(D) = Σ_r tr(P_DD M_DD⁻¹)  >=  q(D) = Σ_r Σ_{i in D} 2⟨w_i, x_i⟩
                                           − Σ_r Σ_{i,j in D} M_ij ⟨x_i, x_j⟩,

with equality where X_D = M_DD⁻¹ W_D. The least q over all sets of a size is a clique
problem, whose proof is a bound on f. The best X is a concave problem; its dual is over
distributions p on sets:

    min_p  Σ_r tr(W'Y₁ (M∘Y)⁻¹ Y₁W),    Y = E_p[1_D 1_D'],  Y₁ = Diag(E_p[1_D]),

with X = (M∘Y)⁻¹ Y₁W. It is solved by column generation: weights for the sets at hand,
then sets of least q for that X.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.optimize import minimize
from scipy.special import softmax

from sirfp_opt import (
    ChannelGraph,
    LayerConstraints,
    Progress,
    PruningProblem,
    Sense,
    solve,
)
from sirfp_opt_solvers._kernels.refit import descend

if TYPE_CHECKING:
    from collections.abc import Callable

    from sirfp_opt_solvers._refit.drops import Drops

    Stop = Callable[[], bool]

__all__ = ["Minorant", "Quadratic", "half_of"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Items = NDArray[np.int64]

_EPS = float(np.finfo(np.float64).eps)
# Eigenvalues of P below this part of the largest are left out of W: P >= WW' still.
_RANK = 1e-13
# Steps of L-BFGS on the weights of the sets: at first, and at most.
_STEPS, _MOST_STEPS = 20, 300
# Sets that one descent starts from, sets that one round adds, sets that are kept.
_STARTS, _NEW, _KEPT = 16, 40, 400
# Part of the loss within which bound and best q agree.
_CLOSE = 1e-4


@dataclass(frozen=True, eq=False)
class Quadratic:
    """q over items: linear·z − z'·quadratic·z, its numbers off by `rounding` in all."""

    linear: Floats
    quadratic: Floats
    rounding: float

    def values(self, sets: Bools) -> Floats:
        """Return q of sets, the rows of a mask of shape (b, m)."""
        z = sets.astype(np.float64)
        values: Floats = z @ self.linear - np.einsum("bi,bi->b", z @ self.quadratic, z)
        return values

    def prove(
        self,
        drops: Drops,
        *,
        seconds: float | None = None,
        target: float = np.inf,
        stop: Stop = lambda: False,
    ) -> float:
        """Return a proven bound on the least q over the sets of the right size.

        Parameters
        ----------
        drops : Drops
        seconds : float, optional
            Wall-clock time to spend.
        target : float
            A bound that is enough. Where a set shows that it cannot be reached, the
            search ends, too.
        stop : callable
            Asked about ten times a second.
        """
        vertex = self.linear - np.diagonal(self.quadratic)
        edges = -2.0 * self.quadratic
        np.fill_diagonal(edges, 0.0)
        sizes = drops.sizes
        rules = LayerConstraints(drops.total)
        if (sizes != 1).any():
            vertex, edges, rules = _spread(vertex, edges, sizes, drops.total)
        graph = ChannelGraph(edges, sense=Sense.MINIMIZE, vertex_weights=vertex)

        def settled(progress: Progress) -> bool:
            if progress.bound is not None and progress.bound >= target:
                return True
            low = progress.objective
            return stop() or (low is not None and low < target < np.inf)

        problem = PruningProblem(graph, rules)
        found = solve(problem, method="exact", time_limit=seconds, callback=settled)
        return -np.inf if found.bound is None else found.bound - self.rounding


def _spread(
    vertex: Floats, edges: Floats, sizes: Items, total: int
) -> tuple[Floats, Floats, LayerConstraints]:
    """Return the same problem over channels: an item is its first one, tied to rest."""
    ends = np.cumsum(sizes)
    first = ends - sizes
    wide_vertex, wide = np.zeros(ends[-1]), np.zeros((ends[-1], ends[-1]))
    wide_vertex[first] = vertex
    wide[np.ix_(first, first)] = edges
    tied = [range(a, b) for a, b in zip(first.tolist(), ends.tolist(), strict=True)]
    return wide_vertex, wide, LayerConstraints(total, tied=tied)


class Minorant:
    """The search for the best q: sets, their weights, and the X they stand for.

    Parameters
    ----------
    drops : Drops
    rng : numpy.random.Generator
        Draws sets to start descents from.

    Attributes
    ----------
    best : Quadratic or None
        The q with the highest value at the lowest set known for it.
    level : float
        That value: no bound, but what the proof will show if no lower set is there.
    ceiling : float
        Value of the dual: no q of any X can prove more.
    columns : ndarray of bool, shape (s, m)
        The sets.
    weights : ndarray of shape (s,)
        Their logarithmic weights.
    """

    def __init__(self, drops: Drops, rng: np.random.Generator) -> None:
        self.drops, self._rng = drops, rng
        # The bound does not depend on the channels' units: M gets a unit diagonal.
        scale = np.sqrt(np.einsum("rii->ri", drops.precisions))
        unit = scale[:, :, None] * scale[:, None, :]
        self._precisions = drops.precisions / unit
        self._filters = [half_of(product) for product in drops.products / unit]
        self.best: Quadratic | None = None
        self.level = -np.inf
        self.ceiling = np.inf
        self.columns: Bools = np.zeros((0, drops.m), dtype=bool)
        self.weights: Floats = np.zeros(0)

    def ascend(
        self,
        columns: Bools,
        known: float,
        *,
        logs: Floats | None = None,
        target: float = np.inf,
        rounds: int = 30,
        stop: Stop = lambda: False,
    ) -> None:
        """Generate columns until the best q is found, or `target` is seen to be met.

        Parameters
        ----------
        columns : ndarray of bool, shape (s, m)
            Sets to begin with, of the right total.
        known : float
            A loss that is known: the scale of what counts as close.
        logs : ndarray of shape (s,), optional
            Logarithmic weights of the sets to begin with.
        target : float
            A level that is enough. Where no q reaches it, the search ends, too.
        rounds : int
        stop : callable
            Asked between rounds.
        """
        self._scale = max(known, 1e-300)
        sets = self._covering(columns)
        if logs is None:
            logs = np.zeros(len(sets))
            logs[int(self.drops.losses(sets).argmin())] = 3.0
        else:
            fresh = np.full(len(sets) - len(logs), logs.max() - 6.0)
            logs = np.concatenate((logs, fresh))
        steps = _STEPS
        for _ in range(rounds):
            logs = self._tune(logs, sets, steps)
            value, q = self._dual(softmax(logs), sets)
            self.ceiling, self.columns, self.weights = value, sets, logs
            found = self._descents(q, sets)
            lows = q.values(found)
            low = float(lows.min())
            if low > self.level:
                self.level, self.best = low, q
            hopeless = value < target < np.inf and low > 0.98 * value
            if (
                low >= target
                or hopeless
                or value - low < _CLOSE * self._scale
                or stop()
            ):
                return
            new = _unknown(found[np.argsort(lows)], sets)[:_NEW]
            if not len(new):
                if steps >= _MOST_STEPS:
                    return
                steps *= 3
                continue
            keep = np.argsort(-logs)[:_KEPT]
            sets = np.concatenate((sets[keep], new))
            logs = np.concatenate(
                (logs[keep], np.full(len(new), logs[keep].max() - 6.0))
            )

    def kept_by_best(self, most: int) -> list[Items]:
        """Return the items that stay where the sets of least loss are dropped."""
        order = np.argsort(self.drops.losses(self.columns))[:most]
        return [np.flatnonzero(~self.columns[row]) for row in order]

    def _dual(self, p: Floats, sets: Bools) -> tuple[float, Quadratic]:
        """Return the dual value of weights p, and the q of the X they stand for."""
        z = sets.astype(np.float64) @ self.drops.member
        y = p @ z
        joint = (z * p[:, None]).T @ z
        value, linear, mass = 0.0, np.zeros(y.size), 0.0
        quadratic = np.zeros(joint.shape)
        for precision, filters in zip(self._precisions, self._filters, strict=True):
            matrix = precision * joint
            matrix[np.diag_indices(y.size)] += 1e-12
            right = filters * y[:, None]
            _, x, failed = lapack.dposv(matrix, right, lower=1)
            if failed:  # rounding: any X will do
                x = np.linalg.lstsq(matrix, right)[0]
            value += float(np.vdot(right, x))
            linear += 2.0 * np.einsum("ij,ij->i", filters, x)
            mass += 2.0 * float(np.abs(filters * x).sum())
            quadratic += precision * (x @ x.T)
        # |M_ij ⟨x_i, x_j⟩| <= |x_i| |x_j|, and the diagonal holds |x_i|².
        mass += float(np.sqrt(np.diagonal(quadratic)).sum()) ** 2
        rounding = 2.0 * _EPS * (2 * y.size + 8) * mass
        member = self.drops.member
        if not self.drops.single:
            linear, quadratic = member @ linear, member @ quadratic @ member.T
        return value, Quadratic(linear, (quadratic + quadratic.T) / 2, rounding)

    def _tune(self, logs: Floats, sets: Bools, steps: int) -> Floats:
        """Return better logarithmic weights of the sets, by L-BFGS on the dual."""
        p = softmax(logs)
        value, q = self._dual(p, sets)
        # A weight near 0 has no gradient and would never come back.
        low = q.values(sets) < value - _CLOSE * self._scale
        logs = np.where(low, np.maximum(logs, logs.max() - 4.0), logs)
        scale = self._scale

        def function(t: Floats) -> tuple[float, Floats]:
            p = softmax(t)
            value, q = self._dual(p, sets)
            own = q.values(sets)
            return value / scale, p * (own - float(p @ own)) / scale

        options = {"maxiter": steps, "maxcor": 15}
        found = minimize(  # type: ignore[call-overload]
            function, logs, jac=True, method="L-BFGS-B", options=options
        )
        tuned: Floats = found.x
        return tuned

    def _descents(self, q: Quadratic, sets: Bools) -> Bools:
        """Return sets that no swap makes lower under q."""
        lowest = sets[np.argsort(q.values(sets))[:_STARTS]]
        starts = np.concatenate((lowest, self.drops.random(_STARTS, self._rng)))
        least = 1e-12 * float(np.abs(q.linear).max(initial=1e-300))
        same = len(set(self.drops.sizes.tolist())) == 1
        if same:
            descend(q.linear, q.quadratic, starts, least)
        return np.unique(starts, axis=0)

    def _covering(self, sets: Bools) -> Bools:
        """Return the sets and, for each item in none of them, one that holds it."""
        rows = [sets]
        for item in np.flatnonzero(~sets.any(axis=0)).tolist():
            near = np.flatnonzero(
                sets[0] & (self.drops.sizes == self.drops.sizes[item])
            )
            if near.size == 0:
                continue
            trial = np.repeat(sets[:1], near.size, axis=0)
            trial[np.arange(near.size), near] = False
            trial[:, item] = True
            rows.append(trial[[int(self.drops.losses(trial).argmin())]])
        return np.concatenate(rows)


def half_of(product: Floats) -> Floats:
    """Return W with WW' at most P, and equal to it but for rounding."""
    values, vectors = np.linalg.eigh(product)
    real = values > max(float(values[-1]), 0.0) * _RANK
    half: Floats = vectors[:, real] * np.sqrt(values[real])
    return half


def _unknown(found: Bools, sets: Bools) -> Bools:
    """Return the rows of `found` that are not among `sets`."""
    have = {row.tobytes() for row in sets}
    new = [row for row in found if row.tobytes() not in have]
    return np.array(new, dtype=bool).reshape(len(new), sets.shape[1])
