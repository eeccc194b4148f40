"""A stranger's package, installed, is a solver like any other; a broken one is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "stranger-solvers"
version = "3.1.4"
[project.entry-points."sirfp_opt.solvers"]
shuffle_best = "stranger_solvers.shuffle:ShuffleBest"
broken = "stranger_solvers.broken:Broken"
[tool.hatch.build.targets.wheel]
packages = ["stranger_solvers"]
"""

SHUFFLE = '''
"""Shuffle the items, take the first that fit, several times over."""
from dataclasses import dataclass
from typing import ClassVar

from sirfp_opt.protocols import SolverInfo


@dataclass(frozen=True)
class ShuffleBest:
    """Keep the best of some shuffles."""

    shuffles: int = 20
    info: ClassVar[SolverInfo] = SolverInfo(
        summary="best of some shuffles",
        exact=False,
        supports=frozenset({"vertex_weights", "must_keep", "must_drop"}),
        limits=frozenset({"time", "iterations", "target"}),
    )

    def solve(self, search):
        """Offer one shuffle after the other."""
        for number in range(self.shuffles):
            items = search.rng.permutation(search.canonical.m)
            search.offer_items(items[: search.canonical.counts[0]], number + 1)
            if search.stop(number + 1):
                return
'''

USE = """
import json, sys, warnings
import numpy as np
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from sirfp_opt import available_solvers
    table = available_solvers()
from sirfp_opt.study import compare
from sirfp_opt.testing import check_solver
check_solver("shuffle_best")
rng = np.random.default_rng(0)
matrix = rng.random((10, 10))
study = compare(matrix + matrix.T, ["greedy", "shuffle_best"], k=4, n_jobs=2)
broken = next(row for row in table if row.name == "broken")
json.dump({
    "names": table.names, "broken": [broken.installed, broken.reason],
    "warnings": [str(w.message) for w in caught if w.category is RuntimeWarning],
    "rows": [[r.method, r.status, r.versions.get("stranger-solvers")] for r in study],
}, sys.stdout)
"""


def test_an_installed_package_adds_a_solver_and_a_broken_one_is_skipped(
    tmp_path: Path,
) -> None:
    """It is listed, passes `check_solver`, and stands in a study with its version."""
    source, target = tmp_path / "source", tmp_path / "installed"
    package = source / "stranger_solvers"
    package.mkdir(parents=True)
    (source / "pyproject.toml").write_text(PYPROJECT)
    (package / "__init__.py").touch()
    (package / "shuffle.py").write_text(SHUFFLE)
    (package / "broken.py").write_text("import a_package_that_nobody_has\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    how = ["--no-deps", "--no-build-isolation", "--target", str(target), str(source)]
    subprocess.run(pip + how, check=True)
    environment = os.environ | {"PYTHONPATH": str(target)}
    command = [sys.executable, "-c", USE]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, check=True, stdout=subprocess.PIPE
    )
    told = json.loads(done.stdout)
    assert "shuffle_best" in told["names"]
    assert "broken" not in told["names"]
    assert told["broken"][0] is False
    assert "a_package_that_nobody_has" in told["broken"][1]
    assert any("broken" in warning for warning in told["warnings"])
    assert told["rows"] == [
        ["greedy", "feasible", None],
        ["shuffle_best", "feasible", "3.1.4"],
    ]
