"""What names such as mine:network on the command line stand for."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sirfp_opt.errors import InvalidProblemError

__all__ = ["batches_of", "current_folder", "forward_of", "network_of"]


@contextmanager
def current_folder() -> Iterator[None]:
    """Let modules of the current folder be imported, as `python -m` does."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def network_of(spec: str) -> Any:
    """Return the network that "package.module:name" is or builds."""
    from torch import nn

    made = _named(spec, "--model")
    if not isinstance(made, nn.Module):
        made = _called(made, spec, "--model")
    if not isinstance(made, nn.Module):
        raise InvalidProblemError(
            f"`--model` must build a torch.nn.Module, got {type(made).__name__} from "
            f"{spec}. Return the network itself."
        )
    return made


def forward_of(spec: str) -> Callable[[Any, Any], Any]:
    """Return the function of network and batch of that name."""
    found = _named(spec, "--forward")
    if not callable(found):
        raise InvalidProblemError(
            f"`--forward` must name a function of network and batch, got "
            f"{type(found).__name__} at {spec}. Write one that returns the outputs."
        )
    return found  # type: ignore[no-any-return]


def batches_of(spec: str) -> Iterable[Any]:
    """Return the batches that "package.module:name" is or gives."""
    made = _named(spec, "--data")
    if callable(made):
        made = _called(made, spec, "--data")
    if not isinstance(made, Iterable):
        raise InvalidProblemError(
            f"`--data` must give batches, got {type(made).__name__} from {spec}. "
            "Return a DataLoader, a list of tensors or a generator."
        )
    return made


def _named(spec: str, flag: str) -> Any:
    """Import what "package.module:name" names.

    Raises
    ------
    InvalidProblemError
        If it does not read so, or there is no such module or name.
    """
    module_name, colon, name = spec.partition(":")
    if not (colon and module_name and name):
        raise InvalidProblemError(
            f"`{flag}` must read package.module:name, got {spec!r}. "
            "Pass for instance mine:network for `network` in mine.py."
        )
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # whatever somebody's module raises
        raise InvalidProblemError(
            f"`{flag}` must name a module that can be imported, got {module_name!r}: "
            f"{_told(error)}. Searched are the current folder and Python's path."
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            public = [n for n in vars(found) if not n.startswith("_")]
            raise InvalidProblemError(
                f"`{flag}` must name something in {module_name}, got {name!r}. "
                f"There are {', '.join(public[:12]) or 'no names'}."
            )
        found = getattr(found, part)
    return found


def _called(function: Any, spec: str, flag: str) -> Any:
    """Call somebody's factory or loader."""
    if not callable(function):
        raise InvalidProblemError(
            f"`{flag}` must name a function without arguments, got "
            f"{type(function).__name__} at {spec}. Write one that returns it."
        )
    try:
        return function()
    except Exception as error:  # whatever somebody's code raises
        raise InvalidProblemError(
            f"`{flag}` must name what runs without arguments, got {_told(error)} "
            f"from {spec}. Try it by hand first."
        ) from error


def _told(error: BaseException) -> str:
    """Return an error in one line, with the place where it was raised."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f" ({Path(last.filename).name}, line {last.lineno})"
    return f"{type(error).__name__}: {error}{where}"
