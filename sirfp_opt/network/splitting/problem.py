"""SplitProblem: how many channels each unit keeps, as plain arrays of numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt._validate import FloatArray, IntArray, frozen
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.sense import relative_gap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sirfp_opt.network.cost import CostForm, CostModel

__all__ = ["Split", "SplitProblem"]


@dataclass(frozen=True, eq=False)
class SplitProblem:
    """Choose k_u for each unit u to minimise Σ_u loss_u(k_u) within every budget.

    A budget reads const + Σ_u a_u k_u + Σ_{u<=v} b_uv k_u k_v <= limit, with
    coefficients of at least zero: keeping more never costs less.

    Parameters
    ----------
    units : sequence of str
        Names, for messages.
    counts : sequence of ndarray of int64
        By unit, the allowed k, ascending.
    losses : sequence of ndarray of float64
        By unit, the loss of each of them.
    forms : sequence of CostForm
        One for each budget, over the units in their order.
    limits : sequence of int
        One for each budget. Costs are whole numbers (operations, parameters,
        nanoseconds): they are rounded before they are compared.

    Raises
    ------
    InvalidProblemError
        If shapes do not agree, a loss is not finite or a coefficient is negative.
    """

    units: tuple[str, ...]
    counts: tuple[IntArray, ...]
    losses: tuple[FloatArray, ...]
    forms: tuple[CostForm, ...]
    limits: FloatArray

    def __post_init__(self) -> None:
        limits = np.array(self.limits, dtype=np.float64)
        frozen(limits)
        for name in ("units", "counts", "losses", "forms"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "limits", limits)
        for name, k, loss in zip(self.units, self.counts, self.losses, strict=True):
            if k.size == 0 or k.shape != loss.shape or not np.isfinite(loss).all():
                raise InvalidProblemError(
                    f"`losses` of {name!r} must hold a finite number for each of "
                    f"{k.size} counts, got {loss.size}. Drop counts without a value."
                )
        for form in self.forms:
            if form.linear.min() < 0 or form.quadratic.min() < 0:
                raise InvalidProblemError(
                    "`forms` must have coefficients of at least 0, got "
                    f"{min(form.linear.min(), form.quadratic.min()):g}. A channel "
                    "more never makes a network cheaper."
                )

    @property
    def m(self) -> int:
        """Number of units."""
        return len(self.units)

    def places(self, k: IntArray) -> IntArray:
        """Return where each k_u stands among its unit's counts."""
        pairs = zip(self.counts, k, strict=True)
        return np.array([np.searchsorted(c, x) for c, x in pairs], dtype=np.int64)

    def snapped(self, k: IntArray) -> IntArray:
        """Return the largest allowed counts that are at most k, or the least ones."""
        pairs = zip(self.counts, k, strict=True)
        places = [
            max(0, int(np.searchsorted(c, x, side="right")) - 1) for c, x in pairs
        ]
        return np.array([c[p] for c, p in zip(self.counts, places, strict=True)])

    def objective(self, k: IntArray) -> float:
        """Return Σ_u loss_u(k_u), summed exactly."""
        pairs = zip(self.losses, self.places(k), strict=True)
        return math.fsum(float(loss[place]) for loss, place in pairs)

    def costs(self, k: IntArray | FloatArray) -> FloatArray:
        """Return what k costs, one number for each budget."""
        return np.array([form(k) for form in self.forms])

    def feasible(self, k: IntArray | FloatArray) -> bool:
        """Tell whether k keeps every budget, costs rounded to whole numbers."""
        return bool((np.rint(self.costs(k)) <= self.limits).all())

    @cached_property
    def ceilings(self) -> FloatArray:
        """What no feasible split's unrounded costs exceed.

        The limits themselves, unless a form has coefficients that are not whole.
        """
        slack = [0.0 if _whole(form) else 0.5 for form in self.forms]
        out: FloatArray = self.limits + np.array(slack)
        return out

    @property
    def least(self) -> IntArray:
        """The smallest allowed count of each unit."""
        return np.array([c[0] for c in self.counts])

    @property
    def most(self) -> IntArray:
        """The largest allowed count of each unit."""
        return np.array([c[-1] for c in self.counts])

    def next_costs(self, k: IntArray, cost: CostModel) -> dict[str, int] | None:
        """Return the costs of the cheapest split one step above k; None at the top."""
        found = None
        for u, place in enumerate(self.places(k)):
            if place + 1 < self.counts[u].size:
                trial = k.copy()
                trial[u] = self.counts[u][place + 1]
                over = float((self.costs(trial) / self.limits).max())
                if found is None or over < found[0]:
                    found = over, cost.predict(trial)
        return None if found is None else found[1]

    def narrowed(self, keep: Sequence[IntArray]) -> SplitProblem:
        """Return the problem on those counts whose places are in `keep`."""
        return replace(
            self,
            counts=tuple(c[p] for c, p in zip(self.counts, keep, strict=True)),
            losses=tuple(f[p] for f, p in zip(self.losses, keep, strict=True)),
        )


@dataclass(frozen=True, eq=False)
class Split:
    """A solution of a `SplitProblem`.

    Attributes
    ----------
    k : ndarray of int64
        Count of each unit.
    objective : float
        Its loss.
    bound : float
        No split within the budgets has a smaller loss.
    multipliers : ndarray of float64
        Price of each budget, in loss for its whole limit, behind the bound.
    limit : str or None
        "time" or "gap" if that is what ended the search before a proof.
    """

    k: IntArray
    objective: float
    bound: float
    multipliers: FloatArray
    limit: str | None = None

    @property
    def gap(self) -> float:
        """|objective - bound| / max(|objective|, |bound|)."""
        return relative_gap(self.objective, self.bound)


def _whole(form: CostForm) -> bool:
    """Tell whether every cost that the form can take is a whole number."""
    values = np.concatenate([[form.const], form.linear, form.quadratic.ravel()])
    return bool((values == np.rint(values)).all())
