"""The quickstart prints what its page says, up to what depends on time."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "quickstart.md"
TEXT = PAGE.read_text("utf-8")
SHOWN = list(
    re.finditer(r"```python\n(.*?)^```\n\n```text\n(.*?)^```", TEXT, re.DOTALL | re.M)
)
PACKAGES = ("torchvision", "segmentation_models_pytorch", "timm", "transformers")
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e-?\d+)?")


def package(code: str) -> str:
    """Return whose network a block takes, if anybody's."""
    return next((name for name in PACKAGES if re.search(rf"\b{name}\b", code)), "")


NAMED = [block for block in SHOWN if package(block[1])]
OURS = [block for block in SHOWN if not package(block[1]) and "mine" not in block[1]]


def lines_of(block: re.Match[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Run a block, with the page's line numbers in its errors; return its output."""
    line = TEXT.count("\n", 0, block.start(1))
    capsys.readouterr()
    exec(compile("\n" * line + block[1], str(PAGE), "exec"), {"__name__": "quickstart"})
    return capsys.readouterr().out.splitlines()


def same(printed: str, shown: str, *, rel: float) -> None:
    """Compare two lines: the same words, and numbers that are about the same."""
    assert NUMBER.sub("#", printed) == NUMBER.sub("#", shown)
    numbers = [list(map(float, NUMBER.findall(line))) for line in (printed, shown)]
    assert numbers[0] == pytest.approx(numbers[1], rel=rel)


def test_every_door_is_there() -> None:
    """Four networks by name, each in ten lines; one block for each other door."""
    assert [package(block[1]) for block in NAMED] == list(PACKAGES)
    assert all(sum(map(bool, block[1].splitlines())) <= 10 for block in NAMED)
    assert len(OURS) == 2


@pytest.mark.parametrize("block", NAMED, ids=PACKAGES)
def test_a_network_by_name(
    block: re.Match[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """It runs where the package is installed, and cuts about as much as is shown."""
    pytest.importorskip("torch")
    from tests.pytorch import zoo

    zoo._declare_operators()
    pytest.importorskip(package(block[1]))
    printed, shown = lines_of(block, capsys), block[2].splitlines()
    same(printed[0], shown[0], rel=0.05)
    reachable = [lines[1].partition(" channels")[0] for lines in (printed, shown)]
    assert reachable[0] == reachable[1]


def test_the_researchers_block(capsys: pytest.CaptureFixture[str]) -> None:
    """The optimum is the one that is shown, and each method has its row."""
    pytest.importorskip("joblib")
    (block,) = (b for b in OURS if "compare" in b[1])
    printed, shown = lines_of(block, capsys), block[2].splitlines()
    timed = re.compile(r", [\d.]+ s\)")
    same(timed.sub("", printed[0]), timed.sub("", shown[0]), rel=1e-8)
    assert {line.split()[0] for line in printed} == {line.split()[0] for line in shown}


def test_the_teachers_block(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The very channels that are shown, and a picture."""
    pytest.importorskip("matplotlib")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    (block,) = (b for b in OURS if "plot_clique" in b[1])
    assert lines_of(block, capsys) == block[2].splitlines()
    assert (tmp_path / "clique.png").stat().st_size > 1000
