"""What each operation does to labels: the only arithmetic that the tracker knows.

A rule answers with the labels of what the operation makes.  What no rule lists leaves
the channels that it reads whole, and says so: it is never an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from sirfp_opt.pytorch.coupling.labels.internals import is_pointwise
from sirfp_opt.pytorch.coupling.labels.joins import (
    group,
    join,
    keep_constant,
    labelled,
)
from sirfp_opt.pytorch.coupling.labels.moves import MOVES
from sirfp_opt.pytorch.coupling.labels.norms import (
    NORMS,
    REDUCTIONS,
    batch_norm,
    title,
)
from sirfp_opt.pytorch.coupling.labels.products import PRODUCTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from sirfp_opt.pytorch.coupling.labels.engine import Tracker
    from sirfp_opt.pytorch.coupling.labels.joins import Labelled, Labels
    from sirfp_opt.pytorch.coupling.labels.records import Call

__all__ = ["apply"]

POINTWISE = """
    _prelu_kernel masked_fill dropout native_dropout where bernoulli nan_to_num
    zeros_like ones_like full_like rand_like randn_like logical_not clamp_min
    clamp_max hardswish
    hardsigmoid hardtanh elu mish softplus leaky_relu prelu rrelu_with_noise celu
    glu_jvp alpha_dropout feature_dropout gelu silu lerp
    fake_quantize_per_tensor_affine threshold _fused_dropout hardshrink softshrink
    log_sigmoid_forward addcmul addcdiv complex polar
"""
"""Operations that work element by element without torch's tag that says so."""

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
    if name in RULES:
        return RULES[name]
    if name.startswith("_scaled_dot_product"):
        return PRODUCTS["scaled_dot_product_attention"]
    if "batch_norm" in name:
        return batch_norm
    if name in REDUCTIONS and not _of_two(call):
        return REDUCTIONS[name]
    if name.startswith(PLACES):
        return _places
    if name.startswith(BLANK):
        return _nothing
    if is_pointwise(name):
        return _pointwise
    return None


def _of_two(call: Call) -> bool:
    """Tell whether "max" and the like are of two tensors, element by element."""
    return len(call.args) > 1 and isinstance(call.args[1], Tensor)


def _unknown(tracker: Tracker, call: Call) -> Labels:
    for tensor in call.tensors:
        why = f"its channels cannot be followed through {title(tracker, call)}"
        tracker.fix(tracker.get(tensor), call, why)
    return [None]


# -- element by element ---------------------------------------------------------


def _pointwise(tracker: Tracker, call: Call) -> Tensor | None:
    rank = call.out.dim()
    total: Labelled | None = None
    plain: list[Tensor] = []
    for tensor in call.tensors:
        if tensor is call.kwargs.get("out"):
            continue
        label = tracker.get(tensor)
        if label is None:
            plain.append(tensor)
            continue
        one = labelled(label, tensor.shape).lift(rank)
        total = one if total is None else join(tracker, call, total, one)
        if total is None:
            return None
    if total is None:
        return None
    for constant in plain:
        keep_constant(tracker, call, total.label, constant)
    return total.label


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


def _nothing(tracker: Tracker, call: Call) -> None:
    """Make something that holds no channel: sizes, ranges, plain numbers."""


RULES: dict[str, Callable[[Tracker, Call], Any]] = {
    **PRODUCTS,
    **MOVES,
    **NORMS,
    **dict.fromkeys(POINTWISE.split(), _pointwise),
    "_local_scalar_dense": _nothing,
}
