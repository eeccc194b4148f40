"""Channel graphs measured on a network over some batches."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.pytorch.batches import (
    Forward,
    evaluating,
    first_and_all,
    naming_the_batch,
    run,
    to_model,
)
from sirfp_opt.pytorch.extraction.extractor import Extractor, OnNan

if TYPE_CHECKING:
    from collections.abc import Callable

    from sirfp_opt.pytorch.coupling.units import Coupling
    from sirfp_opt.pytorch.extraction.graphs import ExtractedGraphs
    from sirfp_opt.pytorch.extraction.importances import Importance
    from sirfp_opt.pytorch.extraction.metrics import Metric

__all__ = ["extract"]


def extract(
    model: nn.Module,
    batches: Any,
    *,
    metric: str | Metric = "reconstruction",
    importance: str | Importance | None = "edge",
    importance_weight: float = 0.0,
    decay: float | None = None,
    bias_correction: bool = True,
    absolute: bool | None = None,
    normalize: str | None = None,
    combine: str = "mean",
    pool_constant: bool = True,
    training: bool | None = False,
    on_nan: OnNan = "raise",
    positions: int | None = None,
    dtype: torch.dtype | None = None,
    loss: Callable[[Any, Any], Tensor] | None = None,
    max_batches: int | None = None,
    coupling: Coupling | None = None,
    distributed: bool | None = None,
    ignore: tuple[str, ...] | list[str] = (),
    forward: Forward | None = None,
    seed: int = 0,
) -> ExtractedGraphs:
    """Measure what the channels of each pruning unit have in common.

    By default: what each two contribute, at the same pixels, to the layers that read
    them, so that the graph's objective is the error which these layers are spared; see
    `Extractor`.

    With ``metric="spatial"``: how redundant they are. Each batch norm's output (before
    the activation and any residual add) is divided, channel by channel and image by
    image, by its L1 norm + 1e-5; the inner products S = X̂ X̂' of these maps are averaged
    over images and batches (SIRFP, arXiv 2412.12672, section 3.2). The maps of units
    without any batch norm are taken from the convolutions and linear layers that make
    them.

    Parameters
    ----------
    model : nn.Module
        The network. It is run without gradients and left as it was: parameters,
        running statistics, training modes, hooks.
    batches : Tensor, mapping or iterable of batches
        Of tuples and lists as many entries are passed as the network needs, so
        (images, labels) will do; mappings are passed as keywords. A measure of weights
        alone takes the first only, to trace the network.
    metric : str or Metric
        What is compared, a name in `METRICS` or your own: "reconstruction" (what
        layers read), "spatial" (the paper's), "cosine" (maps divided by their L2 norm),
        "pooled" (averages of the maps, compared over images), these three with "_relu"
        behind them (after a ReLU), or "filter" (the weights).
    importance : str or Importance, optional
        What a single channel is worth, a name in `IMPORTANCES` or your own: "edge"
        (the paper's), "gamma_grad" (its second version's), "bn_scale", "l1".
    importance_weight : float
        Vertex weights of the graphs, see `Extractor`.
    decay : float, optional
        r of an exponential average A <- r A + (1 - r) S, from zero (the reference:
        0.99). By default the plain mean over all images.
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
        Mode to run in. None keeps the mode of each module. The reference: True.
    on_nan : {"raise", "exclude", "skip"}
        What to do with a layer that gives NaN or inf: an error, its unit left whole,
        or such images left out of its average, and noted.
    positions, dtype
        Approximations, see `Extractor`.
    loss : callable, optional
        ``loss(output, batch)`` -> scalar, for importances of gradients.
    max_batches : int, optional
        Stop after so many.
    coupling : Coupling, optional
        From `couple`, to spare the trace.
    distributed : bool, optional
        Average over the ranks of `torch.distributed`, see `Extractor.graphs`.
    ignore, forward, seed
        As for `couple`.

    Returns
    -------
    ExtractedGraphs
        A mapping from unit name to `ChannelGraph`, with importances, map sizes, the
        matrices of the single layers, exclusions and notes.

    Raises
    ------
    InvalidProblemError
        On no batch, unknown names, and NaN or inf in a layer's output.
    UnsupportedError
        If the network cannot be traced.

    See Also
    --------
    Extractor : The same inside of a loop of your own.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from sirfp_opt.pytorch import extract
    >>> _ = torch.manual_seed(0)
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1))
    >>> extract(net, [torch.rand(4, 3, 16, 16)])["0"]
    ChannelGraph(n=8, sense='maximize', name='0')
    """
    first, every = first_and_all(batches)
    extractor = Extractor(
        model,
        [first],
        coupling=coupling,
        metric=metric,
        importance=importance,
        importance_weight=importance_weight,
        decay=decay,
        bias_correction=bias_correction,
        absolute=absolute,
        normalize=normalize,
        combine=combine,
        pool_constant=pool_constant,
        on_nan=on_nan,
        positions=positions,
        dtype=dtype,
        forward=forward,
        ignore=ignore,
        seed=seed,
    )
    scales = list(extractor.scales.values())
    learning = extractor.needs_gradients
    if learning and loss is None:
        raise InvalidProblemError(
            "`loss` must be given for importances of gradients, got None. "
            "Pass loss(output, batch) -> scalar."
        )
    if extractor.needs_data:
        with (
            evaluating(model, training=training),
            extractor,
            torch.set_grad_enabled(learning),
        ):
            for number, batch in enumerate(islice(every, max_batches)):
                here = to_model(batch, model)
                with naming_the_batch(number, here):
                    output = run(model, here, forward)
                if learning and loss is not None:
                    # Unlike backward(), this leaves no gradient in the network.
                    torch.autograd.grad(loss(output, here), scales, allow_unused=True)
    return extractor.graphs(distributed=distributed)
