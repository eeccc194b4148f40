"""Performance profiles of Dolan and Moré."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt._validate import brief, require
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.study.metrics import horizon_of, primal_integral, time_to_reference

if TYPE_CHECKING:
    import pandas as pd

    from sirfp_opt.study.record import RunRecord
    from sirfp_opt.study.result import Study

__all__ = ["performance_profile"]

# Below a millisecond, the clock and the operating system decide, not the method.
_LEAST_SECONDS = 1e-3


def performance_profile(study: Study, metric: str = "time_to_best") -> pd.DataFrame:
    """Return the share of runs on which each method is within a factor of the best.

    With t_{p,m} the metric of method m on run p (a problem and a seed), the ratio is
    r_{p,m} = t_{p,m} / min over m of t_{p,m}, and ρ_m(τ) = share of p with r ≤ τ.

    Parameters
    ----------
    study : Study
    metric : {"time_to_best", "seconds", "primal_integral"}
        "time_to_best": seconds until the run reached the best set that any run of the
        problem has found, infinity if it never did. "seconds": until the run ended
        with a proof, infinity without one. "primal_integral": see there. Times below
        a millisecond count as one.

    Returns
    -------
    pandas.DataFrame
        Index tau (1 and every ratio that occurs), a column for each method.

    Raises
    ------
    InvalidProblemError
        If the metric is not known.

    Notes
    -----
    E. D. Dolan and J. J. Moré, "Benchmarking optimization software with performance
    profiles", Mathematical Programming 91 (2002), doi:10.1007/s101070100263.
    """
    import pandas as pd

    from sirfp_opt.study.result import Study

    require(study, Study, "study")
    if not isinstance(metric, str) or metric not in (
        "time_to_best",
        "seconds",
        "primal_integral",
    ):
        raise InvalidProblemError(
            "`metric` must be 'time_to_best', 'seconds' or 'primal_integral', got "
            f"{brief(metric)}. Less must be better."
        )
    costs: dict[tuple[str, int], dict[str, float]] = {}
    for problem, runs in study.by_problem.items():
        best, horizon = study.best[problem], horizon_of(runs)
        for run in runs:
            cost = _cost(run, metric, best, horizon)
            costs.setdefault((problem, run.seed), {})[run.method] = cost
    table = pd.DataFrame(list(costs.values()))[list(study.methods)].fillna(math.inf)
    times = np.maximum(table.to_numpy(), _LEAST_SECONDS)
    fastest = times.min(axis=1, keepdims=True)
    # Where nobody solved, nobody is within any factor of the best.
    fastest[np.isinf(fastest)] = 1.0
    ratios = times / fastest
    taus = np.unique(np.append(ratios[np.isfinite(ratios)], 1.0))
    shares = (ratios[None, :, :] <= taus[:, None, None]).mean(axis=1)
    return pd.DataFrame(shares, index=pd.Index(taus, name="tau"), columns=table.columns)


def _cost(run: RunRecord, metric: str, best: float | None, horizon: float) -> float:
    if best is None or run.objective is None:
        return math.inf
    if metric == "time_to_best":
        return time_to_reference(run, best)
    if metric == "seconds":
        return run.seconds if run.status == "optimal" else math.inf
    return primal_integral(run, best, horizon)
