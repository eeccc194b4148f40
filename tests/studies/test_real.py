"""The study on real networks: its parts, and a quick run where the wheels are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from examples.studies.real.judge import score
from examples.studies.real.pictures import part_of, rendered
from examples.studies.real.report import SHIPPED_TABLE, pages
from examples.studies.real.runs import KEYS, full_list, quick_list
from examples.studies.real.tasks import task_of
from examples.studies.real.weights import NETWORKS, missing

LACKING = {name: missing(name) for name in NETWORKS}


def test_scores_are_those_of_the_definition() -> None:
    """IoU and F1 of all pixels together; intervals over files hold the value."""
    dice = np.random.default_rng(0)
    found, true = dice.random((2, 6, 8, 8)) > 0.5
    got = score(found, true, ["a", "a", "b", "c", "d", "e"])
    both, either = (found & true).sum(), (found | true).sum()
    assert got.iou == pytest.approx(both / either)
    assert got.f1 == pytest.approx(2 * both / (found.sum() + true.sum()))
    assert 0 < got.low <= got.iou <= got.high < 1


def test_one_file_gives_no_interval() -> None:
    """Crops of one file are not independent: drawn together, they never differ."""
    dice = np.random.default_rng(0)
    found, true = dice.random((2, 6, 8, 8)) > 0.5
    got = score(found, true, ["a"] * 6)
    assert got.low == got.iou == got.high


def test_a_file_is_in_one_part_for_good() -> None:
    """The split depends on the name alone, in the shares that are said."""
    parts = [part_of(f"{number}.png") for number in range(4000)]
    assert parts == [part_of(f"{number}.png") for number in range(4000)]
    shares = pd.Series(parts).value_counts(normalize=True)
    assert shares["test"] == pytest.approx(0.25, abs=0.03)
    assert shares["calibration"] == pytest.approx(0.10, abs=0.02)


def test_rendered_text_is_labelled_where_it_is() -> None:
    """Inside of a label the picture has strokes; the same seed gives the same."""
    crops = rendered(None, "test", 3, seed=2)
    again = rendered(None, "test", 3, seed=2)
    assert crops.labels is not None
    assert np.array_equal(crops.images, again.images)
    for image, label in zip(crops.images, crops.labels, strict=True):
        assert image[label].std() > image[~label].std() / 4
    assert not np.array_equal(crops.images, rendered(None, "tuning", 3, seed=2).images)


def test_runs_are_distinct_and_the_quick_ones_touch_every_part() -> None:
    """No run is done twice; at least three seeds of everything random."""
    runs = full_list()
    assert len(set(runs)) == len(runs)
    assert {run.seed for run in runs if run.criterion == "random"} == {0, 1, 2}
    assert {run.refit for run in quick_list()} == {"none", "norms", "merge", "full"}
    assert {run.network for run in quick_list()} == {"ppocr4", "stamps_unet"}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_what_it_was_exported_as(name: str) -> None:
    """As torch modules it gives what ONNX Runtime gives, to 1e-5."""
    if LACKING[name]:
        pytest.skip(f"missing: {', '.join(LACKING[name])}")
    import onnxruntime

    from examples.studies.real.weights import load

    images = torch.rand(1, 3, 96, 160, generator=torch.Generator().manual_seed(0))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(NETWORKS[name].path), options)
    expected = session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]
    with torch.no_grad():
        found = load(name)(images).numpy()
    assert np.abs(found - expected).max() <= 1e-5


@pytest.mark.parametrize("network", ["ppocr4", "stamps_unet"])
def test_the_quick_study_runs(network: str, tmp_path: Path) -> None:
    """Every kind of arm on pictures made here, reported, and not done twice."""
    lacking = task_of(network).missing(network)
    if lacking:
        pytest.skip(f"missing: {', '.join(lacking)}")
    from typer.testing import CliRunner

    main: Any = pytest.importorskip("examples.studies.real.__main__").main
    import typer

    app = typer.Typer()
    app.command()(main)
    arguments = ["--quick", "--out", str(tmp_path), "--only", network]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    frame = pd.read_csv(tmp_path / "results.csv")
    assert len(frame) == sum(run.network == network for run in quick_list())
    assert frame["status"].eq("ok").all(), frame["status"].unique()
    assert (frame["macs"] <= 1.0).all()
    again = CliRunner().invoke(app, arguments)
    assert "0 of them to do" in again.output


def test_the_pages_show_what_the_table_holds() -> None:
    """Every table of the pages is made from the stored results."""
    if not SHIPPED_TABLE.exists():
        pytest.skip("no stored results")
    frame = pd.read_csv(SHIPPED_TABLE)
    assert not frame.duplicated(list(KEYS)).any()
    for page, some in pages(frame).items():
        shown = page.read_text(encoding="utf-8")
        for title, text in some.items():
            assert f"### {title}\n\n{text}\n" in shown, title
