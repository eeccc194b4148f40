"""Channel graphs measured on a network over some batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

import torch
from torch import Tensor, nn

from sirfp_opt._parallel import check_progress, progress_stages
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.pytorch.batches import (
    Forward,
    counted,
    evaluating,
    first_and_all,
    naming_the_batch,
    run,
    to_model,
)
from sirfp_opt.pytorch.extraction.extractor import Extractor
from sirfp_opt.pytorch.extraction.importances import find_importance
from sirfp_opt.pytorch.extraction.settings import (
    Extraction,
    ExtractionSettings,
    as_extraction,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sirfp_opt._parallel import Stages
    from sirfp_opt.pytorch.coupling.units import Coupling
    from sirfp_opt.pytorch.extraction.graphs import ExtractedGraphs

__all__ = ["extract"]


def extract(
    model: nn.Module,
    batches: Any,
    extraction: Extraction | Mapping[str, Any] | None = None,
    *,
    coupling: Coupling | None = None,
    loss: Callable[[Any, Any], Tensor] | None = None,
    distributed: bool | None = None,
    ignore: tuple[str, ...] | list[str] = (),
    forward: Forward | None = None,
    seed: int = 0,
    progress: bool | Stages | None = None,
    **settings: Unpack[ExtractionSettings],
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
    extraction : Extraction or mapping, optional
        What is measured, and how.
    coupling : Coupling, optional
        From `couple`, to spare the trace.
    loss : callable, optional
        ``loss(output, batch)`` -> scalar, for importances of gradients.
    distributed : bool, optional
        Average over the ranks of `torch.distributed`, see `Extractor.graphs`.
    ignore, forward, seed
        As for `couple`.
    progress : bool or callable, optional
        True for a bar, or ``callback(stage, done, total)``; by default
        a bar on a terminal, and log messages elsewhere. False: neither.
    **settings
        Fields of `Extraction`, in place of those of `extraction`: ``metric="spatial"``.

    Returns
    -------
    ExtractedGraphs
        A mapping from unit name to `ChannelGraph`, with importances, map sizes, the
        matrices of the single layers, exclusions and notes.

    Raises
    ------
    InvalidProblemError
        On no batch, unknown names, a coupling of another network, and NaN or inf in a
        layer's output.
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
    how = as_extraction(extraction, settings)
    importance = find_importance(how.importance)
    learning = importance is not None and importance.source == "gradients"
    if learning and not callable(loss):
        raise InvalidProblemError(
            "`loss` must be given for importances of gradients, got "
            f"{loss!r}. Pass loss(output, batch) -> scalar."
        )
    check_progress(progress)
    first, every = first_and_all(batches)
    extractor = Extractor(
        model,
        [first],
        how,
        coupling=coupling,
        forward=forward,
        ignore=ignore,
        seed=seed,
    )
    scales = list(extractor.scales.values())
    if extractor.needs_data:
        with (
            evaluating(model, training=how.training),
            extractor,
            torch.set_grad_enabled(learning),
            progress_stages(progress) as tell,
        ):
            heard = counted(every, how.max_batches, "extract", tell)
            for number, batch in enumerate(heard):
                here = to_model(batch, model)
                with naming_the_batch(number, here):
                    output = run(model, here, forward)
                if learning and loss is not None:
                    # Unlike backward(), this leaves no gradient in the network.
                    torch.autograd.grad(loss(output, here), scales, allow_unused=True)
    return extractor.graphs(distributed=distributed)
