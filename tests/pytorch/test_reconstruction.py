"""The metric "reconstruction" against what the reading layers really see."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sirfp_opt import InvalidProblemError, solve
from sirfp_opt.network.allocation import Threshold
from sirfp_opt.pytorch import METRICS, Extractor, Metric, extract, prune
from sirfp_opt.pytorch.extraction.filters import reader_products
from tests.pytorch.networks import Net, Residual, conv_bn, randomized

IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(3))


def flat_net() -> nn.Sequential:
    """Return a network whose linear layer reads 9 entries of each of 6 channels."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 2, stride=2), nn.ReLU(), nn.AvgPool2d(2, 1), nn.Flatten(),
        nn.Linear(54, 5),
    )  # fmt: skip


def token_net() -> nn.Sequential:
    """Return a network whose linear layer reads 7 entries of each of 20 tokens."""
    return nn.Sequential(nn.Linear(8, 7), nn.GELU(), nn.Linear(7, 4))


def point_net() -> nn.Sequential:
    """Return a network whose 1 x 1 convolution reads 7 channels."""
    return nn.Sequential(nn.Conv2d(3, 7, 3), nn.ReLU(), nn.Conv2d(7, 4, 1))


@pytest.mark.parametrize("make", [token_net, point_net])
def test_the_cost_of_a_set_is_the_error_that_its_reader_sees(make: Any) -> None:
    """Channels at their means change the reader's output by what E says, exactly."""
    torch.manual_seed(0)
    model, images = make().double().requires_grad_(False), IMAGES.double()
    if make is token_net:
        images = images[:, 0]
    reader = model[-1]
    graphs = extract(model, images)
    graph, errors = graphs["0"], graphs.redundancy["0"]["2"]
    read = model[:-1](images)
    last = read.dim() - 1 if make is token_net else 1
    others = [d for d in range(read.dim()) if d != last]
    means = read.mean(dim=others, keepdim=True).expand_as(read)

    def error(dropped: list[int]) -> float:
        gone = torch.tensor(dropped)
        less = read.index_copy(last, gone, means.index_select(last, gone))
        moved = (reader(less) - reader(read)).square()
        return float(moved.sum(dim=last).mean())

    scale = sum(error([channel]) for channel in range(graph.n))
    whole = graph.value_of(np.arange(graph.n))
    assert whole == pytest.approx(errors.sum(), rel=1e-6)
    for dropped in ([0], [1, 4], [0, 2, 3], list(range(graph.n))):
        kept = np.setdiff1d(np.arange(graph.n), dropped)
        expected = pytest.approx(error(dropped) / scale, rel=1e-5)
        assert errors[np.ix_(dropped, dropped)].sum() == expected
        assert whole - graph.value_of(kept) == expected


def test_a_flattened_map_is_read_as_by_a_convolution() -> None:
    """Its positions are taps: the same graph as with a kernel of the map's size."""
    torch.manual_seed(0)
    flat = flat_net()
    same = nn.Sequential(*list(flat)[:3], nn.Conv2d(6, 5, 3), nn.Flatten())
    with torch.no_grad():
        same[3].weight.copy_(flat[4].weight.reshape(5, 6, 3, 3))  # type: ignore[operator]
    one, other = extract(flat, IMAGES[..., :8])["0"], extract(same, IMAGES)["0"]
    np.testing.assert_allclose(one.weights, other.weights, atol=1e-5)
    extractor = Extractor(flat, IMAGES)
    with extractor:
        flat(IMAGES)
    again = Extractor(flat, IMAGES)
    again.load_state_dict(extractor.state_dict())
    np.testing.assert_array_equal(
        again.graphs()["0"].weights, extractor.graphs()["0"].weights
    )


@pytest.mark.parametrize(
    "reader",
    [
        nn.Conv2d(4, 5, 3, padding=2, bias=False),
        nn.Conv2d(4, 6, 3, padding=2, groups=2, bias=False),
        nn.Conv1d(4, 6, 3, padding=2, bias=False),
        nn.ConvTranspose2d(4, 3, 3, bias=False),
        nn.ConvTranspose2d(4, 6, 3, groups=2, bias=False),
        nn.Linear(4, 5, bias=False),
    ],
    ids=repr,
)
def test_products_of_reading_filters(reader: nn.Module) -> None:
    """They are the inner products of the outputs to one impulse in each channel."""
    sizes = {nn.Linear: (), nn.Conv1d: (5,)}.get(type(reader), (5, 5))
    outputs = []
    for channel in range(4):
        impulse = torch.zeros(1, 4, *sizes)
        impulse[(0, channel, *(n // 2 for n in sizes))] = 1.0
        outputs.append(reader(impulse).flatten())
    rows = torch.stack(outputs)
    torch.testing.assert_close(reader_products(reader), (rows @ rows.T).detach())


def test_a_channel_read_twice_contributes_the_sum() -> None:
    """Behind cat([y, y]) its filters add up: the graph is that of their sum."""
    torch.manual_seed(0)
    once = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 1))

    def body(net: Any, x: Tensor) -> Tensor:
        made = torch.relu(net.make(x))
        scores: Tensor = net.read(torch.cat([made, made], dim=1))
        return scores

    twice = Net(body, make=nn.Conv2d(3, 6, 3), read=nn.Conv2d(12, 4, 1)).eval()
    with torch.no_grad():
        twice.get_submodule("make").load_state_dict(once[0].state_dict())
        filters = twice.get_parameter("read.weight")
        once.get_parameter("2.weight").copy_(filters[:, :6] + filters[:, 6:])
    one, two = extract(once, IMAGES)["0"], extract(twice, IMAGES)["make"]
    scale = one.self_redundancy.sum() / two.self_redundancy.sum()
    np.testing.assert_allclose(two.weights * scale, one.weights, atol=1e-5)


def test_small_changes_of_large_means_are_seen() -> None:
    """A map around 1000 that changes by 0.01 has that variance in float32, too."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 5, 1), nn.Conv2d(5, 4, 1))
    with torch.no_grad():
        model[0].weight.mul_(0.01)  # type: ignore[operator]
        model[0].bias.fill_(1000.0)  # type: ignore[operator]
    exact = copy.deepcopy(model).double()
    for options in (
        {"decay": None},
        {"decay": 0.5},
        {"decay": 0.5, "bias_correction": False},
    ):
        found, expected = (
            extract(net, images, **options)["0"]
            for net, images in (
                (model, [IMAGES, IMAGES * 2]),
                (exact, [IMAGES.double(), IMAGES.double() * 2]),
            )
        )
        # float32 has 6e-5 as its step at 1000.
        np.testing.assert_allclose(
            found.weights, expected.weights, atol=0.03 * np.abs(expected.weights).max()
        )


def test_averages_are_those_of_one_covariance() -> None:
    """Two batches are one large one; an exponential average weighs its batches."""
    model = randomized(Residual)
    parts = [IMAGES[:2], IMAGES[2:] * 2]
    unit = "blocks.0.one.0"
    together = extract(model, torch.cat(parts))[unit]
    apart = extract(model, parts)[unit]
    np.testing.assert_allclose(apart.weights, together.weights, atol=1e-5)
    # With r = 1/2 two batches weigh 1/3 and 2/3, as one and two copies of them do.
    weighed = extract(model, [IMAGES[:3], IMAGES[3:]], decay=0.5)[unit]
    copies = extract(model, torch.cat([IMAGES[:3], IMAGES[3:], IMAGES[3:]]))[unit]
    np.testing.assert_allclose(weighed.weights, copies.weights, atol=1e-5)


def test_approximations_stay_near() -> None:
    """A choice of positions, or bfloat16 factors, give nearly the same errors."""
    model = randomized(Residual)
    plain = extract(model, IMAGES)["blocks.1.one.0"]
    scale = np.abs(plain.weights).max()
    coarse = extract(model, [IMAGES] * 8, positions=32)["blocks.1.one.0"]
    np.testing.assert_allclose(coarse.weights / scale, plain.weights / scale, atol=0.15)
    short = extract(model, IMAGES, dtype=torch.bfloat16)["blocks.1.one.0"]
    np.testing.assert_allclose(short.weights / scale, plain.weights / scale, atol=0.02)


def test_what_no_filter_reads_is_left_whole() -> None:
    """A unit that only a custom operation reads has no error to measure."""

    def body(net: Any, x: Tensor) -> Tensor:
        scores: Tensor = net.head(net.stem(x)) * net.gate(x).mean(dim=1, keepdim=True)
        return scores

    model = Net(
        body, stem=conv_bn(3, 8), head=nn.Conv2d(8, 2, 1), gate=conv_bn(3, 4)
    ).eval()  # fmt: skip
    spatial = extract(model, IMAGES, metric="spatial")
    graphs = extract(model, IMAGES)
    assert set(spatial) - set(graphs) <= {"gate.0"}
    assert "stem.0" in graphs
    for exclusion in graphs.coupling.exclusions:
        if exclusion.unit == "gate.0" and "gate.0" in spatial:
            assert "no convolution" in exclusion.reason


def test_kept_channels_carry_more_than_redundancy_keeps() -> None:
    """The set of least error has less error than the least redundant one."""
    model = randomized(Residual)
    errors, alike = extract(model, IMAGES), extract(model, IMAGES, metric="spatial")
    better = 0
    for unit, graph in errors.items():
        k = graph.n // 2
        ours = graph.value_of(solve(graph, k, "exact").selected)
        theirs = graph.value_of(solve(alike[unit], k, "exact").selected)
        assert ours >= theirs - 1e-9
        better += ours > theirs + 1e-6
    assert better


def test_options_that_do_not_fit_are_refused() -> None:
    """Signs and importances have no place here; a union of sets neither."""
    model = randomized(Residual)
    for option in ({"absolute": True}, {"importance_weight": 0.5}):
        with pytest.raises(InvalidProblemError, match=next(iter(option))):
            Extractor(model, IMAGES, **option)
    with pytest.raises(InvalidProblemError, match="centred"):
        Metric(METRICS["cosine"].norm, centred=True, source="weights")
    with pytest.raises(InvalidProblemError, match="union"):
        prune(model, IMAGES, macs=0.5, allocation=Threshold(union=True))


@pytest.mark.parametrize(
    "allocation", ["threshold", "uniform", "optimal", "lagrangian"]
)
def test_every_allocation_splits_errors(allocation: str) -> None:
    """Budgets are kept, and no unit loses all that it carries."""
    model = randomized(Residual)
    result = prune(model, IMAGES, macs=0.5, allocation=allocation)
    assert 0.3 < result.report.reached["macs"] <= 0.5
    for unit in result.report.units:
        assert unit.sense == "maximize"
        assert unit.objective <= unit.objective_before * 1.5
    assert sum(u.objective for u in result.report.units) > 0.4 * sum(
        u.objective_before for u in result.report.units
    )
