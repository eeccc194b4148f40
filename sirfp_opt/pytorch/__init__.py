"""The torch adapter: graphs out of a network, a smaller network out of a plan."""

from __future__ import annotations

try:
    import torch as _torch  # noqa: F401
    import torch_pruning as _torch_pruning  # noqa: F401
except ImportError as error:
    raise ImportError(
        "`sirfp_opt.pytorch` must find torch and torch-pruning, got: "
        f"{error}. Install them with: pip install 'sirfp-opt[torch]'."
    ) from error

from sirfp_opt.pytorch.cost_reader import count_macs, count_params, read_cost
from sirfp_opt.pytorch.coupling import Coupling, Exclusion, Member, couple
from sirfp_opt.pytorch.extract import extract
from sirfp_opt.pytorch.extractor import Extractor
from sirfp_opt.pytorch.graphs import ExtractedGraphs
from sirfp_opt.pytorch.importances import IMPORTANCES, Importance
from sirfp_opt.pytorch.metrics import METRICS, Metric
from sirfp_opt.pytorch.prune import PruneResult, prune, prune_
from sirfp_opt.pytorch.redundancy_importance import RedundancyImportance
from sirfp_opt.pytorch.reference import ReferenceOptions
from sirfp_opt.pytorch.report import PruneReport, UnitReport
from sirfp_opt.pytorch.saving import load_pruned, save_pruned
from sirfp_opt.pytorch.statistics import reestimate_batch_norm
from sirfp_opt.pytorch.surgery import apply_plan, mask

__all__ = [
    "IMPORTANCES",
    "METRICS",
    "Coupling",
    "Exclusion",
    "ExtractedGraphs",
    "Extractor",
    "Importance",
    "Member",
    "Metric",
    "PruneReport",
    "PruneResult",
    "RedundancyImportance",
    "ReferenceOptions",
    "UnitReport",
    "apply_plan",
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
    "save_pruned",
]
