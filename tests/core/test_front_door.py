"""solve(): inputs, limits, warm starts, callbacks, interrupts, refusals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import networkx as nx
import numpy as np
import pandas as pd
import pytest

import sirfp_opt
from sirfp_opt import (
    ChannelGraph,
    InvalidProblemError,
    LayerConstraints,
    Limits,
    NoSolutionError,
    Progress,
    PruningProblem,
    Search,
    SolverError,
    SolverInfo,
    UnsupportedError,
    solve,
)

RNG = np.random.default_rng(3)
MATRIX = RNG.random((9, 9))
MATRIX = MATRIX + MATRIX.T


@dataclass(frozen=True)
class Scripted:
    """A solver whose moves a test writes down; no feature is declared."""

    moves: tuple[tuple[str, Any], ...] = ()
    info: ClassVar[SolverInfo] = SolverInfo(
        summary="scripted", exact=False, supports=frozenset()
    )

    def solve(self, search: Search) -> None:
        """Play the moves."""
        for verb, value in self.moves:
            if verb == "offer":
                search.offer(value)
            elif verb == "bound":
                search.tighten(value)
            elif verb == "raise":
                raise value
            if search.stop():
                return


def test_every_kind_of_input_is_the_same_problem() -> None:
    """Array, ChannelGraph, networkx, pandas and PruningProblem agree."""
    graph = ChannelGraph.from_diversity(MATRIX)
    plain = MATRIX.copy()
    np.fill_diagonal(plain, 0)
    inputs = [
        (MATRIX, 4),
        (MATRIX.tolist(), 4),
        (graph, 4),
        (nx.from_numpy_array(plain), 4),
        (pd.DataFrame(MATRIX), 4),
        (PruningProblem(graph, LayerConstraints(4)), None),
    ]
    answers = [solve(source, k, method="brute_force") for source, k in inputs]
    assert {tuple(a.selected.tolist()) for a in answers} == {
        tuple(answers[0].selected.tolist())
    }
    assert MATRIX[0, 0] != 0  # the diagonal was there, and is no part of it


def test_bare_matrices_are_maximised_unless_told_otherwise() -> None:
    """The literature's sense by default; `sense` turns it round; a graph's own wins."""
    most = solve(MATRIX, 3, method="brute_force")
    least = solve(MATRIX, 3, method="brute_force", sense="minimize")
    assert most.objective > least.objective
    graph = ChannelGraph.from_redundancy(MATRIX)
    assert solve(graph, 3, method="brute_force").objective == least.objective
    with pytest.raises(InvalidProblemError, match="`sense` must agree"):
        solve(graph, 3, sense="maximize")


def test_k_may_be_said_once_in_any_place() -> None:
    """K as argument, as a range, or within constraints; never in two ways."""
    assert solve(MATRIX, (2, 3), method="greedy").k == 3
    rules = LayerConstraints(must_keep=[5])
    assert 5 in solve(MATRIX, 3, method="greedy", constraints=rules).selected
    with pytest.raises(InvalidProblemError, match="`k` must agree"):
        solve(MATRIX, 3, constraints=LayerConstraints(4))
    with pytest.raises(InvalidProblemError, match="`k` must be given"):
        solve(MATRIX)
    with pytest.raises(InvalidProblemError, match="left out beside a PruningProblem"):
        solve(PruningProblem(ChannelGraph(MATRIX), LayerConstraints(3)), 3)


def test_a_warm_start_is_the_first_incumbent() -> None:
    """The answer is never worse than it, whatever the solver does."""
    best = solve(MATRIX, 4, method="brute_force")
    idle = solve(MATRIX, 4, method=Scripted(), warm_start=best.selected)
    assert idle.objective == best.objective
    worse = solve(
        MATRIX,
        4,
        method=Scripted((("offer", [0, 1, 2, 3]),)),
        warm_start=best.selected.tolist(),
    )
    assert worse.objective == best.objective


def test_a_bad_warm_start_is_refused_before_any_work() -> None:
    """A non-clique, a wrong size, a stranger: each is named."""
    graph = nx.cycle_graph(5)
    graph.add_edges_from(list(graph.edges), weight=1.0)
    with pytest.raises(InvalidProblemError, match="`warm_start` must be a clique"):
        solve(graph, 2, method="greedy", warm_start=[0, 2])
    with pytest.raises(InvalidProblemError, match="`warm_start` must hold an allowed"):
        solve(MATRIX, 3, method="greedy", warm_start=[0, 1])


def test_an_interrupt_returns_the_incumbent() -> None:
    """Ctrl-C loses nothing that was found; with nothing found it stays an interrupt."""
    moves = (("offer", [0, 1, 2]), ("raise", KeyboardInterrupt()))
    solution = solve(MATRIX, 3, method=Scripted(moves))
    assert solution.limit == "interrupt"
    assert solution.selected.tolist() == [0, 1, 2]
    with pytest.raises(KeyboardInterrupt):
        solve(MATRIX, 3, method=Scripted(moves[1:]))


def test_no_solver_is_trusted() -> None:
    """An infeasible set, a false bound and a NaN bound are the solver's errors."""
    with pytest.raises(SolverError, match="must offer feasible sets"):
        solve(MATRIX, 3, method=Scripted((("offer", [0, 1]),)))
    good = ("offer", [0, 1, 2])
    with pytest.raises(SolverError, match="must offer bounds that hold"):
        solve(MATRIX, 3, method=Scripted((good, ("bound", 0.001))))
    with pytest.raises(SolverError, match="NaN"):
        solve(MATRIX, 3, method=Scripted((good, ("bound", float("nan")))))


def test_optimal_needs_a_proof() -> None:
    """The status follows from objective and bound alone."""
    best = solve(MATRIX, 3, method="brute_force")
    chosen = best.selected.tolist()
    found = Scripted((("offer", chosen),))
    assert solve(MATRIX, 3, method=found).status.value == "feasible"
    proved = Scripted((("offer", chosen), ("bound", best.objective)))
    assert solve(MATRIX, 3, method=proved).status.value == "optimal"
    loose = Scripted((("bound", best.objective * 1.01), ("offer", chosen)))
    assert solve(MATRIX, 3, method=loose).status.value == "feasible"


def test_bounds_only_ever_tighten() -> None:
    """A weaker bound after a stronger one changes nothing; infinity is no bound."""
    best = solve(MATRIX, 3, method="brute_force")
    moves = (
        ("bound", best.objective + 1.0),
        ("bound", best.objective + 2.0),
        ("bound", float("inf")),
        ("offer", best.selected.tolist()),
    )
    assert solve(MATRIX, 3, method=Scripted(moves)).bound == best.objective + 1.0


def test_the_callback_sees_each_improvement_and_may_stop() -> None:
    """Progress carries set, objective, bound and gap; True stops the run."""
    seen: list[Progress] = []

    def watch(progress: Progress) -> bool:
        seen.append(progress)
        return True

    moves = (("offer", [0, 1, 2]), ("offer", [3, 4, 5]))
    solution = solve(MATRIX, 3, method=Scripted(moves), callback=watch)
    assert solution.limit == "callback"
    assert len(seen) == 1
    assert seen[0].selected is not None
    assert seen[0].selected.tolist() == [0, 1, 2]
    assert seen[0].gap is None


def test_target_stops_at_the_first_good_enough_set() -> None:
    """A target is a limit like any other, in the problem's own sense."""
    moves = (("offer", [0, 1, 2]), ("offer", [3, 4, 5]))
    limits = Limits(target=0.0)
    solution = solve(MATRIX, 3, method=Scripted(moves), limits=limits)
    assert (solution.limit, solution.selected.tolist()) == ("target", [0, 1, 2])


def test_limits_and_features_a_solver_lacks_are_refused() -> None:
    """Nothing that was asked for is silently ignored."""
    with pytest.raises(UnsupportedError, match="`limits` must be among"):
        solve(MATRIX, 3, method=Scripted(), limits=Limits(iterations=3))
    rules = LayerConstraints(3, must_keep=[0])
    with pytest.raises(UnsupportedError, match="must support must_keep"):
        solve(MATRIX, method=Scripted(), constraints=rules)
    with pytest.raises(UnsupportedError, match=r"among .*Did you mean 'diagonal'"):
        solve(MATRIX, 3, method="greedy", diagonl=True)
    with pytest.raises(UnsupportedError, match="left out beside a solver object"):
        solve(MATRIX, 3, method=Scripted(), moves=())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"time": -1.0}, "`time`"),
        ({"time": float("nan")}, "`time`"),
        ({"time": "long"}, "`time`"),
        ({"iterations": 0}, "`iterations`"),
        ({"iterations": 1.5}, "`iterations`"),
        ({"gap": -0.1}, "`gap`"),
        ({"target": float("nan")}, "`target`"),
    ],
)
def test_bad_limits(arguments: dict[str, Any], words: str) -> None:
    """Limits are checked when they are made."""
    with pytest.raises(InvalidProblemError, match=words):
        Limits(**arguments)


def test_time_limit_is_said_once() -> None:
    """`time_limit` is short for Limits(time=...)."""
    with pytest.raises(InvalidProblemError, match="`time_limit` must be left out"):
        solve(MATRIX, 3, time_limit=1.0, limits=Limits(time=1.0))
    with pytest.raises(InvalidProblemError, match="`limits` must be a Limits"):
        solve(MATRIX, 3, limits=5)  # type: ignore[arg-type]


def test_a_limit_before_any_set_says_so() -> None:
    """NoSolutionError names the limit and the way out."""
    with pytest.raises(NoSolutionError, match="time limit"):
        solve(MATRIX, 3, method="greedy", time_limit=0.0)
    best = solve(MATRIX, 3, method="greedy")
    kept = solve(MATRIX, 3, method="greedy", time_limit=0.0, warm_start=best.selected)
    assert kept.limit == "time"


def test_nothing_to_choose_is_answered_by_the_core() -> None:
    """K = n, or everything forced, is optimal without a solver."""
    all_in = solve(MATRIX, 9, method=Scripted())
    assert all_in.status.value == "optimal"
    rules = LayerConstraints(2, must_keep=[4, 6])
    forced = solve(MATRIX, method="greedy", constraints=rules)
    assert forced.selected.tolist() == [4, 6]
    assert forced.status.value == "optimal"


def test_certify_gives_every_method_a_gap() -> None:
    """A heuristic's answer carries a bound that the optimum respects."""
    best = solve(MATRIX, 4, method="brute_force")
    solution = solve(MATRIX, 4, method="top_k", certify=True)
    assert solution.bound is not None
    assert solution.bound >= best.objective
    assert solution.gap is not None


@pytest.mark.parametrize("seed", [-1, 1.5, "a", None])
def test_bad_seeds(seed: Any) -> None:
    """A seed is a whole number of at least 0."""
    with pytest.raises(InvalidProblemError, match="`seed` must be"):
        solve(MATRIX, 3, seed=seed)


def test_module_says_its_version() -> None:
    """The version comes from the installed distribution."""
    assert sirfp_opt.__version__[0].isdigit()
