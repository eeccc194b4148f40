"""A pruning run as a file, to be replayed."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tomllib import loads
from typing import TYPE_CHECKING, Any

from sirfp_opt._rules import check_names, whole
from sirfp_opt._validate import as_text
from sirfp_opt.cli.common import parse_value, read_json
from sirfp_opt.errors import InvalidProblemError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sirfp_opt.network.cost import CostModel

__all__ = ["read_cost", "read_run", "read_table", "with_paths"]

AMOUNTS = ("budget", "macs", "params", "latency", "keep")
"""Parts of a request that say how much remains."""

KINDS = {"refit": "kind", "allocation": "allocation"}
"""Parts that may be a mere name, and what that name is called in their table."""


def read_run(
    config: Path | None, stated: Mapping[str, Any]
) -> tuple[dict[str, Any], Mapping[str, Any] | None]:
    """Return a run's parts, and its request, from a file and options beside it.

    Parameters
    ----------
    config : Path, optional
        TOML or JSON: model, data, out, batches, forward, device, cost, and a table
        `request`; other entries at the top, such as a report's, are not looked at in
        JSON.
    stated : mapping
        The parts as options, None where they are not given.

    Raises
    ------
    InvalidProblemError
        If the file cannot be read, has parts that a run has not, or one is missing.
    """
    read: dict[str, Any] = {}
    if config is not None:
        read = read_table(config)
        if config.suffix.lower() != ".json":
            check_names(read, [*stated, "request"], str(config))
    run = {
        name: read.get(name) if value is None else value
        for name, value in stated.items()
    }
    for name in ("model", "data", "out"):
        if not isinstance(run[name], str):
            raise InvalidProblemError(
                f"`--{name}` must be given, got {run[name]!r}. Pass it, or write it "
                "into the file of --config."
            )
    whole(1, optional=True).check(run["batches"], "batches")
    hints = {
        "forward": "Pass package.module:function.",
        "device": "Pass for instance cuda.",
        "cost": "Pass the name of a JSON file.",
    }
    for name, hint in hints.items():
        if run[name] is not None:
            as_text(run[name], name, hint=hint)
    return run, read.get("request")


def read_table(path: Path) -> dict[str, Any]:
    """Return the names and values of a TOML or JSON file.

    TOML has no null: there, the text "null" stands for it.

    Raises
    ------
    InvalidProblemError
        If it is neither, or holds something else.
    """
    text = path.read_text(encoding="utf-8")
    try:
        if path.suffix.lower() == ".json":
            read = json.loads(text)
        else:
            read = _with_null(loads(text))
    except ValueError as error:  # both formats' errors are
        raise InvalidProblemError(
            f"`--config` must be a TOML or JSON file, got {path}: {error}. "
            "Take the report.json of a run for a pattern."
        ) from error
    if not isinstance(read, dict):
        raise InvalidProblemError(
            f"`--config` must hold names and values, got a {type(read).__name__} "
            f"in {path}. Take the report.json of a run for a pattern."
        )
    return read


def _with_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_null(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_with_null(each) for each in value]
    return None if value == "null" else value


def with_paths(
    base: Any, pairs: Sequence[str], asked: Mapping[str, Any]
) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Return a request's parts with some of them set, and what else was asked for.

    Parameters
    ----------
    base : mapping, optional
        A request as plain values; it is not changed.
    pairs : sequence of str
        "path=value"; the path as TOML writes keys, so that a name with dots in it
        stands in quotes: ``constraints.'backbone.*'.k_min=8``.
    asked : mapping
        Keywords of `prune` beside it. Where the file says no amount, theirs is moved
        into the request, which would be none without.

    Raises
    ------
    InvalidProblemError
        On what is no pair, no path, or a path through a plain value.

    Examples
    --------
    >>> with_paths({"refit": "merge"}, ["refit.ridge=0.01"], {"macs": 0.5})
    ({'refit': {'kind': 'merge', 'ridge': 0.01}, 'macs': 0.5}, {})
    """
    if base is not None and not isinstance(base, Mapping):
        raise InvalidProblemError(
            f"`request` must be a table, got {base!r}. Write [request] above its parts."
        )
    made: dict[str, Any] = copy.deepcopy(dict(base or {}))
    for pair in pairs:
        *path, last = _path(pair)
        table = made
        for name in path:
            inner = table.get(name)
            if isinstance(inner, str) and name in KINDS:
                inner = {KINDS[name]: inner}
            table[name] = {} if inner is None else inner
            table = table[name]
            if not isinstance(table, dict):
                raise InvalidProblemError(
                    f"`--set` must name a part of a table, got {pair!r} where {name} "
                    f"is {table!r}. Set {name} itself."
                )
        table[last] = parse_value(pair.partition("=")[2])
    if made.get("refit") == "none":
        made["refit"] = None
    rest = dict(asked)
    if made and not any(made.get(name) for name in AMOUNTS):
        made |= {name: rest.pop(name) for name in AMOUNTS if name in rest}
    return made or None, rest


def _path(pair: str) -> list[str]:
    """Return the names of a path such as ``constraints.'backbone.*'.k_min``."""
    key, equals, _ = pair.partition("=")
    table: Any = None
    if equals and "\n" not in key:
        with suppress(ValueError):
            table = loads(f"{key} = 0")
    path: list[str] = []
    while isinstance(table, dict) and len(table) == 1:
        ((name, table),) = table.items()
        path.append(name)
    if table != 0:
        raise InvalidProblemError(
            f"`--set` must read path=value, got {pair!r}. Pass for instance "
            "extraction.on_nan=skip, or constraints.'head.*'.multiple_of=8."
        )
    return path


def read_cost(name: str | None) -> CostModel | None:
    """Return the cost model of a JSON file, if there is one.

    Raises
    ------
    InvalidProblemError
        If the file holds something else.
    """
    if name is None:
        return None
    from sirfp_opt.network.cost import CostModel

    try:
        return CostModel.from_dict(read_json(Path(name), "--cost"))
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise InvalidProblemError(
            f"`--cost` must name a cost model as JSON, got {name}: "
            f"{type(error).__name__}: {error}. Write one with CostModel.to_dict."
        ) from error
