"""The example of an iterative schedule does what it says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import torch

from sirfp_opt.demo.network import DigitSegmenter
from sirfp_opt.demo.scenes import make_scenes
from sirfp_opt.pytorch import count_macs, load_pruned, save_pruned

EXAMPLE = Path(__file__).parents[2] / "examples" / "iterative_schedule.py"


def load_example() -> Any:
    """Import the script as a module."""
    spec = importlib.util.spec_from_file_location(EXAMPLE.stem, EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[EXAMPLE.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_step_measures_and_cuts_what_the_last_one_left(tmp_path: Path) -> None:
    """Shares are of the first network; the second plan is one of the first cut's."""

    def build() -> DigitSegmenter:
        return DigitSegmenter(widths=(8, 12, 16, 24), aspp=(8, 12), decoder=(12, 8))

    network = build().eval()
    seen = make_scenes(4, split="validation")
    small, plans, told = load_example().run_schedule(
        network, [0.7, 0.4], 2, seen, calibration=1, batch_size=4
    )
    whole, left = (count_macs(net, seen[0][:1]) for net in (network, small))
    assert [step.asked for step in told] == [0.7, 0.4]
    assert 0.6 < told[0].reached <= 0.7
    assert 0.35 < told[1].reached <= 0.4
    assert told[1].reached == left / whole
    left_over = {unit: k for unit, k in plans[0].counts.items() if k > 1}
    assert plans[1].sizes == left_over  # of a single channel nothing can be cut
    save_pruned(tmp_path / "small.pt", small, plans)
    loaded = load_pruned(tmp_path / "small.pt", build)
    with torch.no_grad():
        assert torch.equal(loaded.eval()(seen[0]), small(seen[0]))
