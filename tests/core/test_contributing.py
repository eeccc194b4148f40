"""CONTRIBUTING's example solver is real: it is run here as it stands there."""

from __future__ import annotations

import importlib
import re
import textwrap
from pathlib import Path

import pytest

from sirfp_opt.testing import check_solver

ROOT = Path(__file__).parents[2]


def test_the_example_solver_passes_the_conformance_suite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copied out of the text into a module, imported, checked."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    found = re.search(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert found is not None
    source = textwrap.dedent(found[1])
    (tmp_path / "contributed_solver.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("contributed_solver")
    check_solver(module.FirstImprovement())
