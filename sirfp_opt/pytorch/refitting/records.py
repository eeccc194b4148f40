"""What is kept of one reader while batches stream by."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sirfp_opt.pytorch.refitting.moments import Moments
    from sirfp_opt.pytorch.refitting.readers import Reader

__all__ = ["Record", "Rows", "held_out", "most_rows", "seen_and_lacking"]

JUDGED = 256
"""Rows on which a fit is judged, where its sums do not say how well it does."""

JUDGED_ELEMENTS = 1 << 21
"""Of these rows, at most so many elements for each layer."""


class Rows:
    """A uniform sample of the rows of a stream of unknown length."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._keys = torch.empty(0)
        self._rows = torch.empty(0)

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, rows: Tensor, generator: torch.Generator) -> None:
        """Take in rows, by the first dimension: those of the largest keys stay."""
        keys = torch.cat([self._keys, torch.rand(len(rows), generator=generator)])
        rows = rows if not len(self) else torch.cat([self._rows, rows])
        stay = keys.topk(min(self.most, len(keys))).indices
        self._keys, self._rows = keys[stay], rows[stay.to(rows.device)]

    def get(self) -> Tensor:
        """Return the rows, see `seen_and_lacking`."""
        return self._rows


@dataclass
class Record:
    """What was seen of one reader.

    Attributes
    ----------
    inputs : Moments
        Of all the channels that it reads.
    blocks : list of Moments
        Of what the taps see of kept inputs, with what is lost as targets: one for each
        group.
    judged, held : Rows
        What taps see and what is lacking, on pictures of the fit and on others.
    shares : Tensor of shape (taps,)
        At which share of the output's positions a tap reads something: not padding,
        and nothing between the strides of a transposed convolution.
    positions : int
        Of its largest output.
    passes : int
        How often it ran.
    alias : str
        The layer whose input is this one's, and is gathered there.
    trouble : str
        Why it cannot be refitted, after all.
    """

    inputs: Moments
    blocks: list[Moments]
    judged: Rows
    held: Rows
    shares: Tensor
    positions: int = 0
    passes: int = 0
    alias: str = ""
    trouble: str = ""


def most_rows(reader: Reader) -> int:
    """Return how many rows are kept to judge a reader on."""
    return max(16, min(JUDGED, JUDGED_ELEMENTS // prod(reader.cut.shape)))


def seen_and_lacking(seen: Sequence[Tensor], lacking: Sequence[Tensor]) -> Tensor:
    """Return rows to judge on, from what there is block by block.

    Parameters
    ----------
    seen : sequence of Tensor of shape (f, rows)
        What the taps see of kept inputs.
    lacking : sequence of Tensor of shape (o, rows)
        What the cut layer lacks of its outputs.

    Returns
    -------
    Tensor of shape (rows, blocks, f + o)
    """
    columns = [torch.cat(pair) for pair in zip(seen, lacking, strict=True)]
    return torch.stack(columns).permute(2, 0, 1)


def held_out(first: int, pictures: int, share: float) -> Tensor:
    """Return which of some pictures, counted from `first`, only judge the fit.

    Every so manieth over all batches, whatever their size.
    """
    number = torch.arange(first, first + pictures)
    return ((number + 1) * share + 1e-9).floor() > (number * share + 1e-9).floor()
