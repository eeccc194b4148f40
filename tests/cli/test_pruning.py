"""`prune`: from two names on the command line to a network, a plan and two reports."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sirfp_opt.cli import ExitCode
from tests.cli.conftest import Run

torch = pytest.importorskip("torch")

MODULE = """
import torch
from torch import nn

IMAGES = [torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(i))
          for i in range(4)]
READ = []

def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 12, 3), nn.BatchNorm2d(12), nn.ReLU(),
        nn.Conv2d(12, 10, 3), nn.BatchNorm2d(10), nn.ReLU(),
        nn.Conv2d(10, 6, 1), nn.Softmax(dim=1), nn.Conv2d(6, 2, 1),
    )

READY = network()

def scenes():
    for number, images in enumerate(IMAGES):
        READ.append(number)
        yield images, "labels"

def named():
    yield {"picture": IMAGES[0], "name": "first"}

def holes():
    yield IMAGES[0] * float("nan")

def unpacked(network, batch):
    return network(batch["picture"])

def broken():
    raise ValueError("no weights here")

def number():
    return 3
"""


@pytest.fixture
def name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Put somebody's module into the current folder."""
    (tmp_path / "their_networks.py").write_text(MODULE)
    (tmp_path / "their_broken_module.py").write_text("import nothing_like_this")
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    yield "their_networks"
    sys.modules.pop("their_networks", None)


class Page(HTMLParser):
    """Collects what a page would load from elsewhere, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note every address."""
        self.links += [value or "" for key, value in attrs if key in ("src", "href")]

    def handle_data(self, data: str) -> None:
        """Note every word."""
        self.text += f" {data}"


def test_prune_writes_network_plan_and_reports(run: Run, name: str) -> None:
    """All four files agree with each other, with JSON, and with the Python call."""
    told = run(
        *("prune", "--model", f"{name}:network", "--data", f"{name}:scenes"),
        *("--macs", 0.6, "--params", 0.7, "--allocation", "uniform", "-m", "tabu"),
        *("-o", "population=4", "--time-limit", 0.5, "--seed", 3, "--out", "out/a"),
        *("--batches", 3, "--json"),
    )
    assert (told.code, told.err) == (0, "")
    assert str(Path.cwd()) not in sys.path
    from sirfp_opt.network.plan import PruningPlan
    from sirfp_opt.pytorch import load_pruned, prune

    theirs = sys.modules[name]
    assert sorted(set(theirs.READ)) == [0, 1, 2]
    alone = prune(
        theirs.network(),
        theirs.IMAGES[:3],
        macs=0.6,
        params=0.7,
        allocation="uniform",
        method="tabu",
        options={"population": 4},
        time_limit=0.5,
        seed=3,
    )
    out = Path("out/a")
    assert PruningPlan.from_json(out / "plan.json") == alone.plan
    loaded = load_pruned(out / "network.pt", theirs.network)
    with torch.no_grad():
        difference = loaded.eval()(theirs.IMAGES[3]) - alone.model.eval()(
            theirs.IMAGES[3]
        )
    assert float(difference.abs().max()) == 0
    report = json.loads((out / "report.json").read_text())
    assert report == told.json
    assert report["asked"] == {"macs": 0.6, "params": 0.7}
    assert report["reached"] == alone.report.reached
    assert report["files"]["network"] == str(out / "network.pt")
    page = Page((out / "report.html").read_text("utf-8"))
    assert page.links
    assert all(link.startswith("data:") for link in page.links)
    for said in (f"{name}:network", "≤ 60.00%", f"{alone.report.reached['macs']:.2%}"):
        assert said in page.text
    for unit in alone.report.units:
        assert f" {unit.unit} {unit.kept} {unit.size} " in " ".join(page.text.split())
    assert alone.report.refit is not None
    for row in alone.report.refit.layers:
        assert f" {row.layer} {row.kind} " in " ".join(page.text.split())
    kinds = [e for e in alone.report.exclusions if "across channels" in e["reason"]]
    (excluded,) = kinds
    assert (excluded["unit"], excluded["size"]) == ("6", 6)
    assert excluded["reason"] in page.text


def test_prune_calls_the_network_as_told(run: Run, name: str) -> None:
    """Batches of any kind, by a function of network and batch; the explorer's, too."""
    names = ["--model", f"{name}:network", "--data", f"{name}:named"]
    told = run(
        *("prune", *names, "--macs", 0.5, "--forward", f"{name}:unpacked"),
        *("--out", "out", "--explorer"),
    )
    assert (told.code, told.err) == (0, "")
    assert "explorer.html" in Page(Path("out/report.html").read_text("utf-8")).links
    assert '"maps":{"height"' in Path("out/explorer.html").read_text("utf-8")
    assert "of 0.5 asked; the next larger plan takes" in told.out


def test_prune_prints_a_table_and_takes_ready_made_things(run: Run, name: str) -> None:
    """A module and a list are as good as functions; a layer may be left whole."""
    told = run(
        *("prune", "--model", f"{name}:READY", "--data", f"{name}:IMAGES"),
        *("--macs", 0.9, "--out", "out", "--ignore", "3"),
    )
    assert told.code == 0
    assert "90.00%" in told.out
    assert "to the masked original, at outputs up to" in told.out
    assert f"load_pruned('{Path('out/network.pt')}', {name}.READY)" in told.out
    assert "left whole  3, " in told.out
    plan = json.loads(Path("out/plan.json").read_text())
    assert [unit["name"] for unit in plan["units"]] == ["0"]


@pytest.mark.parametrize(
    ("model", "data", "more", "code", "said"),
    [
        ("{}", "{}:scenes", [], ExitCode.USAGE, "must read package.module:name"),
        ("nowhere:f", "{}:scenes", [], ExitCode.USAGE, "No module named 'nowhere'"),
        (
            *("their_broken_module:f", "{}:scenes", [], ExitCode.USAGE),
            "nothing_like_this' (their_broken_module.py, line 1)",
        ),
        ("{}:f", "{}:scenes", [], ExitCode.USAGE, "READY"),
        ("{}:broken", "{}:scenes", [], ExitCode.USAGE, "ValueError: no weights here"),
        ("{}:number", "{}:scenes", [], ExitCode.USAGE, "torch.nn.Module, got int"),
        ("{}:IMAGES", "{}:scenes", [], ExitCode.USAGE, "a function without arguments"),
        ("{}:network", "{}:number", [], ExitCode.USAGE, "must give batches, got int"),
        ("{}:network", "{}:broken", [], ExitCode.USAGE, "line 34"),
        ("{}:network", "{}:IMAGES", [], ExitCode.USAGE, "`latency` or `keep` must say"),
        ("{}:network", "{}:IMAGES", ["--macs", "2.5"], ExitCode.USAGE, "whole number"),
        ("{}:f", "{}:f", ["--out", "{}.py"], ExitCode.USAGE, "must name a folder"),
        ("{}:network", "{}:IMAGES", ["--macs", "0.5", "-m", "gr"], 2, "greedy"),
        (
            *("{}:network", "{}:IMAGES", ["--macs", "0.5", "--forward", "{}:READ"], 2),
            "function of network and batch, got list",
        ),
        (
            *("{}:network", "{}:named", ["--macs", "0.5"], ExitCode.USAGE),
            "unexpected keyword argument 'picture'",
        ),
        (
            *("{}:network", "{}:holes", ["--macs", "0.5"], ExitCode.USAGE),
            "finite sample, got NaN",
        ),
        (
            *("{}:network", "{}:IMAGES", ["--macs", "0.001"], ExitCode.INFEASIBLE),
            "least reachable",
        ),
    ],
)
def test_prune_says_what_is_wrong(
    run: Run, name: str, model: str, data: str, more: list[str], code: int, said: str
) -> None:
    """One line on standard error, the code of its kind, and nothing written."""
    names = ["--model", model.format(name), "--data", data.format(name)]
    if not more and "say" not in said:
        more = ["--macs", "0.5"]
    told = run("prune", *names, "--out", "out", *(word.format(name) for word in more))
    assert told.code == code
    assert said in told.err
    assert len(told.err.splitlines()) == 1
    assert not Path("out").exists()


def test_a_run_is_replayed_from_its_report_and_from_a_toml_file(
    run: Run, name: str
) -> None:
    """The same plan from report.json, from TOML, and options take precedence."""
    names = ["--model", f"{name}:network", "--data", f"{name}:scenes"]
    first = run(
        *("prune", *names, "--macs", 0.6, "--metric", "spatial", "-m", "tabu"),
        *("-o", "population=4", "--time-limit", 1, "--batches", 2, "--out", "out/a"),
        *("--multiple-of", 2, "--json"),
    )
    assert (first.code, first.err) == (0, "")
    again = run("prune", "--config", "out/a/report.json", "--out", "out/b", "--json")
    assert (again.code, again.err) == (0, "")
    assert again.json["request"] == first.json["request"]
    assert again.json["batches"] == 2
    plans = [Path(f"out/{x}/plan.json").read_text() for x in "ab"]
    kept = [[unit["kept"] for unit in json.loads(plan)["units"]] for plan in plans]
    assert kept[0] == kept[1]
    Path("run.toml").write_text(
        f"""
        model = "{name}:network"
        data = "{name}:scenes"
        out = "out/c"
        batches = 2
        [request]
        macs = 0.6
        method = "tabu"
        time_limit = 1
        multiple_of = 3
        [request.options]
        population = 4
        [request.extraction]
        metric = "spatial"
        [request.constraints."0"]
        k = 5
        """
    )
    toml = run("prune", "--config", "run.toml", "--multiple-of", 2, "--json")
    assert (toml.code, toml.err) == (0, "")
    request = toml.json["request"]
    constraints = {"constraints": {"0": {"k": 5}}}
    assert request == first.json["request"] | constraints
    assert next(u["kept"] for u in toml.json["units"] if u["unit"] == "0") == 5
    Path("run.toml").write_text("modle = 1")
    wrong = run("prune", "--config", "run.toml")
    assert wrong.code == ExitCode.USAGE
    assert "Did you mean `model`" in wrong.err


def test_what_only_a_file_can_ask_for(run: Run, name: str) -> None:
    """Without verification the table says so; wrong values are the file's fault."""
    names = f'model = "{name}:network"\ndata = "{name}:scenes"\nout = "out"\n'
    request = "[request]\nkeep = 0.5\nverify = false\n"
    Path("run.toml").write_text(names + request)
    told = run("prune", "--config", "run.toml")
    assert (told.code, told.err) == (0, "")
    assert "not compared with the masked original" in told.out
    for line, said in (
        ('batches = "two"', "`batches` must be an integer, got 'two'"),
        ("batches = 0", "`batches` must be at least 1, got 0"),
        ("forward = 3", "`forward` must be a text, got 3"),
    ):
        Path("run.toml").write_text(f"{names}{line}\n{request}")
        wrong = run("prune", "--config", "run.toml", "--out", "other")
        assert wrong.code == ExitCode.USAGE, line
        assert said in wrong.err
        assert not Path("other").exists()


def test_what_has_no_option_of_its_own_is_set_by_its_path(
    run: Run, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file without an amount, `--set`, a device, and a cost model from a file."""
    from sirfp_opt.pytorch import couple, read_cost

    monkeypatch.syspath_prepend(".")
    theirs = importlib.import_module(name)
    network = theirs.network()
    units = couple(network, theirs.IMAGES).units
    cost = read_cost(network, units, theirs.IMAGES[0][:1]).to_dict()
    cost["forms"] = {"latency": cost["forms"]["macs"]}
    Path("cost.json").write_text(json.dumps(cost))
    Path("run.toml").write_text(
        f"""
        model = "{name}:network"
        data = "{name}:scenes"
        cost = "cost.json"
        [request]
        refit = "none"
        extraction.training = "null"
        """
    )
    told = run(
        *("prune", "--config", "run.toml", "--latency", 0.6, "--out", "out", "--json"),
        *("--set", "constraints.'0'.k_min=7", "--set", "extraction.on_nan=skip"),
        *("--set", "tolerance=1e-4", "--device", "cpu", "--batches", 2),
    )
    assert (told.code, told.err) == (0, "")
    request = told.json["request"]
    assert request["refit"] is None
    assert request["extraction"]["training"] is None
    assert request["extraction"]["on_nan"] == "skip"
    assert request["tolerance"] == 1e-4
    assert told.json["reached"]["latency"] <= 0.6
    assert next(u["kept"] for u in told.json["units"] if u["unit"] == "0") >= 7
    for words, said in (
        (["--set", "macs"], "`--set` must read path=value, got 'macs'"),
        (["--set", "seed.x=1", "--set", "seed=1"], "must name a part of a table"),
        (["--device", "nowhere"], "`--device` must name a device"),
        (["--cost", "run.toml"], "`--cost` must name a JSON file"),
    ):
        wrong = run("prune", "--config", "out/report.json", "--set", "seed=1", *words)
        assert wrong.code == ExitCode.USAGE
        assert said in wrong.err


def test_batches_are_read_up_to_a_number(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bar knows how many are to come, where the source does; the first is kept."""
    from operator import length_hint

    from sirfp_opt.cli.pruning import _Batches

    monkeypatch.syspath_prepend(".")
    images = importlib.import_module(name).IMAGES
    for source, most, total in (
        (images, None, 4),
        (images, 2, 2),
        ((image for image in images), 3, 0),
        (images[0], None, 1),
        ({"picture": images[0]}, 2, 1),
    ):
        read = _Batches(source, most)
        assert length_hint(read) == total
        batches = list(read)
        assert len(batches) == (total or most)
        assert read.first is batches[0]
        assert length_hint(read) == 0
