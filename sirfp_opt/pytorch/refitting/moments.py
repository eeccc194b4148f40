"""Means and covariances, summed over a stream."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from sirfp_opt.pytorch.extraction.gram import add_gram

__all__ = ["Moments", "Normal"]


@dataclass(frozen=True)
class Normal:
    """Means and covariances of inputs u and targets r, in double precision.

    Attributes
    ----------
    rows : int
        How many rows they are of.
    mean, covariance : Tensor of shape (f,) and (f, f)
        Of u.
    target, cross, variance : Tensor of shape (o,), (o, f) and (o,)
        Mean of r, its covariance with u, its variances.
    """

    rows: int
    mean: Tensor
    covariance: Tensor
    target: Tensor
    cross: Tensor
    variance: Tensor


class Moments:
    """Running sums of u, uu', r, ru' and r², about a first guess of the means.

    Squares of large means would leave few digits to what varies.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._shift = self._sum = self._gram = torch.empty(0)
        self._base = self._total = self._cross = self._square = torch.empty(0)

    @torch.no_grad()
    def add(self, inputs: Tensor, targets: Tensor | None = None) -> None:
        """Take in `inputs` of shape (f, P), and `targets` of shape (o, P)."""
        if not inputs.shape[1]:
            return
        if targets is None:
            targets = inputs.new_zeros(0, inputs.shape[1])
        if not self.rows:
            self._begin(inputs, targets)
        centred = inputs - self._shift[:, None]
        self._sum += centred.sum(dim=1)
        add_gram(self._gram, centred, 1.0, 1.0)
        if len(targets):
            moved = targets - self._base[:, None]
            self._total += moved.sum(dim=1)
            self._cross.addmm_(moved, centred.T)
            self._square += moved.square().sum(dim=1)
        self.rows += inputs.shape[1]

    def _begin(self, inputs: Tensor, targets: Tensor) -> None:
        self._shift, self._base = inputs.mean(dim=1), targets.mean(dim=1)
        self._sum, self._total = (
            torch.zeros_like(self._shift),
            torch.zeros_like(self._base),
        )
        wide, high = len(inputs), len(targets)
        self._gram = inputs.new_zeros(wide, wide)
        self._cross = inputs.new_zeros(high, wide)
        self._square = inputs.new_zeros(high)

    def result(self) -> Normal:
        """Return means and covariances of all rows so far."""
        n = max(1, self.rows)
        gram = _wide(self._gram)
        gram = gram.triu() + gram.triu(1).T
        first, second = _wide(self._sum) / n, _wide(self._total) / n
        return Normal(
            self.rows,
            first + _wide(self._shift),
            (gram / n).addr_(first, first, alpha=-1.0),
            second + _wide(self._base),
            (_wide(self._cross) / n).addr_(second, first, alpha=-1.0),
            _wide(self._square) / n - second.square(),
        )

    def over_ranks(self, sizes: tuple[int, int], device: torch.device) -> Normal:
        """Return those of the rows of all ranks; every rank must come here.

        Parameters
        ----------
        sizes : tuple of int
            f and o, for ranks that saw no row.
        device : torch.device
            Where the ranks exchange numbers.
        """
        wide, high = sizes
        mine = self.result()
        if not self.rows:
            empty = torch.zeros(0, dtype=torch.float64)
            mine = Normal(
                0,
                empty.new_zeros(wide),
                empty.new_zeros(wide, wide),
                empty.new_zeros(high),
                empty.new_zeros(high, wide),
                empty.new_zeros(high),
            )

        def total(values: Tensor) -> Tensor:
            whole = (values * mine.rows).to(device)
            distributed.all_reduce(whole)
            return whole / max(1, rows)

        rows = 0
        count = torch.tensor([float(mine.rows)], dtype=torch.float64, device=device)
        distributed.all_reduce(count)
        rows = int(count.item())
        mean, target = total(mine.mean), total(mine.target)
        # About the means of all ranks, which are not those of each.
        away = mine.mean.to(device) - mean
        off = mine.target.to(device) - target
        return Normal(
            rows,
            mean,
            total(mine.covariance.to(device) + torch.outer(away, away)),
            target,
            total(mine.cross.to(device) + torch.outer(off, away)),
            total(mine.variance.to(device) + off.square()),
        )


def _wide(tensor: Tensor) -> Tensor:
    # Not every device has double precision.
    if tensor.device.type == "mps":
        tensor = tensor.cpu()
    return tensor.double()
