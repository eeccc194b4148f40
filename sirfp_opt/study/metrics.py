"""What is measured on a run: how good, how soon, how both at once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sirfp_opt._validate import as_real
from sirfp_opt.sense import relative_gap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sirfp_opt.study.record import RunRecord

__all__ = ["BEST_TOLERANCE", "best_objective", "gap_to", "primal_integral"]

# Relative; two objectives this close are the same set priced in another order.
BEST_TOLERANCE = 1e-9


def best_objective(runs: Sequence[RunRecord]) -> float | None:
    """Return the best objective of several runs of one problem, None without any.

    Parameters
    ----------
    runs : sequence of RunRecord
    """
    found = [run.objective for run in runs if run.objective is not None]
    if not found:
        return None
    return max(found) if runs[0].sense == "maximize" else min(found)


def gap_to(reference: float, value: float | None) -> float:
    """Return the primal gap of Berthold: 0 at the reference, 1 without a solution.

    γ = |x - x*| / max(|x|, |x*|), 0 where both agree, 1 where the signs differ.

    Parameters
    ----------
    reference : float
        x*, the best objective known.
    value : float or None
        x, the objective in hand, if there is one.

    Notes
    -----
    T. Berthold, "Measuring the impact of primal heuristics", Operations Research
    Letters 41 (2013), doi:10.1016/j.orl.2013.08.007.

    Examples
    --------
    >>> gap_to(100.0, 80.0), gap_to(100.0, None)
    (0.2, 1.0)
    """
    reference = as_real(reference, "reference")
    if value is None or reference * as_real(value, "value") < 0:
        return 1.0
    return relative_gap(value, reference)


def primal_integral(run: RunRecord, reference: float, horizon: float) -> float:
    """Return ∫ γ(t) dt from 0 to `horizon`: small if good sets come early.

    Parameters
    ----------
    run : RunRecord
    reference : float
        The best objective known; γ is `gap_to` it, and 1 before the first incumbent.
    horizon : float
        In seconds. A run that ended earlier keeps its last incumbent.

    Returns
    -------
    float
        In seconds, between 0 and `horizon`.

    Notes
    -----
    Berthold (2013), see `gap_to`.
    """
    area, since, gap = 0.0, 0.0, 1.0
    for seconds, _, incumbent, _ in run.trace:
        now = min(seconds, horizon)
        area += gap * (now - since)
        since, gap = now, gap_to(reference, incumbent)
    return area + gap * (horizon - since)


def horizon_of(runs: Sequence[RunRecord]) -> float:
    """Return the common end of time of several runs: their time limit, or the slowest.

    Parameters
    ----------
    runs : sequence of RunRecord
    """
    limits = [run.limits.get("time") for run in runs]
    slowest = max((run.seconds for run in runs), default=0.0)
    known = [float(limit) for limit in limits if limit is not None]
    return max(known) if len(known) == len(runs) and known else max([slowest, *known])


def time_to_reference(run: RunRecord, reference: float) -> float:
    """Return the seconds until the run reached the best known, else infinity.

    Parameters
    ----------
    run : RunRecord
    reference : float
    """
    reached = run.time_to(reference, BEST_TOLERANCE * abs(reference))
    return math.inf if reached is None else reached
