"""Proofs from dual points: bounds that hold whatever the rounding.

A dual point (d, N) says how to make the problem convex; here the minimum of that convex
problem is bounded from below, with every sum's rounding taken off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import lapack

from sirfp_opt_solvers._kernels import convex, qp_tree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sirfp_opt_solvers.relaxations.box import BoxProblem
    from sirfp_opt_solvers.relaxations.dual import Dual

    Floats = NDArray[np.float64]

__all__ = ["Bound", "Relaxation", "certify", "relax"]

# A node of a tree need not be bounded more exactly.
_NODE_SHARE = 0.01
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Relaxation:
    """A proven lower bound and the convex problem it belongs to.

    Attributes
    ----------
    value : float
        No feasible y is below, rounding accounted for.
    point : ndarray of shape (m,)
        A near-minimiser of q over the box.
    diagonal : ndarray of shape (m,)
        The d it holds for.
    quadratic, linear : ndarray of shape (m, m), (m,)
        B, and q's linear part.
    rounding : float
        What `value` was lowered by.
    """

    value: float
    point: Floats
    diagonal: Floats
    quadratic: Floats
    linear: Floats
    rounding: float


@dataclass(frozen=True, eq=False)
class Bound:
    """A proven lower bound, with what fixes variables and guides branching.

    Attributes
    ----------
    value : float
        No feasible y is below, rounding accounted for.
    point : ndarray of shape (m,)
        A near-minimiser of q over the box.
    diagonal : ndarray of shape (m,)
        The d it holds for.
    at_zero, at_one : ndarray of shape (m,)
        Lower bounds once y_i is 0, and once it is u_i.
    """

    value: float
    point: Floats
    diagonal: Floats
    at_zero: Floats
    at_one: Floats


def relax(
    box: BoxProblem,
    diagonal: Floats,
    multipliers: Floats,
    point: Floats,
    *,
    enough: float = np.inf,
    share: float = 0.001,
) -> Relaxation:
    """Bound min q over the box from below, in exact arithmetic.

    Parameters
    ----------
    box : BoxProblem
    diagonal, multipliers : ndarray of shape (m,), (m, m)
        d and N. The diagonal is raised where B is not convex.
    point : ndarray of shape (m,)
        Where to begin.
    enough : float
        The bound need not be better than this.
    share : float
        Nor nearer to the minimum than this share of what the minimum lacks.

    Notes
    -----
    B less a multiple of the rounding unit times its trace passes a Cholesky
    factorisation, so B itself is positive semidefinite on zero sums (Rump 2006,
    doi:10.1007/s10543-006-0056-1). The bound is the Frank-Wolfe one, a linear
    minimisation over the box, less the rounding of its sums.
    """
    diagonal = _surely_convex(box, diagonal, multipliers)
    quadratic = box.cost - multipliers
    quadratic.flat[:: box.m + 1] += diagonal
    linear = box.linear - 0.5 * diagonal * box.upper
    value, best = qp_tree.box_minimum(
        quadratic,
        linear,
        box.upper,
        box.total,
        np.clip(point, 0.0, box.upper),
        enough - box.constant,
        share,
    )
    mass = 0.5 * box.upper @ np.abs(quadratic) @ box.upper
    mass += np.abs(linear) @ box.upper + abs(box.constant)
    rounding = 4.0 * (box.m + 8) * _EPS * float(mass)
    value += box.constant - rounding
    return Relaxation(value, best, diagonal, quadratic, linear, rounding)


def certify(box: BoxProblem, dual: Dual, enough: float = np.inf) -> Bound:
    """Turn a dual point into a bound, and say what it is once a variable is fixed.

    See `relax`.
    """
    relaxed = relax(
        box,
        dual.diagonal,
        dual.multipliers,
        dual.point,
        enough=enough,
        share=_NODE_SHARE,
    )
    point = relaxed.point
    gradient = relaxed.quadratic @ point + relaxed.linear
    here = 0.5 * float(point @ (gradient + relaxed.linear)) - float(gradient @ point)
    here += box.constant - relaxed.rounding
    cheapest, out = _cheapest(gradient, box.upper, box.total)
    with_one = _cheapest_with_one(gradient, dual.multipliers, box.upper, box.total)
    stiffness = dual.stiffness
    return Bound(
        value=relaxed.value,
        point=point,
        diagonal=relaxed.diagonal,
        at_zero=here + cheapest + out + stiffness * point**2,
        at_one=here + with_one + stiffness * (box.upper - point) ** 2,
    )


def _surely_convex(box: BoxProblem, diagonal: Floats, multipliers: Floats) -> Floats:
    """Raise the diagonal, if need be, until B is convex beyond rounding."""
    factor = np.empty((box.m, box.m))
    lift = 0.0
    while True:
        raised = diagonal + lift
        t, _ = convex.centred(box.cost, multipliers, raised, raised, factor)
        margin = 8.0 * (box.m + 2) * _EPS * float(np.abs(np.diagonal(factor)).sum())
        factor.flat[:: box.m + 1] -= margin
        if t > 0.0:
            _, failed = lapack.dpotrf(factor.T, lower=1, clean=0, overwrite_a=1)
            if not failed:
                return raised
        lift = max(2.0 * lift, margin, 1e-300)


def _cheapest(gradient: Floats, upper: Floats, total: float) -> tuple[float, Floats]:
    """Return min g'z over the box, and what it gains, at least, once z_i is 0."""
    order = np.argsort(gradient)
    filled = np.cumsum(upper[order])
    taken = np.clip(total - filled + upper[order], 0.0, upper[order])
    last = int(np.searchsorted(filled, total))
    last = min(last, order.size - 1)
    spent = filled[last] == total and last + 1 < order.size
    room = order[last + 1] if spent else order[last]
    gains: Floats = np.maximum(gradient[room] - gradient, 0.0) * upper
    return float(gradient[order] @ taken), gains


def _cheapest_with_one(
    gradient: Floats, multipliers: Floats, upper: Floats, total: float
) -> Floats:
    """Return, for each i, min (g + u_i N_i)'z over the box with z_i = u_i.

    With y_i at one, the pairs that N had taken off its row count again.
    """
    keys = gradient + upper[:, None] * multipliers
    own = np.diagonal(keys) * upper
    np.fill_diagonal(keys, np.inf)  # comes last, when all else is full
    left = np.maximum(total - upper, 0.0)
    if (upper == upper[0]).all():
        # Some smallest keys, and a part of the next: no order among them is needed.
        whole, part = divmod(float(left[0]), float(upper[0]))
        keys.partition(int(whole), axis=1)
        value = upper[0] * keys[:, : int(whole)].sum(axis=1)
        if part:
            value += part * keys[:, int(whole)]
    else:
        order = np.argsort(keys, axis=1)
        room = upper[order]
        before = np.cumsum(room, axis=1) - room
        taken = np.clip(left[:, None] - before, 0.0, room)
        keys = np.take_along_axis(keys, order, axis=1)
        value = np.multiply(keys, taken, out=taken, where=taken > 0.0).sum(axis=1)
    least: Floats = np.where(upper <= total, own + value, np.inf)
    return least
