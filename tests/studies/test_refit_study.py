"""The study of refits: its stored results belong to it, and its page shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from examples.studies.refit.page import PAGE, fill, tables
from examples.studies.refit.results import SHIPPED, Results
from examples.studies.refit.runs import KEYS, SCORES, full_list, quick_list

if TYPE_CHECKING:
    from pathlib import Path


def test_stored_results_are_runs_of_the_study() -> None:
    """Every row is in the list, once, within its budget."""
    frame = Results(SHIPPED).frame()
    rows = [tuple(map(str, row)) for row in frame[list(KEYS)].itertuples(index=False)]
    assert len(set(rows)) == len(rows)
    assert set(rows) <= {run.key for run in full_list()}
    done = frame[frame["status"] == "ok"]
    assert (done["macs"] <= done["budget"] + 1e-6).all()
    assert done["miou"].between(0, 1).all()
    assert Results(SHIPPED).missing(full_list()[:1]) == []


def test_the_page_shows_the_stored_results(tmp_path: Path) -> None:
    """Its tables are those that the command makes."""
    page = tmp_path / "README.md"
    page.write_text(PAGE.read_text("utf-8"), "utf-8")
    fill(Results(SHIPPED).frame(), page)
    assert page.read_text("utf-8") == PAGE.read_text("utf-8")


def test_a_mean_is_over_seeds() -> None:
    """And says how many there are; one row has one column for each cell."""
    frame = Results(SHIPPED).frame().head(1)
    again = frame.assign(seed=1, miou=frame["miou"] + 0.1)
    both = type(frame)(frame.to_dict("records") + again.to_dict("records"))
    title, table = next(iter(tables(both).items()))
    assert "mean IoU" in title
    assert f"{frame['miou'].iloc[0] + 0.05:.3f} (2)" in table


@pytest.mark.parametrize("runs", [quick_list(), full_list(2)])
def test_scores_are_cut_to_the_numbers_of_the_measured_split(runs: list) -> None:  # type: ignore[type-arg]
    """So that a row differs in its sets alone."""
    scored = [run for run in runs if run.sets in SCORES]
    assert scored
    assert all(run.split == "measured" for run in scored)
