"""The recipes run as they stand on their page, one after another."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def test_the_recipes_run_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each block runs on what the blocks before it left; its asserts hold."""
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text("utf-8")
    names: dict[str, Any] = {"__name__": "recipes"}
    blocks = list(BLOCK.finditer(text))
    assert len(blocks) == text.count("```python") >= 8
    for block in blocks:
        line = text.count("\n", 0, block.start(1))
        exec(compile("\n" * line + block[1], str(PAGE), "exec"), names)
    written = {path.name for path in tmp_path.iterdir()}
    assert written >= {
        "report.html",
        "small.pt",
        "small.onnx",
        "twice.pt",
        "request.json",
        "report.json",
    }
