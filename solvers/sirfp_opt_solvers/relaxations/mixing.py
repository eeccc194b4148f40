"""The dual of the doubly non-negative relaxation for large layers: the mixing method.

Let w_i = ½ u_i (e + v_i) with unit vectors v_i in a space of about √(2m) dimensions:
w_i·w_j stands for y_i y_j, w_i·e for y_i, and ‖w_i‖² = u_i w_i·e for y_i² = u_i y_i.
Then min ½ Σ H_ij w_i·w_j + Σ h_i w_i·e with Σ w_i = total e is the semidefinite
relaxation (Burer and Monteiro 2003, doi:10.1007/s10107-002-0352-8), and minimising over
one v_i at a time has a closed form, v_i = −g/‖g‖ (Wang, Chang, Kolter 2017,
arXiv 1706.00476). The lengths ‖g‖ are the diagonal of a dual solution. Multipliers
N >= 0 of w_i·w_j >= 0 rise where products are negative; their mean over the last rounds
serves better than any of them. Nothing here is a bound yet: `dual.certify` makes one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt_solvers._kernels import mixing

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from sirfp_opt_solvers.relaxations.box import BoxProblem

    Floats = NDArray[np.float64]

__all__ = ["ascend"]

# Found by trial on layers of 64 to 2048 channels.
_FIRST_STEP = 0.2
_HALF_LIFE = 20


def ascend(
    box: BoxProblem,
    *,
    rounds: int,
    sweeps: int = 2,
    settle: int = 15,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Floats, Floats]:
    """Return a near-optimal dual point (diagonal, multipliers).

    Parameters
    ----------
    box : BoxProblem
        With 0 < total < Σ upper.
    rounds : int
        Steps on the multipliers; 0 gives the semidefinite dual, with none.
    sweeps : int
        Sweeps over the vectors in each round.
    settle : int
        The same before the first round, and after the last.
    stop : callable
        Asked after each round; once true, what there is is returned.

    Returns
    -------
    diagonal : ndarray of shape (m,)
        B may be slightly indefinite with it.
    multipliers : ndarray of shape (m, m)
    """
    m = box.m
    rank = int(np.sqrt(2.0 * m)) + 2
    # The start is arbitrary; the same one each time makes runs repeatable.
    vectors = np.random.default_rng(0).normal(size=(m, rank))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[:, 0] += 1.0
    vectors *= 0.5 * box.upper[:, None]
    price, diagonal = np.zeros(rank), np.zeros(m)
    multipliers, mean = np.zeros((m, m)), np.zeros((m, m))
    reduced = box.cost.copy()
    size = float(np.abs(box.cost).mean())
    # Any weight is valid, since (Σy − total)² = 0; heavy ones make sweeps slow.
    penalty = size + 0.1 * float(np.ptp(box.linear)) / m

    def work(times: int) -> None:
        for _ in range(times):
            sums = vectors.sum(axis=0)
            mixing.sweep(
                reduced,
                box.linear,
                box.upper,
                box.total,
                penalty,
                price,
                vectors,
                sums,
                diagonal,
            )
            sums[0] -= box.total
            price[:] += penalty * sums

    work(settle)
    step = 0.0
    for done in range(rounds):
        if stop():
            break
        products = vectors @ vectors.T
        if done == 0:
            step = _FIRST_STEP * size / max(float(np.abs(products).mean()), 1e-300)
        mixing.multiplier_step(
            box.cost,
            products,
            step / (1.0 + done / _HALF_LIFE),
            box.free,
            multipliers,
            reduced,
        )
        # Weights grow with the square of the round: late ones are the better ones.
        mean += (multipliers - mean) * (3.0 / (done + 3.0))
        work(sweeps)
    if rounds:
        multipliers = mean
        np.subtract(box.cost, multipliers, out=reduced)
        work(settle)
    return diagonal, multipliers
