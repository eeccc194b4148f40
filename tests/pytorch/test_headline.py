"""The first line of a report: how much can be cut, and what holds the rest."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sirfp_opt.pytorch import prune
from sirfp_opt.pytorch.result import PruneResult


class Held(nn.Module):
    """Eight channels that may go, 32 held by a softmax, four outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3)
        self.b = nn.Conv2d(8, 32, 1)
        self.c = nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise across channels."""
        out: Tensor = self.c(torch.softmax(self.b(self.a(x)), 1))
        return out


@pytest.fixture(scope="module")
def held() -> PruneResult:
    """Return the network with half of the free channels gone."""
    torch.manual_seed(0)
    return prune(Held(), torch.rand(2, 3, 8, 8), keep=0.5, refit=None)


def test_it_counts_every_channel_once_and_names_what_holds_most(
    held: PruneResult,
) -> None:
    """8 of 44 can go, half of them went; the softmax holds 32 of the 36 others."""
    assert held.report.channels == {"total": 44, "can": 8, "kept": 4}
    macs = held.report.macs
    assert macs is not None
    # 36 pixels; of 3 x 3 x 3 x 8 + 8 x 32 + 32 x 4 products 7 of 8 of the first two go.
    assert macs == {"total": 36 * 600, "can": 36 * 413}
    assert held.report.headline == (
        "8 of 44 channels (18 %) and 69 % of the MACs can be cut, 4 channels were; the "
        "rest is left whole: 32 by b (softmax normalises across channels), 4 by c (its "
        "channels are the network's output)."
    )
    assert str(held.report).splitlines()[0] == held.report.headline
    assert held.report.to_dict()["headline"] == held.report.headline


def test_below_half_it_warns_in_text_and_on_the_page(
    held: PruneResult, tmp_path: Path
) -> None:
    """A network of which little can go says so before any table."""
    assert (
        str(held.report)
        .splitlines()[1]
        .startswith("WARNING: less than half of the channels can be cut")
    )
    held.to_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "8 of 44 channels" in page
    assert "Warning:" in page


def test_above_half_it_does_not_warn() -> None:
    """Two outputs of eighteen channels are no reason to worry."""
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 2, 1))
    report = prune(net, torch.rand(2, 3, 8, 8), keep=0.5, refit=None).report
    assert report.headline.startswith("16 of 18 channels (89 %) and 94 % of the MACs")
    assert "the rest is left whole: 2 by 2 (its channels are" in report.headline
    assert report.warning is None
