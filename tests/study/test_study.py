"""Study: tables, files and the page say what the runs say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest

from sirfp_opt.study import Study, compare
from sirfp_opt.study.record import RunRecord
from tests.study.solvers import Failing

if TYPE_CHECKING:
    from pathlib import Path

    from sirfp_opt import ChannelGraph

COLUMNS = (
    "instance, n, k, sense, method, options, seed, objective, bound, gap, gap_to_best, "
    "status, limit, seconds, overran, time_to_best, primal_integral, error, versions, "
    "machine, problem"
)


@pytest.fixture(scope="module")
def study(layers: dict[str, ChannelGraph]) -> Study:
    """Four methods, one of which fails on half of its runs."""
    methods = ["greedy", "random", "brute_force", Failing("raise")]
    return compare(layers, methods, k=[3, 5], seeds=2)


def test_the_frame_is_tidy(study: Study) -> None:
    """The promised columns, a row a run, gaps to the best of the problem."""
    frame = study.to_frame()
    assert ", ".join(frame.columns) == COLUMNS
    assert len(frame) == len(study) == 32
    best = frame.groupby("problem")["objective"].transform("min")
    expected = (frame["objective"] - best).abs() / frame["objective"].abs()
    solved = frame["objective"].notna()
    np.testing.assert_allclose(frame["gap_to_best"][solved], expected[solved])
    assert (frame["gap_to_best"][~solved] == 1).all()
    assert (frame.loc[frame["method"] == "brute_force", "gap"] == 0).all()


def test_the_summary_counts(study: Study) -> None:
    """Failures, proofs and wins by method; the proved optimum ranks first."""
    table = study.summary()
    assert table.loc["Failing(how='raise')", "failed"] == 4
    for column in ("runs", "optimal", "best"):
        assert table.loc["brute_force", column] == 8
    assert table.loc["brute_force", "gap_to_best"] == 0
    assert table.loc["brute_force", "rank"] == table["rank"].min()
    assert table["gap_to_best"].is_monotonic_increasing


def test_records_survive_json(study: Study) -> None:
    """to_dict and from_dict lose nothing."""
    import json

    for run in study:
        assert RunRecord.from_dict(json.loads(json.dumps(run.to_dict()))) == run


def test_files_read_back(study: Study, tmp_path: Path) -> None:
    """CSV and Parquet hold the frame to the last bit."""
    import pandas as pd

    frame = study.to_frame()
    study.to_csv(tmp_path / "runs.csv")
    read = pd.read_csv(tmp_path / "runs.csv")
    assert read["objective"].equals(frame["objective"])
    assert read["method"].tolist() == frame["method"].tolist()
    pytest.importorskip("pyarrow")
    study.to_parquet(tmp_path / "runs.parquet")
    read = pd.read_parquet(tmp_path / "runs.parquet")
    assert read["primal_integral"].equals(frame["primal_integral"])


def test_tables_for_papers(study: Study, tmp_path: Path) -> None:
    """Markdown has a row a method; LaTeX leaves no bare special sign."""
    text = study.to_markdown(tmp_path / "summary.md")
    assert (tmp_path / "summary.md").read_text() == text
    assert len(text.strip().splitlines()) == 2 + 4
    latex = study.to_latex()
    assert r"brute\_force" in latex
    assert not re.search(r"(?<!\\)[%_#$]", latex)
    assert latex.count(r"\\") == 1 + 4


def test_the_page_needs_nothing_beside_itself(study: Study, tmp_path: Path) -> None:
    """No link, script or picture from outside; text is escaped; the error is there."""
    path = tmp_path / "report.html"
    study.to_html(path, title="a <b> & c")
    page = path.read_text()
    assert "<h1>a &lt;b&gt; &amp; c</h1>" in page
    assert not re.search(r"(src|href)=.(?!data:)", page)
    assert "url(" not in page
    assert page.count("data:image/svg+xml;base64,") == 3
    assert "ValueError: first line second line" in page
    assert "Friedman" in page


def test_a_page_of_failures_alone_is_written(
    layers: dict[str, ChannelGraph], tmp_path: Path
) -> None:
    """No run with a solution: no pictures, but a page with the errors."""
    lost = compare(layers["first"], Failing("raise"), k=2, seeds=[1])
    lost.to_html(tmp_path / "report.html")
    assert "ValueError" in (tmp_path / "report.html").read_text()


def test_it_shows_in_a_notebook(study: Study) -> None:
    """The HTML names each method and holds no script."""
    text = study._repr_html_()
    assert all(f">{method}<" in text for method in ("greedy", "brute_force"))
    assert "<script" not in text
