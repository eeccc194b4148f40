"""From a network and a budget to a smaller network: wiring of the parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from sirfp_opt._parallel import Clock
from sirfp_opt.errors import UnsupportedError
from sirfp_opt.network.solve import solve_network
from sirfp_opt.pytorch.admission import admit, check_model
from sirfp_opt.pytorch.batches import Forward, first_and_all, first_sample, to_model
from sirfp_opt.pytorch.cost import count_params, read_cost, tally_of
from sirfp_opt.pytorch.coupling.units import Exclusion, couple, matches
from sirfp_opt.pytorch.cutting.surgery import apply_plan
from sirfp_opt.pytorch.extraction.extract import extract
from sirfp_opt.pytorch.planning import Callback, Request, network_problem
from sirfp_opt.pytorch.reference import ReferenceOptions
from sirfp_opt.pytorch.refitting.refit import refit_pruned
from sirfp_opt.pytorch.refitting.settings import Refit, find_refit
from sirfp_opt.pytorch.report import PruneReport, unit_reports
from sirfp_opt.pytorch.verification import TOLERANCE, Verdict, Verifier

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import nn

    from sirfp_opt.network.allocation import Allocator
    from sirfp_opt.network.cost import CostModel
    from sirfp_opt.network.plan import PruningPlan
    from sirfp_opt.network.solution import NetworkSolution
    from sirfp_opt.pytorch.extraction.graphs import ExtractedGraphs
    from sirfp_opt.solution import Solution

__all__ = ["PruneResult", "prune", "prune_"]


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

    def to_html(self, path: str | Path, *, title: str = "Pruning report") -> None:
        """Write the report as a page that needs nothing beside itself.

        Parameters
        ----------
        path : str or Path
        title : str

        Raises
        ------
        MissingExtraError
            If jinja2 or matplotlib is not installed.
        """
        from sirfp_opt.pytorch.page import write_report

        write_report(self, path, title=title)


def prune(
    model: nn.Module,
    batches: Any,
    *,
    macs: float | None = None,
    params: float | None = None,
    keep: float | Mapping[str, int | float] | None = None,
    method: Any = "greedy",
    allocation: str | Allocator = "balanced",
    refit: str | Refit | None = None,
    graphs: ExtractedGraphs | None = None,
    min_keep: float = 0.1,
    multiple_of: int = 1,
    ignore: Sequence[str] = (),
    drop_dead: bool = True,
    extraction: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    time_limit: float | None = None,
    seed: int = 0,
    certify: bool | str = False,
    n_jobs: int = 1,
    reference: bool | ReferenceOptions = False,
    verify: bool = True,
    tolerance: float = TOLERANCE,
    forward: Forward | None = None,
    callback: Callback | None = None,
) -> PruneResult:
    """Return a smaller copy of a network that keeps its least redundant channels.

    Parameters
    ----------
    model : nn.Module
        The network; it is not changed.
    batches : Tensor, mapping or iterable of batches
        What the redundancies are measured on; the first sample also serves to trace,
        to count and to verify.
    macs, params : float, optional
        Budgets: at most this fraction of the original's multiply-accumulates, or
        parameters, remains.
    keep : float or mapping, optional
        Instead of a budget: the fraction of each unit that stays, or by unit name the
        number (int) or the fraction (float); units not named stay whole.
    method : str or Solver
        Which solver chooses a unit's channels: a name from `available_solvers()`.
    allocation : {"threshold", "uniform", "lagrangian", "optimal", "balanced"}
        Which numbers of channels: see `Threshold`, `Uniform`, `Lagrangian` and
        `Optimal`, which finds the best split of all budgets at once, with a bound;
        "balanced" is that, too, with losses squared (`Worth`). Or an Allocator.
    refit : {"full", "merge"} or Refit, optional
        Refit the layers that read what was cut, in closed form and without labels, on
        these batches; see `refit`. Channels are then chosen, and the budget split, by
        what is left after it (metric "refit", unless `extraction` names another). The
        cut is verified before it: afterwards the network is no longer the masked one.
    graphs : ExtractedGraphs, optional
        From `extract`, to spare the extraction.
    min_keep : float
        Least fraction of each unit that stays (rounded down, one channel at least).
    multiple_of : int
        Numbers of channels are multiples of it, for the hardware's sake.
    ignore : sequence of str
        Patterns of layers whose outputs stay whole.
    drop_dead : bool
        Drop channels that are dead (see `ExtractedGraphs`) first. They cost no
        redundancy, so a solver alone would rather keep them.
    extraction : mapping, optional
        Keyword arguments for `extract`.
    options : mapping, optional
        Parameters of the method, for `solve`.
    time_limit : float, optional
        Seconds for each unit's solver.
    seed : int
        Of the solvers and the probe.
    certify : bool or str
        Give each unit's set a proven bound, by a level of `sirfp_opt.bound`; True is
        the tightest, which takes seconds for each unit of a thousand channels.
    n_jobs : int
        Units solved at a time, by joblib's threads; -1 for all cores.
    reference : bool or ReferenceOptions
        Do as the authors' code does. Overrides `method`, `allocation`, `min_keep`,
        `drop_dead` and the matching entries of `extraction`.
    verify : bool
        Compare the pruned network's outputs with the masked original's, on a sample of
        every batch and in training mode, too (`Verifier`). Units that make a difference
        are excluded, and the plan is made anew.
    tolerance : float
        Largest difference allowed in any channel of any output, as a share of that
        channel's own size.
    forward : callable, optional
        ``forward(model, batch)``.
    callback : callable, optional
        ``callback(stage, done, total)`` for a progress bar.

    Returns
    -------
    PruneResult
        ``.model``, ``.plan``, ``.report``.

    Raises
    ------
    InvalidProblemError
        If an argument breaks a rule, or activations are not finite.
    InfeasibleError
        If the budget cannot be reached; before any surgery, with the least reachable.
    UnsupportedError
        If the network cannot be traced, or nothing in it can be pruned.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from sirfp_opt.pytorch import prune
    >>> _ = torch.manual_seed(0)
    >>> net = nn.Sequential(
    ...     nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 2, 1))
    >>> result = prune(net, [torch.rand(4, 3, 16, 16)], macs=0.5)
    >>> result.plan.counts, result.report.reached["macs"]
    ({'0': 8}, 0.5)
    """
    extraction = dict(extraction or {})
    how = None if refit is None else find_refit(refit, "refit")
    if how is not None:
        extraction.setdefault("metric", "refit")
        if isinstance(batches, Iterator):
            batches = list(batches)  # a refit reads them again
    if reference:
        setting = reference if reference is not True else ReferenceOptions()
        allocation, min_keep, drop_dead = setting.threshold, setting.min_keep, False
        extraction |= setting.extraction
    request = Request(
        macs=macs,
        params=params,
        keep=keep,
        method=method,
        allocation=allocation,
        min_keep=min_keep,
        multiple_of=multiple_of,
        drop_dead=drop_dead,
        options=dict(options or {}),
        time_limit=time_limit,
        seed=seed,
        certify=certify,
        n_jobs=n_jobs,
    )
    check_model(model)
    clock = Clock(callback)
    first, every = first_and_all(batches)
    sample = first_sample(model, to_model(first, model), forward)
    admit(model, sample, forward)
    if graphs is None:
        with clock.stage("couple"):
            coupling = couple(model, [first], forward=forward, ignore=ignore, seed=seed)
        with clock.stage("extract"):
            graphs = extract(
                model, every, coupling=coupling, forward=forward, **extraction
            )
    elif ignore:
        graphs = _ignoring(graphs, ignore)
    verdict = Verdict()
    verifier = (
        Verifier(model, first, batches, forward, tolerance=tolerance)
        if verify
        else None
    )
    while True:
        if not graphs.coupling.units:
            reasons = "; ".join(str(e) for e in graphs.coupling.exclusions[:5])
            raise UnsupportedError(
                f"`model` must have channels that can be cut, got none: {reasons}. "
                "See couple(model, batches).exclusions."
            )
        with clock.stage("count"):
            cost = read_cost(model, graphs.coupling.units, sample, forward=forward)
        problem = network_problem(graphs, cost, request)
        solution = solve_network(
            problem,
            request.method,
            # Where numbers are given, there is nothing to split.
            allocation=request.allocation if request.keep is None else "uniform",
            certify=request.certify,
            n_jobs=request.n_jobs,
            time_limit=request.time_limit,
            seed=request.seed,
            progress=clock.tell,
            **request.options,
        )
        clock.add(solution.seconds)
        plan = solution.plan(graphs.coupling.units)
        with clock.stage("cut"):
            pruned = apply_plan(model, plan)
        if verifier is None:
            break
        with clock.stage("verify"):
            verdict = verifier(pruned, plan)
        if not verdict.failed:
            break
        graphs = graphs.without(
            Exclusion(unit, plan.sizes[unit], unit, reason)
            for unit, reason in verdict.failed.items()
        )
    refitted = None
    if how is not None:
        with clock.stage("refit"):
            refitted = refit_pruned(
                model,
                pruned,
                plan,
                batches,
                how,
                forward=forward,
                inputs=graphs.inputs,
                pictures=graphs.images,
            )
    with clock.stage("count"):
        done = tally_of(pruned, sample, forward)
        measured = {"macs": done.macs, "params": count_params(pruned)}
    if solution.costs | measured != solution.costs:
        raise UnsupportedError(
            f"`model` must cost what its layers cost, got {measured} where "
            f"{solution.costs} was predicted: some operation depends on channel "
            "numbers in a way that is not modelled. Please report the network."
        )
    coupling = graphs.coupling
    report = PruneReport(
        solution=solution,
        units=unit_reports(solution, coupling.units),
        measured=measured,
        exclusions=tuple(asdict(exclusion) for exclusion in coupling.exclusions),
        untraced=coupling.untraced,
        given=request.keep is not None,
        max_difference=verdict.worst.difference if verdict.worst else None,
        output_scale=verdict.worst.scale if verdict.worst else None,
        relative_difference=verdict.worst.relative if verdict.worst else None,
        refit=refitted,
        notes=(*graphs.notes, *done.notes, *verdict.notes),
        seconds=dict(clock.seconds),
    )
    return PruneResult(pruned, plan, report, graphs, solution)


def prune_(model: nn.Module, batches: Any, **arguments: Any) -> PruneResult:
    """Prune a network in place; arguments and result are those of `prune`.

    All is planned, cut and verified on a copy first: where that raises, `model` is as
    it was. Parameters are new objects: build the optimizer afterwards.
    """
    result = prune(model, batches, **arguments)
    apply_plan(model, result.plan, inplace=True)
    if result.report.refit is not None:
        model.load_state_dict(result.model.state_dict())
    return replace(result, model=model)


def _ignoring(graphs: ExtractedGraphs, patterns: Sequence[str]) -> ExtractedGraphs:
    """Leave whole, of graphs that were extracted before, what `ignore` names."""
    outs = {
        unit: [site.layer for site in unit.ports if site.side == "out"]
        for unit in graphs.coupling.units
    }
    return graphs.without(
        Exclusion(unit.name, unit.size, layer, f"left whole on request ({pattern!r})")
        for unit, layers in outs.items()
        for layer, pattern in matches(layers, patterns)[:1]
    )
