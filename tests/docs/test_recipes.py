"""The recipes run as they stand on their page, one after another."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"
TEXT = PAGE.read_text("utf-8")
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
# What the blocks of somebody else's package are told by, and what they need besides.
FOREIGN = {
    "openvino": (),
    "tensorboard": (),
    "lightning": (),
    "transformers": ("accelerate",),
    "safetensors": ("transformers", "accelerate"),
}


def foreign(block: str) -> str:
    """Return which of the packages a block imports, if any."""
    found = re.findall(r"^(?:from|import) ([\w.]+)", block, re.MULTILINE)
    parts = {part for name in found for part in name.split(".")}
    return next((name for name in FOREIGN if name in parts), "")


def run(block: re.Match[str], names: dict[str, Any]) -> None:
    """Run a block, with the page's line numbers in its errors."""
    line = TEXT.count("\n", 0, block.start(1))
    exec(compile("\n" * line + block[1], str(PAGE), "exec"), names)


BLOCKS = list(BLOCK.finditer(TEXT))
OURS = [block for block in BLOCKS if not foreign(block[1])]
THEIRS = [block for block in BLOCKS if foreign(block[1])]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run our own blocks, each on what those before it left; return all names."""
    pytest.importorskip("onnxruntime")
    made: dict[str, Any] = {"__name__": "recipes"}
    folder = tmp_path_factory.mktemp("recipes")
    before = Path.cwd()
    os.chdir(folder)
    try:
        for block in OURS:
            run(block, made)
    finally:
        os.chdir(before)
    return made | {"FOLDER": folder}


def test_the_recipes_run_in_order(names: dict[str, Any]) -> None:
    """Our own blocks have run, their asserts held, and they left what they say."""
    assert len(BLOCKS) == TEXT.count("```python") >= 14
    assert {foreign(block[1]) for block in THEIRS} == set(FOREIGN)
    written = {path.name for path in names["FOLDER"].iterdir()}
    assert written >= {
        "report.html",
        "small.pt",
        "small.onnx",
        "twice.pt",
        "request.json",
        "report.json",
    }


def test_a_tracker_gets_plain_values(names: dict[str, Any]) -> None:
    """A stand-in for a run of Weights & Biases hears request, shares and headline."""
    config: dict[str, Any] = {}
    logged: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    report = names["result"].report
    tracker = SimpleNamespace(config=config, log=logged.update, summary=summary)
    names["log_report"](tracker, report)
    assert json.loads(json.dumps(config))["pruning"]["budget"] == {"macs": 0.5}
    assert logged["pruning/macs"] == report.reached["macs"]
    assert summary["pruning/headline"] == report.headline


@pytest.mark.parametrize("block", THEIRS, ids=[foreign(b[1]) for b in THEIRS])
def test_a_recipe_with_somebody_elses_package(
    block: re.Match[str], names: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs on what our own blocks left, where the package is installed."""
    from tests.pytorch import zoo

    zoo._declare_operators()  # packages import torchvision, which may not fit torch
    package = foreign(block[1])
    for needed in (package, *FOREIGN[package]):
        pytest.importorskip(needed)
    monkeypatch.chdir(names["FOLDER"])
    run(block, names)
