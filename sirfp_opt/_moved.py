"""Where modules have gone: their former paths raise with the new one."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType

__all__ = ["MOVED", "raise_moved", "tell_of_moves"]

MOVED = {
    "sirfp_opt.allocation": "sirfp_opt.network.allocation",
    "sirfp_opt.bounding": "sirfp_opt.bounds",
    "sirfp_opt.cost": "sirfp_opt.network.cost",
    "sirfp_opt.curves": "sirfp_opt.network.curves",
    "sirfp_opt.frontier": "sirfp_opt.network.frontier",
    "sirfp_opt.latency": "sirfp_opt.network.latency",
    "sirfp_opt.network_solution": "sirfp_opt.network.solution",
    "sirfp_opt.normalization": "sirfp_opt.network.normalization",
    "sirfp_opt.plan": "sirfp_opt.network.plan",
    "sirfp_opt.network.allocation.base": "sirfp_opt.network.allocation.protocol",
    "sirfp_opt.pytorch.assemble": "sirfp_opt.pytorch.extraction.assemble",
    "sirfp_opt.pytorch.averages": "sirfp_opt.pytorch.extraction.averages",
    "sirfp_opt.pytorch.cost_reader": "sirfp_opt.pytorch.cost",
    "sirfp_opt.pytorch.extract": "sirfp_opt.pytorch.extraction.extract",
    "sirfp_opt.pytorch.extractor": "sirfp_opt.pytorch.extraction.extractor",
    "sirfp_opt.pytorch.filters": "sirfp_opt.pytorch.extraction.filters",
    "sirfp_opt.pytorch.gram": "sirfp_opt.pytorch.extraction.gram",
    "sirfp_opt.pytorch.graphs": "sirfp_opt.pytorch.extraction.graphs",
    "sirfp_opt.pytorch.heads": "sirfp_opt.pytorch.coupling",
    "sirfp_opt.pytorch.importances": "sirfp_opt.pytorch.extraction.importances",
    "sirfp_opt.pytorch.metrics": "sirfp_opt.pytorch.extraction.metrics",
    "sirfp_opt.pytorch.probe": "sirfp_opt.pytorch.coupling.trial",
    "sirfp_opt.pytorch.ranks": "sirfp_opt.pytorch.extraction.ranks",
    "sirfp_opt.pytorch.redundancy_importance": "sirfp_opt.pytorch.tp_importance",
    "sirfp_opt.pytorch.rules": "sirfp_opt.pytorch.coupling",
    "sirfp_opt.pytorch.saving": "sirfp_opt.pytorch.cutting.saving",
    "sirfp_opt.pytorch.statistics": "sirfp_opt.pytorch.refitting.batch_norm",
    "sirfp_opt.pytorch.surgery": "sirfp_opt.pytorch.cutting.surgery",
    "sirfp_opt.pytorch.tracing": "sirfp_opt.pytorch.coupling.labels",
    "sirfp_opt.pytorch.watching": "sirfp_opt.pytorch.extraction.watching",
}
"""Former paths of modules, and their paths now."""


class _Finder(MetaPathFinder):
    """Asked first: a folder that an earlier version has left would be a namespace."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> None:
        """Raise for a former path; leave anything else to those behind."""
        if fullname in MOVED:
            raise ModuleNotFoundError(
                f"`{fullname}` has moved. Import {MOVED[fullname]} instead.",
                name=fullname,
            )


def tell_of_moves() -> None:
    """Let imports of former paths raise with the new one."""
    if not any(type(finder).__name__ == "_Finder" for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def raise_moved(module: str, name: str, homes: Mapping[str, str]) -> NoReturn:
    """Raise, in a module's ``__getattr__``, for a name that now lives elsewhere.

    Parameters
    ----------
    module, name : str
        What was asked for.
    homes : mapping of str to str
        By name, where it is now.

    Raises
    ------
    ImportError
        If the name has moved: with its new home.
    AttributeError
        If there never was such a name.
    """
    if name in homes:
        raise ImportError(
            f"`{module}.{name}` has moved. Import {homes[name]} instead.", name=module
        )
    raise AttributeError(f"module {module!r} has no attribute {name!r}")
