"""What is run: a list of runs, the most important ones first."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from itertools import product

__all__ = ["BUDGETS", "KEYS", "NETWORKS", "SCORES", "Run", "full_list", "quick_list"]

NETWORKS = ("deeplab", "unet", "mobile")
BUDGETS = (0.4, 0.15, 0.3)
SCORES = ("l1", "l2", "fpgm", "random")
"""Criteria that rank single channels; all are Torch-Pruning's."""

REPAIRS = ("bn", "merge", "full")


@dataclass(frozen=True, order=True)
class Run:
    """One network cut in one way, repaired and judged. Its fields are its identity.

    Parameters
    ----------
    network : {"deeplab", "unet", "mobile"}
    sets : str
        Which channels stay: "clique" (metric "reconstruction"), "refit" (metric
        "refit"), or one of `SCORES`; by greedy, or the ranking.
    split : {"clique", "refit"}
        Whose value curves say how many, by the balanced split.
    repair : {"bn", "merge", "full"}
        Batch norms re-estimated; or a refit, and then batch norms re-estimated.
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
    split: str = "refit"
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
        Run(network, own, own, repair, budget)
        for budget, network, own, repair in product(
            BUDGETS[:2], NETWORKS, ("clique", "refit"), REPAIRS
        )
    ]
    runs += [
        Run(network, sets, split, "full", budget)
        for budget, network, (sets, split) in product(
            BUDGETS[:2],
            NETWORKS,
            [("clique", "refit"), ("refit", "clique"), *((s, "refit") for s in SCORES)],
        )
    ]
    main = [("clique", "bn"), ("clique", "full"), ("refit", "merge"), ("refit", "full")]
    for seed in range(1, seeds):
        runs += [
            Run(network, own, own, repair, budget, seed=seed)
            for budget, network, (own, repair) in product(BUDGETS[:2], NETWORKS, main)
        ]
        if seed == 1:
            runs += _tuned() + _third() + _pictures()
    return list(dict.fromkeys(runs))


def quick_list() -> list[Run]:
    """Return a few runs that touch every part of the study."""
    return [
        Run("unet", "refit", "refit", "full", 0.4, 8),
        Run("unet", "l2", "refit", "bn", 0.4, 8, steps=2),
    ]


def _tuned() -> list[Run]:
    arms = [("clique", "bn"), ("refit", "full")]
    return [
        Run(network, own, own, repair, budget, steps=60)
        for budget, network, (own, repair) in product(BUDGETS[:2], NETWORKS, arms)
    ]


def _third() -> list[Run]:
    return [
        Run(network, own, own, repair, BUDGETS[2])
        for network, own, repair in product(NETWORKS, ("clique", "refit"), REPAIRS)
    ]


def _pictures() -> list[Run]:
    return [
        Run(network, budget=0.15, pictures=pictures)
        for network, pictures in product(NETWORKS, (16, 32, 128, 256))
    ]
