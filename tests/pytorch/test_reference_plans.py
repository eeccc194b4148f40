"""Plans are what they were before `prune` went through `solve_network`."""

from __future__ import annotations

import pytest

from benchmarks.reference_plans import known_plans, plans_of


@pytest.mark.parametrize("name", ["plain", "residual"])
def test_plans_are_unchanged_to_the_last_channel(name: str) -> None:
    """By checksum; ``python -m benchmarks.reference_plans`` compares all networks."""
    known = known_plans()
    found = plans_of(name, ("reconstruction",), ("half", "quarter"))
    assert found == {key: known[key] for key in found}
    assert any(isinstance(value, int) for value in found.values())
