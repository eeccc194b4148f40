"""The heuristics' benchmark runs from end to end, another program included."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from benchmarks._clocked import run_external
from benchmarks._instances import generated
from benchmarks.heuristics import main
from sirfp_opt.io import write

if TYPE_CHECKING:
    from pathlib import Path

# Another program: the first k elements, then the k of largest row sum.
STAND_IN = """
import sys
import numpy as np
file, k = sys.argv[1], int(sys.argv[2])
with open(file) as lines:
    n = int(next(lines).split()[0])
    i, j, d = np.loadtxt(lines).T
w = np.zeros((n, n))
w[i.astype(int), j.astype(int)] = d
w += w.T
print("reading done")
for seconds, chosen in ((0.01, np.arange(k)), (0.02, w.sum(0).argsort()[-k:])):
    print(seconds, w[np.ix_(chosen, chosen)].sum() / 2)
"""


@pytest.fixture
def stand_in(tmp_path: Path) -> str:
    """Return the command of a small program that speaks the protocol."""
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    return f"{sys.executable} {script}"


def test_another_program_is_measured_beside_ours(tmp_path: Path, stand_in: str) -> None:
    """`--against` gives it the same files; all land in one table, with a plot."""
    out, best = tmp_path / "out", tmp_path / "best.csv"
    asked = "--suites generated --families MDG-a --sizes 500 --seeds 1 --seconds 0.2"
    where = ["--out", str(out), "--best", str(best)]
    main([*asked.split(), *where, "--against", stand_in])
    frame = pd.read_csv(out / "generated.csv").set_index("method")
    assert len(frame) == 2
    ours, theirs = frame.loc["tabu"], frame.loc[sys.executable]
    assert ours["objective"] > theirs["objective"] > 0
    assert ours["gap"] == 0
    assert theirs["gap"] == pytest.approx(1 - theirs["objective"] / ours["objective"])
    assert theirs["primal_integral"] > 0
    assert "MDG-a_n500_m50_s0" in (out / "generated.md").read_text()
    assert (out / "MDG-a_n500_m50_s0.svg").stat().st_size > 0
    kept = pd.read_csv(best).set_index("instance")["value"]
    assert kept["MDG-a_n500_m50_s0"] == ours["objective"]


def test_another_programs_output_is_read_by_a_pattern(
    tmp_path: Path, stand_in: str
) -> None:
    """Placeholders are filled in, improvements are kept, silence is an error."""
    problem = generated("MDG-a", 500, 50, 3)
    write(problem, tmp_path / "instance.txt")
    command = stand_in + " {file} {k}"
    found = run_external(command, tmp_path / "instance.txt", problem, 1.0, 0)
    seconds, values = zip(*[(e[0], e[2]) for e in found.trace[:2]], strict=True)
    assert seconds == (0.01, 0.02)
    first = np.arange(50)
    assert values[0] == pytest.approx(problem.evaluate(first))
    assert found.objective == values[1] > values[0]
    with pytest.raises(RuntimeError, match="nothing that matches"):
        run_external(
            command, tmp_path / "instance.txt", problem, 1.0, 0, r"^never(?P<value>)"
        )


def test_all_ways_of_greedy_delete_in_the_same_order(tmp_path: Path) -> None:
    """The O(n³) reference, NumPy and compiled code agree on a layer."""
    main(f"--suites greedy --sizes 256 --out {tmp_path}".split())
    frame = pd.read_csv(tmp_path / "greedy.csv")
    assert len(frame) == 3
    assert frame["same_order"].all()
