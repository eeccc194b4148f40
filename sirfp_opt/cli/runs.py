"""A pruning run as a file, to be replayed."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any

from sirfp_opt._rules import check_names, whole
from sirfp_opt._validate import as_text
from sirfp_opt.errors import InvalidProblemError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["read_run"]


def read_run(
    config: Path | None, stated: Mapping[str, Any]
) -> tuple[dict[str, Any], Mapping[str, Any] | None]:
    """Return a run's parts, and its request, from a file and options beside it.

    Parameters
    ----------
    config : Path, optional
        TOML or JSON: model, data, out, batches, forward, and a table `request`; other
        entries at the top, such as a report's, are not looked at in JSON.
    stated : mapping
        The parts as options, None where they are not given.

    Raises
    ------
    InvalidProblemError
        If the file cannot be read, has parts that a run has not, or one is missing.
    """
    read: dict[str, Any] = {}
    if config is not None:
        text = config.read_text(encoding="utf-8")
        try:
            if config.suffix.lower() == ".json":
                read = json.loads(text)
            else:
                read = tomllib.loads(text)
                check_names(read, [*stated, "request"], str(config))
        except ValueError as error:  # both formats' errors are
            raise InvalidProblemError(
                f"`--config` must be a TOML or JSON file, got {config}: {error}. "
                "Take the report.json of a run for a pattern."
            ) from error
        if not isinstance(read, dict):
            raise InvalidProblemError(
                f"`--config` must hold names and values, got a {type(read).__name__} "
                f"in {config}. Take the report.json of a run for a pattern."
            )
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
    if run["forward"] is not None:
        as_text(run["forward"], "forward", hint="Pass package.module:function.")
    return run, read.get("request")
