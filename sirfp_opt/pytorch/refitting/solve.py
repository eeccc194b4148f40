"""New weights in closed form, and how well they do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sirfp_opt.pytorch.refitting.readers import weight_of

if TYPE_CHECKING:
    from sirfp_opt.pytorch.refitting.moments import Normal
    from sirfp_opt.pytorch.refitting.readers import Reader

SURE = 2.0
"""Standard errors by which a sample must show a gain."""

ROUNDING = 1e-9
"""Relative difference within which sums of errors are equal."""

__all__ = [
    "Errors",
    "Fit",
    "fit_full",
    "fit_mapped",
    "fit_merged",
    "judge",
    "regression",
]


@dataclass(frozen=True)
class Errors:
    """Squared errors of a layer's outputs, summed over rows and outputs.

    Attributes
    ----------
    before, after : float
        As cut, and with the new weights.
    signal : float
        Of the outputs about their means.
    spread : float
        Sum of squares of what each row gains, where rows are a sample: by chance the
        sum of gains is off by about the root of it.
    """

    before: float = 0.0
    after: float = 0.0
    signal: float = 0.0
    spread: float = 0.0

    def __add__(self, other: Errors) -> Errors:
        return Errors(
            self.before + other.before,
            self.after + other.after,
            self.signal + other.signal,
            self.spread + other.spread,
        )

    @property
    def lower(self) -> bool:
        """Whether the new weights err less, and not by chance."""
        gain = self.before - self.after
        least = max(SURE * float(self.spread**0.5), -ROUNDING * self.before)
        return gain > least


@dataclass(frozen=True)
class Fit:
    """Changes of a reader's weights and biases, block by block.

    Attributes
    ----------
    weight : Tensor of shape (blocks, outputs, kept inputs, taps)
    offset : Tensor of shape (blocks, outputs)
    errors : Errors
        On the rows of the fit. Of merged filters with several taps these are the
        errors under single taps, added up.
    """

    weight: Tensor
    offset: Tensor
    errors: Errors


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
        pseudo: Tensor = (vectors / values[kept]) @ vectors.T
        return cross @ pseudo
    solution: Tensor = torch.cholesky_solve(cross.T, factor)
    return solution.T


def fit_full(reader: Reader, moments: list[Normal], ridge: float, place: str) -> Fit:
    """Free every weight: regress what the cut layer lacks on what it sees.

    Without a `place` for an offset ("none"), errors are fitted about zero, means and
    all; a "norm" takes out the means of what is cut, too.
    """
    weight = reader.cut
    changes, offsets, total = [], [], Errors()
    offset = place != "none"
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
        before = normal.variance if place == "norm" else second
        total += _errors(before.sum(), least.sum() - explained, signal, normal.rows)
        shift = normal.target - change @ normal.mean
        offsets.append(shift if offset else torch.zeros_like(shift))
        changes.append(change.reshape(weight[number].shape))
    return Fit(torch.stack(changes), torch.stack(offsets), total)


def fit_merged(
    reader: Reader, inputs: Normal, shares: Tensor, ridge: float, place: str
) -> Fit:
    """Fold the map from kept to dropped channels into the filters.

    With B = C_DS (C_SS + λ I)⁻¹ a filter's new weights are W_S + W_D B, at every tap,
    and its bias grows by Σ s_t W_D,t (μ_D - B μ_S) with s_t the share of positions at
    which tap t reads something.
    """
    weight = weight_of(reader.module, reader.fold)
    height, width = weight.shape[1:3]
    second = torch.addr(inputs.covariance, inputs.mean, inputs.mean)
    moments = inputs.covariance if place != "none" else second
    before = inputs.covariance if place == "norm" else second
    changes, offsets, total = [], [], Errors()
    offset = place != "none"
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
        means = inputs.mean[gone] - merge @ inputs.mean[kept]
        shift = (lost @ shares.to(lost)) @ means
        offsets.append(shift if offset else torch.zeros_like(shift))
        remains = (
            moments[gone][:, gone]
            - merge @ cross.T
            - cross @ merge.T
            + merge @ covariance @ merge.T
        )
        mine = torch.arange(first, first + width, device=moments.device)
        total += _errors(
            _through(lost, before[gone][:, gone]),
            _through(lost, remains),
            _through(rows, inputs.covariance[mine][:, mine]),
            inputs.rows,
        )
    return Fit(torch.stack(changes), torch.stack(offsets), total)


def fit_mapped(
    reader: Reader, moments: list[Normal], shares: Tensor, ridge: float, place: str
) -> Fit:
    """Fold the map from kept inputs of the cut network to all of the original's.

    With x ≈ M u + c, for x all that the group read in the original network and u what
    is left in the cut one, a filter's new weights are W M at every tap, and its bias
    grows by Σ s_t W_t c; the ridge pulls M to the identity. Where u is the kept part of
    x this is `fit_merged`. Its errors are for a sample to say.

    Parameters
    ----------
    reader : Reader
    moments : list of Normal
        For each block, of u and of x - u, kept channels less what they are now.
    shares : Tensor of shape (taps,)
    ridge : float
    place : {"bias", "norm", "none"}
    """
    weight = weight_of(reader.module, reader.fold)
    height, changes, offsets = weight.shape[1], [], []
    for block, normal in zip(reader.blocks, moments, strict=True):
        rows = weight[block.group][block.outputs - block.group * height]
        rows = rows.to(normal.covariance)
        covariance, cross = normal.covariance, normal.cross
        if place == "none":
            covariance = torch.addr(covariance, normal.mean, normal.mean)
            cross = torch.addr(cross, normal.target, normal.mean)
        change = regression(covariance, cross, ridge)
        changes.append(torch.einsum("oct,cs->ost", rows, change))
        means = normal.target - change @ normal.mean
        shift = (rows @ shares.to(rows)) @ means
        offsets.append(shift if place != "none" else torch.zeros_like(shift))
    return Fit(torch.stack(changes), torch.stack(offsets), Errors())


def _through(filters: Tensor, moments: Tensor) -> Tensor:
    """Return Σ_t tr(W_t M W_t') of filters W of shape (outputs, channels, taps)."""
    return (torch.einsum("oct,cd->odt", filters, moments) * filters).sum()


def judge(reader: Reader, fit: Fit, rows: Tensor, place: str) -> Errors:
    """Return the errors before and after on rows of `seen_and_lacking`."""
    total, gains = Errors(), torch.zeros(len(rows)).double()
    for number, cut in enumerate(reader.cut.flatten(2).double()):
        mine = rows[:, number].to(cut)
        seen, lost = mine[:, : cut.shape[1]], mine[:, cut.shape[1] :]
        made = lost + seen @ cut.T
        found = seen @ fit.weight[number].flatten(1).to(cut).T
        left = lost - found - fit.offset[number].to(cut)
        if place == "norm":  # of another mean than this sample's
            lost = lost - lost.mean(dim=0)
            left = left - left.mean(dim=0)
        gains += (lost.square() - left.square()).sum(dim=1).cpu()
        total += Errors(
            float(lost.square().sum()),
            float(left.square().sum()),
            float((made - made.mean(dim=0)).square().sum()),
        )
    return replace(total, spread=float(gains.square().sum()))


def _errors(before: Tensor, after: Tensor, signal: Tensor, rows: int) -> Errors:
    # Differences of large sums may end below zero by rounding.
    return Errors(*(max(0.0, float(value)) * rows for value in (before, after, signal)))
