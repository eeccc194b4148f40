"""`Extractor`: graphs out of somebody else's loop, which is left as it was."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, distributed, multiprocessing, nn, optim
from torch.utils.checkpoint import checkpoint

from sirfp_opt import InvalidProblemError
from sirfp_opt.pytorch import (
    METRICS,
    Coupling,
    ExtractedGraphs,
    Extractor,
    couple,
    extract,
)
from tests.pytorch.networks import SOUND, Residual, conv_bn, randomized
from tests.pytorch.test_extract import IMAGES, assert_untouched, fingerprint
from tests.pytorch.test_metrics import by_image

NORM = "blocks.0.one.1"
UNIT = "blocks.0.one.0"


def batches(count: int, size: int = 3) -> list[Tensor]:
    """Return different images each time."""
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(size, 3, 16, 16, generator=generator) for _ in range(count)]


def same(one: ExtractedGraphs, two: ExtractedGraphs, tolerance: float = 1e-6) -> None:
    """Compare all that was measured."""
    assert list(one) == list(two)
    for unit in one:
        for kind in ("redundancy", "importance"):
            left, right = getattr(one, kind)[unit], getattr(two, kind)[unit]
            assert list(left) == list(right)
            for layer in left:
                scale = max(1e-12, float(np.abs(left[layer]).max()))
                np.testing.assert_allclose(
                    right[layer] / scale, left[layer] / scale, atol=tolerance
                )


def train(model: nn.Module, some: list[Tensor], context: Any = None) -> None:
    """Take optimizer steps as a training script would."""
    optimizer = optim.SGD(model.parameters(), lr=0.05)
    for x in some:
        optimizer.zero_grad()
        with context or torch.enable_grad():
            loss = model(x).float().square().mean()
        loss.backward()
        optimizer.step()


def test_each_step_of_a_training_loop_is_one_step_of_the_average() -> None:
    """A <- r A + (1 - r) S over the training forward passes, corrected by 1 - r^t."""
    model = randomized(Residual).train()
    extractor = Extractor(model, IMAGES, metric="spatial", decay=0.7, absolute=False)
    seen: list[Tensor] = []
    norm = model.get_submodule(NORM)
    spy = norm.register_forward_hook(lambda m, a, out: seen.append(out.clone()))
    with extractor:
        train(model, batches(4))
    spy.remove()
    expected = torch.zeros(6, 6, dtype=torch.float64)
    for maps in seen:
        expected = 0.7 * expected + 0.3 * by_image(maps.detach())
    graphs = extractor.graphs()
    np.testing.assert_allclose(
        graphs.redundancy[UNIT][NORM], expected / (1 - 0.7**4), atol=1e-7, rtol=1e-4
    )
    assert model.training
    assert graphs.images == 12


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_in_the_network(error: type[BaseException]) -> None:
    """However the block ends, hooks are gone; modes and weights are never touched."""
    model = randomized(Residual).train()
    extractor = Extractor(model, IMAGES, importance="gamma_grad")
    before = fingerprint(model)
    with pytest.raises(error), extractor:
        raise error
    assert_untouched(model, before)
    assert not any(p._backward_hooks for p in model.parameters())
    with extractor, pytest.raises(InvalidProblemError, match="once"):
        extractor.__enter__()
    with pytest.raises(InvalidProblemError, match="batch"):
        extractor.graphs()


@pytest.mark.parametrize("metric", ["spatial", "reconstruction"])
def test_extraction_goes_on_from_a_saved_state(tmp_path: Path, metric: str) -> None:
    """Two steps, saved with weights_only, and two more are four steps."""
    model = randomized(Residual)
    coupling = couple(model, IMAGES)
    some = batches(4)

    def run(extractor: Extractor, part: list[Tensor]) -> Extractor:
        with extractor, torch.no_grad():
            for x in part:
                model(x)
        return extractor

    def fresh() -> Extractor:
        return Extractor(model, coupling=coupling, metric=metric)

    whole, first = run(fresh(), some), run(fresh(), some[:2])
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = fresh()
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    same(whole.graphs(), run(second, some[2:]).graphs(), tolerance=0)
    other = Extractor(randomized(SOUND["plain"]), IMAGES, metric=metric)
    with pytest.raises(InvalidProblemError, match="same layers"):
        other.load_state_dict(first.state_dict())
    state = first.state_dict() | {f"{NORM}:out:mass": torch.zeros(5)}
    with pytest.raises(InvalidProblemError, match="6 channels"):
        second.load_state_dict(state)


def test_mixed_precision_is_averaged_outside_of_it() -> None:
    """Under autocast the measure sees float32, and no autocast."""
    modes = []

    def norm(maps: Tensor) -> Tensor:
        modes.append((torch.is_autocast_enabled("cpu"), maps.dtype))
        return METRICS["spatial"].norm(maps)

    model = randomized(SOUND["plain"]).train()
    extractor = Extractor(model, IMAGES, metric=replace(METRICS["spatial"], norm=norm))
    seen: list[Tensor] = []
    conv = model.get_submodule("1")
    spy = conv.register_forward_hook(lambda m, a, out: seen.append(out.clone()))
    with extractor:
        train(model, batches(1), torch.autocast("cpu", torch.bfloat16))
    spy.remove()
    assert seen[0].dtype == torch.bfloat16
    assert set(modes) == {(False, torch.float32)}
    np.testing.assert_allclose(
        extractor.graphs().redundancy["1"]["1"],
        by_image(seen[0].detach()).abs(),
        atol=1e-7,
        rtol=1e-4,
    )


def test_inference_mode_and_training_after_each_other() -> None:
    """Averages begun under inference_mode can be continued outside of it."""
    model = randomized(Residual)
    coupling = couple(model, IMAGES)
    extractor = Extractor(model, coupling=coupling, decay=None)
    with extractor:
        with torch.inference_mode():
            model(IMAGES[:2])
        model(IMAGES[2:])
    same(extract(model, IMAGES, coupling=coupling), extractor.graphs(), tolerance=1e-5)


def test_recomputed_activations_count_once() -> None:
    """Activation checkpointing runs layers twice; the second time is no step."""
    model = randomized(Residual).train()
    plain = type(model.get_submodule("blocks")).forward
    extractor = Extractor(model, IMAGES, decay=0.5)
    blocks = model.get_submodule("blocks")
    runs = []
    spy = model.get_submodule(NORM).register_forward_hook(lambda *a: runs.append(1))

    def forward(x: Tensor) -> Tensor:
        made: Tensor = checkpoint(lambda y: plain(blocks, y), x, use_reentrant=False)
        return made

    blocks.forward = forward
    with extractor:
        train(model, batches(2))
    spy.remove()
    assert len(runs) == 4
    assert extractor.state_dict()[f"{NORM}:out:counts"][1] == 2


@pytest.mark.parametrize("scaled", [False, True])
def test_gradients_of_gamma(scaled: bool) -> None:
    """|∂L/∂γ| where γ ∂L/∂γ > 0, averaged over steps, the loss scale taken out."""
    model = randomized(Residual).train()
    with torch.no_grad():
        model.get_submodule(NORM).weight[0] = -0.5  # type: ignore[operator]
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0) if scaled else None
    extractor = Extractor(
        model, IMAGES, importance="gamma_grad", decay=0.5, scaler=scaler
    )
    gamma = model.get_submodule(NORM).weight
    assert isinstance(gamma, Tensor)
    expected = torch.zeros(6)
    with extractor:
        for x in batches(3):
            model.zero_grad()
            loss = model(x).square().mean()
            (scaler.scale(loss) if scaler else loss).backward()
            assert gamma.grad is not None
            gradient = gamma.grad / (1024.0 if scaled else 1.0)
            asks = gamma.detach() * gradient > 0
            expected = 0.5 * expected + 0.5 * gradient.abs() * asks
    found = extractor.graphs().importance[UNIT][NORM]
    np.testing.assert_allclose(found, expected / (1 - 0.5**3), rtol=1e-5)
    assert 0 < (found > 0).sum() < 6


def test_gradients_in_extract_leave_none_behind() -> None:
    """`extract` with a loss measures them, and the network has no gradient after."""
    model = randomized(Residual)
    pairs = [(x, torch.zeros(len(x), 5)) for x in batches(2)]

    def loss(output: Tensor, batch: Any) -> Tensor:
        return nn.functional.mse_loss(output, batch[1])

    graphs = extract(model, pairs, importance="gamma_grad", loss=loss)
    assert all(p.grad is None for p in model.parameters())
    gamma = model.get_submodule(NORM).weight
    assert isinstance(gamma, nn.Parameter)
    terms = []
    for batch in pairs:
        (gradient,) = torch.autograd.grad(loss(model(batch[0]), batch), [gamma])
        terms.append(gradient.abs() * (gamma * gradient > 0))
    expected = torch.stack(terms).mean(0).detach()
    np.testing.assert_allclose(graphs.importance[UNIT][NORM], expected, rtol=1e-4)
    with pytest.raises(InvalidProblemError, match="loss"):
        extract(model, pairs, importance="gamma_grad")
    model.requires_grad_(False)
    with pytest.raises(InvalidProblemError, match="requires_grad"):
        extract(model, pairs, importance="gamma_grad", loss=loss)


def work(rank: int, folder: str, coupling: Coupling) -> None:
    """Do one rank's part: unequal and equal numbers of batches, none at all."""
    if sys.platform == "linux":  # whatever the machine's name resolves to
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    model = randomized(SOUND["deeplab"])
    mine = batches(5)[:3] if rank == 0 else batches(5)[3:]

    def saved(name: str, some: list[Tensor], **options: Any) -> None:
        # With unequal numbers the wrapper's own messages would not meet.
        equal = name in ("exponential", "gamma_wrapped")
        network = nn.parallel.DistributedDataParallel(model) if equal else model
        extractor = Extractor(network, coupling=coupling, **options)
        with extractor:
            step(network, some, learning="importance" in options)
        try:
            graphs = extractor.graphs()
        except InvalidProblemError as error:
            torch.save(str(error), f"{folder}/{name}{rank}")
        else:
            torch.save(graphs, f"{folder}/{name}{rank}")

    saved("unequal", mine, decay=None)
    saved("none", mine if rank == 0 else [], decay=None)
    saved("refused", mine, decay=0.9)
    saved("exponential", mine[:2], decay=0.9, metric="spatial")
    gamma = {"importance": "gamma_grad", "metric": "spatial"}
    saved("gamma", mine, decay=None, **gamma)
    saved("gamma_wrapped", mine[:2], decay=0.9, **gamma)
    if rank == 1:
        coupling = coupling.without([replace(coupling.exclusions[0], unit="low.0")])
    saved("odd", mine[:2], decay=None)
    distributed.destroy_process_group()


def step(network: nn.Module, some: list[Tensor], *, learning: bool) -> None:
    """Run batches forward, and backward if there is something to learn."""
    with torch.set_grad_enabled(learning):
        for x in some:
            outputs = network(x)
            if learning:
                losses = [y.square().mean() for y in outputs.values()]
                torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]


def test_two_ranks_end_with_the_same_graphs(tmp_path: Path) -> None:
    """Plain mean: that over all images; exponential: the mean, or a clear refusal."""
    model = randomized(SOUND["deeplab"])
    coupling = couple(model, IMAGES)
    multiprocessing.spawn(work, (str(tmp_path), coupling), nprocs=2)  # type: ignore[no-untyped-call, attr-defined]

    def load(name: str) -> tuple[Any, Any]:
        one, two = (
            torch.load(tmp_path / f"{name}{r}", weights_only=False) for r in "01"
        )
        return one, two

    some = batches(5)
    for name, seen in (("unequal", some), ("none", some[:3])):
        one, two = load(name)
        same(one, two, tolerance=0)
        same(extract(model, seen, coupling=coupling), one, tolerance=1e-5)
        assert one.images == 3 * len(seen)
        assert one.notes == two.notes
        assert one.map_sizes == two.map_sizes
    one, two = load("exponential")
    same(one, two, tolerance=0)
    halves = [
        extract(
            model,
            part,
            coupling=coupling,
            metric="spatial",
            decay=0.9,
            absolute=False,
        )
        for part in (some[:2], some[3:])
    ]
    layer = "backbone.stem.1"
    unit = next(u for u in one if layer in one.redundancy[u])
    mean = np.mean([half.redundancy[unit][layer] for half in halves], axis=0)
    np.testing.assert_allclose(one.redundancy[unit][layer], np.abs(mean), atol=1e-7)
    assert all("[3, 2]" in message for message in load("refused"))

    def gamma(part: list[Tensor], decay: float | None) -> ExtractedGraphs:
        extractor = Extractor(
            model,
            coupling=coupling,
            metric="spatial",
            importance="gamma_grad",
            decay=decay,
        )
        with extractor:
            step(model, part, learning=True)
        return extractor.graphs()

    one, two = load("gamma")
    same(one, two, tolerance=0)
    assert all(one.importance[u] for u in ("low.0", unit))
    same(gamma(some, None), one, tolerance=1e-5)
    one, two = load("gamma_wrapped")
    same(one, two, tolerance=0)
    halves = [gamma(some[:2], 0.9), gamma(some[3:], 0.9)]
    assert np.abs(halves[0].importance[unit][layer]).max() > 0
    for u in one:
        for name, values in one.importance[u].items():
            mean = np.mean([half.importance[u][name] for half in halves], axis=0)
            np.testing.assert_allclose(values, mean, rtol=1e-5, atol=1e-9)
    assert all("same pruning units" in message for message in load("odd"))


def test_a_wrapped_network_is_looked_through() -> None:
    """DataParallel's inner network is traced and named as without it."""
    model = randomized(Residual)
    wrapped = nn.DataParallel(model)
    assert list(Extractor(wrapped, IMAGES).coupling.members) == list(
        Extractor(model, IMAGES).coupling.members
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [("positions", 0), ("dtype", torch.int8), ("importance", "size"), ("metric", 3)],
)
def test_wrong_options(option: str, value: Any) -> None:
    """Values out of range are refused before the network is traced."""
    with pytest.raises(InvalidProblemError, match=option):
        Extractor(nn.Identity(), IMAGES, **{option: value})


def test_an_example_or_a_coupling_is_needed() -> None:
    """Without either the error says what to pass."""
    with pytest.raises(InvalidProblemError, match="example"):
        Extractor(conv_bn(3, 4))


def test_compiled_networks() -> None:
    """Compiled inside of the block: measured. Compiled before it: a clear error."""
    model = randomized(SOUND["plain"])
    coupling = couple(model, IMAGES)
    compiled = torch.compile(model, backend="eager")
    extractor = Extractor(model, coupling=coupling, decay=None)
    with extractor, torch.no_grad():
        compiled(IMAGES)
    same(extract(model, IMAGES, coupling=coupling), extractor.graphs(), tolerance=1e-5)
    torch.compiler.reset()
    late = Extractor(model, coupling=coupling)
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        compiled(IMAGES)
        with late:
            compiled(IMAGES)
    with pytest.raises(InvalidProblemError, match="compiled one"):
        late.graphs()
