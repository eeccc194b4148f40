"""Averages that go on from where others were left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sirfp_opt.errors import InvalidProblemError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor

    from sirfp_opt.network.plan import Side
    from sirfp_opt.pytorch.extraction.averages import LayerStatistics

__all__ = ["load_averages", "name_of"]


def name_of(point: tuple[str, Side], key: str) -> str:
    """Return the name of one tensor of a layer's averages."""
    return f"{point[0]}:{point[1]}:{key}"


def load_averages(
    statistics: Mapping[tuple[str, Side], LayerStatistics],
    state: Mapping[str, Tensor],
    widths: Mapping[tuple[str, Side], int | None],
    device: torch.device,
) -> None:
    """Go on from averages of the same layers.

    Parameters
    ----------
    statistics : mapping of (str, str) to LayerStatistics
        By layer and side; changed.
    state : mapping of str to Tensor
        Of `LayerStatistics.state`, by `name_of`.
    widths : mapping of (str, str) to int or None
        Channels that there must be, where that is known.
    device : torch.device

    Raises
    ------
    InvalidProblemError
        If they are of other layers, or of layers of other sizes. Nothing is loaded
        then.
    """
    expected = {
        name_of(point, key)
        for point, record in statistics.items()
        for key in record.state()
    }
    if set(state) != expected:
        odd = sorted(expected.symmetric_difference(state))
        raise InvalidProblemError(
            f"`state` must be of the same layers, got a difference at {odd[:3]}. "
            "Pass the state of an extractor of the same network and settings."
        )
    for point in statistics:
        size, width = len(state[name_of(point, "mass")]), widths[point]
        if size and width and size != width:
            raise InvalidProblemError(
                f"`state` must have {width} channels at {point[0]!r}, got {size}. "
                "After pruning, begin anew."
            )
    for point, record in statistics.items():
        keys = record.state()
        record.load({key: state[name_of(point, key)] for key in keys}, device)
