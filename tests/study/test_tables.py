"""Tables and tests as papers print them."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

from sirfp_opt import ChannelGraph, InvalidProblemError
from sirfp_opt.study import (
    RunRecord,
    Study,
    compare,
    critical_difference,
    plot_critical_difference,
)
from sirfp_opt.study.statistics import against, holm, wilcoxon

Layers = dict[str, ChannelGraph]


@pytest.fixture(scope="module")
def study(layers: Layers) -> Study:
    """Run two layers at two sizes by three methods."""
    return compare(layers, ["random", "brute_force", "greedy"], k=[3, 4], seeds=2)


def _of(objectives: dict[str, list[float]], template: RunRecord) -> Study:
    """Make a study of given objectives, a problem each."""
    runs = []
    for method, values in objectives.items():
        for number, value in enumerate(values):
            data = template.to_dict() | {"method": method, "objective": value}
            data |= {"problem": f"p{number}", "instance": f"p{number}", "trace": []}
            data |= {"bound": None, "gap": None, "status": "feasible"}
            runs.append(RunRecord.from_dict(data))
    return Study(runs)


def test_a_row_an_instance(study: Study) -> None:
    """Best, tightest bound, and each method's mean gap, for each of four problems."""
    table = study.by_instance()
    assert table.index.tolist() == [
        ("first", 3),
        ("first", 4),
        ("second", 3),
        ("second", 4),
    ]
    assert table["proved"].all()
    assert table["bound"].equals(table["best"])
    assert (table["brute_force"] == 0).all()
    frame = study.to_frame()
    for row in table.reset_index().to_dict(orient="records"):
        mine = frame[(frame["instance"] == row["instance"]) & (frame["k"] == row["k"])]
        assert row["best"] == mine["objective"].min()
        gaps = mine[mine["method"] == "random"]["gap_to_best"]
        assert row["random"] == pytest.approx(gaps.mean())


@pytest.mark.parametrize(
    ("table", "rows"), [("summary", 3), ("instances", 4), ("pairs", 3)]
)
def test_each_table_as_latex_and_markdown(
    study: Study, table: str, rows: int, tmp_path: Path
) -> None:
    """All rows, no bare special sign, written to the file as well."""
    latex = study.to_latex(tmp_path / "t.tex", table=table)  # type: ignore[arg-type]
    assert (tmp_path / "t.tex").read_text() == latex
    assert latex.count(r"\\") == 1 + rows
    assert not re.search(r"(?<!\\)[%_#$]", latex)
    assert r"brute\_force" in latex
    text = study.to_markdown(table=table)  # type: ignore[arg-type]
    assert len(text.strip().splitlines()) == 2 + rows


def test_an_unknown_table_is_named(study: Study) -> None:
    """With those that there are."""
    with pytest.raises(InvalidProblemError, match="`table` must be one of"):
        study.to_latex(table="rows")  # type: ignore[arg-type]


def test_the_summary_says_what_chance_would(study: Study) -> None:
    """Against the first row: Holm over the others, of the same p as the pair's."""
    table = study.summary()
    first = str(table.index[0])
    assert math.isnan(table["p_holm"].iloc[0])
    pairs = wilcoxon(study)
    alone = {}
    for other in table.index[1:]:
        pair = pairs[
            (pairs["better"].isin([first, other]))
            & (pairs["worse"].isin([first, other]))
        ]
        alone[other] = float(pair["pvalue"].iloc[0])
    expected = dict(zip(alone, holm(list(alone.values())), strict=True))
    assert table["p_holm"].dropna().to_dict() == pytest.approx(expected)


def test_critical_differences_are_those_of_the_formula(study: Study) -> None:
    """Q of Demsar's table 5: 2.343 for three methods and 2.569 for four at 0.05."""
    template = study[0]
    rng = np.random.default_rng(0)
    for methods, q in ((3, 2.343), (4, 2.569)):
        values = {f"m{i}": (i + rng.random(60)).tolist() for i in range(methods)}
        found = critical_difference(_of(values, template))
        expected = q * math.sqrt(methods * (methods + 1) / (6 * 60))
        assert found.difference == pytest.approx(expected, rel=1e-3)
        assert found.ranks.to_dict() == {f"m{i}": 1.0 + i for i in range(methods)}
        assert found.problems == 60
        assert found.groups == ()


def test_groups_are_the_largest_that_are_not_told_apart(study: Study) -> None:
    """Two alike and one far behind: one group of two, and the picture names all."""
    rng = np.random.default_rng(1)
    near = rng.random(30)
    values = {
        "a": near.tolist(),
        "b": (near + rng.normal(0, 1e-3, 30)).tolist(),
        "far": (near + 5).tolist(),
    }
    made = _of(values, study[0])
    found = critical_difference(made)
    assert [set(group) for group in found.groups] == [{"a", "b"}]
    from matplotlib.figure import Figure

    ax = plot_critical_difference(made, ax=Figure().subplots())
    told = " ".join(text.get_text() for text in ax.texts)
    for word in ("a", "b", "far", "critical difference"):
        assert word in told
    assert against(made, "a")["far"] < 1e-4


@pytest.mark.parametrize("alpha", [0, 1, True, "5", float("nan")])
def test_alpha_is_a_probability(study: Study, alpha: float) -> None:
    """Anything else is refused."""
    with pytest.raises(InvalidProblemError, match="`alpha`"):
        critical_difference(study, alpha=alpha)
