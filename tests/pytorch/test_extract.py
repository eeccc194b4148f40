"""`extract`: any batches in, graphs out, and the network left as it was."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sirfp_opt import InvalidProblemError, UnsupportedError
from sirfp_opt.pytorch import couple, extract
from sirfp_opt.pytorch.extraction.graphs import combine, normalize
from tests.pytorch.networks import SOUND, Dense, Net, Residual, conv_bn, randomized

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def fingerprint(model: nn.Module) -> dict[str, Any]:
    """Everything an extraction might leave behind."""
    return {
        "state": copy.deepcopy(model.state_dict()),
        "modes": {name: m.training for name, m in model.named_modules()},
        "hooks": {
            name: (len(m._forward_hooks), len(m._forward_pre_hooks))
            for name, m in model.named_modules()
        },
        "grads": {name: p.requires_grad for name, p in model.named_parameters()},
    }


def assert_untouched(model: nn.Module, before: dict[str, Any]) -> None:
    """Compare a network with its fingerprint."""
    after = fingerprint(model)
    for name in ("modes", "hooks", "grads"):
        assert after[name] == before[name]
    for name, tensor in before["state"].items():
        assert torch.equal(after["state"][name], tensor), name


@pytest.mark.parametrize("training", [False, True, None])
@pytest.mark.parametrize("mode", [False, True])
def test_the_network_is_left_as_it_was(mode: bool, training: bool | None) -> None:
    """Parameters, running statistics, modes, hooks and flags are as before."""
    model = randomized(SOUND["deeplab"]).train(mode)
    model.get_submodule("fuse").train(not mode)
    next(model.parameters()).requires_grad_(False)
    before = fingerprint(model)
    graphs = extract(model, [IMAGES, IMAGES], training=training)
    assert_untouched(model, before)
    assert graphs.images == 8


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_hooks_go_when_a_run_breaks_off(error: type[BaseException]) -> None:
    """An exception in the middle of the batches, even Ctrl-C, leaves no hook."""
    model = randomized(Residual).train()
    before = fingerprint(model)

    def broken() -> Any:
        yield IMAGES
        raise error

    with pytest.raises(error):
        extract(model, broken(), training=True)
    assert_untouched(model, before)


def test_hooks_go_when_the_network_raises() -> None:
    """An exception inside of the network leaves no hook either."""
    model = randomized(Residual)
    before = fingerprint(model)
    with pytest.raises(InvalidProblemError, match="batch 1"):
        extract(model, [IMAGES, torch.zeros(1, 5, 8, 8)])
    assert_untouched(model, before)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: x,
        lambda x: [x],
        lambda x: [(x, torch.zeros(4))],
        lambda x: [[x]],
        lambda x: ([y] for y in x.split(2)),
        lambda x: [{"x": x}],
        lambda x: {"x": x},
    ],
    ids=["tensor", "list", "with labels", "nested", "generator", "dicts", "dict"],
)
def test_kinds_of_batches(wrap: Callable[[Tensor], Any]) -> None:
    """Tensors, tuples with labels, dicts and generators give the same graphs."""
    model = randomized(Residual)
    expected = extract(model, [IMAGES])
    found = extract(model, wrap(IMAGES))
    for unit, graph in expected.items():
        np.testing.assert_allclose(
            found[unit].weights, graph.weights, rtol=1e-4, atol=1e-6
        )


def test_forward_and_max_batches() -> None:
    """A user's own call, and no more batches than asked for."""
    model = randomized(Residual)
    seen = []

    def forward(net: nn.Module, batch: dict[str, Any]) -> Any:
        seen.append(len(batch["image"]))
        return net(batch["image"])

    batches = [{"image": IMAGES[:2], "path": "a.png"}] * 5
    graphs = extract(model, batches, forward=forward, max_batches=3)
    assert graphs.images == 6
    assert seen[-3:] == [2, 2, 2]


@pytest.mark.parametrize("batches", [[], iter(()), 3, [()]])
def test_no_batches(batches: Any) -> None:
    """Nothing to run on is an error that says so."""
    with pytest.raises(InvalidProblemError, match="batches"):
        extract(randomized(Residual), batches)


@pytest.mark.parametrize(
    ("option", "value"),
    [("metric", "psnr"), ("combine", "median"), ("normalize", "l2"), ("on_nan", "no")],
)
def test_unknown_names(option: str, value: str) -> None:
    """A misspelt option is refused before anything runs."""
    with pytest.raises(InvalidProblemError, match=option):
        extract(randomized(Residual), IMAGES, **{option: value})  # type: ignore[arg-type]


def test_nan_is_an_error_or_an_exclusion() -> None:
    """A layer that gives NaN is named; on request its unit is left whole."""
    model = randomized(Residual)
    norm = model.get_submodule("blocks.0.one.1")
    assert isinstance(norm, nn.BatchNorm2d)
    coupling = couple(model, IMAGES)
    with torch.no_grad():
        norm.weight[2] = float("nan")
    for metric, layer in (("spatial", r"blocks\.0\.one\.1"), (None, r"blocks\.0\.two")):
        with pytest.raises(InvalidProblemError, match=layer):
            extract(model, IMAGES, coupling=coupling, metric=metric or "reconstruction")
    graphs = extract(model, IMAGES, coupling=coupling, on_nan="exclude")
    excluded = {e.unit: e.reason for e in graphs.coupling.exclusions}
    assert "NaN" in excluded["blocks.0.one.0"]
    assert "blocks.0.one.0" not in graphs


def test_dead_channels_are_reported() -> None:
    """A channel that is zero in all layers of its unit is listed, and only such."""
    model = randomized(SOUND["plain"])
    norm = model.get_submodule("0.1")
    assert isinstance(norm, nn.BatchNorm2d)
    with torch.no_grad():
        norm.weight[[1, 4]] = 0
        norm.bias[[1, 4]] = 0
    graphs = extract(model, IMAGES, metric="spatial")
    assert graphs.dead["0.0"].tolist() == [1, 4]
    assert set(graphs.dead) == {"0.0"}
    assert graphs["0.0"].self_redundancy[[1, 4]].tolist() == [0, 0]
    assert any("dead" in note for note in graphs.notes)


def test_pooled_layers_are_reported() -> None:
    """A layer behind image pooling is measured over images, and a note says so."""
    graphs = extract(
        randomized(SOUND["deeplab"]), [IMAGES, IMAGES.flip(0) * 2], metric="spatial"
    )
    assert any(note.startswith("pooled.2") for note in graphs.notes)
    off = graphs["pooled.1"].weights[np.triu_indices(8, 1)]
    assert off.max() < 0.9999  # ±1 copies of each other they are not


def test_units_without_batch_norm_and_map_sizes() -> None:
    """Bare convolutions are measured at their output; map sizes are by layer."""
    graphs = extract(randomized(SOUND["plain"]), IMAGES, metric="spatial")
    assert list(graphs.redundancy["1"]) == ["1"]
    assert graphs.map_sizes == {"0.1": (16, 16), "1": (16, 16), "3.1": (8, 8)}


def test_a_batch_norm_over_a_concatenation_serves_several_units() -> None:
    """Each unit takes its own block of the matrix of such a layer."""
    model = randomized(Dense)
    graphs = extract(model, IMAGES, metric="spatial", absolute=False)
    captured: dict[str, Tensor] = {}
    norm = model.get_submodule("norm3")
    hook = norm.register_forward_hook(lambda m, a, out: captured.update(out=out))
    with torch.no_grad():
        model(IMAGES)
    hook.remove()
    flat = captured["out"].double().flatten(2)
    flat = flat / (flat.abs().sum(-1, keepdim=True) + 1e-5)
    whole = (flat @ flat.transpose(1, 2)).mean(0).numpy()
    for unit, start, size in (("stem.0", 0, 8), ("conv1", 8, 6), ("conv2", 14, 6)):
        block = slice(start, start + size)
        np.testing.assert_allclose(
            graphs.redundancy[unit]["norm3"], whole[block, block], atol=1e-7
        )


def test_tokens_are_measured_along_their_last_dimension() -> None:
    """A linear layer on (N, L, C) has its channels last."""

    def body(net: Any, x: Tensor) -> Tensor:
        tokens = net.stem(x).flatten(2).transpose(1, 2)
        scores: Tensor = net.two(torch.relu(net.one(tokens)))
        return scores

    model = Net(body, stem=conv_bn(3, 8), one=nn.Linear(8, 6), two=nn.Linear(6, 4))
    graphs = extract(model.eval(), IMAGES, metric="spatial")
    assert graphs["one"].n == 6
    assert graphs.map_sizes["one"] == (256,)
    assert "one" not in graphs.importance["one"]


def test_normalisations() -> None:
    """Trace: the diagonal sums to one; cosine: it is one; zero rows stay zero."""
    base = np.array([[4.0, 2.0, 0.0], [2.0, 9.0, 0.0], [0.0, 0.0, 0.0]])
    assert normalize(base, "trace").trace() == pytest.approx(1.0)
    cosine = normalize(base, "cosine")
    np.testing.assert_allclose(cosine.diagonal(), [1, 1, 0])
    assert cosine[0, 1] == pytest.approx(2 / 6)
    np.testing.assert_array_equal(normalize(base, "none"), base)


def test_combinations() -> None:
    """Mean, max and sum are elementwise; the sum's objective is the objectives' sum."""
    one, two = np.array([[1.0, 0.2], [0.2, 1.0]]), np.array([[1.0, 0.6], [0.6, 1.0]])
    assert combine([one, two], "mean")[0, 1] == pytest.approx(0.4)
    assert combine([one, two], "max")[0, 1] == 0.6
    assert combine([one, two], "sum")[0, 1] == pytest.approx(0.8)
    assert combine([one, two], "union")[0, 1] == pytest.approx(0.4)
    model = randomized(Residual)
    parts = extract(model, IMAGES, metric="spatial", combine="sum", normalize="none")
    unit = "blocks.1.two"
    total = sum(parts.redundancy[unit].values())
    np.testing.assert_allclose(
        parts[unit].weights, np.where(np.eye(12), 0, total), rtol=1e-6
    )


def test_signed_and_absolute() -> None:
    """`absolute` takes |S| of each layer; without it signs are kept."""
    model = randomized(Residual)
    signed = extract(model, IMAGES, metric="spatial", absolute=False)
    absolute = extract(model, IMAGES, metric="spatial")
    unit = "blocks.0.one.0"
    assert signed[unit].weights.min() < 0
    np.testing.assert_allclose(np.abs(signed[unit].weights), absolute[unit].weights)


def test_networks_that_cannot_be_traced() -> None:
    """An argmax output, a broken forward and an uncopyable member say what to do."""
    hard = Net(lambda net, x: net.a(x).argmax(1), a=nn.Conv2d(3, 4, 1))
    with pytest.raises(UnsupportedError, match="floating-point"):
        extract(hard, IMAGES)
    with pytest.raises(UnsupportedError, match="forward"):
        extract(nn.Conv2d(5, 4, 1), IMAGES)
    stuck = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1))
    stuck.stream = (i for i in range(3))  # type: ignore[assignment]
    with pytest.raises(UnsupportedError, match="deepcopy"):
        extract(stuck, IMAGES)
