"""What the outputs lose for each unit is measured, and the split goes by it."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sirfp_opt import InvalidProblemError
from sirfp_opt.network import Response, Worth, solve_network
from sirfp_opt.network.allocation import Measured
from sirfp_opt.network.plan import PruningPlan
from sirfp_opt.pytorch import PruneRequest, mask, prune
from sirfp_opt.pytorch.responses import ResponseMeter
from tests.pytorch.networks import Residual, randomized

IMAGES = torch.rand(8, 3, 12, 12, generator=torch.Generator().manual_seed(3))


class Branches(nn.Module):
    """Two branches alike, of which the second adds a third of what the first does."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.one = nn.Conv2d(8, 16, 3, padding=1)
        self.two = copy.deepcopy(self.one)
        self.read_one = nn.Conv2d(16, 4, 1)
        self.read_two = copy.deepcopy(self.read_one)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add up what the branches make."""
        x = self.stem(x).relu()
        some: torch.Tensor = self.read_one(self.one(x).relu())
        more: torch.Tensor = self.read_two(self.two(x).relu())
        return some + 0.3 * more


def branches() -> Branches:
    """Return the network, in evaluation mode."""
    torch.manual_seed(0)
    return Branches().eval()


def test_what_matters_to_the_output_is_kept() -> None:
    """Two layers with the same problem: "balanced" cuts both alike, "measured" not."""
    model, ignore = branches(), ("stem",)
    alike = prune(model, IMAGES, macs=0.6, ignore=ignore, allocation="balanced")
    counts = prune(model, IMAGES, macs=0.6, ignore=ignore).plan.counts
    assert abs(alike.plan.counts["one"] - alike.plan.counts["two"]) <= 1
    assert counts["one"] > alike.plan.counts["one"] > counts["two"]


def test_the_outputs_loss_is_that_of_the_masked_network() -> None:
    """Without a refit; of the network itself nothing is changed."""
    model = branches()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = prune(model, IMAGES, macs=0.6, refit=None, allocation="measured")
    problem = result.solution.problem
    units = result.graphs.coupling.units
    found = ResponseMeter(model, IMAGES)(problem, result.graphs)
    assert found == dict(problem.worth.responses)
    assert list(found) == [unit.name for unit in units]
    curve, factor = problem.curves["two"], problem.factors["two"]
    price = problem.worth.price_of(problem.curves, problem.factors)
    share = problem.worth.share(curve, factor, price)[curve.counts.tolist().index(4)]
    kept: dict[str, Any] = {unit.name: range(unit.size) for unit in units}
    twin = mask(model, PruningPlan(units, kept | {"two": curve.selected(4)}))
    with torch.no_grad():
        own, other = model(IMAGES).double(), twin(IMAGES).double()
    signal = (own - own.mean((0, 2, 3), keepdim=True)).square().sum()
    expected = float((own - other).square().sum() / signal)
    assert float(found["two"](1.0 - float(share))) == pytest.approx(expected, rel=1e-4)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_first_split_is_proved_and_priced_by_the_responses() -> None:
    """Objective and bound are those of what comes through to the output."""
    result = prune(randomized(Residual), IMAGES, macs=0.5)
    solution = result.solution
    assert result.report.allocation == "measured"
    assert solution.gap is not None
    assert solution.gap <= 1e-3
    problem = solution.problem
    worth = problem.worth
    price = worth.price_of(solution.curves, problem.factors)
    for name, loss in solution.losses.items():
        curve = solution.curves[name]
        place = curve.counts.tolist().index(solution.counts[name])
        lost = 1.0 - worth.share(curve, problem.factors[name], price)[place]
        through = 1.0 - float(worth.responses[name](lost))
        assert loss == pytest.approx(-np.log(max(through, 1e-6)), abs=1e-9)


def test_by_default_a_refit_is_split_by_measurement() -> None:
    """Not where numbers are given, nor where nothing is refitted."""
    assert PruneRequest(budget={"macs": 0.5}).split == "measured"  # type: ignore[arg-type]
    assert PruneRequest(keep=0.5).split == "balanced"
    assert PruneRequest(budget={"macs": 0.5}, refit=None).split == "balanced"  # type: ignore[arg-type]
    request = PruneRequest(budget={"macs": 0.5}, allocation=Measured(samples=3))  # type: ignore[arg-type]
    assert PruneRequest.from_json(request.to_json()) == request
    plain = PruneRequest(budget={"macs": 0.5})  # type: ignore[arg-type]
    assert PruneRequest.from_json(plain.to_json()) == plain


def test_nothing_is_split_by_what_was_not_measured() -> None:
    """The core refuses, and takes responses that come from elsewhere."""
    problem = prune(branches(), IMAGES, macs=0.6, allocation="optimal").solution.problem
    with pytest.raises(InvalidProblemError, match="responses"):
        solve_network(problem, "greedy", allocation="measured")
    with pytest.raises(InvalidProblemError, match=r"responses\['one'\]"):
        Worth(responses={"one": 2.0})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("points", "scale", "power"),
    [
        ([], 1.0, 1.0),
        ([(0.0, 0.5)], 1.0, 1.0),
        ([(0.5, 0.25), (1.0, 1.0)], 1.0, 2.0),
        ([(0.5, 0.25), (0.6, 0.2)], 0.25 / 0.5**0.3, 0.3),
        ([(0.5, 0.0), (0.6, 0.2)], 0.0005 / 0.5**1.25, 1.25),
    ],
)
def test_a_response_goes_through_its_first_point(
    points: list[tuple[float, float]], scale: float, power: float
) -> None:
    """And is never negative, never above all of the signal, never a free gift."""
    response = Response.through(points)
    assert response.scale == pytest.approx(scale)
    assert response.power == pytest.approx(power)
    lost = np.linspace(-0.1, 1.0, 30)
    assert np.all(np.diff(response(lost)) >= 0)
    assert response(lost)[0] == 0
    assert np.all(response(lost) <= 1)
