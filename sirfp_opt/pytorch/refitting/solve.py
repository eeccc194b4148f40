"""New weights in closed form, and how well they do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sirfp_opt.pytorch.refitting.readers import weight_of

if TYPE_CHECKING:
    from sirfp_opt.pytorch.refitting.moments import Normal
    from sirfp_opt.pytorch.refitting.readers import Reader

__all__ = ["Errors", "Fit", "fit_full", "fit_merged", "judge", "regression"]


@dataclass(frozen=True)
class Errors:
    """Squared errors of a layer's outputs, summed over rows and outputs.

    Attributes
    ----------
    before, after : float
        As cut, and with the new weights.
    signal : float
        Of the outputs about their means.
    """

    before: float
    after: float
    signal: float

    def __add__(self, other: Errors) -> Errors:
        return Errors(
            self.before + other.before,
            self.after + other.after,
            self.signal + other.signal,
        )


@dataclass(frozen=True)
class Fit:
    """Changes of a reader's weights and biases, block by block.

    Attributes
    ----------
    weight : Tensor of shape (blocks, outputs, kept inputs, taps)
    offset : Tensor of shape (blocks, outputs)
    errors : Errors, optional
        On the rows of the fit, where its sums tell.
    """

    weight: Tensor
    offset: Tensor
    errors: Errors | None


def regression(covariance: Tensor, cross: Tensor, ridge: float) -> Tensor:
    """Return the map of the least squared error plus ridge, from u to r.

    A = Cov(r, u) (Cov(u) + λ I)⁻¹ with λ = `ridge` times the mean variance of u.
    Without a ridge, where u varies in fewer directions than it has entries, it is that
    of least norm.

    Parameters
    ----------
    covariance : Tensor of shape (f, f)
    cross : Tensor of shape (o, f)
    ridge : float

    Returns
    -------
    Tensor of shape (o, f)
    """
    scale = covariance.diagonal().mean()
    if not bool(scale > 0):
        return torch.zeros_like(cross)
    matrix = covariance.clone()
    matrix.diagonal().add_(ridge * scale)
    factor, failed = torch.linalg.cholesky_ex(matrix)
    # A factor of a matrix without a ridge may exist and mean nothing.
    small = factor.diagonal().square().min() < 1e-12 * matrix.diagonal().max()
    if bool(failed) or bool(small):
        values, vectors = torch.linalg.eigh(matrix)
        kept = values > 1e-10 * values[-1]
        vectors = vectors[:, kept]
        return cross @ (vectors / values[kept]) @ vectors.T
    return torch.cholesky_solve(cross.T, factor).T


def fit_full(
    reader: Reader, moments: list[Normal], ridge: float, *, offset: bool
) -> Fit:
    """Free every weight: regress what the cut layer lacks on what it sees.

    Without an offset to be had, errors are fitted about zero, means and all.
    """
    weight = weight_of(reader.target, reader.fold)
    changes, offsets, total = [], [], Errors(0.0, 0.0, 0.0)
    for number, normal in enumerate(moments):
        covariance, cross = normal.covariance, normal.cross
        second = normal.variance + normal.target.square()
        least = normal.variance
        if not offset:
            covariance = torch.addr(covariance, normal.mean, normal.mean)
            cross = torch.addr(cross, normal.target, normal.mean)
            least = second
        change = regression(covariance, cross, ridge)
        explained = 2 * (change * cross).sum() - ((change @ covariance) * change).sum()
        first = weight[number].flatten(1).to(change)
        # What comes out is what is lacking and what the cut layer makes.
        signal = (
            normal.variance.sum()
            + 2 * (first * normal.cross).sum()
            + ((first @ normal.covariance) * first).sum()
        )
        total += _errors(second.sum(), least.sum() - explained, signal, normal.rows)
        shift = normal.target - change @ normal.mean
        offsets.append(shift if offset else torch.zeros_like(shift))
        changes.append(change.reshape(weight[number].shape))
    return Fit(torch.stack(changes), torch.stack(offsets), total)


def fit_merged(reader: Reader, inputs: Normal, ridge: float, *, offset: bool) -> Fit:
    """Fold the map from kept to dropped channels into the filters.

    With B = C_DS (C_SS + λ I)⁻¹ a filter's new weights are W_S + W_D B, at every tap,
    and its bias grows by Σ W_D (μ_D - B μ_S).
    """
    weight = weight_of(reader.module, reader.fold)
    height, width = weight.shape[1:3]
    second = torch.addr(inputs.covariance, inputs.mean, inputs.mean)
    moments = inputs.covariance if offset else second
    changes, offsets, total = [], [], Errors(0.0, 0.0, 0.0)
    for block in reader.blocks:
        rows = weight[block.group][block.outputs - block.group * height]
        rows = rows.to(moments)
        kept, gone = block.kept.to(moments.device), block.gone.to(moments.device)
        first = block.group * width
        lost = rows[:, gone - first]
        covariance = moments[kept][:, kept]
        cross = moments[gone][:, kept]
        merge = regression(covariance, cross, ridge)
        changes.append(torch.einsum("odt,ds->ost", lost, merge))
        shift = lost.sum(dim=2) @ (inputs.mean[gone] - merge @ inputs.mean[kept])
        offsets.append(shift if offset else torch.zeros_like(shift))
        if reader.taps == 1:
            away, every = lost[..., 0], rows[..., 0]
            remains = (
                moments[gone][:, gone]
                - merge @ cross.T
                - cross @ merge.T
                + merge @ covariance @ merge.T
            )
            mine = torch.arange(first, first + width, device=moments.device)
            total += _errors(
                ((away @ second[gone][:, gone]) * away).sum(),
                ((away @ remains) * away).sum(),
                ((every @ inputs.covariance[mine][:, mine]) * every).sum(),
                inputs.rows,
            )
    errors = total if reader.taps == 1 else None
    return Fit(torch.stack(changes), torch.stack(offsets), errors)


def judge(reader: Reader, fit: Fit, rows: Tensor) -> Errors:
    """Return the errors on patches of all inputs, (rows, C, taps), before and after."""
    weight = weight_of(reader.module, reader.fold)
    height, width = weight.shape[1:3]
    total = Errors(0.0, 0.0, 0.0)
    for number, block in enumerate(reader.blocks):
        filters = weight[block.group][block.outputs - block.group * height].double()
        first = block.group * width
        mine = rows[:, first : first + width].to(filters.device).double()
        made = torch.einsum("rct,oct->ro", mine, filters)
        gone = block.gone.to(filters.device) - first
        kept = block.kept.to(filters.device) - first
        lost = torch.einsum("rct,oct->ro", mine[:, gone], filters[:, gone])
        change = fit.weight[number].to(filters)
        found = torch.einsum("rct,oct->ro", mine[:, kept], change)
        left = lost - found - fit.offset[number].to(filters)
        total += Errors(
            float(lost.square().sum()),
            float(left.square().sum()),
            float((made - made.mean(dim=0)).square().sum()),
        )
    return total


def _errors(before: Tensor, after: Tensor, signal: Tensor, rows: int) -> Errors:
    # Differences of large sums may end below zero by rounding.
    return Errors(*(max(0.0, float(value)) * rows for value in (before, after, signal)))
