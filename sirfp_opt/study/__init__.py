"""The study bench: compare solvers, measure, test, report.

>>> import numpy as np
>>> from sirfp_opt.study import compare
>>> matrix = np.random.default_rng(0).random((9, 9))
>>> compare(matrix + matrix.T, ["greedy", "random", "brute_force"], k=[3, 4])
Study(6 runs: 2 problems x 3 methods x 1 seeds)
"""

from sirfp_opt.study.bench import compare
from sirfp_opt.study.critical_difference import (
    CriticalDifference,
    critical_difference,
    plot_critical_difference,
)
from sirfp_opt.study.facts import GraphFacts, describe
from sirfp_opt.study.metrics import gap_to, primal_integral
from sirfp_opt.study.pictures import (
    plot_gaps,
    plot_performance_profile,
    plot_value_curve,
)
from sirfp_opt.study.profile import performance_profile
from sirfp_opt.study.record import RunRecord
from sirfp_opt.study.result import Study
from sirfp_opt.study.statistics import FriedmanResult, friedman, ranks, wilcoxon

__all__ = [
    "CriticalDifference",
    "FriedmanResult",
    "GraphFacts",
    "RunRecord",
    "Study",
    "compare",
    "critical_difference",
    "describe",
    "friedman",
    "gap_to",
    "performance_profile",
    "plot_critical_difference",
    "plot_gaps",
    "plot_performance_profile",
    "plot_value_curve",
    "primal_integral",
    "ranks",
    "wilcoxon",
]
