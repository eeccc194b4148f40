"""What is run: a list of runs, the most important ones first."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from itertools import product

__all__ = [
    "AGAIN",
    "BUDGETS",
    "KEYS",
    "MAIN",
    "NETWORKS",
    "SCORES",
    "Run",
    "full_list",
    "quick_list",
]

NETWORKS = ("deeplab", "unet", "mobile")
BUDGETS = (0.4, 0.15, 0.3)
SCORES = ("l1", "l2", "fpgm", "taylor", "random")
"""Criteria that rank single channels; all are Torch-Pruning's."""

MAIN = tuple(
    (sets, split, repair)
    for sets, split in (("clique", "clique"), ("refit", "refit"), ("refit", "measured"))
    for repair in ("bn", "merge", "full")
    if (split, repair) != ("measured", "bn")
)
"""Sets, split and repair of the main runs."""

AGAIN = tuple(
    arm for arm in MAIN if arm[2] != "merge" and arm != ("refit", "refit", "bn")
)
"""Those that every seed repeats."""


@dataclass(frozen=True, order=True)
class Run:
    """One network cut in one way, repaired and judged. Its fields are its identity.

    Parameters
    ----------
    network : {"deeplab", "unet", "mobile"}
    sets : str
        Which channels stay: "clique" (metric "reconstruction"), "refit" (metric
        "refit"), or one of `SCORES`; by greedy, or the ranking.
    split : {"clique", "refit", "measured"}
        Who says how many: the balanced split on value curves of cliques or of refit
        problems, or the split by what was measured at the outputs.
    repair : {"bn", "merge", "full"}
        Batch norms re-estimated; or a refit, which corrects them.
    budget : float
        Fraction of the MACs that may remain.
    pictures : int
        Calibration scenes, for all of it.
    steps : int
        Labelled fine-tuning steps of 16 scenes afterwards.
    seed : int
        Of calibration scenes, tuning scenes and random scores.
    """

    network: str
    sets: str = "refit"
    split: str = "measured"
    repair: str = "full"
    budget: float = 0.4
    pictures: int = 64
    steps: int = 0
    seed: int = 0

    @property
    def key(self) -> tuple[str, ...]:
        """The fields as text, as they stand in the table of results."""
        return tuple(str(value) for value in astuple(self))


KEYS = tuple(field.name for field in fields(Run))


def full_list(seeds: int = 5) -> list[Run]:
    """Return the whole study; what comes first matters most."""
    runs = [
        Run(network, sets, split, repair, budget)
        for budget, network, (sets, split, repair) in product(BUDGETS, NETWORKS, MAIN)
    ]
    runs += [
        Run(network, sets, split, "full", budget)
        for budget, network, (sets, split) in product(
            BUDGETS[:2],
            NETWORKS,
            [
                ("clique", "refit"),
                ("clique", "measured"),
                ("refit", "clique"),
                *((score, "measured") for score in SCORES),
            ],
        )
    ]
    for seed in range(1, seeds):
        runs += [
            Run(network, sets, split, repair, budget, seed=seed)
            for budget, network, (sets, split, repair) in product(
                BUDGETS, NETWORKS, AGAIN
            )
        ]
    return list(dict.fromkeys([*runs, *_tuned(), *_pictures()]))


def quick_list() -> list[Run]:
    """Return a few runs that touch every part of the study."""
    return [
        Run("unet", "refit", "measured", "full", 0.4, 8),
        Run("unet", "l2", "measured", "bn", 0.4, 8, steps=2),
    ]


def _tuned() -> list[Run]:
    arms = [("clique", "clique", "bn"), ("refit", "measured", "full")]
    return [
        Run(network, sets, split, repair, budget, steps=60)
        for budget, network, (sets, split, repair) in product(
            BUDGETS[:2], NETWORKS, arms
        )
    ]


def _pictures() -> list[Run]:
    return [
        Run(network, budget=0.15, pictures=pictures)
        for network, pictures in product(NETWORKS, (16, 32, 128, 256))
    ]
