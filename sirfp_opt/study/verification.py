"""Whether a stored row is what the core says of its run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.sense import Sense, relative_gap
from sirfp_opt.solution import OPTIMALITY_TOLERANCE
from sirfp_opt.study.record import ANSWERS, FAILURES

if TYPE_CHECKING:
    from sirfp_opt.study.problems import Instance
    from sirfp_opt.study.record import RunRecord

__all__ = ["fault_of"]

# Relative: what other versions of NumPy may add up differently, with room to spare.
_ROUNDING = 1e-9
# As `Search` lets bounds fall short by.
_BOUND_SLACK = 1e-7


def fault_of(run: RunRecord, instance: Instance | None = None) -> str | None:
    """Return what is wrong with a row, None if nothing is.

    Parameters
    ----------
    run : RunRecord
    instance : Instance, optional
        The problem that was solved: then the set is checked and priced on it. Without
        it, only what the row says about itself can be.
    """
    if instance is not None:
        graph = instance.problem.graph
        of = (instance.fingerprint, graph.n, graph.sense.value)
        if (run.problem, run.n, run.sense) != of:
            return "problem, n or sense are not those of the problem of its key"
    if run.status in FAILURES or run.status == "infeasible":
        held = [run.objective, run.bound, run.gap]
        if any(value is not None for value in held) or len(run.selected):
            return f"status {run.status!r} beside an answer"
        return None
    if run.status not in ANSWERS:
        return f"the status {run.status!r} is not known"
    if run.objective is None or len(run.selected) != run.k:
        return f"status {run.status!r} without an objective and k channels"
    return _fault_of_proof(run) or _fault_of_trace(run) or _fault_of_set(run, instance)


def _fault_of_proof(run: RunRecord) -> str | None:
    assert run.objective is not None
    if (run.bound is None) != (run.gap is None):
        return "a bound without a gap, or a gap without a bound"
    gap = None if run.bound is None else relative_gap(run.objective, run.bound)
    if gap is not None and abs(gap - (run.gap or 0.0)) > _ROUNDING:
        return f"the gap of objective and bound is {gap!r}, not {run.gap!r}"
    proved = gap is not None and gap <= OPTIMALITY_TOLERANCE
    if proved != (run.status == "optimal"):
        return f"status {run.status!r} at a gap of {gap!r}"
    if run.bound is not None and gap is not None and gap > _BOUND_SLACK:
        sign = Sense.of(run.sense).sign
        if sign * run.objective > sign * run.bound:
            return f"the objective {run.objective!r} is better than the bound"
    return None


def _fault_of_trace(run: RunRecord) -> str | None:
    known = [incumbent for _, _, incumbent, _ in run.trace if incumbent is not None]
    if run.trace and (not known or known[-1] != run.objective):
        return "the trace does not end with the objective"
    times = [seconds for seconds, *_ in run.trace]
    if times != sorted(times):
        return "the trace goes back in time"
    return None


def _fault_of_set(run: RunRecord, instance: Instance | None) -> str | None:
    if instance is None:
        return None
    problem = instance.problem
    try:
        chosen = problem.check(np.asarray(run.selected, dtype=np.int64))
    except InvalidProblemError as error:
        return f"its set is not feasible: {error}"
    worth = problem.evaluate(chosen)
    assert run.objective is not None
    slack = problem.canonical.objective_rounding + _ROUNDING * abs(worth)
    if abs(worth - run.objective) > slack:
        return f"its set is worth {worth!r}, not {run.objective!r}"
    return None
