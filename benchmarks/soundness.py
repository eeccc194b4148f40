"""Set what exact methods and bounds claim against enumeration, on random problems.

Protocol
--------
Problems of 4 to 11 channels (`tests.solvers.random_problems`): both senses; positive
semidefinite, indefinite, integer, constant, rank-one weights and ones whose sizes lie
26 orders of magnitude apart; vertex weights, missing edges, tied channels, ranges of
counts. Every other problem has copies among its channels: equal, proportional, or off
by up to 1e-7, at magnitudes from 1e-300 to 1e300. For each, all subsets are enumerated.
A claim is wrong where

- a method's objective is not the optimum though it says "optimal" (within 1e-9,
  relatively; with copies within 1e-6, which is what "optimal" promises),
- a method says that nothing is feasible though something is, or the reverse,
- a level of `bound` is better than the optimum allows, beyond the rounding of sums,
- anything raises, or NumPy warns (warnings are errors here).

Prints the number of problems and of wrong claims by method, and ends with code 1 if
there is any.

    python -m benchmarks.soundness --problems 5000
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections import Counter

import numpy as np

from sirfp_opt import InfeasibleError, PruningProblem, bound, solve
from sirfp_opt.solution import OPTIMALITY_TOLERANCE
from tests.solvers.random_problems import random_problem, twin_problem


def main() -> int:
    """Run the problems; return how the process should end."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=5000)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--methods", nargs="*", default=["exact"])
    options = parser.parse_args()
    warnings.simplefilter("error")
    wrong: Counter[str] = Counter()
    infeasible = 0
    started = time.process_time()
    for seed in range(options.first_seed, options.first_seed + options.problems):
        draw, close = ((random_problem, 1e-9), (twin_problem, OPTIMALITY_TOLERANCE))[
            seed % 2
        ]
        problem = draw(np.random.default_rng(seed))
        best = _optimum(problem, "brute_force")
        infeasible += best is None
        for method in options.methods:
            complaint = _judge_method(problem, method, best, close)
            wrong[method] += bool(complaint)
            if complaint:
                print(f"seed {seed}, {method}: {complaint}", flush=True)
        complaint = _judge_bound(problem, best)
        wrong["bound"] += bool(complaint)
        if complaint:
            print(f"seed {seed}, bound: {complaint}", flush=True)
    print(f"{options.problems} problems, {infeasible} of them infeasible")
    for name, count in wrong.items():
        print(f"{name}: {count} wrong")
    print(f"{time.process_time() - started:.0f} CPU seconds")
    return int(any(wrong.values()))


def _optimum(problem: PruningProblem, method: str) -> float | None:
    try:
        return solve(problem, method=method).objective
    except InfeasibleError:
        return None


def _judge_method(
    problem: PruningProblem, method: str, best: float | None, close: float
) -> str:
    try:
        solution = solve(problem, method=method)
    except InfeasibleError:
        return "" if best is None else f"infeasible, but {best!r} is not"
    except Exception as error:
        return repr(error)
    if best is None:
        return f"{solution.objective!r}, but nothing is feasible"
    slack = problem.canonical.objective_rounding + close * abs(best)
    if abs(solution.objective - best) > slack or solution.status.value != "optimal":
        return f"{solution!r}, but the optimum is {best!r}"
    return ""


def _judge_bound(problem: PruningProblem, best: float | None) -> str:
    if best is None:
        return ""
    try:
        levels = bound(problem).levels
    except Exception as error:
        return repr(error)
    sign, slack = problem.sense.sign, problem.canonical.objective_rounding
    bad = {n: v for n, v in levels.items() if sign * v < sign * best - slack}
    return f"{bad}, but the optimum is {best!r}" if bad else ""


if __name__ == "__main__":
    sys.exit(main())
