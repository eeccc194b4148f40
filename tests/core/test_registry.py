"""Solvers are found by name, ours by the same door as anyone's."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest

import sirfp_opt
from sirfp_opt import (
    InvalidProblemError,
    Search,
    SolverError,
    SolverInfo,
    SolverNotInstalledError,
    UnknownSolverError,
    available_solvers,
    cite,
    register_solver,
    registry,
    solve,
    unregister_solver,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class FirstK:
    """The simplest solver there is: the first k items."""

    info: ClassVar[SolverInfo] = SolverInfo(
        summary="first k", exact=False, supports=frozenset()
    )

    def solve(self, search: Search) -> None:
        """Offer the first k."""
        search.offer_items(range(search.canonical.counts[0]))


@pytest.fixture
def first_k() -> Iterator[str]:
    """Register FirstK for one test."""
    register_solver("first_k", FirstK)
    yield "first_k"
    unregister_solver("first_k")


def test_entry_points_equal_the_folder() -> None:
    """Every public module of the solver package is an entry point's, and back."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())
    points = declared["project"]["entry-points"]["sirfp_opt.solvers"]
    modules = {
        value.split(":")[0].removeprefix("sirfp_opt_solvers.")
        for value in points.values()
    }
    folder = ROOT / "solvers" / "sirfp_opt_solvers"
    files = {p.stem for p in folder.glob("*.py") if not p.stem.startswith("_")}
    assert modules == files
    assert set(points) <= {row.name for row in available_solvers()}


def test_every_row_says_what_a_user_must_know() -> None:
    """Name, kind, features, limits, options; and the table prints a line a solver."""
    table = available_solvers()
    assert len(repr(table).splitlines()) == len(table)
    for row in table:
        assert row.kind in ("exact", "heuristic")
        assert row.installed or row.reason
        assert "time" in row.limits
    frame = table.to_frame()
    assert frame["name"].tolist() == [row.name for row in table]


def test_a_registered_solver_is_like_any_other(first_k: str) -> None:
    """It is listed, solves, and its name is on the solution."""
    assert first_k in available_solvers().names
    solution = solve(np.ones((4, 4)), 2, method=first_k)
    assert solution.solver == first_k
    assert solve(np.ones((4, 4)), 2, method=FirstK()).solver == first_k
    with pytest.raises(InvalidProblemError, match="must be free"):
        register_solver(first_k, FirstK)
    register_solver(first_k, FirstK, replace=True)


def test_registering_what_is_no_solver_is_refused() -> None:
    """A class without info, an unknown feature, a bad name."""
    with pytest.raises(SolverError, match="`info: SolverInfo`"):
        register_solver("nothing", object)  # type: ignore[arg-type]

    class Odd(FirstK):
        info = SolverInfo(summary="", exact=False, supports=frozenset({"magic"}))

    with pytest.raises(SolverError, match="magic"):
        register_solver("odd", Odd)
    with pytest.raises(InvalidProblemError, match="identifier"):
        register_solver("my solver", FirstK)
    with pytest.raises(UnknownSolverError, match="registered solvers"):
        unregister_solver("greedy")


def test_unknown_names_get_a_suggestion() -> None:
    """The nearest name is offered, and all are listed."""
    with pytest.raises(UnknownSolverError, match="Did you mean 'greedy'"):
        solve(np.ones((4, 4)), 2, method="gredy")
    for strange in (3, None, FirstK, object()):
        with pytest.raises(InvalidProblemError, match="a name or a solver object"):
            solve(np.ones((4, 4)), 2, method=strange)  # type: ignore[arg-type]


def test_a_missing_package_is_named_with_the_pip_line() -> None:
    """A solver whose back end is absent is listed with the reason, and raises."""

    class NeedsMore(FirstK):
        info = SolverInfo(
            summary="", exact=True, requires=("no_such_module",), extra="scip"
        )

    register_solver("needs_more", NeedsMore)
    try:
        row = next(r for r in available_solvers() if r.name == "needs_more")
        assert not row.installed
        assert "no_such_module" in row.reason
        with pytest.raises(SolverNotInstalledError, match=r"sirfp-opt\[scip\]"):
            solve(np.ones((4, 4)), 2, method="needs_more")
    finally:
        unregister_solver("needs_more")


def test_a_broken_plugin_warns_and_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bad package never takes the others down."""
    broken = EntryPoint("broken", "no_such_package:Solver", "sirfp_opt.solvers")
    points = {**registry._entry_points(), "broken": broken}
    monkeypatch.setattr(registry, "_entry_points", lambda: points)
    with pytest.warns(RuntimeWarning, match="no_such_package"):
        table = available_solvers()
    assert "greedy" in table.names
    assert "broken" not in table.names
    with pytest.raises(SolverNotInstalledError, match="no_such_package"):
        solve(np.ones((4, 4)), 2, method="broken")


def test_ours_wins_over_a_stranger_of_the_same_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two packages, one name: a warning, and the built-in one is used."""
    ours = EntryPoint("greedy", "sirfp_opt_solvers.greedy:Greedy", "sirfp_opt.solvers")
    theirs = EntryPoint("greedy", "elsewhere:Greedy", "sirfp_opt.solvers")
    monkeypatch.setattr(registry, "entry_points", lambda group: [theirs, ours])
    registry._entry_points.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="two installed packages"):
            assert registry._entry_points()["greedy"] is ours
    finally:
        registry._entry_points.cache_clear()


HEAVY = ("torch", "ortools", "pulp", "pandas", "matplotlib", "networkx", "numba")


@pytest.mark.parametrize(
    "statement",
    [
        "import sirfp_opt",
        "import sirfp_opt; sirfp_opt.available_solvers()",
        "import sirfp_opt, numpy; "
        "sirfp_opt.solve(numpy.ones((4, 4)), 2, method='brute_force')",
    ],
)
def test_heavy_packages_stay_out_until_needed(statement: str) -> None:
    """Importing, listing the solvers and a light solve load numpy and little else."""
    code = f"{statement}; import sys; print([m for m in {HEAVY} if m in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_the_floor_above_is_loaded_by_who_asks_for_it() -> None:
    """`import sirfp_opt` loads one layer; the network's names come when asked for."""
    code = (
        "import sys, sirfp_opt\n"
        "above = ('network', 'io', 'plotting', 'study')\n"
        "print([a for a in above if f'sirfp_opt.{a}' in sys.modules])\n"
        "from sirfp_opt import *\n"
        "print(NetworkProblem.__module__, sirfp_opt.network.solve_network.__name__)\n"
        "print(hasattr(sirfp_opt, 'nothing'))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    expected = ["[]", "sirfp_opt.network.problem solve_network", "False"]
    assert run.stdout.splitlines() == expected


def test_the_core_imports_no_solver_and_no_adapter() -> None:
    """Arrows point to the core: no core file names what stands on it."""
    core = Path(sirfp_opt.__file__).parent
    for path in core.glob("*.py"):
        if path.stem in ("cli",):
            continue
        text = path.read_text()
        for above in ("sirfp_opt_solvers", "sirfp_opt.pytorch", "sirfp_opt.plotting"):
            imports = [
                line
                for line in text.splitlines()
                if above in line and line.lstrip().startswith(("from ", "import "))
            ]
            assert not imports, f"{path.name}: {imports}"


def test_every_method_cites_what_it_follows() -> None:
    """The package and its paper always, the method's papers by name, object, answer."""
    for row in available_solvers():
        entries = cite(row.name)
        assert entries.count("\n@") + 1 == len(re.findall(r"^@\w+\{", entries, re.M))
        assert entries.startswith("@software{sirfp_opt,")
        assert entries.count("{") == entries.count("}")
    assert "10.1287/mnsc.32.10.1274" in cite("milp")
    assert cite().count("@") == 2
    found = solve(np.ones((4, 4)), 2, method="greedy")
    assert cite(found) == cite("greedy") == cite()


def test_an_outsiders_method_cites_its_own() -> None:
    """A whole entry is taken as it is; a key that nobody knows is an error."""

    class Published(FirstK):
        info = SolverInfo(summary="", exact=False, cites=("@misc{me, title = {Me}}",))

    class Mistaken(FirstK):
        info = SolverInfo(summary="", exact=False, cites=("nobody2020",))

    assert cite(Published()).endswith("@misc{me, title = {Me}}\n")
    with pytest.raises(SolverError, match="nobody2020"):
        cite(Mistaken())
