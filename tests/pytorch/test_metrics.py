"""The redundancy and edge terms, against the formulas written out plainly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sirfp_opt import InvalidProblemError
from sirfp_opt.pytorch.extraction.averages import Averaging, LayerStatistics
from sirfp_opt.pytorch.extraction.importances import edge_strength


def by_image(maps: torch.Tensor) -> torch.Tensor:
    """Average the L1-normalised Gram matrices, one image at a time."""
    total = torch.zeros(maps.shape[1], maps.shape[1], dtype=torch.float64)
    for image in maps.double():
        flat = image.flatten(1)
        flat = flat / (flat.abs().sum(1, keepdim=True) + 1e-5)
        total += flat @ flat.T
    return total / len(maps)


@pytest.mark.parametrize("channels", [5, 130, 300])
def test_fused_panels_equal_the_plain_formula(channels: int) -> None:
    """One product per panel of the upper triangle gives the whole mean matrix."""
    maps = torch.randn(3, channels, 6, 7)
    record = LayerStatistics()
    record.update(maps)
    found = record.result().redundancy()
    torch.testing.assert_close(found.double(), by_image(maps), atol=1e-7, rtol=1e-4)
    assert torch.equal(found, found.T)


def test_the_plain_mean_does_not_depend_on_the_batches() -> None:
    """Images in batches of 1, 2 and 4 give the mean over all seven."""
    maps = torch.randn(7, 9, 5, 5, dtype=torch.float64)
    whole, parts = LayerStatistics(), LayerStatistics()
    whole.update(maps)
    for some in torch.split(maps, [1, 2, 4]):
        parts.update(some)
    torch.testing.assert_close(parts.result().redundancy(), whole.result().redundancy())
    torch.testing.assert_close(parts.result().term, whole.result().term)


def test_exponential_average_from_zero_and_corrected() -> None:
    """Uncorrected: Σ (1-r) r^(T-t) S_t; corrected: divided by 1 - r^T."""
    batches = torch.randn(3, 2, 4, 6, 6, dtype=torch.float64)
    plain, corrected = (
        LayerStatistics(averaging=Averaging(0.8, correction))
        for correction in (False, True)
    )
    expected = torch.zeros(4, 4, dtype=torch.float64)
    for batch in batches:
        plain.update(batch)
        corrected.update(batch)
        expected = 0.8 * expected + 0.2 * by_image(batch)
    torch.testing.assert_close(plain.result().redundancy(), expected)
    torch.testing.assert_close(corrected.result().redundancy(), expected / (1 - 0.8**3))


def test_edge_term_equals_the_convolution() -> None:
    """The separable form equals a 3 x 3 convolution with x / (x² + y²)."""
    maps = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    x, y = torch.meshgrid(torch.arange(-1, 2), torch.arange(-1, 2), indexing="ij")
    square = (x**2 + y**2).clamp(min=1).double()
    kernels = torch.stack([x / square, y / square])[:, None]
    gradient = F.conv2d(maps.flatten(0, 1)[:, None], kernels, padding=1)
    magnitude = gradient.norm(dim=1).flatten(1)
    spread = magnitude.var(dim=1, unbiased=False).sqrt().view(2, 3).mean(0)
    torch.testing.assert_close(edge_strength(maps), spread)


def test_edge_term_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few maps are taken at a time, the answer is the same."""
    maps = torch.randn(2, 7, 6, 5)
    whole = edge_strength(maps)
    monkeypatch.setattr(
        "sirfp_opt.pytorch.extraction.importances.EDGE_CHUNK",
        {"cpu": 1, "accelerator": 1},
    )
    torch.testing.assert_close(edge_strength(maps), whole, atol=0, rtol=0)


def test_edge_term_of_flat_maps_is_zero_not_nan() -> None:
    """Float32 cancellation below zero is clamped; 1 x 1 maps have no edge."""
    maps = torch.full((1, 2, 1, 1), 7.0)
    assert edge_strength(maps).tolist() == [0.0, 0.0]
    assert bool(torch.isfinite(edge_strength(torch.full((1, 1, 40, 40), 1e4))).all())


def test_pooled_maps_are_compared_over_images() -> None:
    """1 x 1 maps: within an image all are ±1 copies, over the images they are not."""
    # Away from zero, where the 1e-5 beside the norm would show.
    maps = torch.randn(40, 6, 1, 1, dtype=torch.float64)
    maps += 0.5 * maps.sign()
    ours, theirs = LayerStatistics(), LayerStatistics(pool_constant=False)
    ours.update(maps)
    theirs.update(maps)
    rows = maps[:, :, 0, 0].T
    rows = rows / rows.abs().mean(dim=1, keepdim=True)
    expected = rows @ rows.T / 40
    torch.testing.assert_close(ours.result().redundancy(), expected, atol=0, rtol=1e-4)
    assert ours.counts.constant
    diagonal = theirs.result().redundancy().diagonal()
    torch.testing.assert_close(diagonal, torch.ones_like(diagonal), atol=1e-3, rtol=0)


def test_a_blank_first_batch_does_not_make_a_layer_constant() -> None:
    """Once the maps vary, the layer is measured afresh over its positions."""
    maps = torch.randn(2, 3, 8, 8)
    record = LayerStatistics()
    record.update(torch.ones(2, 3, 8, 8))
    record.update(maps)
    torch.testing.assert_close(
        record.result().redundancy().double(), by_image(maps), atol=1e-7, rtol=1e-4
    )
    assert record.counts.images == 2


def test_dead_channels_give_zero_rows() -> None:
    """A channel that is zero everywhere is alike to nothing, itself included."""
    maps = torch.randn(2, 4, 5, 5)
    maps[:, 1] = 0
    for metric in ("spatial", "cosine"):
        record = LayerStatistics(metric)
        record.update(maps)
        found = record.result().redundancy()
        assert found[1].abs().max() == 0
        assert bool(torch.isfinite(found).all())


def test_cosine_has_a_diagonal_of_ones() -> None:
    """The metric "cosine" divides by the L2 norm."""
    record = LayerStatistics("cosine")
    record.update(torch.randn(3, 4, 5, 5))
    np.testing.assert_allclose(
        record.result().redundancy().diagonal().numpy(), 1, rtol=1e-5
    )


def test_half_precision_is_averaged_in_float32() -> None:
    """Bfloat16 maps do not make a bfloat16 average."""
    maps = torch.randn(2, 4, 6, 6).bfloat16()
    record = LayerStatistics()
    record.update(maps)
    assert record.result().redundancy().dtype == torch.float32
    torch.testing.assert_close(
        record.result().redundancy().double(), by_image(maps), atol=1e-7, rtol=1e-4
    )


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_decay_out_of_range(decay: float) -> None:
    """A decay outside of [0, 1) is refused."""
    with pytest.raises(InvalidProblemError, match="decay"):
        Averaging(decay)
