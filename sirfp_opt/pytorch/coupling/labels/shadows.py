"""The labels of tensors: every storage has a shadow of integers."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from sirfp_opt.pytorch.coupling.labels.internals import StorageReference, storage_key

__all__ = ["Shadow", "Shadows", "compact", "layout_of", "varies"]

Layout = tuple[tuple[int, ...], tuple[int, ...], int]
"""Sizes, strides and offset of a tensor."""

MOST = 1 << 16
"""Labels of a view up to which they are kept for the next time."""


def varies(label: Tensor, dim: int) -> bool:
    """Tell whether labels differ along a dimension."""
    return label.shape[dim] > 1 and not torch.equal(
        label, label.narrow(dim, 0, 1).expand_as(label)
    )


def compact(label: Tensor) -> Tensor:
    """Return labels with every dimension along which they are equal of size 1."""
    for dim in range(label.dim()):
        if label.shape[dim] > 1 and not varies(label, dim):
            label = label.narrow(dim, 0, 1)
    return label


@dataclass
class Shadow:
    """One integer for each element of a storage, laid out in full when it is needed.

    Views of a tensor have other sizes and strides over the same storage, and so over
    the same shadow: neither they nor writes into them need a rule.

    Attributes
    ----------
    reference : StorageReference
        Of the storage; expired when that is gone, and another may have its place.
    size : int
        Elements of the storage.
    width : int
        Bytes of an element.
    layout : tuple
        Sizes, strides and offset of the tensor that the labels were given for.
    label : Tensor
        Its labels, int64, broadcast to its sizes.
    """

    reference: StorageReference
    size: int
    width: int
    layout: Layout
    label: Tensor
    flat: Tensor | None = None
    # Labels of views that were asked for, until something is written.
    known: dict[tuple[Layout, int, int], Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, tensor: Tensor, label: Tensor) -> Shadow:
        """Return the shadow of a tensor's storage in which the tensor has `label`."""
        storage = tensor.untyped_storage()
        width = tensor.element_size()
        size = storage.nbytes() // width
        return cls(StorageReference(tensor), size, width, layout_of(tensor), label)

    def read(self, tensor: Tensor, part: int = 0) -> Tensor | None:
        """Return a tensor's labels, compact; None if its numbers are cut otherwise.

        Of a complex tensor over real numbers the labels of one part, 0 or 1.
        """
        layout = layout_of(tensor)
        times = tensor.element_size() // self.width
        if layout == self.layout and times == 1 and self.flat is None:
            return self.label
        halves = tensor.element_size() * 2 == self.width  # real numbers over complex
        if not halves and (tensor.element_size() % self.width or times > 2):
            return None
        known = self.known.get((layout, times, part))
        if known is None:
            sizes, strides, offset = layout
            times = max(1, times)
            where = (
                sizes,
                tuple(stride * times for stride in strides),
                offset * times + part % times,
            )
            direct = self.flat is None and not halves
            label = self._through(*where) if direct else None
            if label is None:
                flat = self._laid_out()
                flat = flat.repeat_interleave(2) if halves else flat
                label = flat.as_strided(*where)
            known = compact(label).long()
            if known.numel() <= MOST:
                self.known[layout, times - halves, part] = known
        return known

    def _through(
        self, sizes: tuple[int, ...], strides: tuple[int, ...], offset: int
    ) -> Tensor | None:
        """Return a view's labels by way of those of the tensor, none laid out.

        Element p of the storage is at place ``p // s % n`` of the tensor's dimension of
        n elements and stride s. Along the view a dimension is of no matter whose steps
        are whole rounds of n s, or all of whose steps together stay below s. Of the
        others the labels are looked up.

        Returns
        -------
        Tensor or None
            None where steps are neither multiples of a stride nor within it.
        """
        own, steps, start = self.layout
        if start or not _is_dense(own, steps, self.size):
            return None
        wide = [d for d, n in enumerate(self.label.shape) if n > 1]
        matter: set[int] = set()
        for d in wide:
            within = offset % steps[d]
            for k, (size, stride) in enumerate(zip(sizes, strides, strict=True)):
                if size == 1 or stride % (steps[d] * own[d]) == 0:
                    continue
                if stride % steps[d] == 0:
                    matter.add(k)
                else:
                    within += (size - 1) * stride
            if within >= steps[d]:
                return None
        places = torch.full((1,) * len(sizes), offset)
        for k in matter:
            line = torch.arange(sizes[k]) * strides[k]
            places = places + line.view(-1, *[1] * (len(sizes) - 1 - k))
        if not wide:
            return self.label.flatten().view((1,) * len(sizes))
        index = tuple(
            places // step % n if d in wide else torch.zeros_like(places)
            for d, (n, step) in enumerate(zip(own, steps, strict=True))
        )
        return self.label[index]

    def write(self, tensor: Tensor, label: Tensor) -> bool:
        """Set the labels of a part of the storage, as an in-place operation does.

        Returns
        -------
        bool
            False where the tensor cuts the storage into smaller numbers.
        """
        sizes, strides, offset = layout_of(tensor)
        times = tensor.element_size() // self.width
        if not times or tensor.element_size() % self.width:
            return False
        if (sizes, strides, offset) == self.layout and self.flat is None and times == 1:
            self.label = label
            return True
        self.known.clear()
        strides = tuple(stride * times for stride in strides)
        for part in range(times):
            place = self._laid_out().as_strided(sizes, strides, offset * times + part)
            place.copy_(label.expand(sizes))
        return True

    def _laid_out(self) -> Tensor:
        if self.flat is None:
            self.flat = torch.zeros(self.size, dtype=torch.int32)
            sizes = self.layout[0]
            self.flat.as_strided(*self.layout).copy_(self.label.expand(sizes))
        return self.flat


def _is_dense(sizes: tuple[int, ...], strides: tuple[int, ...], elements: int) -> bool:
    """Tell whether a tensor fills its storage, its dimensions in whatever order."""
    step = 1
    for stride, size in sorted(zip(strides, sizes, strict=True)):
        if size > 1:
            if stride != step:
                return False
            step *= size
    return step == elements


def layout_of(tensor: Tensor) -> Layout:
    """Return a tensor's sizes, strides and offset."""
    return tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset())


class Shadows:
    """The shadows of all storages that hold labels, by storage."""

    def __init__(self) -> None:
        self._by_key: dict[int, Shadow] = {}
        self._until_sweep = 256

    def find(self, tensor: Tensor) -> Shadow | None:
        """Return the shadow of a tensor's storage, if there is a living one."""
        key = storage_key(tensor)
        entry = self._by_key.get(key)
        if entry is not None and entry.reference.expired():
            del self._by_key[key]
            return None
        return entry

    def put(self, tensor: Tensor, label: Tensor | None) -> None:
        """Give a tensor, and with it its storage, new labels, or none."""
        self._by_key.pop(storage_key(tensor), None)
        if label is not None and tensor.layout is torch.strided and tensor.numel():
            self._by_key[storage_key(tensor)] = Shadow.of(tensor, label)
            self._until_sweep -= 1
            if not self._until_sweep:
                self.sweep()

    def sweep(self) -> None:
        """Forget the shadows of storages that are gone."""
        living = {k: s for k, s in self._by_key.items() if not s.reference.expired()}
        self._by_key, self._until_sweep = living, max(256, len(living))
