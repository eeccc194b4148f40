"""The labels of tensors: every storage has a shadow of integers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sirfp_opt.pytorch.coupling.labels.internals import StorageReference, storage_key

__all__ = ["Shadow", "Shadows", "compact", "layout_of", "varies"]


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
    layout: tuple[tuple[int, ...], tuple[int, ...], int]
    label: Tensor
    flat: Tensor | None = None

    @classmethod
    def of(cls, tensor: Tensor, label: Tensor) -> Shadow:
        """Return the shadow of a tensor's storage in which the tensor has `label`."""
        storage = tensor.untyped_storage()
        width = tensor.element_size()
        size = storage.nbytes() // width
        return cls(StorageReference(tensor), size, width, layout_of(tensor), label)

    def read(self, tensor: Tensor) -> Tensor | None:
        """Return a tensor's labels, compact; None if its elements are smaller ones."""
        layout = layout_of(tensor)
        if layout == self.layout and tensor.element_size() == self.width:
            if self.flat is None:
                return self.label
        elif tensor.element_size() % self.width:
            return None
        times = tensor.element_size() // self.width  # complex numbers over real ones
        sizes, strides, offset = layout
        return compact(
            self._laid_out()
            .as_strided(sizes, [s * times for s in strides], offset * times)
            .long()
        )

    def write(self, tensor: Tensor, label: Tensor) -> None:
        """Set the labels of a part of the storage, as an in-place operation does."""
        if layout_of(tensor) == self.layout and self.flat is None:
            self.label = label
            return
        self._laid_out().as_strided(*layout_of(tensor)).copy_(
            label.expand(tensor.shape)
        )

    def _laid_out(self) -> Tensor:
        if self.flat is None:
            self.flat = torch.zeros(self.size, dtype=torch.int32)
            sizes = self.layout[0]
            self.flat.as_strided(*self.layout).copy_(self.label.expand(sizes))
        return self.flat


def layout_of(tensor: Tensor) -> tuple[tuple[int, ...], tuple[int, ...], int]:
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
