"""PruningPlan: checked once, JSON there and back, positions by layer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sirfp_opt import InvalidProblemError
from sirfp_opt.network.plan import Attribute, PruningPlan, PruningUnit, Site

UNITS = (
    PruningUnit(
        "a",
        4,
        (
            Site("a.weight", 0, 4),
            Site("a.bias", 0, 4),
            Site("c.weight", 1, 7, "in", offset=3),
        ),
    ),
    PruningUnit(
        "b",
        3,
        (
            Site("b.weight", 0, 3),
            Site("c.weight", 1, 7, "in"),
            Site("f.weight", 1, 20, "in"),
            Site.of_table("d.weight", 0, 9, [[0, 4, 8], [5, 1, 2], [7, 3, 6]]),
        ),
    ),
    PruningUnit(
        "g",
        4,
        (Site("g.weight", 0, 4), Site("f.weight", 1, 20, "in", 12, 2)),
        ((0, 2), (1, 3)),
        (Attribute("block", "num_heads", 2), Attribute("block", "width", 8, 4)),
        heads="block",
    ),
)


@pytest.fixture
def plan() -> PruningPlan:
    """Return a plan in which every unit loses something."""
    return PruningPlan(
        UNITS, {"a": [3, 0], "b": [1], "g": [1, 3]}, info={"asked": {"macs": 0.4}}
    )


def test_kept_removed_and_counts(plan: PruningPlan) -> None:
    """Channels come back sorted; what is not kept is removed; the rest is whole."""
    assert plan["a"].tolist() == [0, 3]
    assert plan.removed("a").tolist() == [1, 2]
    assert plan.counts == {"a": 2, "b": 1, "g": 2}
    assert plan.sizes == {"a": 4, "b": 3, "g": 4}
    assert PruningPlan(UNITS, {}).counts == plan.sizes
    assert repr(plan) == "PruningPlan(3 units, 5 of 11 channels kept)"


def test_positions_count_offsets_and_repeats(plan: PruningPlan) -> None:
    """A concatenation shifts by its offset, a flattened map repeats positions."""
    removed = plan.removed_positions()
    assert removed["c", "in"].tolist() == [0, 2, 4, 5]
    assert removed["f", "in"].tolist() == [0, 2, 12, 13, 16, 17]
    assert ("c", "in") not in PruningPlan(UNITS, {}).removed_positions()


def test_json_round_trip(plan: PruningPlan, tmp_path: Path) -> None:
    """Text and file give an equal plan, with its information and its sites."""
    path = tmp_path / "plan.json"
    text = plan.to_json(path)
    for source in (text, path, str(path)):
        loaded = PruningPlan.from_json(source)
        assert loaded == plan
        assert loaded.units == plan.units
        assert loaded.info == plan.info
    assert json.loads(text)["units"][0]["kept"] == [0, 3]
    assert PruningPlan(UNITS, {}) != plan


@pytest.mark.parametrize(
    ("kept", "match"),
    [
        ({"a": []}, "at least one"),
        ({"a": [0.5]}, "channel number"),
        ({"a": [4]}, "0 to 3"),
        ({"a": [-1]}, "0 to 3"),
        ({"nowhere": [0]}, "units of the plan"),
        ({"g": [0, 1]}, "tied"),
        ({"a": [True, False]}, "channel number"),
    ],
)
def test_bad_sets(kept: dict[str, Any], match: str) -> None:
    """Empty, fractional, out of range, unknown and torn sets are refused."""
    with pytest.raises(InvalidProblemError, match=match):
        PruningPlan(UNITS, kept)


@pytest.mark.parametrize(
    "data", [{}, {"format": "other"}, {"format": "sirfp-opt/plan/1"}, [], "text"]
)
def test_bad_json(data: Any) -> None:
    """What is no plan is refused with what was found."""
    with pytest.raises(InvalidProblemError, match="plan"):
        PruningPlan.from_dict(data)


def test_bad_sites_and_units() -> None:
    """A site must lie within its layer, and names must be distinct."""
    with pytest.raises(InvalidProblemError, match="within"):
        PruningUnit("a", 4, (Site("c.weight", 1, 6, "in", offset=3),))
    with pytest.raises(InvalidProblemError, match="side"):
        Site("a.weight", 0, 4, "up")  # type: ignore[arg-type]
    with pytest.raises(InvalidProblemError, match="distinct"):
        PruningPlan([UNITS[0], UNITS[0]], {})


def test_arrays_are_read_only(plan: PruningPlan) -> None:
    """A plan does not change under its user."""
    with pytest.raises(ValueError, match="read-only"):
        plan["a"][0] = 2
    kept = np.array([0, 1])
    made = PruningPlan(UNITS, {"a": kept})
    kept[0] = 3
    assert made["a"].tolist() == [0, 1]


def test_plans_and_costs_need_no_torch() -> None:
    """Reading a plan and pricing it imports neither torch nor a solver."""
    code = (
        "import sys, sirfp_opt.network.plan, sirfp_opt.network.cost;"
        "import sirfp_opt.network.allocation;"
        "heavy = {'torch', 'ortools', 'pulp', 'pandas', 'numba', 'sirfp_opt_solvers'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
