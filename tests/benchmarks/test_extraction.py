"""The extraction benchmark runs from end to end, and both hooks agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from benchmarks.extraction import WAYS, main

if TYPE_CHECKING:
    from pathlib import Path


def test_ours_is_the_straightforward_hook(tmp_path: Path) -> None:
    """Matrices and edges agree to 1e-6; approximations do not, and say by how much."""
    asked = "--networks residual --devices cpu --size 48 --rounds 2 --double --out"
    main([*asked.split(), str(tmp_path)])
    frame = pd.read_csv(tmp_path / "extraction.csv").set_index("way")
    assert list(frame.index) == ["forward", "per image", "per image + edge", *WAYS]
    assert frame.loc[["ours", "ours + edge"], "error"].max() < 1e-6
    assert frame.loc[["bfloat16", "positions"], "error"].min() > 1e-6
    assert (frame["seconds"] > 0).all()
    assert frame.loc["ours + edge", "common"] == 1
    assert "| residual" in (tmp_path / "extraction.md").read_text()
