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

__all__ = ["HeldOut", "Record", "Rows", "most_rows", "seen_and_lacking"]

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


class HeldOut:
    """Which pictures only judge a fit: every so manieth, whatever the batches' size.

    Parameters
    ----------
    share : float
        Of all pictures.

    Attributes
    ----------
    pictures : int
        How many there have been, those of the present batch included.
    """

    def __init__(self, share: float) -> None:
        self.share, self.pictures = share, 0
        self._present = torch.zeros(0, dtype=torch.bool)

    @property
    def count(self) -> int:
        """How many of the pictures were held out."""
        return int(self.pictures * self.share + 1e-9)

    def begin(self, pictures: int) -> None:
        """Go on to the next batch, of so many pictures."""
        number = torch.arange(self.pictures, self.pictures + pictures + 1)
        before = (number * self.share + 1e-9).floor()
        self._present = before[1:] > before[:-1]
        self.pictures += pictures

    def among(self, maps: int) -> Tensor:
        """Return which of a layer's maps are of pictures held out, (maps,) of bool.

        A picture may have several, all in a row; none is held out where the maps of a
        layer do not go by pictures.
        """
        pictures = len(self._present)
        if not pictures or maps % pictures:
            return torch.zeros(maps, dtype=torch.bool)
        return self._present.repeat_interleave(maps // pictures)
