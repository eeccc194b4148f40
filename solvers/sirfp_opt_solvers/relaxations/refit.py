"""The levels of `sirfp_opt.bound` where readers are refitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt_solvers._refit.drops import root_drops
from sirfp_opt_solvers._refit.minorant import Minorant
from sirfp_opt_solvers._refit.tree import eigenvalue_loss

if TYPE_CHECKING:
    from collections.abc import Callable

    from sirfp_opt.canonical_refit import CanonicalRefit

    Stop = Callable[[], bool]

__all__ = ["eigenvalue", "quadratic"]

# Sets that the search for the quadratic bound starts from, beside the greedy one.
_RANDOM = 8
# Rounds of column generation; of large problems fewer, so that time is left for proof.
_ROUNDS, _FEWER, _LARGE = 30, 20, 256
# Seconds for the clique problem's proof: beyond, its bound so far has to do. Larger
# problems take longer for a bound at all.
_SECONDS, _MORE_FROM = 10.0, 128


def eigenvalue(form: CanonicalRefit, count: int, enough: float, stop: Stop) -> float:
    """Bound by the smallest eigenvalues of C^½ P C^½, reader by reader.

    Parameters and result as for the level of that name for cliques; see
    `sirfp_opt_solvers.relaxations.levels.eigenvalue`.
    """
    del enough, stop
    total = form.u - count
    return form.most - eigenvalue_loss(form.precisions, form.products, total)


def quadratic(form: CanonicalRefit, count: int, enough: float, stop: Stop) -> float:
    """Bound by the best quadratic function that is nowhere above the loss.

    Its least value over the sets of the size is found by the proof of a clique problem;
    see `sirfp_opt_solvers._refit.minorant`. Parameters and result as for `eigenvalue`.
    """
    drops = root_drops(form, count)
    rng = np.random.default_rng(0)
    minorant = Minorant(drops, rng)
    columns = np.concatenate((drops.greedy()[None], drops.random(_RANDOM, rng)))
    known = form.most - enough if np.isfinite(enough) else form.most
    rounds = _ROUNDS if form.m < _LARGE else _FEWER
    minorant.ascend(columns, known, rounds=rounds, stop=stop)
    if minorant.best is None:
        return form.most
    seconds = _SECONDS if form.m < _MORE_FROM else None
    proved = minorant.best.prove(drops, seconds=seconds, stop=stop)
    return form.most - max(0.0, proved - form.rounding_error)
