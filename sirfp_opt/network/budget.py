"""Budget: how much of each cost may remain."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Any

from sirfp_opt.errors import InvalidProblemError

if TYPE_CHECKING:
    from sirfp_opt.network.cost import CostModel

__all__ = ["Budget"]


@dataclass(frozen=True)
class Budget:
    """The most of each cost that may remain.

    A number up to 1 is a fraction of the cost before pruning, a number above 1 an
    absolute one, in whole units of the cost.

    Parameters
    ----------
    macs, params : float, optional
        0.4 means at most 40 % of them, 5_000_000 at most five million.
    latency : float, optional
        The same for a latency that was fitted (`fit_latency`), in nanoseconds.
    others : mapping of str to float
        The same for any further cost of the model, by its name.

    Raises
    ------
    InvalidProblemError
        If a value is not positive, or above 1 and not whole.

    Examples
    --------
    >>> budget = Budget(macs=0.4, params=5_000_000)
    >>> budget.values
    {'macs': 0.4, 'params': 5000000}
    >>> Budget.from_dict(budget.to_dict()) == budget
    True
    """

    macs: float | None = None
    params: float | None = None
    latency: float | None = None
    others: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.others, Mapping):
            raise InvalidProblemError(
                f"`others` must map names of costs to numbers, got {self.others!r}. "
                "Pass for instance {'energy': 0.5}."
            )
        object.__setattr__(self, "others", dict(self.others))
        for name, value in self.values.items():
            _check(name, value)

    @classmethod
    def of(cls, budget: Budget | Mapping[str, float]) -> Budget:
        """Return a budget that may have been written as a mapping.

        Raises
        ------
        InvalidProblemError
            If it is neither, or a value is no budget.
        """
        if isinstance(budget, Budget):
            return budget
        if not isinstance(budget, Mapping):
            raise InvalidProblemError(
                f"`budget` must be a Budget or map costs to numbers, got {budget!r}. "
                "Pass for instance {'macs': 0.4}."
            )
        for name, value in budget.items():
            _check(name, value, f"budget[{name!r}]")
        return cls.from_dict(budget)

    @property
    def values(self) -> dict[str, float]:
        """What is set, by cost."""
        own = {"macs": self.macs, "params": self.params, "latency": self.latency}
        pairs = {**own, **self.others}
        return {name: value for name, value in pairs.items() if value is not None}

    def __bool__(self) -> bool:
        return bool(self.values)

    def check_names(self, cost: CostModel) -> None:
        """Raise if a cost is not one of the model's.

        Raises
        ------
        InvalidProblemError
        """
        for name in self.values:
            if name not in cost.forms:
                way = " Fit it first: fit_latency." if name == "latency" else ""
                raise InvalidProblemError(
                    f"`budget` must name costs of the model, got {name!r}. "
                    f"It knows {sorted(cost.forms)}.{way}"
                )

    def limits(self, cost: CostModel) -> dict[str, int]:
        """Return the budget in units of each cost, rounded down."""
        self.check_names(cost)
        return {
            name: math.floor(value)
            if value > 1
            else math.floor(value * cost.total(name) + 1e-9)
            for name, value in self.values.items()
        }

    def asked(self, cost: CostModel) -> dict[str, float]:
        """Return the budget as fractions of each cost before pruning."""
        return {
            name: value / cost.total(name) if value > 1 else float(value)
            for name, value in self.values.items()
        }

    def to_dict(self) -> dict[str, float]:
        """Return what is set, by cost; `from_dict` reads it back."""
        return self.values

    @classmethod
    def from_dict(cls, data: Mapping[str, float]) -> Budget:
        """Read what `to_dict` wrote."""
        own = {k: data[k] for k in ("macs", "params", "latency") if k in data}
        return cls(**own, others={k: v for k, v in data.items() if k not in own})


def _check(name: str, value: Any, argument: str = "") -> None:
    argument = argument or name
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InvalidProblemError(
            f"`{argument}` must be a positive number, got {value!r}. Pass the fraction "
            "that may remain, for instance 0.4."
        )
    number = float(value)
    if not (number > 0 and math.isfinite(number)):
        raise InvalidProblemError(
            f"`{argument}` must be a positive number, got {value!r}. Pass a fraction "
            "up to 1, or an absolute number above 1."
        )
    if number > 1 and number != math.floor(number):
        raise InvalidProblemError(
            f"`{argument}` must be a fraction up to 1 or a whole number above it, got "
            f"{value!r}. Pass 0.4 for 40 %."
        )
