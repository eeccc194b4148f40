"""What each operation does to labels: the only arithmetic that the tracker knows.

A rule answers with the labels of what the operation makes.  What no rule lists leaves
the channels that it reads whole, and says so: it is never an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sirfp_opt.pytorch.coupling.labels.classes import HEAD
from sirfp_opt.pytorch.coupling.labels.internals import is_pointwise
from sirfp_opt.pytorch.coupling.labels.joins import (
    Labelled,
    Sets,
    along,
    group,
    join,
    labelled,
    unite_bare,
)
from sirfp_opt.pytorch.coupling.labels.products import PRODUCTS
from sirfp_opt.pytorch.coupling.labels.shadows import compact

if TYPE_CHECKING:
    from collections.abc import Callable

    from sirfp_opt.pytorch.coupling.labels.engine import Tracker
    from sirfp_opt.pytorch.coupling.labels.records import Call

__all__ = ["apply"]

Labels = Sequence[Tensor | None]


def words(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


MOVES = words(
    """
    cat stack clone repeat roll flip rot90 index_select index gather take
    constant_pad_nd pixel_shuffle pixel_unshuffle channel_shuffle im2col col2im
    native_channel_shuffle slice_scatter index_put select_scatter _to_copy copy
    tril triu unfold_copy reflection_pad1d reflection_pad2d reflection_pad3d
    replication_pad1d replication_pad2d replication_pad3d lift_fresh
    lift_fresh_copy _unsafe_index _unsafe_index_put diagonal_scatter
    as_strided_copy scatter index_copy masked_scatter block_diag contiguous
    _reshape_copy view_copy narrow_copy permute_copy diag_embed
    """
)
"""Operations that only move elements: they are run on the labels themselves."""

POINTWISE = words(
    """
    _prelu_kernel masked_fill dropout native_dropout where bernoulli zeros_like
    nan_to_num ones_like full_like rand_like randn_like empty_like logical_not
    clamp_min clamp_max hardswish hardsigmoid hardtanh elu mish softplus
    leaky_relu prelu rrelu_with_noise celu glu_jvp alpha_dropout feature_dropout
    gelu silu lerp fake_quantize_per_tensor_affine threshold _fused_dropout
    hardshrink softshrink log_sigmoid_forward addcmul addcdiv
    """
)
"""Operations that work element by element without torch's tag that says so."""

REDUCTIONS = words(
    """
    mean sum amax amin max min prod var std logsumexp var_mean argmax argmin
    aminmax linalg_vector_norm norm any all std_mean nansum count_nonzero median
    nanmedian mode kthvalue
    """
)
ADDS_UP = {"sum", "nansum", "linalg_vector_norm", "norm", "count_nonzero"}
"""Reductions to which a channel of zeros contributes nothing."""

ALONG = words(
    """
    _softmax _log_softmax _safe_softmax cumsum cumprod logcumsumexp cummax
    cummin sort topk _fft_r2c
    """
)
"""Operations along one dimension that leave the others alone."""

PLACES = (
    "max_pool", "avg_pool", "_adaptive_avg_pool", "adaptive_max_pool", "upsample_",
    "_upsample_", "grid_sampler", "max_unpool", "fractional_max_pool",
)  # fmt: skip
"""Operations on the positions of each channel's map."""

BLANK = ("fill", "zero", "uniform", "normal", "random", "new_", "empty", "exponential")
"""Operations whose results hold nothing of what they were given."""


def apply(tracker: Tracker, call: Call) -> Labels:
    """Return the labels of an operation's results, in their order."""
    name = call.name
    rule = _find(name, call)
    try:
        if rule is None:
            return _unknown(tracker, call)
        made = rule(tracker, call)
    except (RuntimeError, IndexError, ValueError, TypeError, NotImplementedError):
        return _unknown(tracker, call)
    return made if isinstance(made, (list, tuple)) else [made]


def _find(name: str, call: Call) -> Callable[[Tracker, Call], Any] | None:
    if name in PRODUCTS:
        return PRODUCTS[name]
    if name.startswith("_scaled_dot_product"):
        return PRODUCTS["scaled_dot_product_attention"]
    if name in RULES:
        return RULES[name]
    if "batch_norm" in name:
        return _batch_norm
    if name in ALONG:
        return _along_one
    if name in REDUCTIONS and not _of_two(call):
        return _reduce
    if name.startswith(PLACES):
        return _places
    if name.startswith(BLANK):
        return lambda tracker, call: None
    if name in MOVES:
        return _move
    if name in POINTWISE or is_pointwise(name):
        return _pointwise
    return None


def _of_two(call: Call) -> bool:
    """Tell whether "max" and the like are of two tensors, element by element."""
    return len(call.args) > 1 and isinstance(call.args[1], Tensor)


def _unknown(tracker: Tracker, call: Call) -> Labels:
    for tensor in call.tensors:
        why = f"its channels cannot be followed through {call.name}"
        tracker.fix(tracker.get(tensor), call, why)
    return [None]


# -- element by element ---------------------------------------------------------


def _pointwise(tracker: Tracker, call: Call) -> Tensor | None:
    rank = call.out.dim()
    total: Labelled | None = None
    plain: list[tuple[int, ...]] = []
    for tensor in call.tensors:
        label = tracker.get(tensor)
        if label is None:
            plain.append((1,) * (rank - tensor.dim()) + tuple(tensor.shape))
            continue
        one = labelled(label, tensor.shape).lift(rank)
        total = one if total is None else join(tracker, call, total, one)
        if total is None:
            return None
    if total is None:
        return None
    for shape in plain:
        if any(n > 1 and total.label.shape[d] > 1 for d, n in enumerate(shape)):
            tracker.fix(
                total.label, call, "its channels meet a constant of their number"
            )
    return total.label


# -- moves ----------------------------------------------------------------------


def _move(tracker: Tracker, call: Call) -> Tensor | None:
    """Move the labels as the operation moves the elements, by running it on them."""

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


# -- norms and reductions -------------------------------------------------------


def _batch_norm(tracker: Tracker, call: Call) -> Tensor | None:
    vectors = [t for t in call.args[1:5] if isinstance(t, Tensor)]
    label = _vectors(tracker, call, vectors)
    if label is not None and label.shape[1] > 1:
        tracker.counted.append((call.where, 0, label.flatten().numpy()))
    return label


def _vectors(tracker: Tracker, call: Call, vectors: list[Tensor]) -> Tensor | None:
    """Unite the channels (dimension 1) with parameters of one number for each."""
    source = call.args[0]
    label = tracker.get(source)
    met = [one for one in map(tracker.get, vectors) if one is not None]
    line = None
    if label is not None:
        line = along(tracker, labelled(label, source.shape), 1)
    for one in met:
        line = one.expand(source.shape[1]) if line is None else line
        tracker.classes.unite(line, one)
    if line is None:
        return None
    shape = (1, -1) + (1,) * (source.dim() - 2)
    return compact(tracker.classes.find(line.contiguous()).view(shape))


def _group_norm(tracker: Tracker, call: Call) -> Tensor | None:
    source, groups = call.args[0], int(call["group"])
    vectors = [t for t in (call["weight"], call["bias"]) if isinstance(t, Tensor)]
    label = _vectors(tracker, call, vectors)
    width = source.shape[1] // groups
    if label is not None and label.shape[1] > 1:
        tracker.counted.append((call.where, 0, label.flatten().numpy()))
    if label is not None and width > 1 and label.shape[1] > 1:
        sets = label.view(groups, width)
        _normalise(tracker, call, sets, "normalises across channels")
    return label


def _layer_norm(tracker: Tracker, call: Call) -> Tensor | None:
    source = call.args[0]
    label, rank = tracker.get(source), source.dim()
    vectors = [t for t in (call["weight"], call["bias"]) if isinstance(t, Tensor)]
    normalized = call["normalized_shape"] or ()
    total = None if label is None else labelled(label, source.shape)
    for tensor in vectors:
        met = tracker.get(tensor)
        if met is not None:
            one = labelled(met, tensor.shape).lift(rank)
            total = one if total is None else join(tracker, call, total, one)
    if total is None:
        return None
    dims = list(range(rank - len(normalized), rank))
    total = labelled(unite_bare(tracker, total.label, dims), total.shape)
    wide = [place for place, d in enumerate(dims) if total.label.shape[d] > 1]
    if len(wide) == 1 and total.label.numel() == max(total.label.shape):
        tracker.counted.append((call.where, wide[0], total.label.flatten().numpy()))
    _normalise_along(tracker, call, total.label, dims)
    return total.label


def _along_one(tracker: Tracker, call: Call) -> Labels:
    source = call.args[0]
    label = tracker.get(source)
    if label is None:
        return [None]
    dim = call["dim"]
    dims = dim if isinstance(dim, (list, tuple)) else [-1 if dim is None else dim]
    _normalise_along(tracker, call, label, [d % label.dim() for d in dims])
    label = compact(tracker.classes.find(label))
    if any(label.shape[d] > 1 for d in dims) and call.out.shape != source.shape:
        return [None]
    return [label, label]


def _normalise_along(
    tracker: Tracker, call: Call, label: Tensor, dims: Sequence[int]
) -> None:
    if any(label.shape[d] > 1 for d in dims):
        rest = [d for d in range(label.dim()) if d not in dims]
        sizes = [label.shape[d] for d in rest]
        sets = label.permute(*rest, *dims).reshape(*sizes, -1)
        _normalise(
            tracker,
            call,
            sets.reshape(-1, sets.shape[-1]),
            "normalises across channels",
        )


def _normalise(tracker: Tracker, call: Call, sets: Tensor, what: str) -> None:
    """Note that each row of labels is normalised together.

    Several sets go as wholes; a single one stays, unless surgery knows the module.
    """
    rows = np.unique(tracker.classes.find(sets.contiguous()).numpy(), axis=0)
    rows = rows[(rows > 0).any(axis=1)]
    module = tracker.modules.get(call.where)
    why = None
    if module is None or not tracker.accepts(module):
        why = call.where, f"{_title(tracker, call)} {what}"
    start = tracker.classes.fresh(len(rows), HEAD)
    heads = start + np.arange(len(rows))
    tracker.sets.append(Sets(rows, heads, hard=True, why=why))


def _reduce(tracker: Tracker, call: Call) -> Labels:
    source = call.args[0]
    label, rank = tracker.get(source), source.dim()
    if label is None:
        return [None]
    dims = call["dim"]
    if dims is None or (isinstance(dims, (list, tuple)) and not dims):
        dims = range(rank)
    dims = sorted({d % rank for d in ([dims] if isinstance(dims, int) else dims)})
    label = unite_bare(tracker, label, dims)
    rest = [d for d in range(rank) if d not in dims]
    sizes = [label.shape[d] for d in rest]
    result: Tensor | None = label.permute(*rest, *dims).reshape(*sizes, -1)[..., 0]
    if any(label.shape[d] > 1 for d in dims):
        sets = label.permute(*rest, *dims).reshape(*sizes, -1)
        tracker.reads(sets)
        adds = call.name in ADDS_UP and not _is_infinite(call)
        if adds:
            result = group(tracker, sets)
        elif tracker.classes.kinds(sets) == {HEAD}:
            # Scores averaged over heads, which most callers throw away: whether
            # anybody reads them the trial shows.
            result = None
        else:
            _normalise(
                tracker,
                call,
                sets.reshape(-1, sets.shape[-1]),
                "reduces over the channels",
            )
            result = group(tracker, sets)
    if result is not None and call.out.dim() == rank and len(rest) < rank:
        for dim in dims:
            result = result.unsqueeze(dim)
    return [result, result]


def _is_infinite(call: Call) -> bool:
    order = call["ord"] if call.name == "linalg_vector_norm" else call["p"]
    return isinstance(order, (int, float)) and not 0 < float(order) < float("inf")


# -- positions ------------------------------------------------------------------


def _places(tracker: Tracker, call: Call) -> Labels:
    name, source = call.name, call.args[0]
    label = tracker.get(source)
    by = tracker.get(call.args[1]) if name.startswith("grid") else None
    if label is None:
        tracker.fix(by, call, "its channels are positions to read at")
        return [None]
    lead = source.dim() - (3 if "3d" in name else 1 if "1d" in name else 2)
    if any(n > 1 for n in label.shape[lead:]):  # channels that stand side by side
        rows = label.flatten(lead)
        tracker.classes.unite(rows[..., :1], rows)
        label = tracker.classes.find(rows[..., :1].contiguous())
        label = label.view(*label.shape[:lead], *[1] * (source.dim() - lead))
    if by is not None:
        made = group(
            tracker, label.flatten(lead)[..., 0].reshape(-1, label.shape[lead - 1])
        )
        if made is not None:  # what moves a head's positions belongs to the head
            tracker.classes.link(made.view(-1, *[1] * (by.dim() - 1)), by)
        else:
            tracker.fix(by, call, "its channels are positions to read at")
    return [label, label]


def _title(tracker: Tracker, call: Call) -> str:
    """Name an operation as its user knows it."""
    module = tracker.modules.get(call.where)
    plain = module is not None and not list(module.children())
    if plain and type(module).__module__.startswith("torch.nn"):
        return type(module).__name__
    return call.name.strip("_")


def _nothing(tracker: Tracker, call: Call) -> None:
    """Make something that holds no channel: sizes, ranges, plain numbers."""


RULES: dict[str, Callable[[Tracker, Call], Any]] = {
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
    "native_group_norm": _group_norm,
    "native_layer_norm": _layer_norm,
    "_fused_rms_norm": _layer_norm,
    "rms_norm": _layer_norm,
    "_local_scalar_dense": _nothing,
}
