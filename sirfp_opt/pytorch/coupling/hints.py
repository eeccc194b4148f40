"""What the numbers in an error say about the code that raised it.

A cut network fails because its code asks for a number of channels that is not there:
``view(B, N, 21)`` of 19 channels. In a trial all units keep other numbers of channels,
so 21 tells whose number the code goes by: another unit's, as many as which ours must
be; or, where it is the number from before the cut, an attribute that counts them.
It is only a hint, by which ways to cut are put in order: the trials prove one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sirfp_opt._validate import IntArray
    from sirfp_opt.pytorch.coupling.drafting import Candidate
    from sirfp_opt.pytorch.coupling.ways import Way

__all__ = ["in_order"]

LEAST = 4
"""Smaller numbers are everywhere."""


def in_order(
    ways: Sequence[Way],
    text: str,
    candidate: Candidate,
    others: Sequence[Candidate],
    kept: Mapping[str, IntArray],
) -> list[Way]:
    """Return ways to cut a candidate, those first that the error speaks for.

    Parameters
    ----------
    ways : sequence of Way
    text : str
        What went wrong.
    candidate : Candidate
    others : sequence of Candidate
        What else was cut.
    kept : mapping of str to ndarray
        By unit: the channels that the failing trial kept.
    """
    shape = re.search(r"shape '\[(.*?)\]'", text)
    asked = {int(n) for n in re.findall(r"\d+", shape[1] if shape else text)}
    asked = {n for n in asked if n >= LEAST}
    own = _numbers(candidate, kept)
    groups = _groups(candidate, kept)
    before = bool(_numbers(candidate, {}) & asked)
    theirs: dict[str, bool] = {"": False}
    for other in others:
        found = _numbers(other, kept)
        found |= {n // groups for n in found if groups and n >= groups}
        theirs[other.unit.name] = not asked.isdisjoint(found - own)

    def rank(way: Way) -> int:
        named = theirs.get(way.partner, False)
        if before:  # the number of before the cut: something has it in store
            plain = way.broad and not way.ties
            return 0 if plain else 1 if named and way.broad else 2 if named else 3
        return 3 if not named else 2 if way.broad else 1

    return sorted(ways, key=rank)


def _groups(candidate: Candidate, kept: Mapping[str, IntArray]) -> int:
    blocks = candidate.draft.blocks
    here = kept.get(candidate.unit.name)
    if here is None:
        return len(blocks)
    return int(np.isin(blocks, here).any(axis=1).sum())


def _numbers(candidate: Candidate, kept: Mapping[str, IntArray]) -> set[int]:
    """Return by what numbers code may count the channels that are kept."""
    here = kept.get(candidate.unit.name)
    channels = candidate.draft.size if here is None else len(here)
    found = {channels, _groups(candidate, kept)}
    for table in candidate.draft.tables.values():
        found.add(channels * table.shape[1])
    return found
