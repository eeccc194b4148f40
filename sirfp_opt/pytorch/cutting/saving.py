"""A pruned network in one file that holds no code."""

from __future__ import annotations

import copy
import json
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.network.plan import PruningPlan
from sirfp_opt.pytorch.cutting.fitting import check_plan
from sirfp_opt.pytorch.cutting.surgery import apply_plan
from sirfp_opt.pytorch.result import PruneResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["load_pruned", "save_pruned"]

FORMAT = "sirfp-opt/pruned/1"


def save_pruned(
    path: str | Path,
    network: PruneResult | nn.Module,
    plan: PruningPlan | Iterable[PruningPlan] | None = None,
) -> None:
    """Write a pruned network: its plan and its state dict.

    The file is a dict of strings and tensors, written by `torch.save`; anybody can read
    it with ``torch.load(path, weights_only=True)``. It holds no class and no code: to
    load it, the network is built by your own code and cut again.

    Parameters
    ----------
    path : str or Path
        The file. One that is there is replaced once the new one is complete: it is
        the old or the new file at any time, whatever interrupts.
    network : PruneResult or nn.Module
        What `prune` returned, or a pruned network, fine-tuned perhaps.
    plan : PruningPlan or iterable of PruningPlan, optional
        How it was cut; several in the order in which they were applied. Needed with a
        module; with a result its own plan is the default.

    Raises
    ------
    InvalidProblemError
        If there is no plan, the network is not what it leaves, or the state dict holds
        what is no tensor.

    Examples
    --------
    >>> import tempfile, torch
    >>> from pathlib import Path
    >>> from torch import nn
    >>> from sirfp_opt.pytorch import load_pruned, prune, save_pruned
    >>> build = lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 1))
    >>> result = prune(build(), torch.rand(4, 3, 9, 9), keep=0.5)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_pruned(Path(folder) / "small.pt", result)
    ...     load_pruned(Path(folder) / "small.pt", build)
    Sequential(
      (0): Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1))
      (1): Conv2d(4, 2, kernel_size=(1, 1), stride=(1, 1))
    )
    """
    if isinstance(network, PruneResult):
        plan = network.plan if plan is None else plan
        network = network.model
    plans = [plan] if isinstance(plan, PruningPlan) else list(plan or ())
    if not plans or not all(isinstance(one, PruningPlan) for one in plans):
        raise InvalidProblemError(
            f"`plan` must say how the network was cut, got {plan!r}. "
            "Pass the result of `prune` itself, or result.plan with the network."
        )
    try:
        check_plan(network, plans[-1], cut=True)
    except InvalidProblemError as error:
        what, _, _ = str(error).partition(". ")  # its way out is not ours
        raise InvalidProblemError(
            f"`network` must be what the plan has cut, got {type(network).__name__}: "
            f"{what}. Pass the pruned network itself, without any wrapper "
            "(DistributedDataParallel, torch.compile)."
        ) from error
    state = network.state_dict()
    other = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if other:
        raise InvalidProblemError(
            f"`network` must have a state dict of tensors, got others in {other[:5]}. "
            "Its extra state would need code to be read back."
        )
    data = {
        "format": FORMAT,
        "plans": [one.to_json(indent=None) for one in plans],
        "state": state,
    }
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        torch.save(data, part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load_pruned(
    path: str | Path, model: nn.Module | Callable[[], nn.Module]
) -> nn.Module:
    """Read a pruned network: cut a fresh one by the stored plan, and fill it.

    Nothing in the file is executed (``weights_only=True``), its checksums are compared,
    and the state dict must fit to the last key.

    Parameters
    ----------
    path : str or Path
        A file of `save_pruned`.
    model : nn.Module or callable
        A network of the architecture before pruning, or what makes one. Its device,
        dtype and training mode are those of the result, as with
        ``nn.Module.load_state_dict``; a module that is passed is not changed.

    Returns
    -------
    nn.Module

    Raises
    ------
    InvalidProblemError
        If the file is damaged or something else, the plan does not fit `model`, or a
        key is missing, unknown or of another shape.
    FileNotFoundError
        If there is no such file.
    """
    data = _read(Path(path))
    fresh = copy.deepcopy(model) if isinstance(model, nn.Module) else model()
    if not isinstance(fresh, nn.Module):
        raise InvalidProblemError(
            f"`model` must be a network or make one, got {type(fresh).__name__}. "
            "Pass it, or a callable without arguments."
        )
    try:
        for text in data["plans"]:
            apply_plan(fresh, PruningPlan.from_json(text), inplace=True)
        fresh.load_state_dict(data["state"])
    except (InvalidProblemError, RuntimeError) as error:
        raise InvalidProblemError(
            f"`model` must be of the architecture that {path} was pruned from, got "
            f"{type(fresh).__name__}: {error} A network that was cut more than once is "
            "saved with all of its plans, or loaded into what the first cut left."
        ) from error
    return fresh


def _read(path: Path) -> dict[str, Any]:
    """Return what `save_pruned` wrote, whole and undamaged."""
    if not path.is_file():
        raise FileNotFoundError(f"`path` must be a file of save_pruned, got {path}.")
    way_out = "Write it again with save_pruned."
    try:
        # torch itself does not look at the checksums that it wrote.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"{damaged} does not match its checksum")
        data: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or foreign file makes torch raise
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidProblemError(
            f"`path` must be an undamaged file of save_pruned, got {path}: {told}. "
            + way_out
        ) from error
    found = data.get("format") if isinstance(data, dict) else type(data).__name__
    if found != FORMAT:
        raise InvalidProblemError(
            f"`path` must hold a network of format {FORMAT!r}, got {found!r}. {way_out}"
        )
    lacking = sorted({"plans", "state"} - set(data))
    if lacking:
        raise InvalidProblemError(
            f"`path` must hold plans and state, got none of {lacking} in {path}. "
            + way_out
        )
    try:
        for text in data["plans"]:
            json.loads(text)
    except (TypeError, ValueError) as error:
        raise InvalidProblemError(
            f"`path` must hold plans as JSON text, got {error} in {path}. {way_out}"
        ) from error
    return dict(data)
