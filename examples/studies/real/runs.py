"""What is run: a list of runs, the most important ones first."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields, replace

__all__ = [
    "ARMS",
    "BUDGETS",
    "KEYS",
    "SCORES",
    "SHIPPED",
    "Run",
    "full_list",
    "quick_list",
]

BUDGETS = (0.5, 0.3, 0.7)
SCORES = ("l1", "l2", "fpgm", "taylor", "random")
"""Criteria that rank single channels, each under both ways of splitting the budget."""


@dataclass(frozen=True, order=True)
class Run:
    """One network pruned in one way and judged. Its fields are its identity.

    Parameters
    ----------
    network : {"ppocr4", "ppocr6"}
    criterion : str
        "shipped" (what `prune` does by default), "refit" (its sets by the refit
        problem), "paper" (`reference=True`), "spatial", a name of `SCORES`,
        "torch_pruning" (its own pruner, end to end) or "dense".
    split : {"balanced", "uniform", "threshold", "global"}
        Who says how many channels of each unit stay; "global" is one ranking of all.
    solver : str
        Which solver chooses the sets; "rank" for scores.
    refit : {"none", "merge", "full"}
        What is refitted after the cut, without labels.
    steps : int
        Of self-distillation after that.
    multiple_of : int
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
SHIPPED = Run("ppocr4", "shipped")


def full_list(seeds: int = 3) -> list[Run]:
    """Return the whole study; what comes first matters most."""
    plan = [Run(name, "dense", "uniform", budget=1.0) for name in ("ppocr4", "ppocr6")]
    for seed in range(seeds):
        for budget in BUDGETS:
            plan += [replace(run, budget=budget, seed=seed) for run in _main("ppocr4")]
    for seed in range(seeds):
        for budget in BUDGETS:
            plan += [replace(run, budget=budget, seed=seed) for run in _more("ppocr4")]
    for seed in range(seeds):
        for budget in BUDGETS:
            some = [run for run in _main("ppocr6") if run.split != "uniform"]
            plan += [replace(run, budget=budget, seed=seed) for run in some]
    return list(dict.fromkeys(plan))


def _main(network: str) -> list[Run]:
    shipped = Run(network, "shipped")
    return [
        shipped,
        replace(shipped, refit="full"),
        replace(shipped, refit="merge"),
        Run(network, "refit"),
        Run(network, "refit", refit="full"),
        Run(network, "paper", "threshold"),
        *(
            Run(network, name, split, "rank")
            for name in SCORES
            for split in ("uniform", "global")
        ),
        Run(network, "spatial", "threshold"),
        Run(network, "torch_pruning", "global", "rank"),
    ]


def _more(network: str) -> list[Run]:
    shipped = Run(network, "shipped")
    best = replace(shipped, refit="full")
    return [
        *(Run(network, name, "global", "rank", refit="full") for name in SCORES),
        *(replace(best, solver=solver) for solver in ("tabu", "exact")),
        *(replace(one, multiple_of=m) for one in (shipped, best) for m in (8, 16)),
        *(
            replace(run, steps=steps)
            for run in (
                shipped,
                best,
                Run(network, "l2", "global", "rank"),
                Run(network, "paper", "threshold"),
            )
            for steps in (40, 160)
        ),
    ]


def quick_list() -> list[Run]:
    """Return a few runs that touch every part of the study."""
    shipped = Run("ppocr4", "shipped", budget=0.7)
    runs = [
        Run("ppocr4", "dense", "uniform", budget=1.0),
        shipped,
        replace(shipped, refit="merge"),
        replace(shipped, refit="full", multiple_of=8, steps=1),
        Run("ppocr4", "taylor", "global", "rank", budget=0.7),
        Run("ppocr4", "random", "uniform", "rank", budget=0.7),
    ]
    return [replace(run, pace="quick") for run in runs]
