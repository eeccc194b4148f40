"""The best map of queries that lost dimensions: a bilinear least-squares problem."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sirfp_opt.pytorch.refitting.solve import Errors

__all__ = ["LogitFit", "fit_logits"]

TOLERANCE = 1e-11
"""Relative size of the residual at which the normal equations count as solved."""

MOST_STEPS = 300

NONE = 1e-11
"""Share of the largest variance below which a direction is none."""

Total = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LogitFit:
    """A map of one head's queries.

    Attributes
    ----------
    matrix : Tensor of shape (s, s)
        M: queries become M'q + b, q those that were cut to s dimensions.
    shift : Tensor of shape (s,)
        b; zero without a bias to put it into.
    errors : Errors
        Of the logits, on the samples of the fit.
    kept, gone : tuple of int
    """

    matrix: Tensor
    shift: Tensor
    errors: Errors
    kept: tuple[int, ...]
    gone: tuple[int, ...]

    def judge(self, first: Tensor, second: Tensor, total: Total) -> Errors:
        """Return the errors of the logits on other samples, see `fit_logits`."""
        change = torch.cat([self.matrix, self.shift[None]])
        change[: len(self.kept)] -= torch.eye(len(self.kept)).to(change)
        rows = [*self.kept, first.shape[1] - 1]
        return _errors(first, second, rows, self.kept, self.gone, change, total)


def fit_logits(
    first: Tensor,
    second: Tensor,
    kept: Sequence[int],
    gone: Sequence[int],
    *,
    ridge: float,
    bias: bool,
    total: Total = lambda values: values,
) -> LogitFit:
    """Minimise Σ ‖Q K' - (Q_S M + 1 b') K_S'‖² + λ |M - I|² over samples.

    With X the changes of M and b, and Q⁺ = [Q_S, 1], the normal equations are ::

        Σ (Q⁺'Q⁺) X (K_S'K_S) + λ X = Σ (Q⁺'Q_D) (K_D'K_S),

    a sum of Kronecker products. They are solved by conjugate gradients, preconditioned
    by the product of sums (Σ Q⁺'Q⁺) X (Σ K_S'K_S) / N, which the left side were if all
    samples were alike. λ is `ridge` times the mean of its diagonal.

    Parameters
    ----------
    first : Tensor of shape (N, n + 1, n + 1)
        Q'Q of each sample, 1 being the last entry of each query.
    second : Tensor of shape (N, n, n)
        K'K.
    kept, gone : sequence of int
        S and D.
    ridge : float
    bias : bool
        Whether there is a b.
    total : callable
        Sums over ranks.

    Returns
    -------
    LogitFit

    Examples
    --------
    >>> import torch
    >>> basis = torch.randn(2, 4, generator=torch.Generator().manual_seed(0)).double()
    >>> q, k = (torch.rand(3, 9, 2).double() @ basis for _ in range(2))  # of rank 2
    >>> one = torch.cat([q, torch.ones_like(q[..., :1])], dim=2)
    >>> sums = one.mT @ one, k.mT @ k
    >>> fit = fit_logits(*sums, (0, 3), (1, 2), ridge=0.0, bias=False)
    >>> new = q[..., [0, 3]] @ fit.matrix
    >>> bool(((new @ k[..., [0, 3]].mT) - q @ k.mT).abs().max() < 1e-8)
    True
    """
    kept, gone = tuple(kept), tuple(gone)
    rows = [*kept, first.shape[1] - 1] if bias else [*kept]
    left = first[:, rows][:, :, rows]
    right = second[:, kept][:, :, kept]
    lacking = first[:, rows][:, :, gone] @ second[:, gone][:, :, kept]
    size = len(kept)
    diagonals = (_diagonal(left)[:, :size].mean(1) * _diagonal(right).mean(1)).sum()
    sums = total(torch.cat([lacking.sum(0).flatten(), diagonals[None]]))
    wanted, scale = sums[:-1].reshape(len(rows), size), sums[-1]
    pull = torch.zeros(len(rows), 1).to(wanted)
    pull[:size] = ridge * scale

    def through(change: Tensor) -> Tensor:
        return total((left @ change @ right).sum(dim=0))

    count = total(torch.tensor([float(len(first))]).to(wanted))
    outer = _inverse(total(left.sum(dim=0)), ridge)
    inner = _inverse(total(right.sum(dim=0)), ridge)

    def roughly(residual: Tensor) -> Tensor:
        return count * (outer @ residual @ inner)

    change = _solve(lambda x: through(x) + pull * x, roughly, wanted)
    errors = _errors(first, second, rows, kept, gone, change, total)
    matrix = torch.eye(size).to(change) + change[:size]
    shift = change[size] if bias else change.new_zeros(size)
    return LogitFit(matrix, shift, errors, kept, gone)


def _errors(
    first: Tensor,
    second: Tensor,
    rows: Sequence[int],
    kept: Sequence[int],
    gone: Sequence[int],
    change: Tensor,
    total: Total,
) -> Errors:
    left = first[:, rows][:, :, rows]
    right = second[:, kept][:, :, kept]
    lacking = first[:, rows][:, :, gone] @ second[:, gone][:, :, kept]
    before = (first[:, gone][:, :, gone] * second[:, gone][:, :, gone]).sum()
    gain = (change * (2 * lacking - left @ change @ right)).sum()
    signal = (first[:, :-1, :-1] * second).sum()
    sums = total(torch.stack([before, before - gain, signal]))
    return Errors(*(max(0.0, float(value)) for value in sums))


def _diagonal(matrices: Tensor) -> Tensor:
    return matrices.diagonal(dim1=-2, dim2=-1)


def _inverse(matrix: Tensor, ridge: float) -> Tensor:
    """Return the inverse, with a ridge; of a singular matrix the pseudo one."""
    matrix = matrix.clone()
    matrix.diagonal().add_(ridge * matrix.diagonal().mean())
    values, vectors = torch.linalg.eigh(matrix)
    some = values > NONE * values[-1].clamp_min(1e-300)
    vectors = vectors[:, some]
    inverse: Tensor = (vectors / values[some]) @ vectors.T
    return inverse


def _solve(
    through: Callable[[Tensor], Tensor],
    roughly: Callable[[Tensor], Tensor],
    wanted: Tensor,
) -> Tensor:
    """Solve ``through(x) = wanted`` by preconditioned conjugate gradients."""
    found, residual = torch.zeros_like(wanted), wanted.clone()
    step = way = roughly(residual)
    size = start = float((residual * step).sum())
    for _ in range(MOST_STEPS):
        if not size > TOLERANCE**2 * start:
            break
        image = through(way)
        slope = float((way * image).sum())
        if not slope > 0:
            break
        found = found + (size / slope) * way
        residual = residual - (size / slope) * image
        step = roughly(residual)
        size, before = float((residual * step).sum()), size
        way = step + (size / before) * way
    return found
