"""What is run: a list of runs, the most important ones first."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields, replace
from itertools import product

__all__ = [
    "BUDGETS",
    "CRITERIA",
    "DEFAULT",
    "EXPERIMENTS",
    "FULL",
    "HELD_OUT",
    "KEYS",
    "LATER",
    "NETWORKS",
    "QUICK",
    "SCORES",
    "SOLVERS",
    "Pace",
    "Run",
    "full_list",
    "quick_list",
]

NETWORKS = ("deeplab", "unet", "mobile")
HELD_OUT = "mobile"
"""Made and trained after the default metric was settled; it gets the main arms only."""

BUDGETS = (0.3, 0.15, 0.5)

SCORES = ("random", "l1", "l2", "fpgm", "bn_scale", "taylor")
"""Criteria that rank single channels; all are Torch-Pruning's."""

METRICS = ("spatial", "cosine", "pooled", "filter")
DEFAULT = "reconstruction"
"""What `extract` measures by default. It was made after spatial redundancy had been
seen to lose, and tried out on scenes of another hand than those that judge here."""

CRITERIA = (*SCORES, *METRICS, *(f"{metric}_edge" for metric in METRICS), DEFAULT)
LATER = ("spatial_trace", "spatial_relu", "spatial_l1", "spatial_bn_scale")
"""Criteria that were added after the first results had been seen."""

OWN = (*SCORES, *METRICS, DEFAULT, "reference", "reference_bisect")
"""Criteria that also say how many channels of each unit stay."""

SOLVERS = ("worst", "random", "greedy", "anneal", "tabu", "exact")
EXPERIMENTS = (
    "criteria",
    "solvers",
    "solvers_default",
    "allocations",
    "schedules",
    "later",
)


@dataclass(frozen=True, order=True)
class Run:
    """One network pruned in one way, tuned and judged. Its fields are its identity.

    Parameters
    ----------
    network : {"deeplab", "unet", "mobile"}
    criterion : str
        One of `CRITERIA` or `LATER`, "reference" (the authors' code, habit for habit),
        "reference_bisect" (the same, except that it fills its budget), or "none": the
        trained network as it is.
    allocation : {"uniform", "threshold", "optimal", "balanced"}
        "uniform" asks no criterion, so that all keep the same number of channels of
        each unit. With the others each criterion decides by itself.
    solver : str
        One of `SOLVERS`; "rank" for scores of single channels.
    budget : float
        Fraction of the MACs that may remain.
    schedule : {"once", "twice"}
        One cut; or one to (1 + budget) / 2 and another, with half of the tuning each.
    seed : int
        Of calibration scenes, tuning scenes and their order, and random choices.
    pace : {"full", "quick"}
        How much of everything, see `Pace`.
    """

    network: str
    criterion: str
    allocation: str = "uniform"
    solver: str = "greedy"
    budget: float = 0.3
    schedule: str = "once"
    seed: int = 0
    pace: str = "full"

    @property
    def key(self) -> tuple[str, ...]:
        """The fields as text, as they stand in the table of results."""
        return tuple(str(value) for value in astuple(self))


KEYS = tuple(field.name for field in fields(Run))


@dataclass(frozen=True)
class Pace:
    """How much of everything a run gets; the same for all criteria.

    Parameters
    ----------
    calibration_batches, batch_size : int
        Scenes of the calibration hand for graphs, scores and batch norms.
    steps : int
        Of fine-tuning, on scenes of the training hands.
    test_scenes : int
        Scenes of the test hands to judge by; the same for all runs.
    exact_seconds : float
        Time limit of a proof for one unit.
    """

    calibration_batches: int
    batch_size: int
    steps: int
    test_scenes: int
    exact_seconds: float


FULL = Pace(8, 16, 60, 192, 10.0)
QUICK = Pace(1, 4, 2, 8, 0.2)


def full_list(seeds: int = 5) -> list[Run]:
    """Return the whole study; what comes first matters most."""
    blocks = [range(min(3, seeds)), range(3, seeds)]
    plan = [Run(network, "none", budget=1.0) for network in NETWORKS]
    everything = product(blocks, BUDGETS, EXPERIMENTS, NETWORKS)
    for block, budget, experiment, network in everything:
        plan += [
            replace(run, budget=budget, seed=seed)
            for seed, run in product(block, members(experiment, network))
        ]
    return list(dict.fromkeys(plan))


def quick_list() -> list[Run]:
    """Return a few runs that touch every part of the study."""
    runs = [
        Run("deeplab", "none", budget=1.0),
        *(Run("deeplab", name, solver="rank") for name in ("random", "l2", "taylor")),
        Run("deeplab", "spatial"),
        Run("deeplab", "pooled_edge"),
        Run("deeplab", "spatial", solver="worst"),
        Run("deeplab", "spatial", solver="exact"),
        Run("deeplab", "l2", "threshold", "rank"),
        Run("deeplab", "reference", "threshold"),
        Run("deeplab", DEFAULT, "balanced", "tabu"),
        Run(HELD_OUT, DEFAULT),
        Run("unet", "filter", schedule="twice"),
    ]
    return [replace(run, pace="quick") for run in runs]


def members(experiment: str, network: str) -> list[Run]:
    """Return the runs of an experiment on one network, of one budget and seed."""
    runs = _members(experiment, network)
    if network == HELD_OUT:
        main = (*SCORES, "spatial", DEFAULT)
        asked = experiment in ("criteria", "allocations")
        runs = [run for run in runs if asked and run.criterion in main]
    return runs


def _members(experiment: str, network: str) -> list[Run]:
    if experiment == "criteria":
        return [Run(network, name, solver=_solver(name)) for name in CRITERIA]
    if experiment in ("solvers", "solvers_default"):
        solved = "spatial" if experiment == "solvers" else DEFAULT
        return [Run(network, solved, solver=solver) for solver in SOLVERS]
    if experiment == "allocations":
        return [
            *(Run(network, name, "threshold", _solver(name)) for name in OWN),
            Run(network, "spatial", "optimal"),
            *(
                Run(network, DEFAULT, allocation, solver)
                for allocation in ("threshold", "optimal", "balanced")
                for solver in ("greedy", "tabu")
            ),
        ]
    names: tuple[str, ...] = ("random", "l2", "taylor", "spatial", DEFAULT)
    schedules: tuple[str, ...] = ("once", "twice")
    if experiment == "later":
        names, schedules = ("l2", "spatial", "spatial_edge", *LATER), ("once",)
    return [
        Run(network, name, solver=_solver(name), schedule=schedule)
        for schedule, name in product(schedules, names)
    ]


def _solver(criterion: str) -> str:
    return "rank" if criterion in SCORES else "greedy"
