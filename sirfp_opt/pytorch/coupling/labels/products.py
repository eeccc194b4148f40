"""Products: where channels are read, and where they start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sirfp_opt.pytorch.coupling.labels.internals import broadcast_shape
from sirfp_opt.pytorch.coupling.labels.joins import (
    Labelled,
    along,
    group,
    join,
    keep_constant,
    labelled,
)
from sirfp_opt.pytorch.coupling.labels.records import Score
from sirfp_opt.pytorch.coupling.labels.shadows import compact

if TYPE_CHECKING:
    from collections.abc import Callable

    from sirfp_opt.pytorch.coupling.labels.engine import Tracker
    from sirfp_opt.pytorch.coupling.labels.records import Call, Param

__all__ = ["PRODUCTS"]


def _product(tracker: Tracker, call: Call) -> Tensor | None:
    """Follow (..., M, K) times (..., K, N), perhaps with a summand."""
    plain = call.name in ("mm", "bmm")
    left, right = call.args[:2] if plain else call.args[1:3]
    bias = None if plain else call.args[0]
    total = _weighted(tracker, call, left, right)
    if total is None:
        a, b = tracker.get(left), tracker.get(right)
        total = _contract(
            tracker,
            call,
            None if a is None else labelled(a, left.shape),
            None if b is None else labelled(b, right.shape),
        )
    met = None if bias is None else tracker.get(bias)
    if bias is None or (met is None and total is None):
        return None if total is None else total.label
    rank = call.out.dim()
    if met is None:
        assert total is not None
        keep_constant(tracker, call, total.label, bias)
        return total.label
    one = labelled(met, bias.shape).lift(rank)
    if total is None:
        tracker.fix(met, call, "it is added to what has no channels")
        return None
    joined = join(tracker, call, total, one)
    return None if joined is None else joined.label


def _vector(tracker: Tracker, call: Call) -> Tensor | None:
    """Follow products with vectors: mv, dot, addmv."""
    left, right = call.args[-2:] if call.name == "addmv" else call.args[:2]
    matrix = left if left.dim() == 2 else left[None]
    a, b = tracker.get(left), tracker.get(right)
    one = None if a is None else labelled(a, left.shape).lift(2)
    two = None
    if b is not None:
        two = Labelled(b[:, None], (*right.shape, 1))
    total = _contract(tracker, call, one, two)
    if call.name == "addmv":
        bias = tracker.get(call.args[0])
        tracker.fix(bias, call, "it is added to a product with a vector")
    if total is None or matrix is not left:
        return None
    return total.label[:, 0]


def _weighted(
    tracker: Tracker, call: Call, left: Tensor, right: Tensor
) -> Labelled | None:
    """Follow a product one of whose factors is a weight matrix; None if none is."""
    for source, weight, flipped in ((left, right, False), (right, left, True)):
        param = tracker.param_of(weight)
        sides = None if param is None else _sides(tracker, param, weight, flipped)
        if param is None or sides is None:
            continue
        other = tracker.param_of(source)
        if other is not None and not (
            param.layer == call.where and other.layer != call.where
        ):
            continue  # two bare ones; not a layer that reads learned queries
        inner, outer = sides
        k, rows = (-2, -1) if flipped else (-1, -2)
        label = tracker.get(source)
        shape = list(call.out.shape)
        made = outer[:, None] if flipped else outer[None, :]
        made = made.view((1,) * (len(shape) - 2) + tuple(made.shape))
        if label is not None:
            tracker.reads(label)
            mixes = (
                label.shape[k] == 1 and label.shape[rows] > 1 and source.shape[k] > 1
            )
            if mixes:  # the channels stand beside: two labels for one element
                both = torch.cat([inner, outer])
                why = "its weight mixes positions, and leaves the channels alone"
                tracker.fix(both, call, why)
                return Labelled(label.narrow(k, 0, 1), tuple(shape))
            line = along(tracker, labelled(label, source.shape), k)
            tracker.classes.unite(line, inner)
            made = tracker.classes.find(made.contiguous())
        return Labelled(compact(made), tuple(shape))
    return None


def _sides(tracker: Tracker, param: Param, weight: Tensor, flipped: bool) -> Any:
    """Return the labels of what a part of a weight sums over, and of what it makes.

    Which positions these are is read from the strides: a transposed weight, a chunk of
    a fused one, a 1 x 1 kernel as a matrix.
    """
    whole = param.tensor
    if whole.dim() < 2 or not whole.is_contiguous():
        return None
    if any(
        n > 1 and s
        for n, s in zip(weight.shape[:-2], weight.stride()[:-2], strict=True)
    ):
        return None  # a matrix for each head: no side of the weight
    columns = int(whole.shape[1])
    inner = int(np.prod(whole.shape[2:]))
    found: list[tuple[int, Tensor] | None] = []
    for size, stride in zip(weight.shape[-2:], weight.stride()[-2:], strict=True):
        flat = int(weight.storage_offset()) - int(whole.storage_offset())
        places = flat + torch.arange(size) * stride
        rows = places // (inner * columns)
        within = places % (inner * columns)
        if size == 1:
            found.append(None)
        elif not torch.equal(rows, rows[:1].expand_as(rows)):
            if not torch.equal(within, within[:1].expand_as(within)):
                return None
            found.append((0, rows))
        else:
            found.append((1, places // inner % columns))
    flat = int(weight.storage_offset()) - int(whole.storage_offset())
    here = (
        torch.tensor([flat // (inner * columns)]),
        torch.tensor([flat // inner % columns]),
    )
    first, second = found
    if first is None:
        dim = 0 if second is None else 1 - second[0]
        first = dim, here[dim]
    if second is None:
        second = 1 - first[0], here[1 - first[0]]
    if first[0] == second[0]:
        return None
    reads, makes = (second, first) if flipped else (first, second)
    inputs = tracker.axis(param, reads[0], whole.shape[reads[0]], "in")
    outputs = tracker.axis(param, makes[0], whole.shape[makes[0]], "out")
    return inputs[reads[1]], outputs[makes[1]]


def _contract(
    tracker: Tracker, call: Call, one: Labelled | None, other: Labelled | None
) -> Labelled | None:
    """Return the labels of a product of activations (..., M, K) and (..., K, N)."""
    inner = [
        x is not None and x.label.shape[k] > 1 for x, k in ((one, -1), (other, -2))
    ]
    for x in (one, other):
        tracker.reads(None if x is None else x.label)
    if one is not None and other is not None and all(inner):
        a, b = one.label.movedim(-1, -2), other.label
        first = a[..., :1]
        tracker.scores.append(_score(first[..., 0], b[..., 0]))
        tracker.classes.unite(first, a)
        tracker.classes.unite(first, b)
        sets = first[..., 0]
        made = group(tracker, sets)
        if made is None:
            return None
        shape = _product_shape(one.shape, other.shape)
        return Labelled(made[..., None, None], shape)
    for x, summed in ((one, inner[0]), (other, inner[1])):
        if x is not None and summed:
            tracker.fix(x.label, call, "its channels are summed against positions")
    row = column = None
    if one is not None and not inner[0]:
        row = Labelled(one.label.narrow(-1, 0, 1), (*one.shape[:-1], 1))
    if other is not None and not inner[1]:
        line = other.label.narrow(-2, 0, 1)
        column = Labelled(line, (*other.shape[:-2], 1, other.shape[-1]))
    if row is None or column is None:
        found = row if column is None else column
        if found is None or one is None or other is None:
            shapes = call.out.shape
            return None if found is None else Labelled(found.label, tuple(shapes))
        return Labelled(found.label, _product_shape(one.shape, other.shape))
    return join(tracker, call, row, column)


def _score(left: Tensor, right: Tensor) -> Score:
    """Note what a product sums over; equal ones, of the same sides, count once."""
    shape = broadcast_shape(left.shape, right.shape)
    both = torch.stack([left.expand(shape), right.expand(shape)]).flatten(1, -2).numpy()
    pairs = both.swapaxes(0, 1).reshape(both.shape[1], -1)
    first = np.unique(pairs, axis=0, return_index=True)[1]
    return Score(*both[:, np.sort(first)])


def _product_shape(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    batch = broadcast_shape(one[:-2], other[:-2])
    return (*batch, one[-2], other[-1])


def _attend(tracker: Tracker, call: Call) -> Tensor | None:
    """Follow softmax(q kᵀ + mask) v, whatever the kernel."""
    query, key, value = call.args[:3]
    labels: list[Labelled | None] = []
    for tensor in (query, key, value):
        label = tracker.get(tensor)
        if label is None:
            labels.append(None)
            continue
        times = query.shape[-3] // tensor.shape[-3] if query.dim() > 3 else 1
        if times > 1 and label.shape[-3] > 1:  # several query heads share one
            label = label.repeat_interleave(times, -3)
        labels.append(labelled(label, (*query.shape[:-2], *tensor.shape[-2:])))
    q, k, v = labels
    turned = None
    if k is not None:
        turned = labelled(
            k.label.transpose(-1, -2), (*k.shape[:-2], k.shape[-1], k.shape[-2])
        )
    score = _contract(tracker, call, q, turned)
    shape = (*query.shape[:-1], key.shape[-2])
    mask = call["attn_mask"]
    mask = mask if isinstance(mask, Tensor) else call["attn_bias"]
    bias = tracker.get(mask) if isinstance(mask, Tensor) else None
    if bias is not None:
        one = labelled(bias, mask.shape).lift(len(shape))
        score = one if score is None else join(tracker, call, score, one)
    result = _contract(tracker, call, score, v)
    return None if result is None else result.label


def _convolve(tracker: Tracker, call: Call) -> Tensor | None:
    source, weight, bias = call.args[:3]
    transposed, groups = bool(call["transposed"]), int(call["groups"])
    label, param = tracker.get(source), tracker.param_of(weight)
    tracker.reads(label)
    if param is None or tuple(param.tensor.shape) != tuple(weight.shape):
        why = "it is read by a functional convolution, whose weight is computed"
        tracker.fix(label, call, why)
        tracker.fix(tracker.get(weight), call, "it makes the weight of a convolution")
        return None
    line = None
    if label is not None:
        line = along(tracker, labelled(label, source.shape), 1)
    inputs, outputs = source.shape[1], call.out.shape[1]
    if groups > 1 and groups == inputs:  # each channel makes its own
        outer = (
            tracker.axis(param, int(transposed), outputs) if not transposed else None
        )
        if outer is None:
            whole = tracker.axis(param, 0, inputs)
            outer = whole.repeat_interleave(outputs // inputs)
            if weight.shape[1] > 1:
                tracker.fix(
                    whole, call, "a transposed one with a multiplier is not cut"
                )
        rows = outer.view(groups, -1)
        tracker.classes.unite(rows[:, :1], rows)
        if line is not None:
            tracker.classes.unite(line, rows[:, 0])
    else:
        outer = tracker.axis(param, int(transposed), outputs)
        inner = tracker.axis(param, 1 - int(transposed), inputs, "in")
        if line is not None:
            tracker.classes.unite(line, inner)
        if groups > 1:  # each group loses the same places
            for side in (inner, outer):
                rows = tracker.classes.find(side).view(groups, -1).t()
                if len(rows) > 1:
                    group(tracker, rows, hard=True)
                else:
                    tracker.fix(rows, call, "each of its groups has one channel there")
    if bias is not None:
        met = tracker.get(bias)
        if met is not None:
            tracker.classes.unite(outer, met.expand(outputs))
    return tracker.classes.find(outer.contiguous()).view(
        1, -1, *[1] * (call.out.dim() - 2)
    )


PRODUCTS: dict[str, Callable[[Tracker, Call], Any]] = {
    "mm": _product,
    "bmm": _product,
    "addmm": _product,
    "baddbmm": _product,
    "_sparse_addmm": _product,
    "dot": _vector,
    "vdot": _vector,
    "mv": _vector,
    "addmv": _vector,
    "convolution": _convolve,
    "_convolution": _convolve,
    "convolution_overrideable": _convolve,
    "scaled_dot_product_attention": _attend,
}
