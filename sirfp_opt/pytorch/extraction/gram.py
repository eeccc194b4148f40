"""Symmetric products, added to a running average in place."""

from __future__ import annotations

import torch
from scipy.linalg.blas import dsyrk, ssyrk
from torch import Tensor

__all__ = ["add_gram"]

# Rows below which halving a product further makes it too thin to run at full speed.
LEAF = {"cpu": 64, "accelerator": 512}
SYRK = {torch.float32: ssyrk, torch.float64: dsyrk}


def add_gram(average: Tensor, rows: Tensor, old: float, new: float) -> None:
    """Set the upper triangle of A to old * A + new * rows rows'.

    Averaging inside of the product spares a pass over the matrix and a second one to
    hold it; leaving the lower triangle alone spares nearly half of the products.

    Parameters
    ----------
    average : Tensor of shape (C, C)
        Contiguous; what is below its diagonal is undefined afterwards.
    rows : Tensor of shape (C, M)
        May be of lower precision than `average`; the product then is, too.
    old, new : float
        Factors.
    """
    same = average.dtype == rows.dtype
    if rows.device.type != "cpu":
        _halves(average, rows, old, new, LEAF["accelerator"])
    elif same and average.dtype in SYRK and torch.get_num_threads() == 1:
        # BLAS has this product as one call, but scipy's has threads of its own.
        SYRK[average.dtype](
            new,
            rows.contiguous().numpy().T,
            beta=old,
            c=average.numpy().T,  # column-major: its lower triangle is our upper one
            trans=1,
            lower=1,
            overwrite_c=1,
        )
    else:
        _halves(average, rows, old, new, LEAF["cpu"] if same else 4 * LEAF["cpu"])


def _halves(average: Tensor, rows: Tensor, old: float, new: float, leaf: int) -> None:
    count = rows.shape[0]
    if count <= leaf:
        _add_product(average, rows, rows, old, new)
        return
    half = (count // 2 + 63) // 64 * 64 if count > 128 else count // 2
    first, second = rows[:half], rows[half:]
    _halves(average[:half, :half], first, old, new, leaf)
    _halves(average[half:, half:], second, old, new, leaf)
    _add_product(average[:half, half:], first, second, old, new)


def _add_product(
    average: Tensor, left: Tensor, right: Tensor, old: float, new: float
) -> None:
    if average.dtype == left.dtype:
        average.addmm_(left, right.T, beta=old, alpha=new)
    else:
        # Only the product is of low precision; a zero average may hold anything.
        product = left @ right.T
        average.mul_(old).add_(product, alpha=new)
