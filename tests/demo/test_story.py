"""Claims about the demo, on a quick run of it."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from sirfp_opt.demo.network import load_checkpoint
from sirfp_opt.demo.story import MACS, run_demo
from sirfp_opt.network.plan import PruningPlan
from sirfp_opt.pytorch import apply_plan

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """One quick run: its folder, its figures and what it printed."""
    out = tmp_path_factory.mktemp("demo")
    console = Console(file=io.StringIO(), width=120)
    figures = run_demo(out, quick=True, console=console)
    return out, figures, console.file.getvalue()  # type: ignore[attr-defined]


def test_the_budget_is_kept(run: tuple[Path, dict[str, Any], str]) -> None:
    """At most 40 % of the MACs remain, counted on the pruned network itself."""
    networks = run[1]["networks"]
    whole, pruned = networks["original"], networks["pruned"]
    assert 0.35 * whole["macs"] < pruned["macs"] <= MACS * whole["macs"]
    assert pruned["parameters"] < whole["parameters"]


def test_pruned_equals_masked(run: tuple[Path, dict[str, Any], str]) -> None:
    """What is cut away is what masking would have silenced."""
    assert run[1]["pruned_against_masked"] <= 1e-5


def test_solvers_agree_with_each_other(run: tuple[Path, dict[str, Any], str]) -> None:
    """No solver's objective lies above another one's bound."""
    solvers = run[1]["solvers"]
    assert {"greedy", "anneal", "cpsat", "milp"} <= set(solvers)
    bounds = [row["bound"] for row in solvers.values() if row["bound"] is not None]
    assert bounds
    assert max(row["objective"] for row in solvers.values()) <= min(bounds) + 1e-9


def test_the_files_are_written(run: tuple[Path, dict[str, Any], str]) -> None:
    """The figures read back as they were returned, the picture is a picture."""
    out, figures, printed = run
    assert json.loads((out / "figures.json").read_text()) == figures
    assert (out / "demo.png").read_bytes().startswith(b"\x89PNG")
    assert all(name in printed for name in figures["networks"])
    assert all(name in printed for name in figures["solvers"])


def test_the_plan_replays(run: tuple[Path, dict[str, Any], str]) -> None:
    """The plan in JSON makes the same smaller network of a fresh checkpoint."""
    out, figures, _ = run
    plan = PruningPlan.from_json(out / "plan.json")
    again = apply_plan(load_checkpoint(), plan)
    parameters = sum(p.numel() for p in again.parameters())
    assert parameters == figures["networks"]["pruned"]["parameters"]
