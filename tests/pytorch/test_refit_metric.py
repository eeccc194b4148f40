"""The metric "refit": what is kept apart, and what its problems say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sirfp_opt import InvalidProblemError
from sirfp_opt.network.plan import PruningPlan
from sirfp_opt.pytorch import Refit, apply_plan, couple, extract, prune, prune_, refit
from sirfp_opt.pytorch.refitting.passes import some_of
from sirfp_opt.pytorch.refitting.refit import refit_pruned
from tests.pytorch.networks import Net
from tests.pytorch.test_refit import EXACT, flattened, network, pictures


def two_readers() -> Any:
    """Return a network whose one unit is read by two 1 x 1 convolutions, in pairs."""

    def body(net: Any, x: Tensor) -> Tensor:
        y = net.make(x).relu()
        return torch.cat([net.one(y), net.two(torch.cat([y, y], dim=1))], dim=1)

    torch.manual_seed(0)
    return Net(
        body, make=nn.Conv2d(3, 8, 3), one=nn.Conv2d(8, 4, 1), two=nn.Conv2d(16, 3, 1)
    ).double()


@pytest.mark.parametrize("double", [False, True])
def test_what_a_set_loses_is_what_its_refitted_readers_lose(double: bool) -> None:
    """For 1 x 1 readers, also of a channel read twice: f = measured loss of a merge."""
    model, images = two_readers(), pictures()
    if not double:
        model, images = model.float(), images.float()
    graphs = extract(model, images, metric="refit")
    problem = graphs.problem("make", ridge=1e-6)
    assert problem.readers == 2
    for kept in ([0, 3, 5], [1, 2, 4, 6, 7]):
        plan = PruningPlan(graphs.coupling.units, {"make": kept})
        how = Refit("merge", ridge=1e-6, **EXACT)
        report = refit(model, plan, images, how).report
        expected = [float(report[layer].after or 0.0) for layer in ("one", "two")]
        np.testing.assert_allclose(
            problem.losses(kept), expected, rtol=1e-4 if double else 1e-2
        )
    with pytest.raises(InvalidProblemError, match="metric='refit'"):
        extract(model, images).problem("make")


@pytest.mark.parametrize("name", ["Residual", "two_paths", "grouped", "flattened"])
def test_cliques_are_those_of_reconstruction(name: str) -> None:
    """The same measurement: graphs, dead channels and contributions are equal."""
    model, images = network(name), pictures()
    coupling = couple(model, images)
    one, two = (
        extract(model, images, coupling=coupling, metric=metric)
        for metric in ("reconstruction", "refit")
    )
    for unit in one:
        np.testing.assert_allclose(one[unit].weights, two[unit].weights, atol=1e-12)
        for layer, matrix in one.redundancy[unit].items():
            np.testing.assert_allclose(two.redundancy[unit][layer], matrix, atol=1e-12)
        problem = two.problem(unit)
        assert problem.n == one[unit].n
        assert problem.value_of(range(problem.n)) == pytest.approx(1.0)


def test_entries_of_a_flattened_channel_are_read_like_taps() -> None:
    """Covariances over its positions, filters summed over them."""
    model, images = network("flattened"), pictures()
    problem = extract(model, images, metric="refit").problem("0")
    with torch.no_grad():
        y = model[:2](images).flatten(2)
    rows = y.movedim(1, 2).flatten(0, 1)
    covariance = torch.cov(rows.T, correction=0)
    filters = model[3].weight.detach().reshape(5, 6, 9)
    products = torch.einsum("oit,ojt->ij", filters, filters)
    np.testing.assert_allclose(problem.covariances[0], covariance, atol=1e-10)
    np.testing.assert_allclose(problem.products[0], products, atol=1e-10)
    assert flattened.__doc__


@pytest.mark.parametrize("name", ["Residual", "two_paths", "grouped", "flattened"])
def test_a_merge_needs_no_further_pass(name: str) -> None:
    """With what was extracted it gives the network that a pass of its own gives."""
    model, images = network(name), pictures()
    graphs = extract(model, images, metric="refit")
    rng = np.random.default_rng(0)
    kept = {}
    for unit in graphs.coupling.units:
        classes = unit.classes
        some = rng.permutation(len(classes))[: max(1, len(classes) // 2)]
        kept[unit.name] = sorted(c for i in some for c in classes[i])
    plan = PruningPlan(graphs.coupling.units, kept)
    how = Refit("merge", **EXACT)
    expected = refit(model, plan, images, how)
    pruned, calls = apply_plan(model, plan), []
    hook = model.register_forward_hook(lambda _, args, __: calls.append(len(args[0])))
    report = refit_pruned(
        model,
        pruned,
        plan,
        images,
        how,
        inputs=graphs.inputs,
        pictures=graphs.images,
        few=some_of(images, graphs.images),
        pairings=graphs.coupling.pairings,
    )
    hook.remove()
    assert calls == [1]  # of twelve pictures
    assert report.pictures == 12
    judged = [row.layer for row in report.layers if row.kind == "merge"]
    assert judged
    same = expected.model.state_dict()
    for layer in judged:
        if expected.report[layer].kind == "merge":
            for name_, value in pruned.get_submodule(layer).state_dict().items():
                torch.testing.assert_close(value, same[f"{layer}.{name_}"])


def test_prune_splits_and_chooses_by_what_is_left_after_a_refit() -> None:
    """Its objective is the refit problem's; a clique's sets are no better there."""
    model, images = network("plain"), pictures()
    graphs = extract(model, images, metric="refit")
    refitted = prune(model, images, macs=0.5, graphs=graphs)
    plain = prune(
        model, images, keep=refitted.plan.counts, graphs=extract(model, images)
    )
    values = []
    for plan in (refitted.plan, plain.plan):
        values.append(sum(graphs.problem(unit).value_of(plan[unit]) for unit in plan))
    assert values[0] >= values[1]
    row = refitted.report.units[0]
    problem = graphs.problem(row.unit)
    assert row.objective == pytest.approx(problem.value_of(refitted.plan[row.unit]))


@pytest.mark.parametrize("kind", ["merge", "full"])
def test_prune_refits_what_it_has_cut_and_verified(kind: str) -> None:
    """Its network is that of `refit` with the same plan, in place as well."""
    model, images = network("Residual").float(), pictures().float()
    result = prune(model, (x for x in [images]), macs=0.5, refit=kind)
    assert result.graphs.reads
    assert result.report.relative_difference is not None
    assert result.report.refit is not None
    assert "layers refitted" in str(result.report)
    assert result.report.to_dict()["refit"]["settings"]["kind"] == kind
    if kind == "full":
        other = refit(model, result.plan, [images]).model.state_dict()
        for name, value in result.model.state_dict().items():
            torch.testing.assert_close(value, other[name])
    inplace = prune_(model, [images], macs=0.5, refit=kind)
    assert inplace.model is model
    with torch.no_grad():
        torch.testing.assert_close(
            model.eval()(images), result.model.eval()(images), atol=1e-4, rtol=1e-4
        )
    with pytest.raises(InvalidProblemError, match="`refit` must"):
        prune(model, images, macs=0.5, refit="best")


def test_pictures_that_are_left_out_of_the_graphs_are_left_out_of_the_fit() -> None:
    """With on_nan="skip" a picture of NaN spoils neither weights nor batch norms."""
    model, images = network("plain").float(), pictures().float()
    spoilt = torch.cat([images, torch.full_like(images[:1], torch.nan)])
    result = prune(
        model, [spoilt], macs=0.5, extraction={"on_nan": "skip"}, verify=False
    )
    assert result.report.refit is not None
    assert "full" in {row.kind for row in result.report.refit.layers}
    for value in result.model.state_dict().values():
        assert bool(torch.isfinite(value).all())
    with pytest.raises(InvalidProblemError, match="finite"):
        refit(model, result.plan, [spoilt])
