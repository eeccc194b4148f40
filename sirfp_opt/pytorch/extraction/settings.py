"""Extraction: what is measured on a network, and how, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypedDict

import torch

from sirfp_opt._rules import (
    check_fields,
    check_names,
    choice,
    flag,
    number,
    ruled,
    whole,
)
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.pytorch.extraction.assemble import Scaling
from sirfp_opt.pytorch.extraction.averages import Averaging
from sirfp_opt.pytorch.extraction.graphs import COMBINATIONS, NORMALIZATIONS
from sirfp_opt.pytorch.extraction.importances import (
    IMPORTANCES,
    Importance,
    find_importance,
)
from sirfp_opt.pytorch.extraction.metrics import METRICS, Metric, find_metric

__all__ = ["Extraction", "ExtractionSettings", "OnNan", "as_extraction"]

OnNan = Literal["raise", "exclude", "skip"]
DTYPES = (None, torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Extraction:
    """What is measured on a network, and how: shared by all that extract.

    `extract`, `Extractor` and `prune` take one, or its fields as keywords.

    Parameters
    ----------
    metric : str or Metric
        What is compared, a name in `METRICS` or your own: "reconstruction" (what
        layers read), "spatial" (the paper's), "cosine" (maps divided by their L2 norm),
        "pooled" (averages of the maps, compared over images), these three with "_relu"
        behind them (after a ReLU), "filter" (the weights), or "refit".
    importance : str or Importance, optional
        What a single channel is worth, a name in `IMPORTANCES` or your own: "edge"
        (the paper's), "gamma_grad" (its second version's), "bn_scale", "l1".
    importance_weight : float
        Vertex weights of the graphs: each channel takes ``importance_weight * e_i /
        Σ e`` of its unit's total redundancy off the objective. With 0 importances are
        measured, for `Threshold`, and stay out of the graphs.
    decay : float, optional
        r of an exponential average A <- r A + (1 - r) S, from zero (the reference:
        0.99), one step for each batch. None is the plain mean over all images.
    bias_correction : bool
        Divide an exponential average by 1 - r^t. The reference does not.
    absolute : bool, optional
        Take absolute values, as the paper does when it prunes; by default of
        redundancies, and not of contributions.
    normalize : {"cosine", "trace", "none"}, optional
        Scale of each layer's matrix before the layers of a unit are combined: "cosine"
        for redundancies, "none" for contributions, which are relative as they are.
    combine : {"mean", "max", "sum", "union"}
        How the matrices of a unit's layers become one.
    pool_constant : bool
        Compare maps without spatial extent over images: within one image all channels
        would be copies of each other. The reference does not.
    training : bool, optional
        Mode in which `extract` runs the network. None keeps the mode of each module.
        The reference: True.
    on_nan : {"raise", "exclude", "skip"}
        What to do with a layer that gives NaN or inf: an error, its unit left whole,
        or such images left out of its average, and noted.
    positions : int, optional
        An approximation: multiply only so many positions of each larger map, drawn
        anew for each batch. Norms and edges are still those of the whole maps.
    dtype : torch.dtype or str, optional
        An approximation: precision of the factors of each product, for instance
        torch.bfloat16. Averages stay in float32 or more.
    max_batches : int, optional
        `extract` stops after so many.

    Raises
    ------
    InvalidProblemError
        On an unknown name, a value out of range, or settings that contradict each
        other.

    Examples
    --------
    >>> from sirfp_opt.pytorch import Extraction
    >>> spatial = Extraction("spatial", decay=0.99)
    >>> Extraction.from_dict(spatial.to_dict()) == spatial
    True
    """

    metric: str | Metric = "reconstruction"
    importance: str | Importance | None = "edge"
    importance_weight: float = ruled(
        number(0.0, way="With 1, importances weigh as much as a unit's redundancy."),
        0.0,
    )
    decay: float | None = ruled(
        number(
            0.0, 1.0, below=True, optional=True, way="None is the mean over all images."
        ),
        None,
    )
    bias_correction: bool = ruled(flag(), True)
    absolute: bool | None = ruled(flag(optional=True), None)
    normalize: str | None = ruled(choice(*NORMALIZATIONS, None), None)
    combine: str = ruled(choice(*COMBINATIONS, way="The default is 'mean'."), "mean")
    pool_constant: bool = ruled(flag(), True)
    training: bool | None = ruled(flag(optional=True), False)
    on_nan: OnNan = ruled(
        choice("raise", "exclude", "skip", way="'exclude' leaves such layers whole."),
        "raise",
    )
    positions: int | None = ruled(whole(1, optional=True), None)
    dtype: torch.dtype | None = ruled(
        choice(*DTYPES, way="Pass torch.bfloat16, or None for that of the maps."), None
    )
    max_batches: int | None = ruled(whole(1, optional=True), None)

    def __post_init__(self) -> None:
        if isinstance(self.dtype, str):
            named = getattr(torch, self.dtype.removeprefix("torch."), self.dtype)
            object.__setattr__(self, "dtype", named)
        found = find_metric(self.metric)
        find_importance(self.importance)
        check_fields(self)
        Averaging(self.decay, self.bias_correction)
        Scaling.of(
            found, self.absolute, self.normalize, self.combine, self.importance_weight
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values, which go to JSON.

        A metric or an importance of one's own is written by its repr, and cannot be
        read back.
        """
        data = {f.name: getattr(self, f.name) for f in fields(self)}
        data["metric"] = _name(self.metric, METRICS)
        data["importance"] = _name(self.importance, IMPORTANCES)
        data["dtype"] = (
            None if self.dtype is None else str(self.dtype).removeprefix("torch.")
        )
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Extraction:
        """Read what `to_dict` wrote; what is left out is at its default.

        Raises
        ------
        InvalidProblemError
            On unknown names and wrong values.
        """
        return as_extraction(data)


class ExtractionSettings(TypedDict, total=False):
    """The fields of `Extraction`, as keywords."""

    metric: str | Metric
    importance: str | Importance | None
    importance_weight: float
    decay: float | None
    bias_correction: bool
    absolute: bool | None
    normalize: str | None
    combine: str
    pool_constant: bool
    training: bool | None
    on_nan: OnNan
    positions: int | None
    dtype: torch.dtype | None
    max_batches: int | None


def as_extraction(
    extraction: Extraction | Mapping[str, Any] | None,
    settings: Mapping[str, Any] | None = None,
    *,
    default: Extraction | None = None,
) -> Extraction:
    """Return the one extraction that a value and keywords beside it stand for.

    Parameters
    ----------
    extraction : Extraction or mapping, optional
    settings : mapping, optional
        Fields, which take the place of those of `extraction`.
    default : Extraction, optional
        What stands where `extraction` is left out.

    Raises
    ------
    InvalidProblemError
    """
    settings = dict(settings or {})
    if isinstance(extraction, Mapping):
        settings = {**extraction, **settings}
    elif extraction is not None and not isinstance(extraction, Extraction):
        raise InvalidProblemError(
            f"`extraction` must be an Extraction or its settings, got {extraction!r}. "
            "Pass for instance {'metric': 'spatial'}."
        )
    else:
        default = extraction or default
    check_names(settings, [f.name for f in fields(Extraction)], "Extraction")
    return replace(default or Extraction(), **settings)


def _name(thing: Any, known: Mapping[str, Any]) -> Any:
    if thing is None or isinstance(thing, str):
        return thing
    return next((name for name, one in known.items() if one is thing), repr(thing))
