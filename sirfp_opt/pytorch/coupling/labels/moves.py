"""Rules of operations that move elements, and of lookups: views need none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sirfp_opt.pytorch.coupling.labels.joins import (
    Labelled,
    along,
    join,
    keep_constant,
    labelled,
)
from sirfp_opt.pytorch.coupling.labels.shadows import compact

if TYPE_CHECKING:
    from collections.abc import Callable

    from sirfp_opt.pytorch.coupling.labels.engine import Tracker
    from sirfp_opt.pytorch.coupling.labels.records import Call

__all__ = ["MOVES"]


def _move(tracker: Tracker, call: Call) -> Tensor | None:
    """Move the labels as the operation moves the elements, by running it on them."""
    if call["accumulate"] or call["reduce"]:
        raise NotImplementedError  # it adds up besides

    def swap(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return type(value)(map(swap, value))
        if not isinstance(value, Tensor):
            return value
        if not (value.is_floating_point() or value.is_complex()):
            return value  # an index, a mask
        label = tracker.get(value)
        if label is None:
            return torch.zeros(value.shape, dtype=torch.long)
        return label.expand(value.shape).contiguous()

    moved = [swap(value) for value in call.args]
    kwargs = {k: swap(v) for k, v in call.kwargs.items() if k not in ("out", "dtype")}
    try:
        made = call.func(*moved, **kwargs)
    except (RuntimeError, NotImplementedError):  # not made for integers

        def widen(value: Any) -> Any:
            if isinstance(value, (list, tuple)):
                return type(value)(map(widen, value))
            swapped = isinstance(value, Tensor) and value.dtype is torch.long
            return value.double() if swapped else value

        moved = [
            widen(new) if new is not old else new
            for new, old in zip(moved, call.args, strict=True)
        ]
        made = call.func(*moved, **kwargs).long()
    return compact(made)


def _copy(tracker: Tracker, call: Call) -> Tensor | None:
    source = call.args[1] if call.name == "copy" else call.args[0]
    param = tracker.param_of(source)
    whole = param is not None and tuple(source.shape) == tuple(param.tensor.shape)
    plain = source.is_contiguous() and call.out.is_contiguous()
    if param is not None and whole and plain and call.name != "copy":
        tracker.put_alias(call.out, param)
        return None
    label = tracker.get(source)
    if label is None:
        return None
    rank = call.out.dim()
    return label.reshape((1,) * (rank - label.dim()) + tuple(label.shape))


def _cat(tracker: Tracker, call: Call) -> Tensor | None:
    tensors = [t for t in call.args[0] if t.dim() > 1 or t.numel()]
    dim = int(call["dim"] or 0) % call.out.dim()
    rows = []
    for tensor in tensors:
        label = tracker.get(tensor)
        if label is None:
            label = torch.zeros((1,) * tensor.dim(), dtype=torch.long)
        sizes = list(label.shape)
        sizes[dim] = tensor.shape[dim]
        rows.append(label.expand(sizes))
    full = [max(row.shape[d] for row in rows) for d in range(call.out.dim())]
    for row in range(len(rows)):
        sizes = [n if d != dim else rows[row].shape[d] for d, n in enumerate(full)]
        rows[row] = rows[row].expand(sizes)
    return compact(torch.cat(rows, dim))


def _repeat(tracker: Tracker, call: Call) -> Tensor | None:
    label = tracker.get(call.args[0])
    if label is None:
        return None
    times = list(call.args[1])
    label = label.reshape((1,) * (len(times) - label.dim()) + tuple(label.shape))
    return label.repeat(
        [n if s > 1 else 1 for n, s in zip(times, label.shape, strict=True)]
    )


def _pad(tracker: Tracker, call: Call) -> Tensor | None:
    """Pad; around a channel's map, what is added belongs to the channel."""
    label = tracker.get(call.args[0])
    if label is None:
        return None
    pads = list(call.args[1])
    rank = label.dim()
    wide = [rank - 1 - i // 2 for i, n in enumerate(pads) if n]
    if all(label.shape[d] == 1 for d in wide):
        return label
    for dim in sorted(set(wide)):
        if label.shape[dim] == 1:
            last = rank - 1 - dim
            pads[2 * last : 2 * last + 2] = [0, 0]
    return compact(torch.constant_pad_nd(label, pads))


def _roll(tracker: Tracker, call: Call) -> Tensor | None:
    label = tracker.get(call.args[0])
    if label is None:
        return None
    dims = call["dims"] or ()
    if dims and all(label.shape[d] == 1 for d in dims):
        return label
    return _move(tracker, call)


def _index_select(tracker: Tracker, call: Call) -> Tensor | None:
    label = tracker.get(call.args[0])
    if label is None or label.shape[call.args[1]] == 1:
        return label
    return _move(tracker, call)


def _fold(tracker: Tracker, call: Call) -> Tensor | None:
    """Sum the columns of `im2col` back into maps (col2im)."""
    source = call.args[0]
    label = tracker.get(source)
    if label is None:
        return None
    line = along(tracker, labelled(label, source.shape), source.dim() - 2)
    rows = line.view(call.out.shape[-3], -1)
    tracker.classes.unite(rows[:, :1], rows)
    return tracker.classes.find(rows[:, 0]).view(-1, 1, 1)[(None,) * (source.dim() - 2)]


def _embedding(tracker: Tracker, call: Call) -> Tensor | None:
    table, index = call.args[:2]
    param = tracker.param_of(table)
    if param is not None and table.shape == param.tensor.shape:
        line = tracker.axis(param, 1, table.shape[1])
        return line.view((1,) * index.dim() + (-1,))
    label = tracker.get(table)
    return None if label is None else compact(label.expand(table.shape)[index])


def _accumulate(tracker: Tracker, call: Call) -> Tensor | None:
    """Add rows of one tensor to those of another (messages of a graph, experts)."""
    into, dim, index, source = call.args[:4]
    label, met = tracker.get(source), tracker.get(into)
    dim %= into.dim()
    if any(one is not None and one.shape[dim] > 1 for one in (label, met)):
        raise NotImplementedError  # channels along the rows
    one = None if label is None else Labelled(label, tuple(into.shape))
    two = None if met is None else labelled(met, into.shape)
    total = (
        (one or two) if one is None or two is None else join(tracker, call, one, two)
    )
    if total is None:
        return None
    others = [t for t, of in ((source, one), (into, two)) if of is None]
    if index.dim() == into.dim() > 1:
        others.append(index)
    for constant in others:
        keep_constant(tracker, call, total.label, constant)
    return total.label


MOVED = """
    stack rot90 index gather take pixel_shuffle pixel_unshuffle channel_shuffle
    native_channel_shuffle im2col slice_scatter index_put select_scatter tril triu
    unfold_copy reflection_pad1d reflection_pad2d reflection_pad3d
    replication_pad1d replication_pad2d replication_pad3d lift_fresh_copy
    _unsafe_index _unsafe_index_put diagonal_scatter as_strided_copy scatter
    index_copy masked_scatter block_diag _reshape_copy view_copy narrow_copy
    permute_copy diag_embed
"""
"""Operations that are run on the labels themselves, and nothing more."""

MOVES: dict[str, Callable[[Tracker, Call], Any]] = {
    **dict.fromkeys(MOVED.split(), _move),
    "clone": _copy,
    "_to_copy": _copy,
    "copy": _copy,
    "contiguous": _copy,
    "lift_fresh": _copy,
    "cat": _cat,
    "repeat": _repeat,
    "constant_pad_nd": _pad,
    "roll": _roll,
    "flip": _roll,
    "index_select": _index_select,
    "col2im": _fold,
    "embedding": _embedding,
    "index_add": _accumulate,
    "index_reduce": _accumulate,
    "scatter_add": _accumulate,
    "scatter_reduce": _accumulate,
}
