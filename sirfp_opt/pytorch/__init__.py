"""The torch adapter: graphs out of a network, a smaller network out of a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"`sirfp_opt.pytorch` must find torch, got: {error}. "
        "Install it with: pip install 'sirfp-opt[torch]'."
    ) from error

from sirfp_opt.pytorch.cost import count_macs, count_params, read_cost
from sirfp_opt.pytorch.coupling.units import Coupling, Exclusion, Member, couple
from sirfp_opt.pytorch.cutting.masking import mask
from sirfp_opt.pytorch.cutting.saving import load_pruned, save_pruned
from sirfp_opt.pytorch.cutting.surgery import apply_plan
from sirfp_opt.pytorch.extraction.extract import extract
from sirfp_opt.pytorch.extraction.extractor import Extractor
from sirfp_opt.pytorch.extraction.graphs import ExtractedGraphs
from sirfp_opt.pytorch.extraction.importances import IMPORTANCES, Importance
from sirfp_opt.pytorch.extraction.metrics import METRICS, Metric
from sirfp_opt.pytorch.extraction.settings import Extraction
from sirfp_opt.pytorch.prune import prune, prune_
from sirfp_opt.pytorch.reference import ReferenceOptions
from sirfp_opt.pytorch.refitting.batch_norm import (
    correct_batch_norm,
    reestimate_batch_norm,
)
from sirfp_opt.pytorch.refitting.refit import RefitResult, refit
from sirfp_opt.pytorch.refitting.report import LayerRefit, RefitReport
from sirfp_opt.pytorch.refitting.settings import Refit
from sirfp_opt.pytorch.report import PruneReport, UnitReport
from sirfp_opt.pytorch.request import PruneRequest
from sirfp_opt.pytorch.result import PruneResult

if TYPE_CHECKING:
    from sirfp_opt.pytorch.tp_importance import RedundancyImportance

__all__ = [
    "IMPORTANCES",
    "METRICS",
    "Coupling",
    "Exclusion",
    "ExtractedGraphs",
    "Extraction",
    "Extractor",
    "Importance",
    "LayerRefit",
    "Member",
    "Metric",
    "PruneReport",
    "PruneRequest",
    "PruneResult",
    "RedundancyImportance",
    "ReferenceOptions",
    "Refit",
    "RefitReport",
    "RefitResult",
    "UnitReport",
    "apply_plan",
    "correct_batch_norm",
    "count_macs",
    "count_params",
    "couple",
    "extract",
    "load_pruned",
    "mask",
    "prune",
    "prune_",
    "read_cost",
    "reestimate_batch_norm",
    "refit",
    "save_pruned",
]


def __getattr__(name: str) -> Any:
    """Import what needs Torch-Pruning when it is asked for."""
    if name != "RedundancyImportance":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from sirfp_opt.pytorch.tp_importance import RedundancyImportance
    except ImportError as error:
        raise ImportError(
            f"`RedundancyImportance` must find torch-pruning, got: {error}. "
            "Install it with: pip install 'torch-pruning>=1.6,<2'."
        ) from error
    return RedundancyImportance
