"""Groups of labels sorted by where they live, and dealt out to channels."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sirfp_opt.pytorch.coupling.labels.layouts import alike, dealt_out

lines = st.lists(st.lists(st.integers(0, 9), max_size=8), min_size=1, max_size=5)


@given(lines)
def test_groups_are_alike_that_live_at_the_same_places(rows: list[list[int]]) -> None:
    """Two groups are in one set if and only if each place holds as many of both."""
    if not any(rows):
        return
    found = alike([np.array(row, dtype=np.int64) for row in rows])
    shown = {g: [row.count(g) for row in rows] for row in rows for g in row}
    told = [g for _, groups in found for g in groups.tolist()]
    assert sorted(told) == sorted(shown)
    for where, groups in found:
        counts = shown[int(groups[0])]
        assert where == [i for i, n in enumerate(counts) if n]
        assert groups.tolist() == sorted(g for g, c in shown.items() if c == counts)
    firsts = [int(groups[0]) for _, groups in found]
    assert firsts == sorted(firsts)


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.randoms())
def test_classes_are_dealt_out_in_their_order(groups, width, repeat, random) -> None:  # type: ignore[no-untyped-def]
    """Of each group, the classes of a kind go to its channels in equal shares."""
    size = groups * width * repeat
    group = np.repeat(np.arange(groups), width * repeat)
    one = np.arange(size)
    other = one[::-1].copy()  # another place, backwards: the first one counts
    rank = np.arange(groups)
    random.shuffle(rank)
    here = np.arange(size)
    dealt = dealt_out([(one, here), (other, here)], rank, group, width)
    assert dealt is not None
    channel = np.empty(size, dtype=np.int64)
    channel[dealt[0]] = dealt[1]
    expected = rank[group] * width + (one % (width * repeat)) // repeat
    assert channel.tolist() == expected.tolist()


def test_classes_that_do_not_divide_are_none() -> None:
    """Three classes of one kind make no two equal channels."""
    line = np.arange(3)
    rank, group = np.zeros(1, np.int64), np.zeros(3, np.int64)
    assert dealt_out([(line, line)], rank, group, 2) is None
