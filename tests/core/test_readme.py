"""The README's eight lines are run as they stand, and print what it shows."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_the_first_example_prints_what_is_shown() -> None:
    """Status, k and objective as printed there; times and bounds vary by machine."""
    text = README.read_text(encoding="utf-8")
    found = re.search(r"```python\n(.*?)```\s*```text\n(.*?)```", text, re.DOTALL)
    assert found is not None
    code, shown = found.groups()
    assert len([line for line in code.splitlines() if line.strip()]) <= 8
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "README.md", "exec"), {})

    def facts(line: str) -> list[str]:
        pattern = r"Solution\((\w+), k=(\d+) of (\d+), objective=([^,]+),"
        (match,) = re.findall(pattern, line)
        return list(match)

    assert facts(out.getvalue()) == facts(shown)


def test_every_solver_of_the_table_is_one() -> None:
    """The solver table names exactly the solvers that are built in."""
    from sirfp_opt import available_solvers

    text = README.read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert named == {row.name for row in available_solvers()}
