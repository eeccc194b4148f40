"""A latency as one more cost: fitted to what a user has measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.network.cost import CostForm, CostModel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sirfp_opt._validate import FloatArray

__all__ = ["LatencyFit", "fit_latency"]

NANOSECONDS = 1e9


@dataclass(frozen=True, eq=False)
class LatencyFit:
    """A latency model and how well it reproduces the measurements.

    Attributes
    ----------
    cost : CostModel
        The model it was fitted for, with one more form; its unit is the nanosecond.
    name : str
        Of the new form.
    predicted : ndarray of float64
        Seconds, one for each measurement.
    residual : ndarray of float64
        (predicted - measured) / measured.
    """

    cost: CostModel
    name: str
    predicted: FloatArray
    residual: FloatArray

    @property
    def error(self) -> float:
        """Root mean square of the relative residuals."""
        return float(np.sqrt(np.mean(self.residual**2)))


def fit_latency(
    cost: CostModel,
    measurements: Sequence[tuple[Mapping[str, int], float]],
    *,
    like: str = "macs",
    name: str = "latency",
) -> LatencyFit:
    """Fit const + Σ a_u k_u + Σ b_uv k_u k_v >= 0 to measured seconds.

    Least squares of the relative residuals over coefficients of at least zero
    (non-negative least squares, Lawson and Hanson 1974). To keep apart what the
    measurements can tell apart, the terms of the form `like` are scaled together: all
    products by one factor, each unit's linear term and the constant by its own.

    Parameters
    ----------
    cost : CostModel
        Knows how the costs depend on the counts.
    measurements : sequence of (counts, seconds)
        Kept counts by unit (units left out are whole), and what the network took.
    like : str
        The form whose products are taken over, up to a factor.
    name : str
        What to call the latency in a budget.

    Returns
    -------
    LatencyFit

    Raises
    ------
    InvalidProblemError
        If a measurement is not positive, or there are fewer than two.

    Examples
    --------
    >>> from sirfp_opt.network.cost import Affine, CostForm, CostModel
    >>> from sirfp_opt.network.latency import fit_latency
    >>> form = CostForm.from_products(["a"], [(100.0, Affine(0, {"a": 1}), Affine(3))])
    >>> cost = CostModel(["a"], [8], {"macs": form})
    >>> fit = fit_latency(cost, [({"a": 8}, 0.9), ({"a": 4}, 0.5), ({"a": 2}, 0.3)])
    >>> round(fit.cost.predict({"a": 6})["latency"] / 1e9, 6)
    0.7
    """
    if like not in cost.forms:
        raise InvalidProblemError(
            f"`like` must be one of {sorted(cost.forms)}, got {like!r}. "
            "The products of its form are scaled to seconds."
        )
    seconds = np.array([float(value) for _, value in measurements])
    if seconds.size < 2 or not (np.isfinite(seconds) & (seconds > 0)).all():
        raise InvalidProblemError(
            f"`measurements` must hold two or more positive times, got "
            f"{seconds.tolist()[:5]}. Measure a few plans of different sizes."
        )
    from scipy.optimize import nnls

    counts = np.array([cost.as_counts(kept) for kept, _ in measurements], dtype=float)
    form = cost.forms[like]
    products = np.array([k @ form.quadratic @ k for k in counts])
    columns = np.column_stack([np.ones(len(counts)), products, counts])
    # Each column near one, so that the tolerance of the solver fits them all.
    scale = np.maximum(np.abs(columns).max(axis=0), 1e-300)
    rows = columns / scale / seconds[:, None]
    found, _ = nnls(rows, np.ones(seconds.size))
    found = found / scale
    predicted = columns @ found
    latency = CostForm(
        found[0] * NANOSECONDS,
        found[2:] * NANOSECONDS,
        found[1] * NANOSECONDS * form.quadratic,
    )
    return LatencyFit(
        cost=replace(cost, forms={**cost.forms, name: latency}),
        name=name,
        predicted=predicted,
        residual=predicted / seconds - 1.0,
    )
