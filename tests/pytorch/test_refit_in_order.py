"""Readers refitted one after the other, to what they read in the network cut so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sirfp_opt.network.plan import PruningPlan
from sirfp_opt.pytorch import Refit, apply_plan, couple, prune, refit
from sirfp_opt.pytorch.refitting import sequence
from sirfp_opt.pytorch.refitting.readers import find_readers
from tests.pytorch.networks import Net
from tests.pytorch.test_refit import EXACT, half, network, pictures, seen

if TYPE_CHECKING:
    from collections.abc import Iterator

IN_ORDER: dict[str, Any] = {**EXACT, "inputs": "cut"}


def chain(depth: int = 3) -> Any:
    """Return 3 x 3 convolutions without a norm, each reading what the last one made."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 8, 3, padding=1)]
    for _ in range(depth):
        layers += [nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)]
    return nn.Sequential(*layers[:-1], nn.Conv2d(8, 4, 3, padding=1)).double().eval()


def stayed(plan: PruningPlan, layer: str, tensor: Tensor) -> Tensor:
    """Return the channels of a layer's output that stay."""
    gone: Any = plan.removed_positions().get((layer, "out"), [])
    stay = [c for c in range(tensor.shape[1]) if c not in set(map(int, gone))]
    return tensor[:, stay]


@pytest.mark.parametrize("name", ["two_paths", "grouped", "transposed", "mirrored"])
def test_no_weight_does_better_on_what_its_layer_reads_now(name: str) -> None:
    """Error against the original's output, plus ridge: slopes are zero, by autograd."""
    model, images, ridge = network(name), pictures(), 0.01
    plan = half(model, images)
    result = refit(model, plan, images, Refit("full", ridge=ridge, **IN_ORDER))
    cut = dict(apply_plan(model, plan).named_modules())
    original, now = seen(model, images), seen(result.model, images)
    assert result.report.inputs == "cut"
    fitted = [row.layer for row in result.report.layers if row.kind == "full"]
    assert fitted
    for layer in fitted:
        reads, makes = now[layer]
        wanted = stayed(plan, layer, original[layer][1])
        module: Any = result.model.get_submodule(layer)
        before: Any = cut[layer]
        with torch.no_grad():
            old = (before(reads) - wanted).square().mean()
        assert (makes - wanted).square().mean() <= old
        for parameter in module.parameters():
            parameter.requires_grad_(True)
        loss = (module(reads) - wanted).square().mean(dim=(0, 2, 3)).sum()
        # The ridge's scale, the mean variance of what taps see, off the penalty itself.
        change = (module.weight - before.weight.detach()).square().sum()
        slope, pull = (
            torch.autograd.grad(part, module.weight, retain_graph=True)[0]
            for part in (loss, change)
        )
        groups = module.groups, -1
        for down, back in zip(slope.reshape(groups), pull.reshape(groups), strict=True):
            scale = -(down @ back) / (back @ back)
            assert 0 < float(scale) < ridge * float(reads.square().mean())
            assert float((down + scale * back).abs().max()) < 1e-8
        (level,) = torch.autograd.grad(loss, module.bias)
        assert float(level.abs().max()) < 1e-8


def test_a_deep_chain_errs_less_than_when_all_are_fitted_at_once() -> None:
    """Each layer makes up for what those in front of it could not."""
    model, images = chain(5), pictures()
    plan = half(model, images)
    errors = []
    for inputs in ("original", "cut"):
        result = refit(model, plan, images, Refit(**{**EXACT, "inputs": inputs}))
        with torch.no_grad():
            errors.append((result.model(images) - model(images)).square().mean())
    assert errors[1] < 0.8 * errors[0]


@pytest.mark.parametrize("flat", [False, True])
def test_merged_readers_get_a_map_from_what_is_left_to_all_that_was(flat: bool) -> None:
    """So x ≈ M u + c, folded into the filters at every tap."""
    torch.manual_seed(0)
    last: list[nn.Module] = [nn.Conv2d(8, 4, 3)]
    if flat:
        last = [nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(72, 4)]
    model: Any = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), *last
    ).double()
    images, ridge = pictures(24), 0.02
    plan = half(model, images)
    kind: Any = "full" if flat else "merge"  # a flattened map is merged in any case
    result: Any = refit(model, plan, images, Refit(kind, ridge=ridge, **IN_ORDER))
    at = len(model) - 1
    row = result.report[str(at)]
    assert row.kind == "merge"
    assert ("flattened" in row.reason) == flat
    with torch.no_grad():
        whole, left = (net[: at - flat](images) for net in (model, result.model))
    x, u = (part.movedim(1, -1).flatten(0, -2) for part in (whole, left))
    kept = torch.tensor(plan["2"])
    lacking = x.clone()
    lacking[:, kept] -= u
    covariance = torch.cov(u.T, correction=0)
    covariance += ridge * covariance.diagonal().mean() * torch.eye(len(kept)).double()
    cross = (lacking - lacking.mean(0)).T @ (u - u.mean(0)) / len(x)
    guess = torch.linalg.solve(covariance, cross.T).T
    guess[kept] += torch.eye(len(kept)).double()
    weight = model[at].weight.detach().reshape(4, 8, 9)
    expected = torch.einsum("oct,cs->ost", weight, guess)
    found = result.model[at]
    torch.testing.assert_close(found.weight.reshape(expected.shape), expected)
    level = weight.sum(dim=2) @ (x.mean(0) - guess @ u.mean(0))
    torch.testing.assert_close(found.bias, model[at].bias + level)


@pytest.mark.parametrize(("passes", "stored"), [(32, 1 << 26), (2, 1 << 26), (32, 1)])
def test_passes_are_counted_and_end_where_nothing_more_is_wanted(
    passes: int, stored: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As often as the report says; the last layers of early passes are not run."""
    monkeypatch.setattr(sequence, "STORED", stored)
    model: Any = chain(4)
    images: Any = pictures()
    plan = half(model, images)
    runs, ends = {"original": 0, "cut": 0}, 0

    def counting(net: nn.Module, x: Tensor) -> Any:
        nonlocal ends
        runs["original" if net is model else "cut"] += 1
        y = net(x)
        ends += 1
        return y

    how = Refit(passes=passes)
    report = refit(model, plan, images.split(4), how, forward=counting).report
    readers = len(report.layers)
    assert readers == 4
    assert report.passes == (2 if stored > 1 else 5, min(passes, readers))
    assert (runs["original"], runs["cut"]) == tuple(3 * n for n in report.passes)
    assert ends == 3  # only the pass that all is measured in at first
    assert f"in {sum(report.passes)} passes" in str(report)


def test_layers_that_share_a_pass_are_fitted_to_the_same_network() -> None:
    """With one pass, to that in which each was fitted to the original's inputs."""
    model, images = chain(3), pictures()
    plan = half(model, images)
    apart = refit(model, plan, images, Refit("full", **EXACT)).model
    result = refit(model, plan, images, Refit("full", passes=1, **IN_ORDER))
    inputs, wanted = seen(apart, images), seen(model, images)
    for row in result.report.layers:
        module: Any = result.model.get_submodule(row.layer)
        with torch.no_grad():
            y = stayed(plan, row.layer, wanted[row.layer][1])
            error = (module(inputs[row.layer][0]) - y).square().mean(dim=(0, 2, 3))
            signal = y.var(dim=(0, 2, 3), correction=0)
        assert row.after == pytest.approx(float(error.sum() / signal.sum()))


def test_where_networks_have_no_batch_norm_this_is_the_default() -> None:
    """Of "full"; norms that are measured anew take most of what is left."""
    images = pictures()
    for name, kind, expected in (
        ("two_paths", "full", "cut"),
        ("two_paths", "merge", "original"),
        ("plain", "full", "original"),
    ):
        model = network(name)
        report = refit(model, half(model, images), images, kind).report
        assert report.inputs == expected
        assert report.passes[1] == (len(report.layers) if expected == "cut" else 0)


def test_a_network_that_is_not_cut_stays_as_it_is() -> None:
    """Bit for bit, and nothing is run."""
    model, images = chain(), pictures()
    plan = PruningPlan(couple(model, images[:1]).units, {})
    result = refit(model, plan, images, Refit(inputs="cut"))
    assert result.report.layers == ()
    assert result.report.passes == (0, 0)
    for name, value in result.model.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])


class Shuffled:
    """Batches in another order whenever they are asked for."""

    def __init__(self, batches: tuple[Tensor, ...]) -> None:
        self.batches, self.asked = batches, 0

    def __iter__(self) -> Iterator[Tensor]:
        self.asked += 1
        return iter(self.batches[:: 1 if self.asked % 2 else -1])


def test_any_batches_give_the_same() -> None:
    """All at once, one by one, and from a loader that shuffles: it is read once."""
    model: Any = chain()
    images: Any = pictures()
    plan = half(model, images)
    how = Refit(positions=None, held_out=0.0)
    whole = refit(model, plan, images, how).model.state_dict()
    for batches in (images.split(1), Shuffled(images.split(5))):
        found = refit(model, plan, batches, how).model.state_dict()
        for name, value in whole.items():
            torch.testing.assert_close(found[name], value)


def test_a_layer_that_runs_several_times_keeps_the_fit_to_the_original() -> None:
    """Its later inputs are made with its own weights; the report says so."""
    torch.manual_seed(0)

    def body(net: Any, x: Tensor) -> Tensor:
        y = F.relu(net.make(x))
        return torch.as_tensor(net.last(F.relu(net.read(F.relu(net.read(y))))))

    model: Any = Net(
        body, make=nn.Conv2d(3, 6, 3), read=nn.Conv2d(6, 6, 1), last=nn.Conv2d(6, 2, 1)
    ).double()
    images = pictures()
    plan = half(model, images)
    one, two = (
        refit(model, plan, images, Refit("full", **how)) for how in (EXACT, IN_ORDER)
    )
    assert "several times" in two.report["read"].reason
    states = one.model.state_dict(), two.model.state_dict()
    assert torch.equal(states[0]["read.weight"], states[1]["read.weight"])
    assert not torch.equal(states[0]["last.weight"], states[1]["last.weight"])


def test_what_is_not_taken_is_as_it_was_cut() -> None:
    """Where held-out pictures say no, cut weights come back, not an earlier fit's."""
    model, images = chain(), pictures()
    plan = half(model, images)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    images[1::2] = 9 * noise.double()[1::2]  # every second picture is held out
    how = Refit(positions=None, held_out=0.5, inputs="cut", ridge=0.0)
    result = refit(model, plan, images, how)
    cut = [row for row in result.report.layers if row.kind == "cut"]
    assert cut
    for row in cut:
        assert "held out" in row.reason or "err less" in row.reason
    pruned = apply_plan(model, plan)
    for reader in find_readers(model, pruned, plan):
        if reader.layer in {row.layer for row in cut}:
            module, before = result.model.get_submodule(reader.layer), reader.target
            for name, value in before.state_dict().items():
                assert torch.equal(module.state_dict()[name], value)


def test_pictures_that_are_not_finite_are_left_out() -> None:
    """Of a network without batch norms, as `prune` refits it by itself."""
    model, images = chain().float(), pictures().float()
    spoilt = torch.cat([images, torch.full_like(images[:1], torch.nan)])
    result = prune(
        model, [spoilt], macs=0.5, extraction={"on_nan": "skip"}, verify=False
    )
    assert result.report.refit is not None
    assert result.report.refit.inputs == "cut"
    assert "full" in {row.kind for row in result.report.refit.layers}
    assert all(bool(v.isfinite().all()) for v in result.model.state_dict().values())
