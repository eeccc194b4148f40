"""What every run of a study does: tried, timed, and its plan told by a short name."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

import torch

from sirfp_opt import SirfpError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sirfp_opt.network.plan import PruningPlan

__all__ = ["attempt", "fingerprint"]


def attempt(
    work: Callable[[], dict[str, Any]],
    failures: tuple[type[Exception], ...] = (SirfpError,),
) -> dict[str, Any]:
    """Do one run on one thread; what fails is a result too.

    Parameters
    ----------
    work : callable
        Returns what is measured.
    failures : tuple of types
        Errors that stand in the table, such as a budget out of a criterion's reach;
        any other goes on.

    Returns
    -------
    dict
        What `work` returns, a "status" and CPU "seconds".
    """
    torch.set_num_threads(1)
    began = time.process_time()
    try:
        figures = {"status": "ok"} | work()
    except failures as error:
        told = (str(error).strip().splitlines() or [""])[0]
        figures = {"status": f"{type(error).__name__}: {told[:200]}"}
    return figures | {"seconds": round(time.process_time() - began, 2)}


def fingerprint(plan: PruningPlan) -> str:
    """Return twelve hexadecimal digits that tell a plan's sets from others."""
    text = json.dumps({name: kept.tolist() for name, kept in plan.items()})
    return hashlib.sha256(text.encode()).hexdigest()[:12]
