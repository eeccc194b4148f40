"""Readers of pruned channels are refitted in closed form, in every kind of layer."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, distributed, multiprocessing, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from sirfp_opt import InvalidProblemError
from sirfp_opt.network.plan import PruningPlan, PruningUnit, Site
from sirfp_opt.pytorch import (
    Refit,
    RefitReport,
    apply_plan,
    correct_batch_norm,
    couple,
    mask,
    reestimate_batch_norm,
    refit,
)
from sirfp_opt.pytorch.refitting.patches import as_maps, padded, patches, sources
from sirfp_opt.pytorch.refitting.readers import find_readers, put_weight, weight_of
from tests.pytorch.networks import Net, Residual, conv_bn, plain, randomized

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EXACT: dict[str, Any] = {
    "inputs": "original",
    "positions": None,
    "held_out": 0.0,
    "batch_norms": "kept",
}


def pictures(count: int = 12, size: int = 9, seed: int = 1) -> Tensor:
    """Return smooth double-precision pictures: neighbouring pixels tell much."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 3, 3, generator=generator).double()
    smooth = F.interpolate(coarse, size=size, mode="bilinear")
    noise = torch.randn(count, 3, size, size, generator=generator).double()
    return smooth + 0.05 * noise


def half(model: nn.Module, images: Tensor, seed: int = 0) -> PruningPlan:
    """Return a plan that keeps a random half of each unit."""
    rng = np.random.default_rng(seed)
    units = couple(model, images[:1]).units
    assert units
    kept = {}
    for unit in units:
        classes = unit.classes
        some = rng.permutation(len(classes))[: max(1, len(classes) // 2)]
        kept[unit.name] = sorted(c for i in some for c in classes[i])
    return PruningPlan(units, kept)


def two_paths() -> nn.Module:
    """Return two convolutions whose outputs are concatenated and read twice."""

    def body(net: Any, x: Tensor) -> Tensor:
        both = torch.cat([net.one(x).relu(), net.two(x).relu()], dim=1)
        return torch.cat([net.wide(both), net.thin(both)], dim=1)

    return Net(
        body,
        one=nn.Conv2d(3, 6, 3, padding=1),
        two=nn.Conv2d(3, 8, 1),
        wide=nn.Conv2d(14, 4, 3, padding=1),
        thin=nn.Conv2d(14, 5, 1),
    )


def grouped() -> nn.Module:
    """Return a convolution in two groups that reads pruned channels."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 6, 3, groups=2),
        nn.ReLU(), nn.Conv2d(6, 4, 1),
    )  # fmt: skip


def transposed() -> nn.Module:
    """Return a transposed convolution with a stride, which reads pruned channels."""
    return nn.Sequential(
        nn.Conv2d(3, 12, 1), nn.ReLU(),
        nn.ConvTranspose2d(12, 4, 3, stride=2, padding=1, output_padding=1),
    )  # fmt: skip


def flattened() -> nn.Module:
    """Return a linear layer behind a flattened map."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=3), nn.ReLU(), nn.Flatten(), nn.Linear(54, 5)
    )


def mirrored() -> nn.Module:
    """Return a convolution whose padding is the picture's mirror image."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(),
        nn.Conv2d(8, 4, 3, padding=1, padding_mode="reflect"),
    )  # fmt: skip


def depthwise() -> nn.Module:
    """Return an inverted residual block."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(),
        nn.Conv2d(8, 4, 1),
    )  # fmt: skip


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    f.__name__: f
    for f in (
        plain, Residual, two_paths, grouped, transposed, flattened, mirrored, depthwise
    )
}  # fmt: skip


def network(name: str) -> Any:
    """Return a network of this test's list, in double precision."""
    torch.manual_seed(0)
    return randomized(NETWORKS[name]).double().eval()


def seen(model: nn.Module, images: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Return what each layer with weights reads and makes."""
    found: dict[str, tuple[Tensor, Tensor]] = {}
    hooks = [
        module.register_forward_hook(
            lambda _, args, out, name=name: found.update(
                {name: (args[0].clone(), out.clone())}
            )
        )
        for name, module in model.named_modules()
        if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear))
    ]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    return found


def errors(
    model: nn.Module, pruned: nn.Module, plan: PruningPlan, images: Tensor
) -> dict[str, Tensor]:
    """Return how far each layer is from the original, on the original's inputs."""
    layers, removed = dict(pruned.named_modules()), plan.removed_positions()
    found = {}
    for name, (x, y) in seen(model, images).items():
        layer = layers[name]
        dim = -1 if isinstance(layer, nn.Linear) else 1

        def kept(
            side: str,
            tensor: Tensor,
            name: str = name,
            layer: Any = layer,
            dim: int = dim,
        ) -> Tensor:
            depthwise = layer.weight.shape[1] == 1
            sides: Any = [(name, side), *([(name, "out")] if depthwise else [])]
            gone: Any = next((removed[s] for s in sides if s in removed), [])
            stay = np.setdiff1d(np.arange(tensor.shape[dim]), gone)
            return tensor.index_select(dim, torch.from_numpy(stay))

        with torch.no_grad():
            found[name] = layer(kept("in", x)) - kept("out", y)
    return found


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", ["merge", "full"])
def test_no_layer_errs_more_than_the_cut_one(kind: Any, name: str) -> None:
    """On the pictures of the fit, for every layer; and the cut itself is exact."""
    model, images = network(name), pictures()
    plan = half(model, images)
    cut = apply_plan(model, plan)
    with torch.no_grad():
        torch.testing.assert_close(cut(images), mask(model, plan)(images))
    result = refit(model, plan, images, Refit(kind, **EXACT))
    before, after = (errors(model, m, plan, images) for m in (cut, result.model))
    better = []
    for row in result.report.layers:
        old, new = (e[row.layer] for e in (before, after))
        if row.offset == "norm":  # which takes out what is the same everywhere
            old, new = (e - e.mean(dim=(0, 2, 3), keepdim=True) for e in (old, new))
        assert new.square().mean() <= old.square().mean() * (1 + 1e-9)
        assert row.kind in ("cut", kind) or row.reason
        better.append(float(new.square().mean() / old.square().mean()))
    assert min(better) < 0.9
    if name != "depthwise":
        assert len(better) == len([k for k in plan.removed_positions() if k[1] == "in"])


@pytest.mark.parametrize("name", ["two_paths", "grouped", "transposed", "mirrored"])
def test_merged_equals_the_network_in_which_channels_are_substituted(name: str) -> None:
    """The original with x_D := B x_S before each reader, for whatever ridge."""
    model, images = network(name), pictures()
    plan, ridge = half(model, images), 0.1
    how = Refit("merge", ridge=ridge, **EXACT)
    result = refit(model, plan, images, how)
    inputs = seen(model, images)
    twin = copy.deepcopy(model)
    merged = {row.layer for row in result.report.layers if row.kind == "merge"}
    assert merged
    for (layer, side), gone in plan.removed_positions().items():
        if side == "out" or layer not in merged:
            continue
        x = inputs[layer][0].movedim(1, -1).flatten(0, -2)
        module: Any = dict(twin.named_modules())[layer]
        away = torch.from_numpy(gone)
        share = x.shape[1] // getattr(module, "groups", 1)
        centred = x - x.mean(dim=0)
        cov = centred.T @ centred / len(x)
        guess = torch.zeros(x.shape[1], x.shape[1]).double()
        for first in range(0, x.shape[1], share):
            group = torch.arange(first, first + share)
            lost = group[torch.isin(group, away)]
            kept = group[~torch.isin(group, away)]
            if not len(lost) or not len(kept):
                continue
            matrix = cov[kept][:, kept]
            matrix += ridge * matrix.diagonal().mean() * torch.eye(len(kept)).double()
            guess[lost[:, None], kept] = torch.linalg.solve(
                matrix, cov[lost][:, kept].T
            ).T
        constant = (x.mean(dim=0) - guess @ x.mean(dim=0))[away]

        def substitute(
            _: nn.Module, args: Any, away: Tensor = away, guess: Tensor = guess
        ) -> Tensor:
            x: Tensor = args[0]
            found = torch.einsum("dc,nchw->ndhw", guess[away], x)
            return x.index_copy(1, away, found)

        module.register_forward_pre_hook(substitute)
        level = torch.zeros(1, x.shape[1]).double()
        level[0, away] = constant
        bare = copy.deepcopy(model).get_submodule(layer)
        with torch.no_grad():
            # What the constant map would give, on average: at borders it is less.
            flat = level[:, :, None, None].expand(1, -1, *inputs[layer][0].shape[2:])
            offset = (bare(flat) - bare(torch.zeros_like(flat))).mean(dim=(0, 2, 3))
            module.bias += offset
    with torch.no_grad():
        torch.testing.assert_close(result.model(images), twin(images))


@pytest.mark.parametrize(
    "reader",
    [
        nn.Conv2d(8, 4, 3, padding=1),
        nn.Conv2d(8, 4, 3, padding=2, dilation=2, stride=2, bias=False),
        nn.Conv2d(8, 4, 1),
        nn.ConvTranspose2d(8, 4, 3, stride=2),
        nn.Conv2d(8, 4, 3, padding="same", padding_mode="circular"),
    ],
    ids=repr,
)
def test_the_normal_equations_hold(reader: nn.Module) -> None:
    """No change of weights or bias lowers error + ridge, by autograd."""
    torch.manual_seed(0)
    model: Any = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), copy.deepcopy(reader))
    model, images, ridge = model.double(), pictures(), 0.01
    plan = half(model, images)
    result: Any = refit(model, plan, images, Refit("full", ridge=ridge, **EXACT))
    row = result.report["2"]
    assert row.kind == "full"
    assert row.offset == ("none" if model[2].bias is None else "bias")
    with torch.no_grad():
        x = model[:2](images)
        y = model[2](x)
    kept = torch.tensor(plan["0"])
    fitted: Any = result.model[2]
    whole: Any = apply_plan(model, plan)
    cut = whole[2]
    maps, done = padded(fitted, as_maps(fitted, x[:, kept]))
    taps = sources(
        fitted, 1, maps.shape[2:], y.shape[2:], torch.arange(y[0, 0].numel()), done=done
    )
    features = patches(maps, taps, None).flatten(2).flatten(0, 1)
    if fitted.bias is not None:
        features = features - features.mean(dim=1, keepdim=True)
    scale = features.square().mean()
    for parameter in fitted.parameters():
        parameter.requires_grad_(True)
    loss = (fitted(x[:, kept]) - y).square().mean(dim=(0, 2, 3)).sum()
    loss = loss + ridge * scale * (fitted.weight - cut.weight.detach()).square().sum()
    slopes = torch.autograd.grad(loss, list(fitted.parameters()))
    for slope in slopes:
        assert float(slope.abs().max()) < 1e-9 * float(y.square().sum(dim=1).mean())


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, padding=1, stride=2),
        nn.Conv2d(4, 6, (3, 2), padding="same", dilation=(1, 2)),
        nn.Conv2d(4, 6, 3, padding=2, padding_mode="reflect"),
        nn.Conv2d(4, 6, 3, padding=(2, 1), padding_mode="circular", groups=2),
        nn.Conv1d(4, 6, 5, padding=1, dilation=2),
        nn.Conv3d(4, 6, 2, padding=1, stride=(1, 2, 1)),
        nn.ConvTranspose1d(4, 6, 4, stride=3, padding=1, output_padding=2),
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2),
        nn.ConvTranspose3d(4, 6, 2, stride=2),
        nn.Linear(4, 6),
    ],
    ids=repr,
)
def test_patches_times_weights_are_what_a_layer_computes(layer: Any) -> None:
    """At every position; and weights go in as they came out."""
    torch.manual_seed(0)
    sizes = {3: (7,), 4: (7, 6), 5: (5, 4, 6)}.get(layer.weight.dim(), ())
    x = torch.randn(2, 4, *sizes) if sizes else torch.randn(2, 5, 4)
    with torch.no_grad():
        made = as_maps(layer, layer(x))
    maps, done = padded(layer, as_maps(layer, x))
    every = torch.arange(made[0, 0].numel())
    taps = sources(layer, 1, maps.shape[2:], made.shape[2:], every, done=done)
    weight = weight_of(layer)
    rows = patches(maps, taps, None)
    rows = rows.reshape(weight.shape[0], weight.shape[2], *rows.shape[1:])
    found = torch.einsum("goit,gitnp->ngop", weight, rows).flatten(1, 2)
    found += layer.bias.detach()[:, None]
    torch.testing.assert_close(found, made.flatten(2))
    again = copy.deepcopy(layer)
    put_weight(again, weight * 2)
    torch.testing.assert_close(again.weight, layer.weight * 2)


@pytest.mark.parametrize("kind", ["merge", "full"])
def test_channels_that_others_determine_are_recovered_exactly(kind: Any) -> None:
    """Of planted rank: behind 1 x 1 and 3 x 3 readers, residual adds, concatenation."""
    torch.manual_seed(0)

    def body(net: Any, x: Tensor) -> Tensor:
        one = net.one(x)
        stream = one + net.back(F.relu(net.inside(one)))
        both = torch.cat([stream, net.two(x)], dim=1)
        return torch.cat([net.point(both), net.wide(both)], dim=1)

    model: Any = Net(
        body,
        one=nn.Conv2d(3, 8, 1, bias=False),
        inside=nn.Conv2d(8, 5, 3, padding=1),
        back=nn.Conv2d(5, 8, 1, bias=False),
        two=nn.Conv2d(3, 6, 1, bias=False),
        point=nn.Conv2d(14, 4, 1),
        wide=nn.Conv2d(14, 4, 3, padding=1),
    ).double()
    with torch.no_grad():  # a stream of rank 3 in the picture, another of rank 2
        model.one.weight[4:] = torch.einsum(
            "ok,kihw->oihw", torch.randn(4, 4).double(), model.one.weight[:4]
        )
        model.back.weight[4:] = torch.einsum(
            "ok,kihw->oihw", torch.randn(4, 4).double(), model.back.weight[:4]
        )
        # What goes is the same map of what stays in both.
        table = torch.randn(4, 4).double()
        for layer in (model.one, model.back):
            layer.weight[4:] = torch.einsum("ok,kihw->oihw", table, layer.weight[:4])
        model.two.weight[3:] = torch.einsum(
            "ok,kihw->oihw",
            torch.randn(3, 3).double(),
            model.two.weight[:3],
        )
    images = pictures()
    units = couple(model, images[:1]).units
    assert {unit.name for unit in units} == {"one", "inside", "two"}
    plan = PruningPlan(units, {"one": [0, 1, 2, 3], "two": [0, 1, 2]})
    result = refit(model, plan, images, Refit(kind, ridge=0.0, **EXACT))
    with torch.no_grad():
        torch.testing.assert_close(result.model(images), model(images))
    for row in result.report.layers:
        assert row.before is not None
        assert row.after is not None
        assert row.after < 1e-12 < row.before


def test_a_network_that_is_not_cut_stays_as_it_is() -> None:
    """Bit for bit, running statistics included."""
    model, images = randomized(NETWORKS["plain"]), pictures().float()
    plan = PruningPlan(couple(model, images[:1]).units, {})
    result = refit(model, plan, images)
    assert result.report.layers == ()
    for name, value in result.model.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])


def test_the_original_is_left_as_it_was() -> None:
    """Weights, statistics, modes and hooks; the same pictures give the same network."""
    model, images = randomized(NETWORKS["Residual"]), pictures().float()
    model.train()
    before = copy.deepcopy(model.state_dict())
    plan = half(model, images)
    one, two = (refit(model, plan, images).model.state_dict() for _ in range(2))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    assert all(module.training for module in model.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("kind", ["merge", "full"])
def test_any_batch_size_and_iterators_give_the_same(kind: Any) -> None:
    """One streaming pass: twelve pictures at once, one by one, or from a generator."""
    model, images = network("plain"), pictures()
    plan = half(model, images)
    how = Refit(kind, positions=None, held_out=0.25, batch_norms="kept")
    whole = refit(model, plan, images, how).model.state_dict()
    parts_of: Any = images.split
    for batches in (parts_of(1), (x for x in parts_of(5))):
        parts = refit(model, plan, batches, how).model.state_dict()
        for name, value in whole.items():
            torch.testing.assert_close(parts[name], value)


def test_what_is_left_is_the_error_of_the_best_linear_map() -> None:
    """For 1 x 1 readers the report's errors are tr(P_DD C_DD) and f(D), measured."""
    torch.manual_seed(0)
    model: Any = nn.Sequential(
        nn.Conv2d(3, 9, 3), nn.ReLU(), nn.Conv2d(9, 5, 1)
    ).double()
    images = pictures()
    plan = PruningPlan(couple(model, images[:1]).units, {"0": [0, 2, 5, 7]})
    with torch.no_grad():
        x = model[:2](images).movedim(1, -1).flatten(0, -2)
    weight = model[2].weight.detach().flatten(1)
    gone = plan.removed("0")
    cov = torch.cov(x.T, correction=0)
    products = weight.T @ weight
    inverse = torch.linalg.inv(cov)[gone][:, gone]
    left = (products[gone][:, gone] * torch.linalg.inv(inverse)).sum()
    signal = (products * cov).sum()
    for kind in ("merge", "full"):
        result = refit(model, plan, images, Refit(kind, ridge=0.0, **EXACT))
        assert result.report["2"].after == pytest.approx(float(left / signal))
        (error,) = (errors(model, result.model, plan, images)[name] for name in ("2",))
        measured = error.square().sum(dim=1).mean() / signal
        assert float(measured) == pytest.approx(float(left / signal))
        before = (x[:, gone] @ weight[:, gone].T).square().sum(dim=1).mean() / signal
        assert result.report["2"].before == pytest.approx(float(before))


def test_a_parametrised_weight_is_refitted_where_the_cut_has_baked_it() -> None:
    """A weight norm is plain in the pruned network, and refitted like any other."""
    torch.manual_seed(0)
    plainly: Any = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1))
    normed = copy.deepcopy(plainly)
    parametrizations.weight_norm(normed[2], dim=0)
    images = pictures().float()
    plan = half(plainly, images)
    one, two = (refit(m, plan, images).model for m in (plainly, normed))
    with torch.no_grad():
        torch.testing.assert_close(one(images), two(images), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("first", "inputs"), [(True, "original"), (False, "cut")])
def test_heads_are_refitted_through_the_projection_that_reads_them(
    first: bool, inputs: str
) -> None:
    """One linear reader over the values of all heads, which it never is called on."""
    torch.manual_seed(0)

    def body(net: Any, x: Tensor) -> Tensor:
        y: Tensor = net.attend(x, x, x, need_weights=False)[0]
        return y

    model: Any = Net(body, attend=nn.MultiheadAttention(12, 4, batch_first=first))
    model = model.double().eval()
    x = torch.randn(6, 6, 3).double() @ torch.randn(3, 12).double()
    # Heads 1 and 3 are linear maps of heads 0 and 2: their values, not their weights.
    size, state = 3, model.attend.in_proj_weight
    with torch.no_grad():
        for at in (0, 12):
            for head in (1, 3):
                here = slice(at + head * size, at + (head + 1) * size)
                there = slice(at + (head - 1) * size, at + head * size)
                state[here] = state[there]
    sites = [
        Site("attend.in_proj_weight", 0, 36, "out", repeat=3, step=1, stride=12),
        Site("attend.in_proj_bias", 0, 36, "out", repeat=3, step=1, stride=12),
        Site("attend.out_proj.weight", 1, 12, "in"),
    ]
    tied = [range(c, c + size) for c in range(0, 12, size)]
    unit = PruningUnit(
        "attend",
        12,
        tuple(sites),
        tuple(map(tuple, tied)),
        heads="attend",
    )
    plan = PruningPlan([unit], {"attend": [0, 1, 2, 6, 7, 8]})
    how = Refit(ridge=0.0, **{**EXACT, "inputs": inputs})
    result = refit(model, plan, [x], how)
    row = result.report["attend.out_proj"]
    assert result.report.inputs == inputs
    assert row.kind == "full"
    with torch.no_grad():
        torch.testing.assert_close(result.model(x), model(x))
    assert row.before is not None
    assert row.before > 0.1


RANKS = {
    "full": Refit("full", positions=None, held_out=0.0),
    "merge": Refit("merge", positions=None, held_out=0.0),
    "in order": Refit("full", "cut", positions=None, held_out=0.0),
}


def work(rank: int, folder: str, plan: PruningPlan) -> None:
    """Refit on this rank's part of the pictures, and save the network."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    model, images = network("plain"), pictures()
    mine = images[:7] if rank == 0 else images[7:]
    for name, how in RANKS.items():
        result = refit(model, plan, mine, how)
        torch.save(result.model.state_dict(), f"{folder}/{name}{rank}")
    distributed.destroy_process_group()


def test_two_ranks_end_with_the_same_network(tmp_path: Path) -> None:
    """That of all pictures together; running statistics are means over the batches."""
    model, images = network("plain"), pictures()
    plan = half(model, images)
    multiprocessing.spawn(work, (str(tmp_path), plan), nprocs=2)  # type: ignore[no-untyped-call, attr-defined]
    for kind, how in RANKS.items():
        one, two = (torch.load(tmp_path / f"{kind}{rank}") for rank in "01")
        batches = [images[:7], images[7:]]
        whole = refit(model, plan, batches, how).model.state_dict()
        for name, value in whole.items():
            assert torch.equal(one[name], two[name]) or "num_batches" in name
            if "num_batches" not in name:
                torch.testing.assert_close(one[name], value)


class Bounded(nn.Conv2d):
    """A convolution that does something else as well."""

    def forward(self, x: Tensor) -> Tensor:
        """Keep each output within bounds."""
        return F.conv2d(x, self.weight, self.bias).tanh()


def test_what_cannot_be_refitted_is_left_as_cut() -> None:
    """A layer with a forward pass of its own, a shared or a parametrised weight."""
    torch.manual_seed(0)
    model: Any = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.ReLU(), Bounded(8, 4, 1)
    )
    images = pictures().float()
    plan = half(model, images)
    report = refit(model, plan, images, "merge").report
    assert "forward pass of its own" in report["4"].reason
    assert report["4"].kind == "cut"
    assert report["2"].kind == "merge"
    cut: Any = apply_plan(model, plan)
    parametrizations.weight_norm(cut[2], dim=0)
    readers = find_readers(model, cut, plan)
    assert "parametrised" in readers[0].reason
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1))
    plan = half(model, images)
    cut = apply_plan(model, plan)
    model.append(nn.Conv2d(8, 4, 1))
    model[3].weight = model[2].weight
    assert "shares" in find_readers(model, cut, plan)[0].reason


def test_a_layer_that_runs_several_times_gets_one_weight_for_all() -> None:
    """Its error is least over all of its inputs together."""
    torch.manual_seed(0)

    def body(net: Any, x: Tensor) -> Tensor:
        y = F.relu(net.make(x))
        small = net.read(F.avg_pool2d(y, 3))
        return torch.cat([net.read(y).flatten(2), small.flatten(2)], dim=2)

    model: Any = Net(
        body, make=nn.Conv2d(3, 8, 3, padding=1), read=nn.Conv2d(8, 4, 1)
    ).double()
    images = pictures()
    plan = half(model, images)
    result = refit(model, plan, images, Refit("full", ridge=0.0, **EXACT))
    with torch.no_grad():
        y = F.relu(model.make(images))
        parts = [y, F.avg_pool2d(y, 3)]
        x = torch.cat([part.flatten(2).movedim(1, 2).flatten(0, 1) for part in parts])
        wanted = x @ model.read.weight.flatten(1).T + model.read.bias
    kept = torch.cat(
        [x[:, torch.tensor(plan["make"])], torch.ones(len(x), 1).double()], dim=1
    )
    best = torch.linalg.lstsq(kept, wanted).solution
    found: Any = dict(result.model.named_modules())["read"]
    torch.testing.assert_close(found.weight.flatten(1), best[:-1].T)
    torch.testing.assert_close(found.bias, best[-1])


def test_a_mean_goes_into_the_norm_behind() -> None:
    """The running mean takes it up: all is as with a bias in front of the norm."""
    torch.manual_seed(0)
    body = nn.Sequential(conv_bn(3, 8), conv_bn(8, 6), nn.Conv2d(6, 3, 1))
    model: Any = randomized(lambda: body).double().eval()
    biased = copy.deepcopy(model)
    convolution: Any = biased[1][0]
    convolution.bias = nn.Parameter(torch.zeros(6).double())
    images = pictures()
    plan = half(model, images)
    how = Refit("full", **EXACT)
    one = refit(model, plan, images, how)
    assert one.report["1.0"].offset == "norm"
    plan = PruningPlan(couple(biased, images[:1]).units, dict(plan))
    two = refit(biased, plan, images, how)
    assert two.report["1.0"].offset == "bias"
    with torch.no_grad():
        torch.testing.assert_close(one.model(images), two.model(images))


def test_batch_norms_are_settled_afterwards() -> None:
    """As by `correct_batch_norm` or `reestimate_batch_norm` on the refitted network."""
    model, images = randomized(NETWORKS["plain"]), pictures().float()
    plan = half(model, images)
    kept = refit(model, plan, images, Refit(batch_norms="kept")).model
    for how, expected in (
        ("corrected", correct_batch_norm(kept, model, plan, images)),
        ("reestimated", reestimate_batch_norm(kept, images)),
    ):
        result = refit(model, plan, images, Refit(batch_norms=how))  # type: ignore[arg-type]
        assert result.report.norms == 2
        assert f"2 batch norms {how}" in str(result.report)
        for name, value in result.model.state_dict().items():
            assert torch.equal(value, expected.state_dict()[name])
    assert Refit().batch_norms == "corrected"


def test_corrected_batch_norms_change_as_what_they_see_has_changed() -> None:
    """Not at all where nothing was cut, whatever pictures are at hand."""
    model, images = randomized(NETWORKS["plain"]).eval(), 3 * pictures().float() + 1
    units = couple(model, images[:1]).units
    whole = PruningPlan(units, {unit.name: range(unit.size) for unit in units})
    state = correct_batch_norm(apply_plan(model, whole), model, whole, images)
    for name, value in state.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])
    plan = half(model, images)
    pruned = apply_plan(model, plan)
    before = {name: value.clone() for name, value in pruned.state_dict().items()}
    corrected = correct_batch_norm(pruned, model, plan, images)
    for name, value in pruned.state_dict().items():
        assert torch.equal(value, before[name])
    seen = reestimate_batch_norm(pruned, images)
    dense = reestimate_batch_norm(model, images)
    removed = plan.removed_positions()
    for name, norm in corrected.named_modules():
        if not isinstance(norm, nn.BatchNorm2d):
            continue
        nets: tuple[Any, ...] = (model, dense, seen)
        own, old, new = (net.get_submodule(name) for net in nets)
        stay = np.setdiff1d(np.arange(own.num_features), removed[name, "out"])
        now: Any = norm
        torch.testing.assert_close(
            now.running_mean - own.running_mean[stay],
            new.running_mean - old.running_mean[stay],
        )
        torch.testing.assert_close(
            now.running_var / own.running_var[stay],
            new.running_var / old.running_var[stay],
        )


def test_readers_that_are_too_large_are_merged() -> None:
    """And the report says why, and what was held out judges both."""
    model, images = network("plain"), pictures(16)
    plan = half(model, images)
    limit = Refit("full", max_unknowns=50)
    result = refit(model, plan, images, limit)
    merged = [row for row in result.report.layers if row.kind == "merge"]
    assert merged
    for row in merged:
        assert "more than 50" in row.reason
    assert result.report.held_out == 2
    for row in result.report.layers:
        assert row.held_before is not None
        assert row.held_after is not None
        assert row.held_after < row.held_before
    assert "held out" in str(result.report)
    assert isinstance(result.report, RefitReport)
    assert result.report.to_dict()["settings"]["max_unknowns"] == 50


def test_readers_are_merged_where_that_does_better_on_pictures_held_out() -> None:
    """Many weights and few pictures of noise: taps see nothing of each other."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 24, 1), nn.ReLU(), nn.Conv2d(24, 4, 3)).double()
    images = torch.randn(6, 3, 9, 9).double()
    plan = half(model, images)
    one, two = (
        refit(model, plan, images, Refit(kind, "original", held_out=0.5, ridge=1e-6))
        for kind in ("full", "merge")
    )
    assert one.report["2"].kind == "merge"
    assert "every weight free" in one.report["2"].reason
    torch.testing.assert_close(one.model.state_dict(), two.model.state_dict())


def test_mixed_precision_is_fitted_outside_of_it() -> None:
    """Under autocast the fit is in float32, and as good as without."""
    model, images = randomized(NETWORKS["plain"]), pictures().float()
    plan = half(model, images)

    def low(net: nn.Module, x: Tensor) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return net(x)

    rows = refit(model, plan, images, forward=low).report.layers
    same = refit(model, plan, images).report.layers
    for row, other in zip(rows, same, strict=True):
        assert row.after == pytest.approx(other.after, rel=0.1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "best"),
        ("inputs", "pruned"),
        ("passes", 0),
        ("ridge", -1.0),
        ("ridge", float("nan")),
        ("positions", 0),
        ("max_unknowns", 1.5),
        ("held_out", 1.0),
        ("seed", -1),
        ("batch_norms", "anew"),
    ],
)
def test_settings_are_checked_and_travel_as_plain_values(
    field: str, value: Any
) -> None:
    """A wrong value is named; right ones come back from a dict."""
    with pytest.raises(InvalidProblemError, match=f"`{field}` must"):
        Refit(**{field: value})
    how = Refit("merge", ridge=0.1, positions=None)
    assert Refit.from_dict(how.to_dict()) == how
    with pytest.raises(InvalidProblemError, match="`data` must"):
        Refit.from_dict({"kinds": "merge"})


def test_arguments_are_checked_before_any_work() -> None:
    """Unknown kinds, no batch, NaN: an error, and not a silent wrong network."""
    model, images = randomized(NETWORKS["plain"]), pictures().float()
    plan = half(model, images)
    with pytest.raises(InvalidProblemError, match="`how` must"):
        refit(model, plan, images, "best")
    with pytest.raises(InvalidProblemError, match="`batches` must"):
        refit(model, plan, [])
    with pytest.raises(InvalidProblemError, match="finite"):
        refit(model, plan, images * float("inf"))
