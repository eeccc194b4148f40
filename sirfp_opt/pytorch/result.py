"""PruneResult: a pruned network, and how it came about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from sirfp_opt.explorer import Explorer
    from sirfp_opt.network.cost import CostModel
    from sirfp_opt.network.plan import PruningPlan
    from sirfp_opt.network.solution import NetworkSolution
    from sirfp_opt.pytorch.batches import Forward
    from sirfp_opt.pytorch.extraction.graphs import ExtractedGraphs
    from sirfp_opt.pytorch.report import PruneReport
    from sirfp_opt.solution import Solution

__all__ = ["PruneResult"]


@dataclass(frozen=True, eq=False)
class PruneResult:
    """A pruned network and how it came about.

    Attributes
    ----------
    model : nn.Module
        The pruned network.
    plan : PruningPlan
        What was kept; apply it to another copy with `apply_plan`.
    report : PruneReport
        Asked and reached costs, units, exclusions.
    graphs : ExtractedGraphs
        What the choice rests on; pass it to the next `prune` to spare the extraction.
    solution : NetworkSolution
        The network's problem (`solution.problem`: graphs, costs, budget) and its
        solution: objective, bound and gap of the very sets in the plan.
    """

    model: nn.Module
    plan: PruningPlan
    report: PruneReport
    graphs: ExtractedGraphs
    solution: NetworkSolution

    @property
    def cost(self) -> CostModel:
        """MACs and parameters by kept channels."""
        return self.solution.problem.cost

    @property
    def solutions(self) -> dict[str, Solution]:
        """By unit, where a solver chose the channels."""
        return self.solution.solutions

    def __repr__(self) -> str:
        reached = ", ".join(f"{k} {v:.2%}" for k, v in self.report.reached.items())
        return f"PruneResult({reached} of the original, {self.plan!r})"

    def explore(
        self,
        *,
        model: nn.Module | None = None,
        batch: Any = None,
        forward: Forward | None = None,
        title: str = "",
    ) -> Explorer:
        """Make a page on which a reader moves k in each unit; nothing is solved anew.

        The sets are those of the plan and of greedy's path;
        `sirfp_opt.explorer.explore` searches the best set of every k of a layer.

        Parameters
        ----------
        model, batch, forward : optional
            The network before the cut, and a batch: the maps of its first sample are
            shown, where units have any.
        title : str

        Returns
        -------
        Explorer
            ``.save(path)`` writes the page.

        Raises
        ------
        InvalidProblemError
            If only one of `model` and `batch` is given.
        MissingExtraError
            If jinja2 is not installed, when the page is made.
        """
        from sirfp_opt.pytorch.exploring import explore_result

        return explore_result(
            self, model=model, batch=batch, forward=forward, title=title
        )

    def to_html(
        self,
        path: str | Path,
        *,
        title: str = "Pruning report",
        explorer: str | None = None,
    ) -> None:
        """Write the report as a page that needs nothing beside itself.

        Parameters
        ----------
        path : str or Path
        title : str
        explorer : str, optional
            Where the page made by `explore` lies, seen from this one: it gets a link.

        Raises
        ------
        MissingExtraError
            If jinja2 or matplotlib is not installed.
        """
        from sirfp_opt.pytorch.page import write_report

        write_report(self, path, title=title, explorer=explorer)
