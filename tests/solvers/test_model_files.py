"""Models written to files, and models that PuLP hands to solvers: the same problem."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sirfp_opt import (
    ChannelGraph,
    InvalidProblemError,
    LayerConstraints,
    PruningProblem,
    solve,
)
from sirfp_opt_solvers.milp import build, write_model

_RNG = np.random.default_rng(0)
_WEIGHTS = (_RNG.random((10, 10)) + _RNG.random((10, 10)).T).round(3)
_WEIGHTS = _WEIGHTS + _WEIGHTS.T
_VALUES = _RNG.normal(size=10)
_PATH = np.abs(np.subtract.outer(np.arange(10), np.arange(10))) < 5

PROBLEMS: dict[str, tuple[dict[str, Any], LayerConstraints]] = {
    "k alone": ({}, LayerConstraints(4)),
    "a range, vertex weights, kept and dropped": (
        {"vertex_weights": _VALUES},
        LayerConstraints(k_min=3, k_max=6, must_keep=(1,), must_drop=(2,)),
    ),
    "even numbers, tied groups": (
        {"vertex_weights": -_VALUES},
        LayerConstraints(k_min=2, k_max=8, multiple_of=2, tied=((0, 3), (4, 5, 6))),
    ),
    "missing edges": ({"adjacency": _PATH}, LayerConstraints(3)),
    "nothing to choose": ({}, LayerConstraints(3, must_keep=(0, 1, 2))),
}


def _problem(name: str, sense: str) -> PruningProblem:
    extra, constraints = PROBLEMS[name]
    return PruningProblem(ChannelGraph(_WEIGHTS, sense=sense, **extra), constraints)


def _optimum_of_file(path: Path) -> float:
    import highspy

    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.readModel(str(path))
    highs.run()
    assert highs.getModelStatus() == highspy.HighsModelStatus.kOptimal
    return float(highs.getInfo().objective_function_value)


@pytest.mark.parametrize("sense", ["maximize", "minimize"])
@pytest.mark.parametrize("suffix", [".lp", ".mps"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_highs_reads_the_same_problem(
    name: str, suffix: str, sense: str, tmp_path: Path
) -> None:
    """An LP or MPS file keeps the sense, the constant and every constraint."""
    problem = _problem(name, sense)
    true = solve(problem, method="brute_force").objective
    for formulation in ("rlt", "standard", "glover"):
        file = write_model(problem, tmp_path / f"model{suffix}", formulation)
        assert _optimum_of_file(file) == pytest.approx(true, rel=1e-9, abs=1e-9)
        # CPLEX reads no other file: "Line 1: No NAME section".
        assert suffix == ".lp" or file.read_text().startswith("NAME")


@pytest.mark.parametrize("sense", ["maximize", "minimize"])
@pytest.mark.parametrize("suffix", [".pb", ".pbtxt"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_cpsat_reads_the_same_problem(
    name: str, suffix: str, sense: str, tmp_path: Path
) -> None:
    """A CP-SAT file has the user's optimum, within the rounding to integers."""
    from ortools.sat import cp_model_pb2
    from ortools.sat.python import cp_model

    problem = _problem(name, sense)
    file = write_model(problem, tmp_path / f"model{suffix}", "standard")
    text = file.read_bytes()
    if suffix == ".pb":
        text = str(cp_model_pb2.CpModelProto.FromString(text)).encode()
    model = cp_model.CpModel()
    model.proto.parse_text_format(text.decode())
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    assert solver.solve(model) == cp_model.OPTIMAL
    true = solve(problem, method="brute_force").objective
    assert solver.objective_value == pytest.approx(true, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("sense", ["maximize", "minimize"])
@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("solver", ["HiGHS", "CPSAT", "CBC"])
def test_whatever_pulp_runs_proves_or_finds_the_optimum(
    solver: str, name: str, sense: str
) -> None:
    """The same answer from every back end that is here, with PuLP 3 and PuLP 4."""
    import pulp

    known, here = pulp.listSolvers(), pulp.listSolvers(onlyAvailable=True)
    programs = {"CBC": {"PULP_CBC_CMD", "COIN_CMD"}}.get(solver, {solver})
    if not programs.intersection(known) or not programs.intersection(here):
        pytest.skip(f"PuLP {pulp.__version__} cannot run {solver} here")
    problem = _problem(name, sense)
    found = solve(problem, method="milp", solver=solver)
    true = solve(problem, method="brute_force").objective
    assert found.objective == pytest.approx(true, abs=1e-9)
    if solver != "CPSAT":
        assert found.status.value == "optimal"


def test_a_built_model_has_the_users_objective() -> None:
    """`build` states the problem in its own sense; its value at a set is the set's."""
    problem = _problem("a range, vertex weights, kept and dropped", "minimize")
    best = solve(problem, method="brute_force")
    model = build(problem, "standard")
    items = set(problem.canonical.project(best.selected).tolist())
    for variable in model.variables():
        kind, *numbers = variable.name.split("_")
        inside = all(int(i) in items for i in numbers)
        variable.setInitialValue(1 if kind == "constant" or inside else 0)
    assert model.objective.value() == pytest.approx(best.objective)


def test_another_ending_is_refused(tmp_path: Path) -> None:
    """The ending chooses the format, so it must be one that is known."""
    problem = _problem("k alone", "maximize")
    with pytest.raises(InvalidProblemError, match=r"must end in '\.lp'"):
        write_model(problem, tmp_path / "model.xlsx")
