"""Comparing networks' outputs: no error hides behind another channel's size."""

from __future__ import annotations

import math

import pytest
import torch

from sirfp_opt.pytorch.comparison import compare


def wrong(factor: float = 1.25) -> tuple[torch.Tensor, torch.Tensor]:
    """Return maps (2, 3, 4, 5), one channel of which is off by a quarter."""
    right = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)) + 0.5
    scaled = right.clone()
    scaled[:, 1] *= factor
    return scaled, right


@pytest.mark.parametrize("size", [1e-30, 1e-6, 1.0, 1e6])
def test_the_scale_of_the_outputs_hides_nothing(size: float) -> None:
    """An error of a quarter is a quarter, whatever the unit of the outputs."""
    one, other = wrong()
    found = compare([one * size], [other * size])
    assert found.relative == pytest.approx(0.25, rel=1e-3)
    assert (found.output, found.channel) == (0, 1)


def test_a_large_channel_hides_nothing() -> None:
    """A banned class's logit of -1e9, beside which float32 knows no quarter."""
    one, other = wrong()
    banned = torch.full_like(one[:, :1], -1e9)
    found = compare([torch.cat([one, banned], 1)], [torch.cat([other, banned], 1)])
    assert found.relative == pytest.approx(0.25, rel=1e-2)


def test_a_second_large_output_hides_nothing() -> None:
    """Coordinates in pixels beside scores."""
    one, other = wrong()
    pixels = torch.arange(100.0) * 1e4
    found = compare([pixels, one], [pixels, other])
    assert found.relative == pytest.approx(0.25, rel=1e-3)
    assert found.output == 1


def test_channels_of_tokens_are_the_last_dimension() -> None:
    """Of (N, L, C) outputs a small last channel counts by its own size."""
    right = torch.rand(2, 7, 4) + 0.5
    right[..., 3] *= 1e-3
    off = right.clone()
    off[..., 3] *= 1.25
    assert compare([off], [right]).relative == pytest.approx(0.25, rel=1e-2)


def test_rounding_is_no_error() -> None:
    """What cancellation leaves, and a channel that is zero but for rounding."""
    right = torch.rand(2, 3, 4, 5) + 0.5
    right[:, 2] = 0.0
    noisy = right + 1e-7 * torch.rand(2, 3, 4, 5)
    assert compare([noisy], [right]).relative < 1e-6
    noisy[0, 2, 0, 0] = 1e-3
    assert compare([noisy], [right]).relative == math.inf


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_must_be_so_on_both_sides(value: float) -> None:
    """The same infinity or NaN on both sides is equal, on one side it is not."""
    one, other = wrong(1.0)
    one[0, 0, 0, 0] = value
    assert compare([one], [other]).relative == math.inf
    other[0, 0, 0, 0] = value
    assert compare([one], [other]).relative == 0.0


def test_shapes_must_be_equal() -> None:
    """Another shape is another output."""
    one, other = wrong()
    assert compare([one[:1]], [other]).relative == math.inf
    assert compare([one, one], [other]).relative == math.inf
    assert compare([], []).relative == 0.0
