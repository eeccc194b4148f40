"""Channel graphs measured on a network while it runs."""

from __future__ import annotations

import logging
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.graph import ChannelGraph
from sirfp_opt.pytorch.batches import Forward, evaluating, first_and_all, run, to_model
from sirfp_opt.pytorch.coupling import Coupling, Exclusion, couple
from sirfp_opt.pytorch.graphs import ExtractedGraphs, combine, normalize
from sirfp_opt.pytorch.metrics import METRICS, Averaging, LayerStatistics
from sirfp_opt.pytorch.surgery import channel_dim

if TYPE_CHECKING:
    from sirfp_opt._validate import FloatArray

__all__ = ["extract"]

logger = logging.getLogger(__name__)


def extract(
    model: nn.Module,
    batches: Any,
    *,
    metric: str = "spatial",
    decay: float | None = None,
    bias_correction: bool = True,
    absolute: bool = True,
    edge: bool = True,
    normalize: str = "cosine",
    combine: str = "mean",
    pool_constant: bool = True,
    training: bool | None = False,
    on_nan: Literal["raise", "exclude"] = "raise",
    max_batches: int | None = None,
    coupling: Coupling | None = None,
    ignore: tuple[str, ...] | list[str] = (),
    forward: Forward | None = None,
    seed: int = 0,
) -> ExtractedGraphs:
    """Measure how redundant the channels of each pruning unit are to each other.

    Each batch norm's output (before the activation and any residual add) is divided,
    channel by channel and image by image, by its L1 norm + 1e-5; the inner products
    S = X̂ X̂' of these maps are averaged over images and batches (SIRFP, arXiv
    2412.12672, section 3.2). The maps of units without any batch norm are taken from
    the convolutions and linear layers that make them.

    Parameters
    ----------
    model : nn.Module
        The network. It is run without gradients and left as it was: parameters,
        running statistics, training modes, hooks.
    batches : Tensor, mapping or iterable of batches
        Of tuples and lists as many entries are passed as the network needs, so
        (images, labels) will do; mappings are passed as keywords.
    metric : {"spatial", "cosine"}
        The paper's, or the same with maps divided by their L2 norm.
    decay : float, optional
        r of an exponential average A <- r A + (1 - r) S, from zero (the reference:
        0.99). By default the plain mean over all images.
    bias_correction : bool
        Divide an exponential average by 1 - r^t. The reference does not.
    absolute : bool
        Take absolute values, as the paper does when it prunes.
    edge : bool
        Measure the edge term as well.
    normalize : {"cosine", "trace", "none"}
        Scale of each layer's matrix before the layers of a unit are combined.
    combine : {"mean", "max", "sum", "union"}
        How the matrices of a unit's layers become one.
    pool_constant : bool
        Correlate maps without spatial extent over images. See `LayerStatistics`.
    training : bool, optional
        Mode to run in. None keeps the mode of each module. The reference: True.
    on_nan : {"raise", "exclude"}
        What to do with a layer that gives NaN or inf.
    max_batches : int, optional
        Stop after so many.
    coupling : Coupling, optional
        From `couple`, to spare the trace.
    ignore, forward, seed
        As for `couple`.

    Returns
    -------
    ExtractedGraphs
        A mapping from unit name to `ChannelGraph`, with edge terms, map sizes, the
        matrices of the single layers, exclusions and notes.

    Raises
    ------
    InvalidProblemError
        On no batch, unknown names, and NaN or inf in a layer's output.
    UnsupportedError
        If the network cannot be traced.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from sirfp_opt.pytorch import extract
    >>> _ = torch.manual_seed(0)
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1))
    >>> extract(net, [torch.rand(4, 3, 16, 16)])["0"]
    ChannelGraph(n=8, sense='minimize', name='0')
    """
    if metric not in METRICS:
        raise InvalidProblemError(
            f"`metric` must be one of {sorted(METRICS)}, got {metric!r}. "
            "The paper's is 'spatial'."
        )
    if on_nan not in ("raise", "exclude"):
        raise InvalidProblemError(
            f"`on_nan` must be 'raise' or 'exclude', got {on_nan!r}. "
            "With 'exclude' such layers are left whole."
        )
    averaging = Averaging(decay, bias_correction)
    _check_modes(normalize, combine)
    first, every = first_and_all(batches)
    if coupling is None:
        coupling = couple(model, [first], forward=forward, ignore=ignore, seed=seed)
    layers = dict.fromkeys(
        member.layer for members in coupling.members.values() for member in members
    )
    statistics = {
        layer: LayerStatistics(
            metric, averaging, edge=edge, pool_constant=pool_constant
        )
        for layer in layers
    }
    _watch(model, islice(every, max_batches), statistics, forward, training)
    coupling = _only_measured(coupling, statistics, on_nan)
    return _assemble(coupling, statistics, absolute, normalize, combine)


def _check_modes(normalization: str, combination: str) -> None:
    tiny = np.ones((1, 1))
    combine([normalize(tiny, normalization)], combination)


def _watch(
    model: nn.Module,
    batches: Any,
    statistics: dict[str, LayerStatistics],
    forward: Forward | None,
    training: bool | None,
) -> None:
    """Run the network over the batches with a hook on each layer."""
    modules = dict(model.named_modules())
    ran: dict[str, None] = {}

    def watcher(layer: str, record: LayerStatistics) -> Any:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            ran[layer] = None
            record.update(output.detach().movedim(channel_dim(module, output), 1))

        return hook

    hooks = []
    try:
        with evaluating(model, training=training), torch.no_grad():
            for layer, record in statistics.items():
                hooks.append(
                    modules[layer].register_forward_hook(watcher(layer, record))
                )
            for batch in batches:
                run(model, to_model(batch, model), forward)
    finally:
        for hook in hooks:
            hook.remove()
    # In the order in which they ran: of several bad layers the first is to blame.
    for layer in [*ran, *(set(statistics) - set(ran))]:
        statistics[layer] = statistics.pop(layer)


def _only_measured(
    coupling: Coupling, statistics: dict[str, LayerStatistics], on_nan: str
) -> Coupling:
    """Exclude units with a layer that did not run, or ran into NaN."""
    reasons: dict[str, str] = {}
    for layer, record in statistics.items():
        if record.images == 0:
            reasons[layer] = "it did not run on any batch"
        elif not bool(torch.isfinite(record.redundancy()).all()):
            reasons[layer] = "its output holds NaN or inf"
            if on_nan == "raise":
                raise InvalidProblemError(
                    "`batches` must give finite activations, got NaN or inf in the "
                    f"output of {layer!r}. Check the input and the weights, or pass "
                    "on_nan='exclude' to leave such layers whole."
                )
    return coupling.without(
        Exclusion(unit.name, unit.size, bad[0], reasons[bad[0]])
        for unit in coupling.units
        if (bad := [m.layer for m in coupling.members[unit.name] if m.layer in reasons])
    )


def _assemble(
    coupling: Coupling,
    statistics: dict[str, LayerStatistics],
    absolute: bool,
    normalization: str,
    combination: str,
) -> ExtractedGraphs:
    full: dict[str, FloatArray] = {}
    edges: dict[str, FloatArray] = {}
    for layer, record in statistics.items():
        if record.images:
            matrix = record.redundancy()
            full[layer] = (matrix.abs() if absolute else matrix).cpu().numpy()
            term = record.edge()
            if term is not None:
                edges[layer] = term.cpu().numpy()
    graphs, redundancy, edge, dead = {}, {}, {}, {}
    notes = []
    for unit in coupling.units:
        parts, terms = {}, {}
        for member in coupling.members[unit.name]:
            block = slice(member.offset, member.offset + unit.size)
            parts[member.layer] = full[member.layer][block, block]
            if member.layer in edges:
                terms[member.layer] = edges[member.layer][block]
        redundancy[unit.name], edge[unit.name] = parts, terms
        scaled = [normalize(part, normalization) for part in parts.values()]
        graphs[unit.name] = ChannelGraph.from_redundancy(
            combine(scaled, combination), name=unit.name
        )
        silent = np.all([part.diagonal() == 0 for part in parts.values()], axis=0)
        if silent.any():
            dead[unit.name] = np.flatnonzero(silent)
            notes.append(
                f"{unit.name}: {int(silent.sum())} of {unit.size} channels are zero "
                "everywhere (dead)"
            )
    for layer, record in statistics.items():
        if record.constant:
            notes.append(
                f"{layer}: its maps are constant, its channels were compared over "
                f"{record.images} images"
            )
    for note in notes:
        logger.info(note)
    return ExtractedGraphs(
        graphs=graphs,
        coupling=coupling,
        redundancy=redundancy,
        edge=edge,
        map_sizes={
            layer: record.map_size
            for layer, record in statistics.items()
            if record.images
        },
        dead=dead,
        notes=tuple(notes),
        images=max((record.images for record in statistics.values()), default=0),
    )
