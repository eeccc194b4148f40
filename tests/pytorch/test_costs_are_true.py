"""Costs are the true ones: attention by formula, no guess at the batch, no double."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from sirfp_opt.network.plan import PruningPlan
from sirfp_opt.pytorch import apply_plan, count_macs, couple, prune, read_cost
from sirfp_opt.pytorch.batches import first_sample
from sirfp_opt.pytorch.counting import tally

TOKENS = torch.rand(2, 20, 16, generator=torch.Generator().manual_seed(0))


def by_countable_operations(model: nn.Module, batch: Tensor) -> int:
    """Count with gradients on: the same sums, by operations that torch counts."""
    with (
        FlopCounterMode(display=False) as counter,
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
    ):
        model(batch)
    return int(counter.get_total_flops()) // 2


class SelfAttention(nn.Module):
    """A torch attention layer called on one input."""

    def __init__(self, *, weights: bool) -> None:
        super().__init__()
        self.weights = weights
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Attend."""
        out: Tensor = self.attention(x, x, x, need_weights=self.weights)[0]
        return out


class Fused(nn.Module):
    """Attention by scaled_dot_product_attention, two heads of eight."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(16, 48)

    def forward(self, x: Tensor) -> Tensor:
        """Attend."""
        q, k, v = self.qkv(x).unflatten(2, (3, 2, 8)).permute(2, 0, 3, 1, 4)
        out: Tensor = functional.scaled_dot_product_attention(q, k, v)
        return out


def encoder() -> nn.Module:
    """Return torch's encoder, which has a fused inference path."""
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    return nn.TransformerEncoder(layer, 2)


ATTENTION: dict[str, Callable[[], nn.Module]] = {
    "layer, with weights": lambda: SelfAttention(weights=True),
    "layer, without": lambda: SelfAttention(weights=False),
    "function": Fused,
    "encoder": encoder,
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_counts_the_same_by_every_path(name: str) -> None:
    """What a CPU's fused kernels do is counted as what plain products do."""
    model = ATTENTION[name]().eval()
    assert count_macs(model, TOKENS) == by_countable_operations(model, TOKENS)


def test_counting_leaves_the_fused_path_as_it_was() -> None:
    """A switch of torch's that is flipped is flipped back."""
    for enabled in (True, False):
        torch.backends.mha.set_fastpath_enabled(enabled)
        count_macs(encoder(), TOKENS)
        assert torch.backends.mha.get_fastpath_enabled() is enabled
    torch.backends.mha.set_fastpath_enabled(True)


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_count_each_step(layer: Any) -> None:
    """Every weight is applied at every step of every sequence."""
    model = layer(16, 8, batch_first=True)
    weights = sum(p.numel() for p in model.parameters() if p.dim() == 2)
    assert count_macs(model, TOKENS) == 2 * 20 * weights


class Spectrum(nn.Module):
    """A Fourier transform, which has no formula, and a random number."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        """Transform."""
        out: Tensor = torch.fft.rfft(self.inner(x)).abs()
        return out + functional.dropout(x[..., :9])


def test_what_has_no_formula_is_named() -> None:
    """An operation that multiplies and is not counted is said, with its module."""
    done = tally(nn.Sequential(Spectrum()), TOKENS)
    assert done.uncounted == {"aten::_fft_r2c": "0"}
    assert list(done.random.values()) == ["0"]
    assert "_fft_r2c" in done.notes[0]


class Queries(nn.Module):
    """Learned queries, expanded over the batch, as in DETR."""

    def __init__(self) -> None:
        super().__init__()
        self.pixels = nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 16))
        self.tokens = nn.Parameter(torch.rand(1, 4, 16))
        self.mlp = nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 16))

    def forward(self, x: Tensor) -> Tensor:
        """Compare queries with tokens."""
        queries = self.mlp(self.tokens.expand(len(x), -1, -1))
        out: Tensor = queries @ self.pixels(x).transpose(1, 2)
        return out


def test_learned_queries_and_frozen_networks_are_counted() -> None:
    """A view of a parameter is an input like any other, with or without gradients."""
    model = Queries()
    expected = by_countable_operations(model, TOKENS)
    assert count_macs(model, TOKENS) == expected
    assert count_macs(model.requires_grad_(False), TOKENS) == expected


def test_layers_on_learned_queries_are_priced() -> None:
    """A product of two parameters goes by both: the weight's sides, and the stream."""
    model = Queries()
    units = couple(model, TOKENS).units
    assert {"pixels.0", "mlp.0"} <= {unit.name for unit in units}
    cost = read_cost(model, units, TOKENS)
    for unit in units:
        kept = {one.name: range(one.size) for one in units}
        plan = PruningPlan(units, {**kept, unit.name: range(unit.size // 4)})
        pruned = apply_plan(model, plan)
        assert cost.predict(plan.counts)["macs"] == count_macs(pruned, TOKENS[:1])


class Strided(nn.Module):
    """A frozen linear layer on tokens that are not contiguous."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 24)
        self.second = nn.Linear(24, 16)

    def forward(self, x: Tensor) -> Tensor:
        """Mix channels of transposed tokens."""
        y = torch.relu(self.first(x.transpose(0, 1)))
        out: Tensor = self.second(y.transpose(0, 1))
        return out


@pytest.mark.parametrize("frozen", [False, True])
def test_predicted_costs_are_measured_costs(frozen: bool) -> None:
    """Whatever kernel a layer goes through, it is priced once."""
    model = Strided().requires_grad_(not frozen)
    units = couple(model, TOKENS).units
    cost = read_cost(model, units, TOKENS)
    assert cost.total("macs") == count_macs(model, TOKENS[:1])


class LengthFirst(nn.Module):
    """Takes (length, batch, channels), as torch's recurrent layers do."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(16, 24, 3, padding=1)
        self.linear = nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve along the length, and take the largest."""
        out: Tensor = self.linear(self.convolution(x.permute(1, 2, 0)).amax(2))
        return out


def test_the_batch_is_not_guessed_from_a_shape() -> None:
    """Of (L, N, C) inputs no step is taken for a sample; of (N, L, C) one is."""
    assert first_sample(LengthFirst(), TOKENS) is TOKENS
    assert first_sample(Strided(), TOKENS).shape == (1, 20, 16)
    assert first_sample(nn.Conv2d(3, 4, 3), torch.rand(3, 8, 8)).shape == (3, 8, 8)
    batch = {"x": TOKENS, "scale": torch.rand(16)}
    cut = first_sample(Strided(), batch, lambda m, b: m(b["x"] * b["scale"]))
    assert (cut["x"].shape, cut["scale"].shape) == ((1, 20, 16), (16,))


def test_a_budget_of_length_first_inputs_is_kept() -> None:
    """What is reported is what a count of the pruned network on the batch gives."""
    model = LengthFirst().eval()
    result = prune(model, [TOKENS], macs=0.5)
    real = by_countable_operations(result.model, TOKENS)
    assert result.report.reached["macs"] == pytest.approx(
        real / by_countable_operations(model, TOKENS)
    )
    assert result.report.reached["macs"] <= 0.5


def test_the_first_finite_sample_is_taken() -> None:
    """A picture with a NaN does not stand for the others."""
    batch = TOKENS.clone()
    batch[0, 0, 0] = float("nan")
    assert torch.equal(first_sample(Strided(), batch), TOKENS[1:])
