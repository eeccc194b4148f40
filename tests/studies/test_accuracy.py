"""The accuracy study is sound: not what it finds, but that it finds it rightly."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from examples.studies.accuracy.criteria import WEIGHT, MostRedundant, scores_of
from examples.studies.accuracy.execute import LEARNING_RATE, density, measure
from examples.studies.accuracy.networks import load_network
from examples.studies.accuracy.page import PAGE, prose, rendered
from examples.studies.accuracy.report import (
    compared,
    of_experiment,
    shipped_against,
)
from examples.studies.accuracy.results import COLUMNS, SHIPPED, Results
from examples.studies.accuracy.runs import (
    BUDGETS,
    CRITERIA,
    DEFAULT,
    HELD_OUT,
    KEYS,
    SCORES,
    full_list,
    members,
    quick_list,
)
from sirfp_opt import ChannelGraph, solve
from sirfp_opt.demo.scenes import scene_batches
from sirfp_opt.pytorch import prune

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run the quick study from the command line, twice."""
    out = tmp_path_factory.mktemp("study")
    command = [sys.executable, "-m", "examples.studies.accuracy", "--quick"]
    said = ""
    for _ in range(2):
        done = subprocess.run(
            [*command, "--out", str(out)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said = done.stdout
    return out, said


def test_quick_mode_does_every_run_once(quick: tuple[Path, str]) -> None:
    """Each run has its row, none failed, and a second call finds nothing to do."""
    out, said = quick
    frame = Results(out / "results.csv").frame()
    assert len(frame) == len(quick_list())
    assert set(frame["status"]) == {"ok"}
    assert f"{len(quick_list())} runs, 0 of them to do" in said
    assert (out / "report.md").read_text(encoding="utf-8").count("| random") >= 1
    assert len(list(out.glob("*.png"))) == 3


def test_budgets_are_kept_and_counts_are_shared(quick: tuple[Path, str]) -> None:
    """No network exceeds its MACs; uniform cuts have the same MACs for all criteria."""
    frame = Results(quick[0] / "results.csv").frame()
    cut = frame[frame["criterion"] != "none"]
    assert (cut["macs"] <= cut["budget"]).all()
    uniform = of_experiment(frame, "criteria")
    assert (uniform.groupby("network")[["macs", "params"]].nunique() == 1).all(
        axis=None
    )
    assert (frame[["miou_cut", "miou"]].stack() <= 1).all()


def test_solvers_minimise_what_the_study_says(quick: tuple[Path, str]) -> None:
    """The control keeps more redundancy than greedy, a proof at most as much."""
    frame = Results(quick[0] / "results.csv").frame()
    spatial = frame[(frame["criterion"] == "spatial")].set_index("solver")
    objective, dense = spatial["objective"], spatial["density"]
    assert objective["worst"] > objective["greedy"] >= objective["exact"]
    assert dense["worst"] > 1 > dense["greedy"]
    assert spatial["bound"]["exact"] <= objective["exact"] + 1e-6


def test_every_figure_of_the_page_is_in_the_results() -> None:
    """The tables are those of the CSV, and the prose has no figure beside them."""
    shown = rendered(Results(SHIPPED).frame())
    assert shown in PAGE.read_text(encoding="utf-8")
    settings = {str(value) for value in (*BUDGETS, WEIGHT, LEARNING_RATE)}
    known = settings | set(re.findall(r"\d+\.\d+", shown))
    said = set(re.findall(r"\d+\.\d+", prose()))
    assert said
    assert said <= known


def test_the_results_are_of_the_list() -> None:
    """No row is there twice, or was run with settings that the list does not have."""
    frame = Results(SHIPPED).frame()
    done = Results(SHIPPED).done()
    assert len(done) == len(frame) == frame.duplicated(list(KEYS)).eq(False).sum()
    assert done <= {run.key for run in full_list(10)}


def test_a_crash_loses_one_line_only(tmp_path: Path) -> None:
    """A line that was cut short is dropped, and only its run is done again."""
    runs = full_list()[:3]
    table = Results(tmp_path / "results.csv")
    for run in runs:
        table.add(run, {"status": "ok", "miou": 0.5})
    text = table.path.read_text(encoding="utf-8")
    table.path.write_text(text[:-7], encoding="utf-8")
    again = Results(table.path)
    assert again.missing(runs) == runs[2:]
    again.add(runs[2], {"status": "ok", "miou": 0.5})
    assert again.missing(runs) == []
    assert list(again.frame().columns) == list(COLUMNS)


def test_the_list_names_each_run_once_and_the_core_first() -> None:
    """No run is repeated; more seeds add runs and change none; 0.3 comes first."""
    few, many = full_list(3), full_list(5)
    assert len(set(many)) == len(many)
    assert set(few) < set(many)
    pruned = [run for run in many if run.criterion != "none"]
    assert {run.budget for run in pruned[:100]} == {0.3}
    assert {run.criterion for run in members("criteria", "unet")} == set(CRITERIA)


def test_scores_choose_what_they_rank_highest() -> None:
    """A score's network keeps its best channels; scores fit units of both kinds."""
    network = load_network("deeplab")
    batches = list(scene_batches(1, 2, split="calibration"))
    coupling, base = measure(network, batches)
    for criterion in SCORES:
        scores = scores_of(network, criterion, batches, base, 0)
        assert all(len(scores[unit.name]) == unit.size for unit in coupling.units)
        assert all(np.isfinite(score).all() for score in scores.values())
    norms = network.get_parameter("aspp.project.0.weight").flatten(1).abs().sum(dim=1)
    own = scores_of(network, "l1", batches, base, 0)["aspp.project.0"]
    assert np.corrcoef(own, norms.detach().numpy())[0, 1] > 0.5
    assert all(parameter.grad is None for parameter in network.parameters())
    everything = prune(network, batches, keep=1.0, graphs=base, verify=False)
    assert np.isnan(density(everything.plan, base))


def test_most_redundant_is_the_mirror_of_greedy() -> None:
    """It keeps the copies that greedy would drop."""
    maps = torch.eye(6).double().numpy() + 0.01
    maps[1] = maps[0]
    graph = ChannelGraph.from_redundancy(maps @ maps.T)
    kept = solve(graph, 2, MostRedundant()).selected
    assert kept.tolist() == [0, 1]


def test_comparisons_pair_the_seeds() -> None:
    """Differences are taken seed by seed: a shift on all seeds has no spread."""
    arms = {"spatial": 0.0, "l2": 0.1}
    rows = [
        dict(zip(("network", "criterion", "solver"), ("x", name, solver), strict=True))
        | {"allocation": "uniform", "schedule": "once", "budget": 0.3, "seed": seed}
        | {"status": "ok", "macs": 0.3, "miou_cut": 0.1, "density": 1.0}
        | {"miou": 0.5 + shift + 0.05 * seed + 0.001 * (seed == 1) * bool(shift)}
        for (name, shift), solver in zip(arms.items(), ("greedy", "rank"), strict=True)
        for seed in range(4)
    ]
    frame = pd.DataFrame(rows)
    rows_of = of_experiment(frame, "criteria")
    found = compared(rows_of, ("spatial", "uniform", "greedy", "once"))
    l2 = found[[arm[0] == "l2" for arm in found["arm"]]].iloc[0]
    assert l2["difference"] == pytest.approx(0.10025)
    assert l2["low"] > 0.099
    assert l2["p"] < 1e-6
    assert l2["sd"] > 0.05


def test_rivals_are_judged_under_their_better_split() -> None:
    """The rival's better split is taken; the shown difference is ours minus its."""
    rows = []
    for seed in range(3):
        noise = 0.001 * seed
        for criterion, allocation, solver, miou in (
            (DEFAULT, "balanced", "greedy", 0.7 + noise),
            ("l2", "uniform", "rank", 0.5 - noise),
            ("l2", "threshold", "rank", 0.6 - noise),
            ("spatial", "uniform", "greedy", 0.4),
        ):
            rows.append(
                {"network": "x", "budget": 0.3, "seed": seed, "schedule": "once"}
                | {"criterion": criterion, "allocation": allocation, "solver": solver}
                | {"status": "ok", "macs": 0.3, "miou_cut": 0.1, "density": 1.0}
                | {"miou": miou}
            )
    found = shipped_against(pd.DataFrame(rows))
    assert [arm[:2] for arm in found["arm"]] == [
        ("l2", "threshold"),
        ("spatial", "uniform"),
    ]
    assert found["difference"].tolist() == pytest.approx([-0.102, -0.301])
    assert (found["p"] < 0.001).all()


def test_the_held_out_network_gets_the_main_arms() -> None:
    """Single criteria, the paper's and the default: nothing else."""
    runs = [run for run in full_list() if run.network == HELD_OUT]
    assert {run.criterion for run in runs} == {*SCORES, "spatial", DEFAULT, "none"}
    network = load_network(HELD_OUT)
    batches = list(scene_batches(1, 2, split="calibration"))
    coupling, _ = measure(network, batches)
    assert len(coupling.units) == 12
    assert sum(unit.step == 1 for unit in coupling.units) == 12
