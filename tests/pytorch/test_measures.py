"""Metrics and importances by name or as objects, against their formulas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sirfp_opt import InvalidProblemError, solve
from sirfp_opt.pytorch import METRICS, Importance, Metric, couple, extract
from sirfp_opt.pytorch.extraction.averages import LayerStatistics
from sirfp_opt.pytorch.extraction.filters import filters
from sirfp_opt.pytorch.extraction.gram import add_gram
from sirfp_opt.pytorch.extraction.importances import edge_strength
from tests.pytorch.networks import SOUND, Net, Residual, conv_bn, randomized
from tests.pytorch.test_extract import IMAGES
from tests.pytorch.test_metrics import by_image

MAPS = torch.randn(6, 9, 10, 12, generator=torch.Generator().manual_seed(3)).double()


def measured(metric: str | Metric, maps: Tensor = MAPS, **options: Any) -> Tensor:
    """Return the matrix of one batch."""
    record = LayerStatistics(metric, importance=None, **options)
    record.update(maps)
    return record.result().redundancy()


def test_pooled_is_blind_to_where_channels_respond() -> None:
    """Maps' averages are compared over images; shuffled positions change nothing."""
    means = MAPS.flatten(2).mean(2).T
    means = means / (means.abs().mean(dim=1, keepdim=True) + 1e-5)
    torch.testing.assert_close(measured("pooled"), means @ means.T / len(MAPS))
    shuffled = MAPS.flatten(2)[..., torch.randperm(120)].view_as(MAPS)
    shuffled[:, 4] = MAPS[:, 4]
    torch.testing.assert_close(measured("pooled", shuffled), measured("pooled"))
    assert not torch.allclose(measured("spatial", shuffled), measured("spatial"))
    record = LayerStatistics("pooled")
    for part in torch.split(MAPS, 2):
        record.update(part)
    torch.testing.assert_close(record.result().redundancy(), measured("pooled"))


@pytest.mark.parametrize("metric", ["spatial", "pooled"])
def test_the_edge_term_does_not_hang_on_the_metric(metric: str) -> None:
    """It is measured on the maps as they are, also where they are compared pooled."""
    record = LayerStatistics(metric, importance="edge")
    record.update(MAPS)
    torch.testing.assert_close(record.result().term, edge_strength(MAPS))


@pytest.mark.parametrize("base", ["spatial", "cosine", "pooled"])
def test_post_activation_variants(base: str) -> None:
    """NAME_relu is NAME of the rectified maps."""
    expected = measured(base, MAPS.relu())
    torch.testing.assert_close(measured(f"{base}_relu"), expected)


def test_filters_need_no_data() -> None:
    """The metric "filter" is the cosine of the weights, whatever the data."""
    model = randomized(SOUND["unet"])
    graphs = extract(model, [IMAGES], metric="filter", importance="l1")
    assert graphs.images == 1
    blank = extract(model, [IMAGES * 0], metric="filter", importance="l1")
    rows = model.get_submodule("down1.0").weight.detach().flatten(1)  # type: ignore[operator]
    rows = rows / rows.norm(dim=1, keepdim=True)
    np.testing.assert_allclose(
        graphs.redundancy["down1.0"]["down1.0"], (rows @ rows.T).abs(), atol=1e-6
    )
    for unit, graph in graphs.items():
        np.testing.assert_array_equal(graph.weights, blank[unit].weights)
    l1 = model.get_submodule("down1.0").weight.abs().sum(dim=(1, 2, 3))  # type: ignore[operator]
    np.testing.assert_allclose(
        graphs.importance["down1.0"]["down1.0"], l1.detach(), rtol=1e-5
    )


def test_filters_of_grouped_transposed_convolutions() -> None:
    """One row for each output channel: it must give what that channel gives."""
    layer = nn.ConvTranspose2d(6, 4, 2, stride=2, groups=2, bias=False)
    rows = filters(layer)
    assert rows.shape == (4, 12)
    pixel = torch.randn(1, 6, 1, 1)
    with torch.no_grad():
        outputs = layer(pixel)[0]
    for channel in range(4):
        group = pixel[0, 3 * (channel // 2) :][:3, 0, 0]
        expected = (group[:, None] * rows[channel].view(3, 4)).sum(0).view(2, 2)
        torch.testing.assert_close(outputs[channel], expected)


def test_scales_of_batch_norms() -> None:
    """The importance "bn_scale" is |γ|; layers without a norm have none."""
    model = randomized(SOUND["plain"])
    graphs = extract(model, IMAGES, importance="bn_scale")
    gamma = model.get_submodule("0.1").weight
    assert isinstance(gamma, Tensor)
    np.testing.assert_array_equal(graphs.importance["0.0"]["0.1"], gamma.detach().abs())
    assert graphs.importance["1"] == {}
    assert graphs.mean_importance("1") is None


def test_weights_of_low_precision() -> None:
    """Filters and scales in bfloat16 are measured in float32."""
    model = randomized(Residual)
    coupling = couple(model, IMAGES)
    model.bfloat16()
    for importance in ("l1", "bn_scale"):
        graphs = extract(
            model, IMAGES, metric="filter", importance=importance, coupling=coupling
        )
        for unit, graph in graphs.items():
            assert graph.weights.max() <= 1 + 1e-6
            terms = graphs.importance[unit].values()
            assert {term.dtype for term in terms} == {np.dtype(np.float32)}


def test_measures_of_ones_own() -> None:
    """A Metric and an Importance go wherever a name does."""
    correlation = Metric(
        lambda x: x.norm(dim=-1, keepdim=True),
        lambda x: x - x.mean(dim=(2, 3), keepdim=True),
    )
    expected = torch.stack([torch.corrcoef(x.flatten(1)) for x in MAPS]).mean(0)
    torch.testing.assert_close(measured(correlation), expected)
    energy = Importance(lambda maps: maps.square().mean(dim=(0, 2, 3)), "maps")
    record = LayerStatistics(correlation, importance=energy)
    for part in torch.split(MAPS, [1, 2, 3]):
        record.update(part)
    torch.testing.assert_close(record.result().term, MAPS.square().mean(dim=(0, 2, 3)))


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        (lambda: measured(Metric(lambda x: x)), "metric.norm"),
        (
            lambda: measured(Metric(torch.ones_like, over_images=True)),
            "metric.transform",
        ),
        (
            lambda: LayerStatistics(importance=Importance(torch.sum, "maps")).update(
                MAPS
            ),
            "importance.measure",
        ),
        (lambda: Metric("l1"), "norm"),  # type: ignore[arg-type]
        (lambda: Metric(torch.abs, source="maps?"), "source"),  # type: ignore[arg-type]
        (lambda: Importance(torch.abs, "sizes"), "source"),  # type: ignore[arg-type]
        (lambda: Importance(None, "maps"), "measure"),  # type: ignore[arg-type]
    ],
)
def test_measures_that_do_not_fit(wrong: Callable[[], Any], word: str) -> None:
    """A measure that gives the wrong shape is refused, by name."""
    with pytest.raises(InvalidProblemError, match=word):
        wrong()


def test_importances_as_vertex_weights() -> None:
    """With weight w they take w times the unit's redundancy off, by importance."""
    model = randomized(Residual)
    plain = extract(model, IMAGES, metric="spatial")
    graphs = extract(model, IMAGES, metric="spatial", importance_weight=2.0)
    for unit, graph in graphs.items():
        total = plain[unit].weights.sum() / 2
        term = plain.mean_importance(unit)
        assert term is not None
        np.testing.assert_allclose(
            graph.vertex_weights, -2.0 * total * term / term.sum(), rtol=1e-6
        )
        assert not plain[unit].vertex_weights.any()
    heavy = extract(model, IMAGES, metric="spatial", importance_weight=1e6)
    unit = "blocks.1.one.0"
    term = plain.mean_importance(unit)
    assert term is not None
    kept = solve(heavy[unit], 4, "greedy").selected
    assert kept.tolist() == sorted(np.argsort(term)[-4:].tolist())
    with pytest.raises(InvalidProblemError, match="importance_weight"):
        extract(model, IMAGES, importance_weight=-1.0)
    with pytest.raises(InvalidProblemError, match=r"importance_weight.*spatial"):
        extract(model, IMAGES, importance_weight=1.0)


def bad_images() -> Tensor:
    """Return four images of which the second makes NaN."""
    images = IMAGES.clone()
    images[1, 0, 3, 3] = float("nan")
    return images


def test_bad_images_are_left_out_and_noted() -> None:
    """on_nan="skip" gives the graphs of the images that are finite."""
    model = randomized(SOUND["plain"])
    for metric, layer in (("spatial", "0.1"), ("reconstruction", "1")):
        graphs = extract(model, bad_images(), on_nan="skip", metric=metric)
        good = extract(model, IMAGES[[0, 2, 3]], metric=metric)
        for unit, graph in good.items():
            np.testing.assert_allclose(graphs[unit].weights, graph.weights, atol=1e-5)
        note = f"{layer}: 1 of 4 images were left out for NaN or inf"
        assert note in graphs.notes
        with pytest.raises(
            InvalidProblemError, match=r"12 of 12 channels, and in 2 more"
        ):
            extract(model, bad_images(), metric=metric)


def test_a_layer_that_is_never_finite_is_left_whole() -> None:
    """With "skip" and no finite image the unit is excluded; counts are told."""
    model = randomized(SOUND["plain"])
    coupling = couple(model, IMAGES)
    norm = model.get_submodule("3.1")
    assert isinstance(norm, nn.BatchNorm2d)
    with torch.no_grad():
        norm.bias[[2, 5]] = float("inf")
    for mode, words in (("skip", "all 4 images"), ("exclude", "2 of 8 channels")):
        graphs = extract(model, IMAGES, coupling=coupling, on_nan=mode)  # type: ignore[arg-type]
        reasons = {e.unit: e.reason for e in graphs.coupling.exclusions}
        assert words in reasons["3.0"]
        assert list(graphs) == ["0.0", "1"]


def test_bad_channels_exclude_their_own_unit_only() -> None:
    """Behind a concatenation, NaN in one unit's channels leaves the other alone."""
    model = Net(
        lambda net, x: net.head(net.norm(torch.cat([net.one(x), net.two(x)], 1))),
        one=nn.Conv2d(3, 4, 1), two=nn.Conv2d(3, 5, 1), norm=nn.BatchNorm2d(9),
        head=conv_bn(9, 4),
    ).eval()  # fmt: skip
    norm = model.norm
    assert isinstance(norm, nn.BatchNorm2d)
    coupling = couple(model, IMAGES)
    with torch.no_grad():
        norm.bias[6] = float("nan")
    graphs = extract(model, IMAGES, coupling=coupling, on_nan="exclude")
    assert "one" in graphs
    assert (
        "1 of 5 channels"
        in {e.unit: e.reason for e in graphs.coupling.exclusions}["two"]
    )


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("channels", [3, 70, 201])
def test_symmetric_products(channels: int, threads: int) -> None:
    """By BLAS or by halves: old A + new X X' in the upper triangle, in place."""
    before = torch.get_num_threads()
    rows, start = torch.randn(channels, 40), torch.randn(channels, channels)
    average = start.clone()
    try:
        torch.set_num_threads(threads)
        add_gram(average, rows, 0.25, 2.0)
    finally:
        torch.set_num_threads(before)
    expected = 0.25 * start + 2.0 * rows @ rows.T
    torch.testing.assert_close(average.triu(), expected.triu(), atol=1e-4, rtol=1e-4)


def test_maps_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """However little is held at a time, the answer is the same."""
    whole = LayerStatistics()
    whole.update(MAPS)
    for most in (1, 9 * 50, 9 * 120 * 2):
        monkeypatch.setattr("sirfp_opt.pytorch.extraction.parts.CPU", most)
        parts = LayerStatistics()
        parts.update(MAPS)
        found, expected = parts.result(), whole.result()
        torch.testing.assert_close(found.redundancy(), expected.redundancy())
        torch.testing.assert_close(found.term, expected.term)


def test_fewer_positions() -> None:
    """Enough positions: exact. Fewer: an unbiased estimate, better with each batch."""
    exact = by_image(MAPS)
    torch.testing.assert_close(measured("spatial", positions=120), exact)
    record = LayerStatistics(positions=30)
    errors = []
    for _ in range(64):
        record.update(MAPS)
        found = record.result().redundancy()
        errors.append(float((found - exact).norm() / exact.norm()))
    assert 0.05 < errors[0] < 1
    assert errors[-1] < errors[0] / 4  # 1/8 is expected
    one, two = (measured("spatial", positions=30) for _ in range(2))
    assert torch.equal(one, two)
    torch.testing.assert_close(record.result().term, edge_strength(MAPS))


def test_lower_precision() -> None:
    """Bfloat16 factors: an average in float32, off by rounding, and not exact."""
    maps = MAPS.float()
    found = measured("spatial", maps, dtype=torch.bfloat16)
    exact = measured("spatial", maps)
    assert found.dtype == torch.float32
    error = float((found - exact).abs().max() / exact.abs().max())
    assert 0 < error < 1e-2


def test_every_metric_leaves_dead_channels_at_zero() -> None:
    """A channel that is zero everywhere has a row of zeros, whatever the metric."""
    maps = MAPS.clone()
    maps[:, 2] = 0
    for name in METRICS:
        found = measured(name, maps)
        assert found[2].abs().max() == 0, name
        assert bool(torch.isfinite(found).all()), name
