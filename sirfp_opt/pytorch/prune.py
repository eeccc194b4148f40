"""From a network and a budget to a smaller network: wiring of the parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Unpack

from sirfp_opt._parallel import Clock, Stages, progress_stages
from sirfp_opt.errors import InvalidProblemError, UnsupportedError
from sirfp_opt.network.cost import CostModel
from sirfp_opt.network.solve import solve_network
from sirfp_opt.pytorch.admission import admit, check_model
from sirfp_opt.pytorch.batches import (
    Forward,
    first_and_all,
    first_sample,
    to_model,
)
from sirfp_opt.pytorch.cost import count_params, read_cost, tally_of
from sirfp_opt.pytorch.coupling.units import Exclusion, couple, matches
from sirfp_opt.pytorch.cutting.fitting import check_units
from sirfp_opt.pytorch.cutting.surgery import apply_plan
from sirfp_opt.pytorch.extraction.extract import extract
from sirfp_opt.pytorch.extraction.graphs import ExtractedGraphs
from sirfp_opt.pytorch.planning import network_problem, with_forms
from sirfp_opt.pytorch.refitting.passes import some_of
from sirfp_opt.pytorch.refitting.refit import refit_pruned
from sirfp_opt.pytorch.report import PruneReport, unit_reports
from sirfp_opt.pytorch.request import PruneRequest, as_request
from sirfp_opt.pytorch.responses import meter_of
from sirfp_opt.pytorch.result import PruneResult
from sirfp_opt.pytorch.verification import Verdict, Verifier

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from sirfp_opt.network.plan import PruningUnit
    from sirfp_opt.pytorch.keywords import PruneSettings

__all__ = ["prune", "prune_"]


def prune(
    model: nn.Module,
    batches: Any,
    request: PruneRequest | Mapping[str, Any] | None = None,
    *,
    graphs: ExtractedGraphs | None = None,
    cost: CostModel | None = None,
    forward: Forward | None = None,
    progress: bool | Stages | None = None,
    **settings: Unpack[PruneSettings],
) -> PruneResult:
    """Return a smaller copy of a network that keeps its least redundant channels.

    Parameters
    ----------
    model : nn.Module
        The network; it is not changed.
    batches : Tensor, mapping or iterable of batches
        What the redundancies are measured on; the first sample also serves to trace,
        to count and to verify.
    request : PruneRequest or mapping, optional
        What the network is cut to, and how.
    graphs : ExtractedGraphs, optional
        From `extract`, to spare the extraction.
    cost : CostModel, optional
        Costs beside MACs and parameters, for instance a latency: what `fit_latency`
        made of `read_cost`. By default the two are read off the network.
    forward : callable, optional
        ``forward(model, batch)``.
    progress : bool or callable, optional
        True for a bar for each stage, or ``callback(stage, done, total)``; by default
        bars on a terminal, and log messages elsewhere. False: neither.
    **settings
        Fields of `PruneRequest`, in place of those of `request`, and the short ones
        `macs`, `params`, `latency`, `metric`, `time_limit` and `reference`:
        ``prune(model, batches, macs=0.4, method="tabu", time_limit=2)``.

    Returns
    -------
    PruneResult
        ``.model``, ``.plan``, ``.report``.

    Raises
    ------
    InvalidProblemError
        If an argument breaks a rule, before the network is run; or if activations are
        not finite.
    InfeasibleError
        If it is proved that the budget cannot be reached; before any surgery, with the
        least reachable.
    NoSolutionError
        If the allocation finds no plan within the budget, and more is not proved.
    UnsupportedError
        If the method cannot honour a limit or an option, the network cannot be traced,
        or nothing in it can be pruned.

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
    request = as_request(request, settings)
    check_model(model)
    _check_beside(model, request, graphs, cost, forward)
    with progress_stages(progress) as tell:
        return _prune(model, batches, request, graphs, cost, forward, Clock(tell))


def _prune(
    model: nn.Module,
    batches: Any,
    request: PruneRequest,
    graphs: ExtractedGraphs | None,
    extra: CostModel | None,
    forward: Forward | None,
    clock: Clock,
) -> PruneResult:
    if request.refit is not None and isinstance(batches, Iterator):
        batches = list(batches)  # a refit reads them again
    first, every = first_and_all(batches)
    here = to_model(first, model)
    sample = first_sample(model, here, forward)
    admit(model, sample, forward)
    ignore, seed = request.ignore, request.seed
    if graphs is None:
        with clock.stage("couple"):
            coupling = couple(model, [first], forward=forward, ignore=ignore, seed=seed)
        with clock.stage("extract", 0):
            graphs = extract(
                model,
                every,
                request.measured,
                coupling=coupling,
                forward=forward,
                progress=clock.tell,
            )
    elif ignore:
        graphs = _ignoring(graphs, ignore)
    spared: list[PruningUnit] = []
    verdict = Verdict()
    verifier = (
        Verifier(model, first, batches, forward, tolerance=request.tolerance)
        if request.verify
        else None
    )
    meter = meter_of(model, here, sample is here, forward, request)
    while True:
        if not graphs.coupling.units:
            reasons = "; ".join(str(e) for e in graphs.coupling.exclusions[:5])
            raise UnsupportedError(
                f"`model` must have channels that can be cut, got none: {reasons}. "
                "See couple(model, batches).exclusions."
            )
        with clock.stage("count"):
            cost = read_cost(model, graphs.coupling.units, sample, forward=forward)
        problem = network_problem(
            graphs, with_forms(cost, extra), request, spared=spared
        )
        curves = None
        if meter is not None:
            problem.check_reachable()
            curves = problem.curves
            with clock.stage("curves", len(curves)) as tick:
                curves.build(n_jobs=request.n_jobs, tick=tick)
            with clock.stage("measure", len(curves)) as tick:
                responses = meter(problem, graphs, tick)
            worth = replace(problem.worth, responses=responses)
            problem = replace(problem, worth=worth)
        solution = solve_network(
            problem,
            request.method,
            # Where numbers are given, there is nothing to split.
            allocation=request.split if request.keep is None else "uniform",
            certify=request.certify,
            curves=curves,
            n_jobs=request.n_jobs,
            limits=request.limits,
            seed=request.seed,
            progress=clock.tell,
            **request.options,
        )
        clock.add(solution.seconds)
        plan = solution.plan(graphs.coupling.units)
        plan.info["request"] = request.to_dict()
        with clock.stage("cut"):
            pruned = apply_plan(model, plan)
        if verifier is None:
            break
        with clock.stage("verify"):
            verdict = verifier(pruned, plan)
        if not verdict.failed:
            break
        spared += [u for u in graphs.coupling.units if u.name in verdict.failed]
        graphs = graphs.without(
            Exclusion(unit, plan.sizes[unit], unit, reason)
            for unit, reason in verdict.failed.items()
        )
    refitted = None
    if request.refit is not None:
        with clock.stage("refit", 0):
            refitted = refit_pruned(
                model,
                pruned,
                plan,
                batches,
                request.refit,
                forward=forward,
                inputs=graphs.inputs,
                pictures=graphs.images,
                few=some_of(first, graphs.images, whole=sample is here),
                pairings=graphs.coupling.pairings,
                skipping=request.measured.on_nan != "raise",
                tell=clock.tell,
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
        request=request,
        units=unit_reports(solution, coupling.units),
        measured=measured,
        exclusions=tuple(asdict(exclusion) for exclusion in coupling.exclusions),
        untraced=coupling.untraced,
        max_difference=verdict.worst.difference if verdict.worst else None,
        output_scale=verdict.worst.scale if verdict.worst else None,
        relative_difference=verdict.worst.relative if verdict.worst else None,
        refit=refitted,
        notes=(*coupling.notes, *graphs.notes, *done.notes, *verdict.notes),
        seconds=dict(clock.seconds),
        least=cost.predict({u.name: min(map(len, u.classes)) for u in coupling.units}),
    )
    return PruneResult(pruned, plan, report, graphs, solution)


def prune_(
    model: nn.Module, batches: Any, *arguments: Any, **keywords: Any
) -> PruneResult:
    """Prune a network in place; arguments and result are those of `prune`.

    All is planned, cut and verified on a copy first: where that raises, `model` is as
    it was. Parameters are new objects: build the optimizer afterwards.
    """
    result = prune(model, batches, *arguments, **keywords)
    apply_plan(model, result.plan, inplace=True)
    if result.report.refit is not None:
        model.load_state_dict(result.model.state_dict())
    return replace(result, model=model)


def _check_beside(
    model: nn.Module,
    request: PruneRequest,
    graphs: Any,
    cost: Any,
    forward: Any,
) -> None:
    """Refuse what contradicts the request or the network, before it is run."""
    for name, value, kind in (
        ("graphs", graphs, ExtractedGraphs),
        ("cost", cost, CostModel),
    ):
        if value is not None and not isinstance(value, kind):
            raise InvalidProblemError(
                f"`{name}` must be {kind.__name__}, got {type(value).__name__}. "
                "Leave it out to have it measured."
            )
    if forward is not None and not callable(forward):
        raise InvalidProblemError(
            f"`forward` must be callable, got {type(forward).__name__}. "
            "Pass forward(model, batch)."
        )
    names = [name for name, _ in model.named_modules()]
    request.check_names([*names, *(name for name, _ in model.named_parameters())])
    known = {"macs", "params", *([] if cost is None else cost.forms)}
    strange = sorted(set(request.budget.values) - known)
    if strange:
        raise InvalidProblemError(
            f"`{strange[0]}` must be a cost that is known, got a budget where only "
            f"{sorted(known)} are. Pass cost=fit_latency(...).cost."
        )
    if graphs is None:
        return
    check_units(model, graphs.coupling.units, "graphs")
    stated = request.extraction
    if stated not in (None, graphs.extraction):
        raise InvalidProblemError(
            f"`extraction` must be what `graphs` were measured with, "
            f"{graphs.extraction}, got {stated}. Leave one of them out."
        )


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
