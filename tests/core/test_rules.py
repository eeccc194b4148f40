"""Rules of parameters: declared once, enforced by whoever has the parameter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from sirfp_opt import (
    InvalidProblemError,
    Limits,
    SirfpError,
    available_solvers,
    bound,
    solve,
)
from sirfp_opt._rules import (
    check_fields,
    check_names,
    choice,
    flag,
    number,
    ruled,
    rules_of,
    whole,
)
from sirfp_opt.api import prepare
from sirfp_opt.registry import create_solver

MATRIX = np.add.outer(np.arange(6.0), np.arange(6.0))


def broken() -> list[tuple[str, str, Any]]:
    """Return (method, option, value) for every value that breaks a declared rule."""
    return [
        (name, option, value)
        for name in available_solvers().names
        for option, rule in rules_of(type(create_solver(name)[1])).items()
        for value in rule.bad
    ]


@pytest.mark.parametrize(("name", "option", "value"), broken())
def test_every_option_of_every_solver_is_checked(
    name: str, option: str, value: Any
) -> None:
    """By `solve`, by its name, before anything is run."""
    said = f"`{option}` (of '{name}' )?must be"
    with pytest.raises(SirfpError, match=said):
        solve(MATRIX, 3, name, **{option: value})


def test_most_options_have_a_rule_that_the_table_tells() -> None:
    """`available_solvers` says in words what is enforced."""
    table = available_solvers()
    for row in table:
        assert set(row.rules) <= set(row.options)
        # Kinds that a rule cannot say: back ends, formulations, numbers of jobs.
        bare = set(row.options) - set(row.rules) - {"n_jobs", "solver", "formulation"}
        assert bare <= {"max_subsets", "samples"}, row.name
    words = {row.name: row.rules for row in table}
    assert words["tabu"]["patience"] == "a whole number of at least 1"
    assert words["greedy"]["direction"] == "one of 'backward', 'forward'"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"method": "gredy"}, "Did you mean 'greedy'"),
        ({"method": 3}, "`method` must be a name"),
        ({"time_limit": -1}, "must be a number of at least 0"),
        ({"time_limit": True}, "must be a number"),
        ({"limits": {"time": 1}}, "must be a Limits"),
        ({"limits": Limits(iterations=1)}, "`limits` must be among"),
        ({"seed": -1}, "`seed` must be"),
        ({"seed": 1.5}, "`seed` must be"),
        ({"certify": "much"}, "`certify` must be one of"),
        ({"options": {"colour": 1}}, "`options` of 'greedy' must be among"),
    ],
)
def test_what_needs_no_problem_is_checked_without_one(
    arguments: dict[str, Any], said: str
) -> None:
    """`prepare` refuses what `solve` would, and `solve` asks it."""
    with pytest.raises(SirfpError, match=said):
        prepare(**({"method": "greedy"} | arguments))
    options = arguments.pop("options", {})
    with pytest.raises(SirfpError, match=said):
        solve(MATRIX, 3, **({"method": "greedy"} | arguments | options))
    with pytest.raises(InvalidProblemError, match="`effort` must be"):
        bound(MATRIX, 3, effort="much")


@pytest.mark.parametrize(
    "rule",
    [
        whole(2),
        whole(0, optional=True),
        number(0.0),
        number(0.0, 1.0, above=True, below=True),
        number(-1.0, 1.0, optional=True),
        choice("one", "two"),
        flag(),
        flag(optional=True),
    ],
    ids=lambda rule: rule.words,
)
def test_bad_values_of_a_rule_are_bad(rule: Any) -> None:
    """Each is refused, with the argument's name and what it must be."""
    for value in rule.bad:
        with pytest.raises(InvalidProblemError, match="`it` must be"):
            rule.check(value, "it")


def test_good_values_pass() -> None:
    """At the limits, too, where they belong."""
    assert whole(2).check(np.int64(2), "it") == 2
    assert number(0.0, 1.0).check(1, "it") == 1.0
    assert number(0.0, optional=True).check(None, "it") is None
    assert choice("one", None).check(None, "it") is None

    @dataclass(frozen=True)
    class Mine:
        depth: int = ruled(whole(1), 3)

        def __post_init__(self) -> None:
            check_fields(self)

    assert Mine().depth == 3
    with pytest.raises(InvalidProblemError, match="`depth` must be at least 1"):
        Mine(0)
    with pytest.raises(InvalidProblemError, match="Did you mean `depth`"):
        check_names({"dept": 1}, ["depth"], "Mine")
