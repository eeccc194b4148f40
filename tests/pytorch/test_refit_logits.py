"""Queries and keys that lose dimensions are refitted on their logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sirfp_opt import ReconstructionProblem
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.network.plan import PruningPlan, PruningUnit
from sirfp_opt.network.sites import Site
from sirfp_opt.pytorch import Refit, apply_plan, couple, extract, prune, refit
from sirfp_opt.pytorch.coupling.pairings import MIXED
from sirfp_opt.pytorch.coupling.units import pairings_of
from sirfp_opt.pytorch.extraction.bases import basis_of
from sirfp_opt.pytorch.refitting.bilinear import fit_logits
from sirfp_opt.pytorch.refitting.refit import refit_pruned

EXACT: dict[str, Any] = {"held_out": 0.0, "positions": None}
HEADS, N = 3, 4


class Attention(nn.Module):
    """Self-attention of three heads with four dimensions each, written out."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.num_heads, width = kind, HEADS, HEADS * N
        self.norm: nn.Module = nn.Identity()
        self.query, self.key, self.value, self.project = (
            nn.Linear(width, width) for _ in range(4)
        )
        if kind == "fused":
            self.query = nn.Linear(width, 2 * width)
        if kind == "normed":
            self.norm = nn.LayerNorm(N)

    def forward(self, x: Tensor) -> Tensor:
        """Attend."""
        samples, count, _ = x.shape
        if self.kind == "fused":
            both = self.query(x).view(samples, count, 2, self.num_heads, -1)
            q, k = both.permute(2, 0, 3, 1, 4)
        else:
            q, k = (
                layer(x).view(samples, count, self.num_heads, -1).transpose(1, 2)
                for layer in (self.query, self.key)
            )
        v = self.value(x).view(samples, count, self.num_heads, -1).transpose(1, 2)
        if self.kind == "normed":
            q = self.norm(q)
        if self.kind == "rotary":
            angle = torch.arange(count).to(x)[:, None]
            a, b = q.chunk(2, dim=-1)
            q = torch.cat(
                [a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()],
                dim=-1,
            )
        logits = q @ k.transpose(-1, -2) * 0.5
        if self.kind == "turned":
            weights = (k @ q.transpose(-1, -2) * 0.5).softmax(-2).transpose(-1, -2)
        elif self.kind == "squashed":
            weights = logits.sigmoid()
        else:
            weights = logits.softmax(-1)
        made: Tensor = self.project((weights @ v).transpose(1, 2).flatten(2))
        return made


class Network(nn.Module):
    """An attention beside a stream."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.stem, self.attention = nn.Linear(5, HEADS * N), Attention(kind)
        self.head = nn.Linear(HEADS * N, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores, token by token."""
        x = self.stem(x).tanh()
        scores: Tensor = self.head(x + self.attention(x))
        return scores


def network(kind: str = "plain") -> Any:
    """Return one in double precision whose logits are not all small."""
    torch.manual_seed(0)
    model: Any = Network(kind).double().eval()
    with torch.no_grad():
        for name in ("query", "key"):
            model.attention.get_submodule(name).weight.mul_(3)
    return model


def tokens(samples: int = 12) -> Tensor:
    """Return samples of seven tokens."""
    torch.manual_seed(1)
    return torch.randn(samples, 7, 5).double()


def half(model: Any, x: Tensor, which: str = "query") -> tuple[PruningPlan, Any]:
    """Return a plan that keeps every other group of units with such a name."""
    coupling = couple(model, x, heads="inside")
    kept = {
        unit.name: sorted(c for group in unit.classes[::2] for c in group)
        if which in unit.name
        else range(unit.size)
        for unit in coupling.units
    }
    return PruningPlan(coupling.units, kept), coupling


def logits_of(model: Any, x: Tensor) -> Tensor:
    """Return the logits about the mean of each row, head by head."""
    attention = model.attention
    x = model.stem(x).tanh()
    if attention.kind == "fused":
        q, k = attention.query(x).chunk(2, dim=-1)
    else:
        q, k = attention.query(x), attention.key(x)
    q, k = (y.unflatten(-1, (HEADS, -1)).transpose(1, 2).detach() for y in (q, k))
    logits: Tensor = q @ k.transpose(-1, -2)
    return logits - logits.mean(-1, keepdim=True)


def share(model: Any, other: Any, x: Tensor) -> float:
    """Return the error of the logits as a share of their square."""
    own = logits_of(model, x)
    return float((logits_of(other, x) - own).square().sum() / own.square().sum())


@pytest.mark.parametrize("kind", ["plain", "fused", "turned", "squashed"])
def test_queries_and_keys_are_found_by_what_is_multiplied(kind: str) -> None:
    """Whatever the names and the order; and whether a softmax reads the product."""
    (pairing,) = pairings_of(network(kind), tokens())
    keys = "query" if kind == "fused" else "key"
    assert (pairing.queries, pairing.keys) == ("attention.query", f"attention.{keys}")
    assert pairing.query_rows[1] == (4, 5, 6, 7)
    assert pairing.key_rows[0][0] == (12 if kind == "fused" else 0)
    assert pairing.centred == (kind != "squashed")
    assert not pairing.reason


@pytest.mark.parametrize("kind", ["normed", "rotary"])
def test_what_stands_between_layer_and_product_is_noticed(kind: str) -> None:
    """A norm or a rotation does not commute with a map of the queries."""
    (pairing,) = pairings_of(network(kind), tokens())
    assert pairing.reason == MIXED


def test_a_coupling_tells_of_those_that_its_units_may_cut_in_part() -> None:
    """Whole heads take their logits along: nothing is tried then."""
    model, x = network("plain"), tokens()
    assert couple(model, x).pairings == ()
    assert couple(model, x, heads="inside").pairings == pairings_of(model, x)


@pytest.mark.parametrize("kind", ["plain", "fused"])
def test_the_report_says_what_the_logits_lose(kind: str) -> None:
    """Before and after, measured on the networks themselves; never more than cut."""
    model, x = network(kind), tokens(16)
    plan, _ = half(model, x)
    how = Refit(**{**EXACT, "held_out": 0.25})
    result: Any = refit(model, plan, x, how)
    row = next(row for row in result.report.layers if row.kind == "logits")
    held = torch.tensor([3, 7, 11, 15])
    fitted = torch.tensor([i for i in range(16) if i not in held])
    cut = apply_plan(model, plan)
    for some, before, after in (
        (x[fitted], row.before, row.after),
        (x[held], row.held_before, row.held_after),
    ):
        assert share(model, cut, some) == pytest.approx(before)
        assert share(model, result.model, some) == pytest.approx(after)
        assert after < before
    assert row.layer.startswith("attention.query @ attention.")
    assert "logits" in str(result.report)


@given(
    st.integers(1, 4), st.integers(1, 3), st.booleans(), st.floats(0, 0.1), st.data()
)
@settings(max_examples=15, deadline=None)
def test_no_other_map_does_better(
    size: int, lost: int, bias: bool, ridge: float, data: Any
) -> None:
    """The slopes of the error plus ridge are zero, by autograd; samples are unlike."""
    torch.manual_seed(data.draw(st.integers(0, 99)))
    n = size + lost
    q, k = (torch.randn(5, 9, n).double() * torch.rand(5, 1, n) for _ in range(2))
    order = torch.randperm(n).tolist()
    kept, gone = sorted(order[:size]), sorted(order[size:])
    one = torch.cat([q, torch.ones_like(q[..., :1])], dim=2)
    fit = fit_logits(one.mT @ one, k.mT @ k, kept, gone, ridge=ridge, bias=bias)
    matrix = fit.matrix.clone().requires_grad_()
    shift = fit.shift.clone().requires_grad_()
    wanted = q @ k.mT
    made = (q[..., kept] @ matrix + shift) @ k[..., kept].mT
    loss = (wanted - made).square().sum()
    powers = (y[..., kept].square().sum(1).mean(1) for y in (q, k))
    pull = ridge * (next(powers) * next(powers)).sum()
    total = loss + pull * (matrix - torch.eye(size)).square().sum()
    slopes = torch.autograd.grad(total, [matrix, shift])
    scale = float(wanted.square().sum())
    assert float(slopes[0].abs().max()) < 1e-7 * scale
    assert not bias or float(slopes[1].abs().max()) < 1e-7 * scale
    assert float(loss.detach()) == pytest.approx(
        fit.errors.after, rel=1e-6, abs=1e-9 * scale
    )
    assert fit.errors.after <= fit.errors.before * (1 + 1e-9)


def test_planted_logits_of_low_rank_are_recovered() -> None:
    """Two of four dimensions carry all: the network without the others is the same."""
    model, x = network(), tokens()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name in ("query", "key"):
            layer = model.attention.get_submodule(name)
            for head in range(HEADS):
                rows = slice(head * N, head * N + N)
                basis = torch.randn(N, 2, generator=generator).double()
                layer.weight[rows] = basis @ layer.weight[rows][:2]
                layer.bias[rows] = basis @ layer.bias[rows][:2]
    plan, _ = half(model, x)
    result = refit(model, plan, x, Refit(ridge=0.0, **EXACT))
    other = tokens(30)
    assert share(model, apply_plan(model, plan), other) > 0.01
    assert float((result.model(other) - model(other)).detach().abs().max()) < 1e-8


def test_each_head_may_lose_other_dimensions() -> None:
    """A plan of one's own: the report is of each head's own sets."""
    model, x = network(), tokens()
    generator = np.random.default_rng(0)
    table = np.stack([h * N + generator.permutation(N) for h in range(HEADS)], axis=1)
    sites = [
        Site.of_table(f"attention.{layer}.{leaf}", 0, HEADS * N, table)
        for layer in ("query", "key")
        for leaf in ("weight", "bias")
    ]
    plan = PruningPlan([PruningUnit("qk", N, tuple(sites))], {"qk": [0, 3]})
    result: Any = refit(model, plan, x, Refit(**EXACT))
    (row,) = result.report.layers
    assert row.kind == "logits"
    assert share(model, result.model, x) == pytest.approx(row.after)
    assert share(model, apply_plan(model, plan), x) == pytest.approx(row.before)


@pytest.mark.parametrize("inputs", ["original", "cut"])
def test_where_a_reader_makes_the_queries_both_fits_hold(inputs: Any) -> None:
    """The layer that reads a cut stream gets its weights, then the map of queries."""
    model, x = network(), tokens(24)
    plan, coupling = half(model, x, which="")
    how = Refit(**{**EXACT, "inputs": inputs})
    both: Any = apply_plan(model, plan)
    readers: Any = apply_plan(model, plan)
    report = refit_pruned(model, both, plan, x, how, pairings=coupling.pairings)
    refit_pruned(model, readers, plan, x, how, pairings=())
    assert report["attention.query"].kind == "full"
    assert report["attention.query @ attention.key"].kind == "logits"
    assert share(model, both, x) < 0.7 * share(model, readers, x)


@given(
    st.integers(1, 5), st.sampled_from([0.0, 1e-3, 0.1]), st.booleans(), st.integers(0)
)
@settings(max_examples=15, deadline=None)
def test_a_basis_changes_no_logit(
    n: int, ridge: float, singular: bool, seed: int
) -> None:
    """T R' = I; the first s terms are the best of rank s, of one sample."""
    generator = np.random.default_rng(seed)
    q, k = (torch.from_numpy(generator.normal(size=(9, n))) for _ in range(2))
    if singular:
        q[:, 0] = 0.0
    order = generator.permutation(n).tolist()
    one, two = basis_of(q.T @ q, k.T @ k, ridge, order)
    assert torch.allclose(one @ two.T, torch.eye(n).double(), atol=1e-6)
    if ridge == 0.0:
        values = torch.linalg.svdvals(q @ k.T)
        for size in range(n):
            some = order[:size]
            left = q @ k.T - (q @ one)[:, some] @ (k @ two)[:, some].T
            best = float(values[size:].square().sum())
            assert float(left.square().sum()) == pytest.approx(best, rel=1e-4, abs=1e-5)


def test_what_cannot_be_refitted_is_said() -> None:
    """Normed queries are left as they were cut."""
    model, x = network("normed"), tokens()
    sites = [
        Site.of_table(f"attention.{name}", 0, size, table)
        for name, size, table in (
            *((f"{a}.{b}", HEADS * N, np.arange(HEADS * N).reshape(HEADS, N).T)
              for a in ("query", "key") for b in ("weight", "bias")),
            ("norm.weight", N, np.arange(N)),
            ("norm.bias", N, np.arange(N)),
        )
    ]  # fmt: skip
    plan = PruningPlan([PruningUnit("qk", N, tuple(sites))], {"qk": [0, 1]})
    cut = apply_plan(model, plan)
    pairings = pairings_of(model, x)
    report = refit_pruned(model, cut, plan, x, Refit(**EXACT), pairings=pairings)
    (row,) = report.layers
    assert (row.kind, row.reason) == ("cut", MIXED)
    weights = apply_plan(model, plan).state_dict()
    assert all(torch.equal(a, weights[name]) for name, a in cut.state_dict().items())


def test_nothing_cut_is_bitwise_equal() -> None:
    """A plan that keeps all leaves queries and keys as they are."""
    model, x = network(), tokens()
    coupling = couple(model, x, heads="inside")
    kept = {unit.name: range(unit.size) for unit in coupling.units}
    result = refit(model, PruningPlan(coupling.units, kept), x)
    weights = model.state_dict()
    made = result.model.state_dict()
    assert all(torch.equal(a, weights[name]) for name, a in made.items())


def test_the_metric_is_what_refitted_logits_lose() -> None:
    """Of one sample, without a bias to help: the value is what comes through."""
    model, x = network(), tokens(1)
    model.attention.query.bias = None
    plan, coupling = half(model, x)
    graphs = extract(model, x, metric="refit", coupling=coupling)
    problem: ReconstructionProblem = graphs.problem("attention.query", ridge=0.0)
    result = refit(model, plan, x, Refit(ridge=0.0, **EXACT))
    groups = coupling.unit("attention.query").classes
    for size, lost in ((2, share(model, result.model, x)), (4, 0.0)):
        kept = [channel for group in groups[:size] for channel in group]
        assert problem.value_of(kept) == pytest.approx(1 - lost, abs=1e-6)
    assert problem.value_of([c for group in groups[2:] for c in group]) < 0.5


def test_without_a_refit_the_metric_is_of_the_terms_as_they_are() -> None:
    """Inner products of q_d k_d', whose sum the logits are."""
    model, x = network(), tokens()
    coupling = couple(model, x, heads="inside")
    graphs = extract(model, x, metric="reconstruction", coupling=coupling)
    (matrix,) = graphs.redundancy["attention.query"].values()
    with torch.no_grad():
        stream = model.stem(x).tanh()
        q, k = (
            layer(stream).unflatten(-1, (HEADS, N))
            for layer in (model.attention.query, model.attention.key)
        )
    k = k - k.mean(1, keepdim=True)
    terms = torch.einsum("sihd,sjhd->hdsij", q, k).flatten(2)
    for head in range(HEADS):
        rows = slice(head * N, head * N + N)
        gram = terms[head] @ terms[head].T
        gram /= terms.square().sum()
        assert np.allclose(matrix[rows, rows], gram.numpy())
    assert np.allclose(matrix[:N, N:], 0.0)


def test_prune_takes_what_was_measured_so() -> None:
    """Queries and keys lose the same places of every head, and are refitted."""
    model, x = network(), tokens(24)
    coupling = couple(model, x, heads="inside")
    graphs = extract(model, x, metric="refit", coupling=coupling)
    keep = {"attention.query": 0.5}
    result = prune(model, x, graphs=graphs, keep=keep, method="greedy", multiple_of=1)
    report: Any = result.report.refit
    row = report["attention.query @ attention.key"]
    assert row.kind == "logits"
    assert row.held_after < row.held_before


def test_heads_go_whole_or_inside() -> None:
    """Any other word is refused."""
    with pytest.raises(InvalidProblemError, match="`heads` must be 'whole' or"):
        couple(network(), tokens(), heads="half")  # type: ignore[arg-type]
