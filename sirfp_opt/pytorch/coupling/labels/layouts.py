"""Which groups of labels live at the same places, and their channels, by arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sirfp_opt._validate import IntArray

__all__ = ["alike", "dealt_out", "distinct"]


def alike(lines: Sequence[IntArray]) -> list[tuple[list[int], IntArray]]:
    """Sort groups by where they live: the indices of places, and the groups there.

    Groups of different numbers of positions at a place are told apart, too.

    Parameters
    ----------
    lines : sequence of ndarray
        By place: the group of each position.

    Returns
    -------
    list of (list of int, ndarray)
        In the order of the least group; groups in ascending order.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt.pytorch.coupling.labels.layouts import alike
    >>> alike([np.array([3, 4, 5]), np.array([4, 3])])
    [([0, 1], array([3, 4])), ([0], array([5]))]
    """
    if not lines:
        return []
    place = np.repeat(np.arange(len(lines)), [len(line) for line in lines])
    keys = np.concatenate(lines) * len(lines) + place
    pairs, counts = np.unique(keys, return_counts=True)
    group, place = np.divmod(pairs, len(lines))
    starts, number = _sequences(group, place * (int(counts.max()) + 1) + counts)
    by = np.argsort(number, kind="stable")
    ends = np.flatnonzero(np.diff(number[by])) + 1
    kinds = sorted(np.split(by, ends), key=lambda kind: int(kind[0]))
    lengths = np.diff(np.append(starts, len(group)))
    found = []
    for kind in kinds:
        start = starts[kind[0]]
        where = place[start : start + lengths[kind[0]]].tolist()
        found.append((where, group[starts[kind]]))
    return found


def dealt_out(
    found: Sequence[tuple[IntArray, IntArray]],
    rank: IntArray,
    group: IntArray,
    width: int,
) -> tuple[IntArray, IntArray] | None:
    """Give each class its channel; None if classes do not divide evenly.

    Of each group the classes that live at the same places are taken in their order, and
    dealt out to its channels.

    Parameters
    ----------
    found : sequence of (ndarray, ndarray)
        By place: the classes there, and their positions.
    rank : ndarray
        By group: its number.
    group : ndarray
        By class: its group.
    width : int
        Channels of a group.

    Returns
    -------
    (ndarray, ndarray) or None
        The classes, kind by kind, and the channel of each.
    """
    classes = np.concatenate([line for line, _ in found])
    position = np.concatenate([here for _, here in found])
    place = np.repeat(np.arange(len(found)), [len(line) for line, _ in found])
    by = np.argsort(classes, kind="stable")
    starts, number = _sequences(classes[by], place[by])
    first = by[starts]
    one = classes[first]
    keys = rank[group[one]] * (int(number.max()) + 1) + number
    kinds, kind, counts = np.unique(keys, return_inverse=True, return_counts=True)
    if (counts % width).any():
        return None
    seen = np.full(len(kinds), len(classes))
    np.minimum.at(seen, kind, first)
    order = np.lexsort((position[first], seen[kind]))
    one, kind = one[order], kind[order]
    begins = np.flatnonzero(np.append(True, np.diff(kind) != 0))
    within = np.arange(len(one)) - np.repeat(
        begins, np.diff(np.append(begins, len(one)))
    )
    share = counts[kind] // width
    return one, rank[group[one]] * width + within // share


def distinct(labels: IntArray) -> IntArray:
    """Return the different labels of an array, ascending.

    As `numpy.unique`, which looks integers up one by one: sorting is several times
    faster on the few and long runs of equal ones that labels are.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt.pytorch.coupling.labels.layouts import distinct
    >>> distinct(np.array([[3, 3], [1, 3]]))
    array([1, 3])
    """
    ordered = np.sort(labels, axis=None)
    new = np.empty(len(ordered), dtype=bool)
    new[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    found: IntArray = ordered[new]
    return found


def _sequences(owner: IntArray, item: IntArray) -> tuple[IntArray, IntArray]:
    """Give each distinct sequence of items a number, and owners that of theirs.

    Parameters
    ----------
    owner : ndarray of shape (n,)
        Equal ones stand together.
    item : ndarray of shape (n,)

    Returns
    -------
    starts : ndarray of shape (owners,)
        Where the items of each owner begin.
    number : ndarray of shape (owners,)
    """
    starts = np.flatnonzero(np.append(True, np.diff(owner) != 0))
    lengths = np.diff(np.append(starts, len(owner)))
    number = np.empty(len(starts), dtype=np.int64)
    total = 0
    for length in np.unique(lengths).tolist():
        mine = np.flatnonzero(lengths == length)
        rows = item[starts[mine][:, None] + np.arange(length)]
        # As one string of bytes: NumPy compares rows field by field, which is slow.
        text = np.ascontiguousarray(rows).view(f"V{rows.itemsize * length}").ravel()
        kinds, inverse = np.unique(text, return_inverse=True)
        number[mine] = total + inverse.reshape(-1)
        total += len(kinds)
    return starts, number
