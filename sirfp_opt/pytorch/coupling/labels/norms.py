"""Rules of norms and reductions: channels that are read together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from sirfp_opt.pytorch.coupling.labels.classes import HEAD
from sirfp_opt.pytorch.coupling.labels.joins import (
    Sets,
    along,
    flattened,
    group,
    join,
    labelled,
    unite_bare,
)
from sirfp_opt.pytorch.coupling.labels.shadows import compact

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sirfp_opt.pytorch.coupling.labels.engine import Tracker
    from sirfp_opt.pytorch.coupling.labels.joins import Labels
    from sirfp_opt.pytorch.coupling.labels.records import Call

__all__ = ["NORMS", "REDUCTIONS", "batch_norm", "title"]

REDUCED = """
    mean sum amax amin max min prod var std logsumexp var_mean argmax argmin aminmax
    linalg_vector_norm norm any all std_mean nansum count_nonzero median nanmedian mode
    kthvalue
"""
"""Operations that take dimensions away; some of them also take two tensors."""

ADDS_UP = {"sum", "nansum", "linalg_vector_norm", "norm", "count_nonzero"}
"""Reductions to which a channel of zeros contributes nothing."""

ALONG = """
    _softmax _log_softmax _safe_softmax cumsum cumprod logcumsumexp cummax
    cummin sort topk _fft_r2c _fft_c2c _fft_c2r
"""
"""Operations along one dimension that leave the others alone."""

NORMALISES = re.compile("softmax|norm")


def batch_norm(tracker: Tracker, call: Call) -> Tensor | None:
    """Unite the channels with weight, bias and statistics; note their number."""
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
        sets = flattened(label, dims)
        what = "normalises across" if NORMALISES.search(call.name) else "mixes the"
        _normalise(tracker, call, sets, f"{what} channels")


def _normalise(tracker: Tracker, call: Call, sets: Tensor, what: str) -> None:
    """Note that each set of labels (last dimension) is normalised together.

    Several sets go as wholes; a single one stays, unless surgery knows the module.
    """
    sets = tracker.classes.find(sets.reshape(-1, sets.shape[-1]).contiguous())
    rows = np.unique(sets.numpy(), axis=0)
    rows = rows[(rows > 0).any(axis=1)]
    module = tracker.modules.get(call.where)
    why = None
    if module is None or not tracker.accepts(module):
        why = call.where, f"{title(tracker, call)} {what}"
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
    sets = flattened(label, dims)
    result: Tensor | None = sets[..., 0]
    if any(label.shape[d] > 1 for d in dims):
        tracker.reads(sets)
        if call.name in ADDS_UP and not _is_infinite(call):
            result = group(tracker, sets)
        elif tracker.classes.kinds(sets) == {HEAD}:
            # Scores averaged over heads, which most callers throw away: whether
            # anybody reads them the trial shows.
            result = None
        else:
            _normalise(tracker, call, sets, "reduces over the channels")
            result = group(tracker, sets)
    if result is not None and call.out.dim() == rank:
        for dim in dims:
            result = result.unsqueeze(dim)
    return [result, result]


def _is_infinite(call: Call) -> bool:
    order = call["ord"] if call.name == "linalg_vector_norm" else call["p"]
    return isinstance(order, (int, float)) and not 0 < float(order) < float("inf")


def title(tracker: Tracker, call: Call) -> str:
    """Name an operation as its user knows it."""
    module = tracker.modules.get(call.where)
    plain = module is not None and not list(module.children())
    if plain and type(module).__module__.startswith("torch.nn"):
        return type(module).__name__
    return call.name.removeprefix("native_").strip("_")


NORMS: dict[str, Callable[[Tracker, Call], Any]] = {
    "native_group_norm": _group_norm,
    "native_layer_norm": _layer_norm,
    "_fused_rms_norm": _layer_norm,
    "rms_norm": _layer_norm,
    **dict.fromkeys(ALONG.split(), _along_one),
}
"""Beside `batch_norm`, which has many names."""

REDUCTIONS: dict[str, Callable[[Tracker, Call], Any]] = dict.fromkeys(
    REDUCED.split(), _reduce
)
