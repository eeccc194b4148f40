"""One pass of the original network: what its readers see, and what they make of it."""

from __future__ import annotations

import weakref
from math import prod
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.pytorch.cutting.heads import is_attention, leading_batch, values_of
from sirfp_opt.pytorch.extraction.parts import draw, most_at_a_time, parts
from sirfp_opt.pytorch.refitting.hooks import outside_of_modes
from sirfp_opt.pytorch.refitting.moments import Moments
from sirfp_opt.pytorch.refitting.patches import (
    Source,
    as_maps,
    padded,
    patches,
    sources,
)
from sirfp_opt.pytorch.refitting.records import (
    HeldOut,
    Record,
    Rows,
    most_rows,
    seen_and_lacking,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from torch.utils.hooks import RemovableHandle

    from sirfp_opt.pytorch.refitting.readers import Reader
    from sirfp_opt.pytorch.refitting.settings import Refit

__all__ = ["Gatherer", "count_pictures"]


class Gatherer:
    """Hooks on the original network, for the time of a ``with`` block.

    Parameters
    ----------
    model : nn.Module
    readers : sequence of Reader
        Those that are to be refitted.
    how : Refit
    known : collection of str
        Layers whose inputs were measured before: they are not summed again.
    skipping : bool
        Leave maps with NaN or inf out, instead of raising.

    Attributes
    ----------
    records : dict of str to Record
        By layer.
    order : list of str
        Layers in the order in which they were called first.
    """

    def __init__(
        self,
        model: nn.Module,
        readers: Sequence[Reader],
        how: Refit,
        known: Collection[str] = (),
        *,
        skipping: bool = False,
    ) -> None:
        self.known = known
        self.skipping = skipping
        self.readers = {reader.layer: reader for reader in readers}
        self.records: dict[str, Record] = {}
        self.order: list[str] = []
        self.how = how
        # Of the pictures that only judge; what was measured before was fitted on all.
        self.held = HeldOut(0.0 if known else how.held_out)
        self.batch = 0
        self._modules = dict(model.named_modules())
        self._hooks: list[RemovableHandle] = []
        self._generator = torch.Generator().manual_seed(how.seed)
        # What has been handed on in this forward pass, by identity.
        self._read: dict[int, tuple[weakref.ref[Tensor], str]] = {}
        self._made: dict[int, tuple[weakref.ref[Tensor], str]] = {}
        self._fed: dict[str, list[str]] = {}
        for reader in readers:
            # Of filters that see all of the input, a pixel at a time, the two kinds are
            # the same; a flattened map has but one row for each picture.
            full = how.kind == "full" and not reader.pointwise and reader.fold == 1
            full = full and reader.unknowns <= how.max_unknowns
            most = most_rows(reader)
            self.records[reader.layer] = Record(
                Moments(),
                [Moments() for _ in reader.blocks] if full else [],
                Rows(most),
                Rows(most),
                torch.ones(reader.taps),
            )

    def __enter__(self) -> Self:
        for name, module in self._modules.items():
            if name in self.readers:
                hook: Any = self._reader_hook(name)
                self._hooks.append(module.register_forward_hook(hook, with_kwargs=True))
            elif f"{name}.out_proj" in self.readers and is_attention(module):
                hook = self._attention_hook(f"{name}.out_proj")
                self._hooks.append(module.register_forward_hook(hook, with_kwargs=True))
            elif _takes_mean(module):
                self._hooks.append(
                    module.register_forward_pre_hook(
                        self._norm_hook(name), with_kwargs=True
                    )
                )
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def begin(self, pictures: int) -> None:
        """Say how many pictures the next batch has."""
        self.held.begin(pictures)
        self.batch += 1
        self._read.clear()
        self._made.clear()

    def norm_behind(self, layer: str) -> str:
        """Return the norm that reads all that a layer makes, and nothing else."""
        norms = [name for name, fed in self._fed.items() if layer in fed]
        if len(norms) != 1 or set(self._fed[norms[0]]) != {layer}:
            return ""
        runs = self.records[layer].passes
        return norms[0] if len(self._fed[norms[0]]) == runs else ""

    def _norm_hook(self, name: str) -> Any:
        def fed(_: nn.Module, args: Any, kwargs: Any) -> None:
            tensor = args[0] if args else kwargs.get("input", kwargs.get("x"))
            found = self._made.get(id(tensor))
            known = found is not None and found[0]() is tensor
            self._fed.setdefault(name, []).append(
                found[1] if known and found is not None else ""
            )

        return fed

    def _reader_hook(self, name: str) -> Any:
        def seen(module: nn.Module, args: Any, kwargs: Any, output: Tensor) -> None:
            tensor = args[0] if args else kwargs["input"]
            self._take(self.readers[name], tensor, output)
            self._made[id(output)] = weakref.ref(output), name

        return seen

    def _attention_hook(self, name: str) -> Any:
        # Such a module multiplies with its projection's weight, and never calls it.
        def seen(module: Any, args: Any, kwargs: Any, output: Any) -> None:
            heads = leading_batch(module, values_of(module, args, kwargs))
            self._take(self.readers[name], heads, leading_batch(module, output[0]))

        return seen

    def _shared(self, reader: Reader, tensor: Tensor, record: Record) -> bool:
        """Whether this very input is gathered by another reader."""
        if tensor.is_inference():
            return False  # whether it was written into since then, nobody can tell
        key = hash((id(tensor), tensor._version))
        found = self._read.get(key)
        owner = found[1] if found is not None and found[0]() is tensor else ""
        if not owner:
            self._read[key] = weakref.ref(tensor), reader.layer
        elif not record.passes and owner != reader.layer:
            same = self.readers[owner].fold == reader.fold
            record.alias = owner if same else ""
        if record.alias and owner != record.alias:
            record.trouble = "it shares its input with another layer at times only"
        return bool(record.alias)

    def _take(self, reader: Reader, tensor: Tensor, output: Tensor) -> None:
        """Take in what a layer has read and made, outside of the loop's own modes."""
        with outside_of_modes(tensor):
            self._add(reader, tensor, output)

    def _add(self, reader: Reader, tensor: Tensor, output: Tensor) -> None:
        record, module = self.records[reader.layer], reader.module
        shared = self._shared(reader, tensor, record)
        maps = as_maps(module, tensor, reader.fold)
        made = as_maps(module, output)
        hold = self.held.among(len(maps))
        finite = torch.isfinite(maps).flatten(1).all(dim=1)
        if not bool(finite.all()):
            if not self.skipping:
                raise InvalidProblemError(
                    f"`batches` must give finite activations, got NaN or inf in what "
                    f"{reader.layer!r} reads. Check the input and the weights."
                )
            maps, made, hold = maps[finite], made[finite], hold[finite.cpu()]
        if not record.passes:
            self.order.append(reader.layer)
        record.passes += 1
        seed = hash((self.how.seed, self.batch, record.passes)) % (1 << 31)
        if not shared and reader.layer not in self.known:
            self._add_inputs(record, maps[~hold].flatten(2), seed)
        maps, done = padded(module, maps)
        total, most = prod(made.shape[2:]), most_at_a_time(maps)
        record.positions = max(record.positions, total)

        def taps_at(chosen: Tensor) -> list[Source]:
            sizes = (maps.shape[2:], made.shape[2:])
            return sources(module, reader.fold, *sizes, chosen, done=done)

        if record.blocks:
            chosen = draw(total, self.how.positions, seed)
            taps = taps_at(chosen)
            images = most // max(1, len(taps) * len(chosen) * maps.shape[1])
            pairs = zip(
                parts(maps[~hold], 0, images),
                parts(made[~hold], 0, images),
                strict=True,
            )
            for part, target in pairs:
                self._add_patches(reader, record, part, target, taps, chosen)
        if record.passes == 1 and not reader.pointwise:
            record.shares = torch.tensor(
                [
                    1.0 if valid is None else float(valid.double().mean())
                    for _, valid in taps_at(torch.arange(total))
                ]
            )
        for which, rows_of in ((~hold, record.judged), (hold, record.held)):
            known = rows_of is record.judged and reader.pointwise
            if known or not bool(which.any()):
                continue
            taps = taps_at(draw(total, 16, seed + 1))
            images = most // max(1, len(taps) * 16 * maps.shape[1])
            for part in parts(maps[which], 0, images):
                rows_of.add(_rows(reader, patches(part, taps, None)), self._generator)

    def _add_inputs(self, record: Record, flat: Tensor, seed: int) -> None:
        """Add the inputs, (N, C, P), at some positions."""
        index = draw(flat.shape[2], self.how.positions, seed).to(flat.device)
        images = most_at_a_time(flat) // max(1, len(index) * flat.shape[1])
        for part in parts(flat, 0, images):
            rows = part if len(index) == part.shape[2] else part[:, :, index]
            record.inputs.add(rows.transpose(0, 1).flatten(1))

    def _add_patches(
        self,
        reader: Reader,
        record: Record,
        maps: Tensor,
        made: Tensor,
        taps: list[Source],
        chosen: Tensor,
    ) -> None:
        """Add patches of kept inputs, and what the cut layer lacks of its outputs."""
        module, cut = reader.module, reader.cut
        outputs = made.flatten(2).index_select(2, chosen.to(made.device))
        outputs = outputs.transpose(0, 1).flatten(1)
        bias = getattr(module, "bias", None)
        for number, (block, moments) in enumerate(
            zip(reader.blocks, record.blocks, strict=True)
        ):
            rows = patches(maps, taps, block.kept).flatten(2).flatten(0, 1)
            whole = outputs.index_select(0, block.outputs.to(outputs.device))
            if isinstance(bias, Tensor):
                whole = whole - bias[block.outputs.to(bias.device)][:, None]
            weight = cut[number].flatten(1).to(rows.dtype)
            moments.add(rows, whole - weight @ rows)


def count_pictures(batch: Any) -> int:
    """Return how many samples a batch has, by its first tensor."""
    sizes = [
        int(leaf.shape[0])
        for leaf in pytree.tree_leaves(batch)
        if isinstance(leaf, Tensor) and leaf.dim()
    ]
    return sizes[0] if sizes else 1


def _rows(reader: Reader, everything: Tensor) -> Tensor:
    """Return rows to judge on, from what taps see of all inputs, (C, taps, N, P)."""
    seen, lacking = [], []
    for block, filters in zip(reader.blocks, reader.lost, strict=True):
        kept, gone = (
            everything.index_select(0, which.to(everything.device)).flatten(2)
            for which in (block.kept, block.gone)
        )
        seen.append(kept.flatten(0, 1))
        lacking.append(filters.flatten(1).to(gone) @ gone.flatten(0, 1))
    return seen_and_lacking(seen, lacking)


def _takes_mean(module: nn.Module) -> bool:
    """Whether a layer takes the mean of each channel out of what it reads."""
    kinds = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)
    mean = module._buffers.get("running_mean")
    return isinstance(module, kinds) or isinstance(mean, Tensor)
