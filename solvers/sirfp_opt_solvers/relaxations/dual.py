"""The dual of the doubly non-negative relaxation, by a log-barrier and multipliers.

For y in {0, u} any diagonal d may be added, since y_i² = u_i y_i, and for y >= 0 any
N >= 0 may be taken off (also off pairs in conflict, with any sign, since y_i y_j = 0):

    ½ y'Hy + h'y  =  q(y) + ½ y'Ny  >=  q(y),
    q(y) = ½ y'(H − N + Diag d) y + (h − d∘u/2)'y.

Where B = H − N + Diag d is positive definite on the vectors of zero sum, the minimum of
q over 0 <= y <= u, Σy = total is a lower bound; the best d alone gives the semidefinite
bound (Billionnet and Elloumi 2007, doi:10.1007/s10107-005-0637-9), with N the doubly
non-negative one. The bound as a function of (d, N) is concave. Here

    phi(d, N) = min {q(y) : Σy = total} + mu · log det B  (on zero sums)

is maximised, in d by Newton's method and in N by scaled accelerated gradients with d
following; with P the inverse of B on zero sums and y = argmin q,

    ∂phi/∂d_i = ½ y_i (y_i − u_i) + mu P_ii,      ∂phi/∂N_ij = −(y_i y_j + 2 mu P_ij).

The barrier keeps B well inside the cone, which costs about mu·m of the bound and makes
the trees of branch and bound much smaller.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import lapack

from sirfp_opt_solvers._kernels import convex

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from sirfp_opt_solvers.relaxations.box import BoxProblem
    from sirfp_opt_solvers.relaxations.certificate import Bound

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["Dual", "convexified", "improve", "restrict", "start"]

# Up to here our own inverse is quicker than LAPACK's.
_SWEPT_UP_TO = 200
# From this size on, extreme eigenvalues are estimated where that will do.
_LANCZOS_FROM = 200
# A step on the multipliers grows with each round, and shrinks where momentum fails.
_GROWTH, _ASTRAY = 1.05, 0.8


@dataclass(frozen=True, eq=False)
class Dual:
    """A dual point where B is positive definite, and what is known there.

    Attributes
    ----------
    diagonal, multipliers : ndarray of shape (m,), (m, m)
        d and N.
    value : float
        min {q(y) : Σy = total}, the problem's constant included.
    phi : float
        `value` plus the barrier.
    point : ndarray of shape (m,)
        The minimiser; it may leave the box.
    inverse : ndarray of shape (m, m)
        P.
    step : float
        Where the next multiplier step starts.
    """

    diagonal: Floats
    multipliers: Floats
    value: float
    phi: float
    point: Floats
    inverse: Floats
    step: float = 0.3

    @property
    def stiffness(self) -> Floats:
        """½ / P_ii, a hair less: a move of y_i by s costs at least s² times this.

        Whatever else moves.
        """
        stiffness: Floats = 0.4999 / np.maximum(np.diagonal(self.inverse), 1e-300)
        return stiffness


def _evaluate(
    box: BoxProblem, diagonal: Floats, multipliers: Floats, mu: float, step: float
) -> Dual | None:
    """Return the dual point, None where B is not positive definite."""
    base = box.centre
    m = diagonal.size
    inverse, point = np.empty((m, m)), np.empty(m)
    if m <= _SWEPT_UP_TO:
        value, logarithm = convex.weighed(
            box.cost,
            multipliers,
            diagonal,
            box.linear,
            box.upper,
            base,
            inverse,
            point,
            np.empty((3, m)),
        )
    else:
        t, image = convex.centred(box.cost, multipliers, diagonal, base, inverse)
        if not t > 0.0:
            return None
        # The transposed view is in Fortran order, so LAPACK works in place.
        cholesky, failed = lapack.dpotrf(inverse.T, clean=0, overwrite_a=1)
        if failed:
            return None
        logarithm = 2.0 * float(np.log(np.diagonal(cholesky)).sum())
        if lapack.dpotri(cholesky, overwrite_c=1)[1]:
            return None
        convex.mirror(inverse, 1.0 / (t * box.m))
        shifted = box.linear - 0.5 * diagonal * box.upper
        value = float(base @ (0.5 * image + shifted))
        image += shifted
        move = inverse @ image
        value -= 0.5 * float(image @ move)
        point = base - move
    value += box.constant
    phi = value + mu * logarithm
    if not math.isfinite(phi):
        return None
    return Dual(diagonal, multipliers, value, phi, point, inverse, step)


def _into_cone(
    box: BoxProblem, diagonal: Floats, multipliers: Floats, mu: float, step: float
) -> Dual:
    """Raise the diagonal until B is positive definite."""
    dual = _evaluate(box, diagonal, multipliers, mu, step)
    if dual is not None:
        return dual
    lift = float(np.abs(diagonal).mean()) + float(np.abs(box.cost).mean()) + 1e-9
    lift *= 0.01
    while dual is None:
        dual = _evaluate(box, diagonal + lift, multipliers, mu, step)
        lift *= 2.0
    return dual


def start(
    box: BoxProblem, diagonal: Floats | None = None, multipliers: Floats | None = None
) -> Dual:
    """Return a dual point near the one given, but well inside the cone.

    By default the uniform diagonal: the eigenvalue bound.
    """
    if diagonal is None:
        diagonal = np.zeros(box.m)
    if multipliers is None:
        multipliers = np.zeros((box.m, box.m))
    matrix = _on_zero_sums(box, diagonal, multipliers)
    # Roughly will do: there is room to spare.
    rough = box.m >= _LANCZOS_FROM
    least, largest = _ends(matrix) if rough else _exact_ends(matrix)
    # On zero sums the cost may vanish; the linear part then says how stiff B must be.
    room = 0.01 * (largest - least + float(np.ptp(box.linear))) + 1e-9
    return _into_cone(box, diagonal - min(least, 0.0) + room, multipliers, 0.0, 0.3)


def convexified(box: BoxProblem, diagonal: Floats, multipliers: Floats) -> Floats:
    """Raise a diagonal until B is positive semidefinite on zero sums, but rounding."""
    least, _ = _exact_ends(_on_zero_sums(box, diagonal, multipliers))
    raised: Floats = diagonal - min(least, 0.0)
    return raised


def _on_zero_sums(box: BoxProblem, diagonal: Floats, multipliers: Floats) -> Floats:
    """Return E B E, E the projection on the vectors of zero sum."""
    matrix = np.empty((box.m, box.m))
    t, _ = convex.centred(box.cost, multipliers, diagonal, diagonal, matrix)
    matrix -= t / box.m  # now 0 along 1, as if that direction were not there
    return matrix


def _exact_ends(matrix: Floats) -> tuple[float, float]:
    """Return the least and the largest eigenvalue."""
    eigenvalues = np.linalg.eigvalsh(matrix)
    return float(eigenvalues[0]), float(eigenvalues[-1])


def _ends(matrix: Floats, steps: int = 40) -> tuple[float, float]:
    """Estimate them from within by Lanczos steps, at O(m²) each instead of O(m³)."""
    m = matrix.shape[0]
    basis = np.zeros((steps, m))
    main, side = np.zeros(steps), np.zeros(steps)
    vector = np.cos(np.arange(m) * 2.39996)  # any start with no special direction
    vector /= np.linalg.norm(vector)
    done = 0
    for j in range(steps):
        basis[j] = vector
        image = matrix @ vector
        main[j] = image @ vector
        done = j + 1
        for _ in range(2):  # twice is enough to keep the basis orthogonal
            image -= (basis[:done] @ image) @ basis[:done]
        side[j] = np.linalg.norm(image)
        if side[j] <= 1e-12 * (abs(main[j]) + 1e-300):
            break
        vector = image / side[j]
    inner = np.diag(main[:done])
    at = np.arange(done - 1)
    inner[at, at + 1] = inner[at + 1, at] = side[: done - 1]
    return _exact_ends(inner)


def _newton(
    box: BoxProblem, dual: Dual, mu: float, steps: int, stop: Callable[[], bool]
) -> Dual:
    """Improve the diagonal by damped Newton steps on phi."""
    work, gradient = np.empty((box.m, box.m)), np.empty(box.m)
    for _ in range(steps):
        if stop():
            return dual
        convex.newton_matrix(dual.inverse, dual.point, box.upper, mu, work, gradient)
        _, direction, failed = lapack.dposv(
            work.T, gradient, lower=1, overwrite_a=1, overwrite_b=0
        )
        if failed:
            return dual
        decrement = float(gradient @ direction)
        if decrement <= 1e-3 * mu * box.m:
            return dual
        # A step of self-concordant theory's damped length, 1 / (1 + λ) with λ² the
        # decrement over mu, stays in the cone; half as much again mostly does.
        length = min(1.0, 1.5 * math.sqrt(mu / decrement))
        while length > 1e-3:
            moved = _evaluate(
                box,
                dual.diagonal + length * direction,
                dual.multipliers,
                mu,
                dual.step,
            )
            if moved is not None and moved.phi > dual.phi + 0.1 * length * decrement:
                dual = moved
                break
            length *= 0.5
        else:
            return dual
    return dual


def improve(
    box: BoxProblem,
    dual: Dual,
    mu: float,
    *,
    newton: int = 1,
    rounds: int = 0,
    enough: float = np.inf,
    stop: Callable[[], bool] = lambda: False,
) -> Dual:
    """Ascend phi for one weight of the barrier.

    Parameters
    ----------
    box : BoxProblem
    dual : Dual
    mu : float
        Weight of the barrier.
    newton : int
        Newton steps on the diagonal before the first round.
    rounds : int
        Steps on the multipliers, each followed by a Newton step on the diagonal.
    enough : float
        The bound need not be better than this.
    stop : callable
        Asked between steps.

    Notes
    -----
    Accelerated gradients with restarts: Nesterov (1983); O'Donoghue and Candès (2015),
    doi:10.1007/s10208-013-9150-3. Only points ahead are evaluated: an evaluation is
    what a round costs.
    """

    def at(diagonal: Floats, multipliers: Floats, step: float, newton: int) -> Dual:
        there = _into_cone(box, diagonal, multipliers, mu, step)
        return _newton(box, there, mu, newton, stop)

    ahead = at(dual.diagonal, dual.multipliers, dual.step, newton)
    behind, t, step = ahead.multipliers, 1.0, ahead.step
    for _ in range(rounds):
        if stop() or ahead.value >= enough:
            break
        t_next = 0.5 * (1.0 + math.sqrt(1.0 + 4.0 * t * t))
        momentum = (t - 1.0) / t_next
        moved, beyond = np.empty_like(behind), np.empty_like(behind)
        gain = convex.multiplier_step(
            ahead.multipliers,
            behind,
            ahead.inverse,
            ahead.point,
            box.free,
            mu,
            step,
            momentum,
            moved,
            beyond,
            np.empty(box.m),
        )
        there = at(ahead.diagonal, beyond, step, 1)
        noise = 1e-12 * abs(ahead.phi)
        if momentum > 0.0 and there.phi < ahead.phi - noise:  # led astray: start anew
            behind, t, step = ahead.multipliers, 1.0, _ASTRAY * step
        elif momentum == 0.0 and there.phi < ahead.phi + 0.5 * gain - noise:
            step *= 0.5
            if step < 1e-6:
                break
        else:
            ahead, behind, t = there, moved, t_next
            step = min(1.0, _GROWTH * step)
    return replace(ahead, step=step)


def restrict(box: BoxProblem, bound: Bound, dual: Dual, left: Ints, mu: float) -> Dual:
    """Return a dual point for `box`, whose variables were `left` in a larger one."""
    multipliers = dual.multipliers[left[:, None], left]
    return _into_cone(box, bound.diagonal[left], multipliers, mu, dual.step)
