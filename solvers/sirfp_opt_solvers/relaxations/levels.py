"""The levels of `sirfp_opt.bound` above counting partners: convex relaxations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt_solvers.relaxations import mixing
from sirfp_opt_solvers.relaxations.alternating import alternate
from sirfp_opt_solvers.relaxations.box import BoxProblem
from sirfp_opt_solvers.relaxations.certificate import certify, relax
from sirfp_opt_solvers.relaxations.dual import convexified, improve, start

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from sirfp_opt.canonical import CanonicalProblem

    Floats = NDArray[np.float64]
    Stop = Callable[[], bool]

__all__ = ["doubly_nonnegative", "eigenvalue", "semidefinite", "triangle"]

# Newton steps that centre the dual cost O(m³) each; beyond, sweeps alone must do.
_NEWTON_UP_TO = 1200
# Multiplier steps beside them get near the best bound, at a few times the sweeps' cost:
# so many for each of these shares of the gap that the barrier may cost.
_CLIMB_UP_TO, _CLIMB, _SHARES = 300, 50, (1.0, 0.3, 0.1, 0.03)
# Rounds of alternating directions, without and with triangles, and up to where those.
_ALTERNATE, _WITH_TRIANGLES, _TRIANGLES_UP_TO = 160, 500, 600
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
        diagonal = convexified(box, np.zeros(box.m), none)
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


def triangle(
    canonical: CanonicalProblem, count: int, enough: float, stop: Stop
) -> float:
    """Bound with triangle inequalities beside all of that, up to 600 items.

    Of larger problems it knows nothing more: infinity. Parameters and result as for
    `eigenvalue`; `enough` must be finite for more than that, too.
    """

    def level(box: BoxProblem) -> float:
        cut = box.from_canonical(enough)
        if box.m > _TRIANGLES_UP_TO or not np.isfinite(cut):
            return -np.inf
        return alternate(
            box, -np.inf, cut, rounds=_WITH_TRIANGLES, triangles=True, stop=stop
        )

    return _solve(canonical, count, level)


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


def _swept(
    box: BoxProblem, cut: float, rounds: int, stop: Stop
) -> tuple[Floats, Floats, float]:
    """Return the diagonal and multipliers that sweeps end at, and their bound."""
    share = min(1.0, _FULL_UP_TO / box.m)
    diagonal, multipliers = mixing.ascend(
        box,
        rounds=int(share * rounds),
        settle=15 if rounds else int(share * _SETTLE),
        stop=stop,
    )
    raised = convexified(box, diagonal, multipliers)
    best = _bound(box, raised, multipliers, cut)
    return diagonal, multipliers, best


def _mixed(
    canonical: CanonicalProblem, count: int, enough: float, stop: Stop, *, rounds: int
) -> float:
    def level(box: BoxProblem) -> float:
        cut = box.from_canonical(enough)
        diagonal, multipliers, best = _swept(box, cut, rounds, stop)
        if box.m > _NEWTON_UP_TO or not np.isfinite(cut):
            return best
        # What sweeps leave is mostly one uniform shift; Newton steps spread it.
        dual = start(box, diagonal, multipliers)
        climb = bool(rounds) and box.m <= _CLIMB_UP_TO
        for share in _SHARES if climb else _SHARES[1:]:
            if best >= cut or stop():
                break
            mu = share * (cut - best) / box.m + 1e-13
            dual = improve(
                box,
                dual,
                mu,
                newton=3,
                rounds=_CLIMB if climb else 0,
                enough=cut,
                stop=stop,
            )
            best = max(best, certify(box, dual, cut).value)
        if climb and best < cut:
            # Barriers do better where few multipliers matter, these where many do.
            best = alternate(
                box, best, cut, rounds=_ALTERNATE, triangles=False, stop=stop
            )
        return best

    return _solve(canonical, count, level)


def _bound(
    box: BoxProblem,
    diagonal: Floats,
    multipliers: Floats,
    cut: float,
) -> float:
    return relax(box, diagonal, multipliers, box.centre, enough=cut).value
