"""The documentation is whole: it builds without a warning, and its examples run."""

from __future__ import annotations

import doctest
import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

import sirfp_opt
import sirfp_opt_solvers

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    if ">>> " in path.read_text(encoding="utf-8")
)
MODULES = sorted(
    module.name
    for package in (sirfp_opt, sirfp_opt_solvers)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
)
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_run(page: str) -> None:
    """What a page shows is what comes out."""
    # A fence right under an output would be taken for a part of it.
    text = re.sub(
        r"^ *```.*$", "", (ROOT / page).read_text("utf-8"), flags=re.MULTILINE
    )
    test = doctest.DocTestParser().get_doctest(text, {}, page, page, 0)
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    assert runner.run(test).failed == 0


@pytest.mark.parametrize("name", ["sirfp_opt", *MODULES])
def test_the_examples_of_a_module_run(name: str) -> None:
    """What a docstring shows is what comes out."""
    module = importlib.import_module(name)
    assert doctest.testmod(module, optionflags=FLAGS).failed == 0


def inventory(path: Path) -> set[str]:
    """Return the names that a built site documents, from its Sphinx inventory."""
    _, _, _, _, packed = path.read_bytes().split(b"\n", 4)
    return {line.split()[0] for line in zlib.decompress(packed).decode().splitlines()}


def test_the_site_builds_without_a_warning_and_has_every_public_name(
    tmp_path: Path,
) -> None:
    """Links, references and docstrings are sound, and nothing public is left out."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    known = inventory(tmp_path / "objects.inv")
    packages = (
        "",
        ".study",
        ".plotting",
        ".explorer",
        ".pytorch",
        ".io",
        ".network",
        ".network.allocation",
    )
    missing = []
    for package in packages:
        module = importlib.import_module(f"sirfp_opt{package}")
        for name in module.__all__:
            thing = getattr(module, name)
            home = getattr(thing, "__module__", None)
            if not isinstance(thing, type) and not callable(thing):
                continue
            if f"{home}.{name}" not in known:
                missing.append(f"{home}.{name}")
    assert not missing, "add their modules to a page in docs/api"
    index = json.loads((tmp_path / "search" / "search_index.json").read_text("utf-8"))
    texts = " ".join(doc["title"] + " " + doc["text"] for doc in index["docs"]).lower()
    assert all(word in texts for word in ("onnx", "latency", "csv", "cite"))
    for page in tmp_path.rglob("*.html"):
        pictures = re.findall(r"<img\b[^>]*>", page.read_text("utf-8"))
        assert all("alt=" in picture for picture in pictures), page
    page_of_prune = (
        tmp_path / "reference" / "sirfp_opt.pytorch.prune" / "index.html"
    ).read_text()
    assert "sirfp_opt.pytorch" in page_of_prune
    assert 'id="sirfp_opt.pytorch.prune.prune"' in page_of_prune
