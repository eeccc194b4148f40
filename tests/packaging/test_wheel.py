"""The wheel that users install: built, installed alone, run away from the checkout."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import numpy as np, sirfp_opt, sirfp_opt_solvers
matrix = np.add.outer(np.arange(12.0), np.arange(12.0))
solution = sirfp_opt.solve(matrix, 4, method="greedy", certify=True)
print(solution.selected.tolist(), solution.status.value)
print(len(sirfp_opt.available_solvers().names))
print(sirfp_opt.__file__)
print(sirfp_opt_solvers.__file__)
"""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel with the build back end that is installed already."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
    subprocess.run([*command, "--outdir", str(out), str(ROOT)], check=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a fresh environment's interpreter with only the wheel of ours in it.

    Third-party packages are lent by the test environment; what is ours there is an
    editable install, whose path file is not read from a lent folder.
    """
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, with_pip=False)
    interpreter = home / "bin" / "python"
    (site,) = home.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / "lent.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return interpreter


def test_the_wheel_holds_both_packages_and_nothing_else(wheel: Path) -> None:
    """Top level: sirfp_opt, sirfp_opt_solvers, the metadata; typed; with licence."""
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    (info,) = (t for t in top if t.endswith(".dist-info"))
    assert top == {"sirfp_opt", "sirfp_opt_solvers", info}
    for needed in ("sirfp_opt/py.typed", "sirfp_opt_solvers/py.typed"):
        assert needed in names
    assert f"{info}/licenses/LICENSE" in names
    assert not [n for n in names if "__pycache__" in n or n.endswith((".nbi", ".nbc"))]


@pytest.mark.parametrize("place", ["outside", "root"])
def test_the_installed_wheel_imports_and_solves(
    python: Path, tmp_path: Path, place: str
) -> None:
    """Outside the checkout, and from its root, where the source folders lie about."""
    here = tmp_path if place == "outside" else ROOT
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    run = subprocess.run(
        [str(python), str(script)], cwd=here, capture_output=True, text=True, check=True
    )
    answer, count, core, solvers = run.stdout.splitlines()
    assert answer == "[8, 9, 10, 11] optimal"
    assert int(count) > 3
    home = str(python.parents[1])
    assert core.startswith(home)
    assert solvers.startswith(home)


def test_the_console_script_answers(python: Path, tmp_path: Path) -> None:
    """`sirfp-opt --help` and `sirfp-opt solvers` run from the wheel."""
    for arguments in (["--help"], ["solvers"]):
        code = f"import sys; sys.argv = ['sirfp-opt', *{arguments}]"
        code += "; from sirfp_opt.cli import main; main()"
        run = subprocess.run(
            [str(python), "-c", code], cwd=tmp_path, capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr
        assert "greedy" in run.stdout or "solve" in run.stdout
