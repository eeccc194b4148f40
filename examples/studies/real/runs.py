"""What is run: a list of runs, the most important ones first."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields, replace
from itertools import product

__all__ = [
    "ARMS",
    "BUDGETS",
    "KEYS",
    "NETWORKS",
    "SCORES",
    "SHIPPED",
    "Run",
    "full_list",
    "quick_list",
]

NETWORKS = ("ppocr4", "ppocr6", "stamps_unet", "stamps_deeplab")
BUDGETS = (0.5, 0.3, 0.7)
SCORES = ("l1", "l2", "fpgm", "taylor", "random", "gamma")
"""Criteria that rank single channels, each under both ways of splitting the budget.
The last one ranks by batch norms, which networks as exported do not have any more."""


@dataclass(frozen=True, order=True)
class Run:
    """One network pruned in one way and judged. Its fields are its identity.

    Parameters
    ----------
    network : {"ppocr4", "ppocr6", "stamps_deeplab", "stamps_unet"}
    criterion : str
        "refit" (sets that leave the readers most once they are refitted),
        "reconstruction" (most as they are), "paper" (`reference=True`), "spatial", a
        name of `SCORES`, "torch_pruning" (its own pruner, end to end) or "dense".
    split : {"measured", "balanced", "uniform", "threshold", "global"}
        Who says how many channels of each unit stay; "global" is one ranking of all.
    solver : str
        Which solver chooses the sets; "rank" for scores.
    refit : {"none", "norms", "merge", "full"}
        What is done after the cut, without labels: batch norms measured anew, or layers
        refitted.
    steps : int
        Of self-distillation after that.
    multiple_of : int
        What numbers of channels are multiples of; 0: what `prune` does by default.
    budget : float
        Share of the multiply-accumulates that may remain.
    seed : int
        Of the calibration and tuning crops and their order, and of random choices.
    pace : {"full", "quick"}
    """

    network: str
    criterion: str
    split: str = "balanced"
    solver: str = "greedy"
    refit: str = "none"
    steps: int = 0
    multiple_of: int = 1
    budget: float = 0.5
    seed: int = 0
    pace: str = "full"

    @property
    def key(self) -> tuple[str, ...]:
        """The fields as text, as they stand in the table of results."""
        return tuple(str(value) for value in astuple(self))


KEYS = tuple(field.name for field in fields(Run))
ARMS = tuple(name for name in KEYS if name not in ("budget", "seed", "pace"))
SHIPPED = Run("ppocr4", "refit", "measured", refit="full", multiple_of=0)
"""What `prune` does when it is asked for a budget and nothing else."""


def full_list(seeds: int = 3) -> list[Run]:
    """Return the whole study; what comes first matters most."""
    plan = [Run(name, "dense", "uniform", budget=1.0) for name in NETWORKS]
    ours = NETWORKS[2:]
    blocks = [
        (("ppocr4",), _main),
        (("ppocr4",), _more),
        (("ppocr6",), _other),
        (ours, _ours),
        (ours, _uniform),
    ]
    for networks, arms in blocks:
        for seed, budget, name in product(range(seeds), BUDGETS, networks):
            plan += [replace(one, budget=budget, seed=seed) for one in arms(name)]
    return list(dict.fromkeys(plan))


def _main(network: str) -> list[Run]:
    shipped = replace(SHIPPED, network=network)
    free = replace(shipped, multiple_of=1)
    return [
        shipped,
        free,
        replace(free, refit="merge"),
        replace(free, split="balanced"),
        Run(network, "refit"),
        Run(network, "reconstruction"),
        Run(network, "reconstruction", refit="full"),
        Run(network, "reconstruction", "measured", refit="full"),
        Run(network, "paper", "threshold"),
        Run(network, "spatial", "threshold"),
        *(
            Run(network, name, split, "rank")
            for name in SCORES[:-1]
            for split in ("uniform", "global")
        ),
        Run(network, "torch_pruning", "global", "rank"),
    ]


def _more(network: str) -> list[Run]:
    shipped = replace(SHIPPED, network=network)
    free = replace(shipped, multiple_of=1)
    cliques = Run(network, "reconstruction")
    return [
        *(Run(network, name, "global", "rank", refit="full") for name in SCORES[:-1]),
        replace(free, solver="local_search"),
        *(replace(cliques, solver=solver) for solver in ("tabu", "exact")),
        *(replace(free, multiple_of=multiple) for multiple in (8, 16)),
        *(
            replace(run, steps=steps)
            for run in (
                shipped,
                cliques,
                Run(network, "l2", "global", "rank"),
                Run(network, "paper", "threshold"),
            )
            for steps in (40, 160)
        ),
    ]


def _other(network: str) -> list[Run]:
    asked = ("refit", "reconstruction", "paper", "l2", "fpgm", "random")
    return [run for run in _main(network) if run.criterion in asked]


def _ours(network: str) -> list[Run]:
    """Return the arms of the networks of our own, which have batch norms."""
    return [
        replace(SHIPPED, network=network),
        Run(network, "reconstruction", refit="norms"),
        *(Run(network, name, "global", "rank", refit="norms") for name in SCORES),
        Run(network, "paper", "threshold", refit="norms"),
        *(
            Run(network, name, "global", "rank", refit="full")
            for name in ("l2", "taylor", "random")
        ),
        Run(network, "torch_pruning", "global", "rank", refit="norms"),
    ]


def _uniform(network: str) -> list[Run]:
    return [Run(network, name, "uniform", "rank", refit="norms") for name in SCORES]


def quick_list() -> list[Run]:
    """Return a few runs that touch every part of the study."""
    shipped = replace(SHIPPED, budget=0.7)
    runs = [
        Run("ppocr4", "dense", "uniform", budget=1.0),
        shipped,
        replace(shipped, refit="merge", multiple_of=8, steps=1),
        Run("ppocr4", "reconstruction", budget=0.7),
        Run("ppocr4", "taylor", "global", "rank", budget=0.7),
        Run("ppocr4", "random", "uniform", "rank", budget=0.7),
        Run("stamps_unet", "dense", "uniform", budget=1.0),
        replace(shipped, network="stamps_unet"),
        Run("stamps_unet", "gamma", "global", "rank", refit="norms", budget=0.7),
    ]
    return [replace(run, pace="quick") for run in runs]
