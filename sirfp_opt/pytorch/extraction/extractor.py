"""Channel graphs measured while a network runs, in whosever loop it is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, Unpack

import torch
from torch import Tensor, nn

from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.pytorch.batches import Forward, device_of
from sirfp_opt.pytorch.coupling.units import Coupling, Member, couple
from sirfp_opt.pytorch.cutting.fitting import check_units
from sirfp_opt.pytorch.extraction.assemble import (
    Reading,
    Scaling,
    assemble,
    reading_of,
    reading_of_filters,
    that_ran,
)
from sirfp_opt.pytorch.extraction.averages import (
    Averaging,
    LayerStatistics,
    Measured,
)
from sirfp_opt.pytorch.extraction.filters import (
    filters,
    folds,
    makers,
    reader_products,
    readers,
    scale_of,
    widened,
    width_of,
)
from sirfp_opt.pytorch.extraction.importances import find_importance
from sirfp_opt.pytorch.extraction.logits import LogitStatistics, logit_members
from sirfp_opt.pytorch.extraction.metrics import Metric, find_metric
from sirfp_opt.pytorch.extraction.ranks import has_ranks, over_ranks
from sirfp_opt.pytorch.extraction.resuming import load_averages, name_of
from sirfp_opt.pytorch.extraction.settings import (
    Extraction,
    ExtractionSettings,
    as_extraction,
)
from sirfp_opt.pytorch.extraction.watching import watch, watch_gradient

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch.utils.hooks import RemovableHandle

    from sirfp_opt.network.plan import Side
    from sirfp_opt.pytorch.extraction.graphs import ExtractedGraphs

__all__ = ["Extractor"]

Point = tuple[str, "Side"]


class Extractor:
    """Measures a network's channel graphs while somebody else runs it.

    Inside its ``with`` block every forward pass is one step of the averages; `graphs`
    gives what they hold at any time. It runs without gradients, outside of autocast, in
    float32 or more, and touches neither the network nor its training mode; whatever
    happens in the block, its hooks go with it. Recomputation under activation
    checkpointing is not counted twice.

    Parameters
    ----------
    model : nn.Module
        The network; a DistributedDataParallel or DataParallel wrapper is looked
        through.
    example : Tensor, mapping or iterable of batches, optional
        What the network is traced on; not needed with `coupling`.
    extraction : Extraction or mapping, optional
        What is measured, and how; by default an exponential average with decay 0.99.
        Importances of gradients are taken from the backward passes in the block.
    coupling : Coupling, optional
        From `couple`.
    scaler : torch.amp.GradScaler, optional
        Of a mixed-precision loop, to take its scale out of "gamma_grad".
    forward, ignore, seed
        As for `couple`.
    **settings
        Fields of `Extraction`, in place of those of `extraction`.

    Attributes
    ----------
    extraction : Extraction
        What is measured, and how.
    coupling : Coupling
        The pruning units.

    Raises
    ------
    InvalidProblemError
        On an unknown name, a value out of range, a coupling of another network.
    UnsupportedError
        If the network cannot be traced.

    Notes
    -----
    With ``metric="reconstruction"`` layer r reads y = Σ_c W_rc * x_c, and dropping the
    set D of channels, their means made up for by biases or batch norms, changes y by
    Σ_{c in D} W_rc * x̃_c. Of its mean square

    E_ij = Cov(x_i, x_j) Σ_{o, t} W_roit W_rojt,    divided by Σ_i E_ii,

    is the part at the same pixel under the same tap t of the filters (all of it for
    1 x 1 filters). A unit's graph is `ChannelGraph.from_reconstruction` of the mean E
    over the layers that read it: least error is a clique of most weight.

    Where `torch.distributed` is initialised, each rank measures its own batches, and
    `graphs` averages over all ranks: see there.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from sirfp_opt.pytorch import Extractor
    >>> _ = torch.manual_seed(0)
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1))
    >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    >>> extractor = Extractor(net, torch.rand(1, 3, 16, 16), decay=0.9)
    >>> with extractor:
    ...     for _ in range(3):
    ...         optimizer.zero_grad()
    ...         net(torch.rand(4, 3, 16, 16)).square().mean().backward()
    ...         optimizer.step()
    >>> extractor.graphs()
    ExtractedGraphs(1 units, 8 channels, 12 images, 1 excluded)
    """

    def __init__(
        self,
        model: nn.Module,
        example: Any = None,
        extraction: Extraction | Mapping[str, Any] | None = None,
        *,
        coupling: Coupling | None = None,
        scaler: torch.amp.GradScaler | None = None,
        forward: Forward | None = None,
        ignore: tuple[str, ...] | list[str] = (),
        seed: int = 0,
        **settings: Unpack[ExtractionSettings],
    ) -> None:
        loops = sorted({"training", "max_batches"} & set(settings))
        if loops:
            raise InvalidProblemError(
                f"`{loops[0]}` must be left to whoever runs the network, got "
                f"{settings[loops[0]]!r}. Pass it to `extract`."  # type: ignore[literal-required]
            )
        how = as_extraction(extraction, settings, default=Extraction(decay=0.99))
        self.extraction = how
        self._metric = find_metric(how.metric)
        self._importance = find_importance(how.importance)
        self._averaging = Averaging(how.decay, how.bias_correction)
        self._scaling = Scaling.of(
            self._metric,
            how.absolute,
            how.normalize,
            how.combine,
            how.importance_weight,
        )
        self._on_nan, self._scaler = how.on_nan, scaler
        wrappers = (nn.parallel.DistributedDataParallel, nn.DataParallel)
        self._model = model.module if isinstance(model, wrappers) else model
        if coupling is None:
            if example is None:
                raise InvalidProblemError(
                    "`example` must be a batch to trace the network on, got none. "
                    "Pass one, or a `coupling` from couple()."
                )
            coupling = couple(
                self._model, example, forward=forward, ignore=ignore, seed=seed
            )
        else:
            check_units(self._model, coupling.units, "coupling")
        self.coupling = coupling
        self._modules = dict(self._model.named_modules())
        self._folds = folds(coupling.units, self._modules)
        self._pairings = {pairing.name: pairing for pairing in coupling.pairings}
        # By layer and side: what is measured where.
        self._statistics: dict[Point, LayerStatistics] = {}
        for side, members, measured in self._points():
            for layer in _layers(members):
                if layer in self._pairings:
                    self._statistics[layer, side] = LogitStatistics(
                        self._pairings[layer],
                        self._metric,
                        self._averaging,
                        skip=how.on_nan == "skip",
                    )
                    continue
                self._statistics[layer, side] = LayerStatistics(
                    measured,
                    self._averaging,
                    importance=self._importance if side == "out" else None,
                    pool_constant=how.pool_constant,
                    skip=how.on_nan == "skip",
                    positions=how.positions,
                    dtype=how.dtype,
                )
        self._order: dict[str, None] = {}
        self._hooks: list[RemovableHandle] = []

    @property
    def needs_gradients(self) -> bool:
        """Whether backward passes are measured."""
        return self._importance is not None and self._importance.source == "gradients"

    @property
    def needs_data(self) -> bool:
        """Whether anything but weights is measured."""
        return bool(self._points())

    @property
    def scales(self) -> dict[str, nn.Parameter]:
        """By layer: the γ whose gradients are measured."""
        makers = [layer for layer, side in self._statistics if side == "out"]
        found = {name: scale_of(self._modules[name]) for name in makers}
        return {k: v for k, v in found.items() if v is not None and v.requires_grad}

    def __enter__(self) -> Self:
        if self._hooks:
            raise InvalidProblemError(
                "`Extractor` must be entered once at a time, got a second `with`. "
                "Leave the first one; the averages go on in the next."
            )
        if self.needs_gradients and not self.scales:
            raise InvalidProblemError(
                "`importance` must find norms with a scale that is trained for "
                f"gradients, got none in {type(self._model).__name__}. "
                "Take importance='edge', or set requires_grad."
            )
        try:
            for (layer, side), record in self._statistics.items():
                self._watch(layer, side, record)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def graphs(self, *, distributed: bool | None = None) -> ExtractedGraphs:
        """Return the graphs of what was measured so far.

        Parameters
        ----------
        distributed : bool, optional
            Average over the ranks of `torch.distributed`; by default where there is
            more than one. Every rank must then call this, and gets the same graphs. A
            plain mean weighs each image alike, however many each rank saw; an
            exponential average needs equal numbers of batches.

        Returns
        -------
        ExtractedGraphs

        Raises
        ------
        InvalidProblemError
            If no batch was seen, on NaN or inf with ``on_nan="raise"``, and where the
            ranks do not fit together.
        """
        side = "in" if self._metric.source == "inputs" else "out"
        readings, terms, batches = {}, {}, 0
        # One layer at a time: what is averaged is as large as what comes out.
        for point, measured in self._results(distributed):
            layer, counts = point[0], measured.counts
            batches = max(batches, counts.batches, counts.term_steps)
            if counts.term_steps:
                terms[layer] = measured.term.cpu().numpy()
            if point[1] == side:
                readings[layer] = self._reading(point, measured)
        if self._statistics and not batches:
            raise InvalidProblemError(
                "`Extractor` must have seen a batch, got none. Run the network inside "
                "of the `with` block; a compiled one that ran before does not see it."
            )
        members = term_members = self.coupling.members
        if side == "in":
            members = self._readers()
        elif self._metric.source == "weights":
            members = self._makers()
            readings = {
                layer: reading_of_filters(self._modules[layer], self._metric)
                for layer in _layers(members)
            }
        members = that_ran(members, readings)
        importance = self._importance
        if importance is not None and importance.source == "weights":
            term_members = self._makers()
            for layer in _layers(term_members):
                term = importance.measure(filters(self._modules[layer]))
                terms[layer] = term.cpu().numpy()
        if importance is not None and importance.source == "scale":
            for layer in _layers(term_members):
                scale = scale_of(self._modules[layer])
                if scale is not None:
                    terms[layer] = importance.measure(widened(scale)).cpu().numpy()
        order = [layer for layer in self._order if layer in readings]
        found = assemble(
            self.coupling,
            members,
            {layer: readings[layer] for layer in [*order, *readings]},
            term_members,
            terms,
            self._scaling,
            raising=self._on_nan == "raise",
        )
        return replace(found, extraction=self.extraction)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averages, as tensors only, to go on from with `load_state_dict`.

        They are this rank's own, and not copies: save them before the next step.
        """
        return {
            name_of(point, key): value
            for point, record in self._statistics.items()
            for key, value in record.state().items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from averages of an extractor of the same settings.

        Raises
        ------
        InvalidProblemError
            If they are of other layers, or of layers of other sizes. Nothing is
            loaded then.
        """
        widths = {point: self._width(*point) for point in self._statistics}
        load_averages(self._statistics, state, widths, device_of(self._model))

    def _width(self, layer: str, side: Side) -> int | None:
        width = width_of(self._modules.get(layer), side)
        return width // self._folds[layer] if width and side == "in" else width

    def _points(
        self,
    ) -> list[tuple[Side, dict[str, tuple[Member, ...]], Metric | None]]:
        """Return the sides of layers to measure while the network runs."""
        source, importance = self._metric.source, self._importance
        terms = importance is not None and importance.source in ("maps", "gradients")
        points: list[tuple[Side, dict[str, tuple[Member, ...]], Metric | None]] = []
        if source == "maps" or terms:
            metric = self._metric if source == "maps" else None
            points.append(("out", self.coupling.members, metric))
        if source == "inputs":
            points.append(("in", self._readers(), self._metric))
        return points

    def _watch(self, layer: str, side: Side, record: LayerStatistics) -> None:
        if isinstance(record, LogitStatistics):
            self._hooks += record.watch(self._modules, self._order)
            return
        module = self._modules[layer]
        if record.metric is not None or not self.needs_gradients:
            order = self._order
            fold = self._folds[layer] if side == "in" else 1
            hook = watch(
                module,
                side,
                record,
                lambda: order.update({layer: None}),
                fold=fold,
                owner=self._modules.get(layer.rpartition(".")[0]),
            )
            self._hooks.append(hook)
        scale = self.scales.get(layer) if side == "out" else None
        if self.needs_gradients and scale is not None:
            self._hooks.append(watch_gradient(scale, record, self._scaler))

    def _results(self, asked: bool | None) -> Iterator[tuple[Point, Measured]]:
        if has_ranks(asked):
            yield from over_ranks(
                self._statistics, self._averaging, device_of(self._model)
            )
        else:
            for point, record in self._statistics.items():
                yield point, record.result()

    def _makers(self) -> dict[str, tuple[Member, ...]]:
        return {unit.name: makers(unit, self._modules) for unit in self.coupling.units}

    def _readers(self) -> dict[str, tuple[Member, ...]]:
        logits = logit_members(self.coupling.units, self.coupling.pairings)
        return {
            unit.name: readers(unit, self._modules, self._folds) + logits[unit.name]
            for unit in self.coupling.units
        }

    def _reading(self, point: Point, measured: Measured) -> Reading:
        record, layer = self._statistics[point], point[0]
        if isinstance(record, LogitStatistics):
            return record.reading(measured, self._metric)
        if point[1] == "out":
            return reading_of(measured)
        products = reader_products(self._modules[layer], self._folds[layer])
        return reading_of(measured, products, self._metric.apart)


def _layers(members: Mapping[str, tuple[Member, ...]]) -> dict[str, None]:
    return dict.fromkeys(m.layer for some in members.values() for m in some)
