"""The levels of `sirfp_opt.bound` above counting partners: convex relaxations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt_solvers.relaxations import mixing
from sirfp_opt_solvers.relaxations.box import BoxProblem
from sirfp_opt_solvers.relaxations.dual import (
    certify,
    convexified,
    improve,
    relax,
    start,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from sirfp_opt.canonical import CanonicalProblem

    Stop = Callable[[], bool]

__all__ = ["doubly_nonnegative", "eigenvalue", "semidefinite"]

# Newton steps that centre the dual cost O(m³) each; beyond, sweeps alone must do.
_NEWTON_UP_TO = 1200
# Sweeps cost O(m²·√m): fewer for large layers, whose bounds are tight anyway.
_ROUNDS, _SETTLE, _FULL_UP_TO = 80, 60, 1000


def eigenvalue(
    canonical: CanonicalProblem, count: int, enough: float, stop: Stop
) -> float:
    """Bound by one shift of the diagonal: the least eigenvalue on zero sums.

    Parameters
    ----------
    canonical : CanonicalProblem
    count : int
        Only sets of this total size are bounded.
    enough : float
        The bound need not be below this canonical value.
    stop : callable
        Asked now and then; once true, the best bound so far is returned.

    Returns
    -------
    float
        No such set is worth more, in canonical form.
    """

    def levels(box: BoxProblem) -> float:
        none = np.zeros((box.m, box.m))
        diagonal, _ = convexified(box, np.zeros(box.m), none)
        return _bound(box, diagonal, none, box.from_canonical(enough))

    return _solve(canonical, count, levels)


def semidefinite(
    canonical: CanonicalProblem, count: int, enough: float, stop: Stop
) -> float:
    """Bound by the best diagonal there is: the semidefinite relaxation's.

    Parameters and result as for `eigenvalue`.
    """
    return _mixed(canonical, count, enough, stop, rounds=0)


def doubly_nonnegative(
    canonical: CanonicalProblem, count: int, enough: float, stop: Stop
) -> float:
    """Bound with multipliers for x_i x_j >= 0 beside the best diagonal.

    Parameters and result as for `eigenvalue`.
    """
    return _mixed(canonical, count, enough, stop, rounds=_ROUNDS)


def _solve(
    canonical: CanonicalProblem, count: int, level: Callable[[BoxProblem], float]
) -> float:
    box = BoxProblem.of(canonical, count)
    if box.total > float(box.upper.sum()):
        return -np.inf
    if box.trivial:
        chosen = np.arange(box.m) if box.total > 0 else np.zeros(0, dtype=np.int64)
        slack = canonical.rounding_error
        return box.to_canonical(box.evaluate(chosen)) + slack
    return box.to_canonical(level(box))


def _mixed(
    canonical: CanonicalProblem, count: int, enough: float, stop: Stop, *, rounds: int
) -> float:
    def level(box: BoxProblem) -> float:
        cut = box.from_canonical(enough)
        share = min(1.0, _FULL_UP_TO / box.m)
        diagonal, multipliers = mixing.ascend(
            box,
            rounds=int(share * rounds),
            settle=15 if rounds else int(share * _SETTLE),
            stop=stop,
        )
        raised, _ = convexified(box, diagonal, multipliers)
        best = _bound(box, raised, multipliers, cut)
        if box.m > _NEWTON_UP_TO or not np.isfinite(cut):
            return best
        # What sweeps leave is mostly one uniform shift; Newton steps spread it.
        dual = start(box, diagonal, multipliers)
        for share in (0.3, 0.1, 0.03):
            if best >= cut or stop():
                break
            mu = share * (cut - best) / box.m + 1e-13
            dual = improve(box, dual, mu, newton=3, stop=stop)
            best = max(best, certify(box, dual, cut).value)
        return best

    return _solve(canonical, count, level)


def _bound(
    box: BoxProblem,
    diagonal: np.ndarray,
    multipliers: np.ndarray,
    cut: float,
) -> float:
    uniform = box.upper * (box.total / box.upper.sum())
    return relax(box, diagonal, multipliers, uniform, enough=cut).value
