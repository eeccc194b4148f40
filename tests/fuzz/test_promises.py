"""Every method on problems of every kind and magnitude: no wrong word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from sirfp_opt import (
    ChannelGraph,
    InfeasibleError,
    LayerConstraints,
    PruningProblem,
    Search,
    SolverInfo,
    register_solver,
    unregister_solver,
)
from tests.fuzz.problems import Judge, faults


@pytest.mark.parametrize("part", range(10))
def test_five_hundred_problems(part: int) -> None:
    """What `benchmarks.promises` asks of 5,000, asked of 500 others here."""
    first = 1_000_000 + 50 * part
    found = [fault for seed in range(first, first + 50) for fault in faults(seed)]
    assert not found, "\n".join(found)


@dataclass(frozen=True)
class Liar:
    """Says a wrong thing of one kind."""

    how: str = ""
    info: ClassVar[SolverInfo] = SolverInfo(summary="a liar", exact=True)

    def solve(self, search: Search) -> None:
        """Lie."""
        if self.how == "infeasible":
            raise InfeasibleError("there is nothing")
        if self.how == "crash":
            raise KeyError("a")
        if self.how == "nothing":
            return
        search.offer_items([0, 2])
        if self.how == "optimal":
            search.tighten(search.objective or 0.0)
        elif self.how == "bound":
            search.tighten(1.0001 * (search.objective or 0.0))


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("infeasible", "says infeasible"),
        ("crash", "raises KeyError"),
        ("nothing", "finds nothing"),
        ("optimal", "but the best is 3.0"),
        ("bound", "unproved"),
        ("", "unproved"),
    ],
)
def test_the_judge_catches_liars(how: str, says: str) -> None:
    """Each kind of wrong word is seen: the fuzz can fail."""
    weights = np.array([[0, 3, 1], [3, 0, 2], [1, 2, 0.0]])
    judge = Judge(PruningProblem(ChannelGraph(weights), LayerConstraints(2)))
    register_solver("liar", Liar)
    try:
        assert says in judge.fault_of_method("liar", how=how)
    finally:
        unregister_solver("liar")
