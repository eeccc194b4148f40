"""What every allocation reads and returns: layers, a budget, numbers of channels."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sirfp_opt._validate import BoolArray, FloatArray, IntArray, as_int
from sirfp_opt.errors import InfeasibleError, InvalidProblemError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sirfp_opt.graph import ChannelGraph
    from sirfp_opt.network.cost import CostModel

__all__ = ["Allocation", "Allocator", "Budget", "Layer", "MemberGraph"]


@dataclass(frozen=True, eq=False)
class MemberGraph:
    """One of the layers that show a unit's channels.

    Parameters
    ----------
    name : str
        The layer's name.
    redundancy : ndarray of shape (n, n)
        Its measured matrix, diagonal included.
    edge : ndarray of shape (n,), optional
        Its edge term.
    """

    name: str
    redundancy: FloatArray
    edge: FloatArray | None = None


@dataclass(frozen=True, eq=False)
class Layer:
    """One pruning unit, as an allocation sees it.

    Parameters
    ----------
    name : str
        The unit's name.
    graph : ChannelGraph
        Redundancies of its n channels; the diagonal is in ``graph.self_redundancy``.
    edge : ndarray of shape (n,), optional
        Edge term, for scores that start from it.
    members : sequence of MemberGraph
        The single layers, for allocations that score each of them.
    tied : sequence of sequences of int
        Channels that only go together; empty, or classes of one size.
    minimum, maximum : int
        Fewest and most channels that may be kept; by default one and all.
    multiple_of : int
        The number kept is a multiple of it (and of the size of a tied class).
    dropped : sequence of int
        Channels that are worth nothing (always zero): no allocation counts on them.
    """

    name: str
    graph: ChannelGraph
    edge: FloatArray | None = None
    members: tuple[MemberGraph, ...] = ()
    tied: tuple[tuple[int, ...], ...] = ()
    minimum: int = 1
    multiple_of: int = 1
    maximum: int | None = None
    dropped: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        as_int(self.multiple_of, "multiple_of", least=1)
        as_int(self.minimum, "minimum", least=1)
        most = self.size if self.maximum is None else self.maximum
        as_int(most, "maximum", least=1)
        object.__setattr__(self, "members", tuple(self.members))
        object.__setattr__(self, "tied", tuple(tuple(g) for g in self.tied))
        if most < self.size and most // self.step * self.step < self.minimum:
            raise InvalidProblemError(
                f"`maximum` of {self.name!r} must leave a multiple of {self.step} from "
                f"its minimum {self.minimum} on, got {most}. Widen the range."
            )

    @property
    def size(self) -> int:
        """Number of channels before pruning."""
        return self.graph.n

    @property
    def classes(self) -> tuple[tuple[int, ...], ...]:
        """The tied classes; single channels where nothing is tied."""
        return self.tied or tuple((c,) for c in range(self.size))

    @property
    def step(self) -> int:
        """Smallest change of the number kept."""
        return math.lcm(self.multiple_of, len(self.classes[0]))

    def allowed(self, count: float) -> int:
        """Return the largest allowed number of channels of at most `count`.

        Never fewer than the least allowed one. All of the channels are allowed even
        where their number is no multiple.
        """
        if count >= self.most:
            return self.most
        return max(self.least, int(count // self.step) * self.step)

    @property
    def least(self) -> int:
        """Smallest allowed number of channels."""
        return min(self.most, -(-self.minimum // self.step) * self.step)

    @property
    def most(self) -> int:
        """Largest allowed number of channels."""
        if self.maximum is None or self.maximum >= self.size:
            return self.size
        return self.maximum // self.step * self.step

    @property
    def counts(self) -> IntArray:
        """Every allowed number of channels, ascending."""
        steps = np.arange(self.least, self.most, self.step, dtype=np.int64)
        return np.append(steps, self.most)


@dataclass(frozen=True)
class Budget:
    """Largest fractions of the original costs that may remain.

    Parameters
    ----------
    macs, params : float, optional
        0.4 means at most 40 %.
    others : mapping of str to float
        The same for further costs of the model, such as a latency.

    Examples
    --------
    >>> Budget(macs=0.4).fractions
    {'macs': 0.4}
    """

    macs: float | None = None
    params: float | None = None
    others: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "others", dict(self.others))
        for name, value in self._given().items():
            if isinstance(value, bool) or not isinstance(value, Real):
                raise InvalidProblemError(
                    f"`{name}` must be a number, got {value!r}. "
                    "Pass the fraction that may remain, for instance 0.4."
                )
            if not 0.0 < value <= 1.0:
                raise InvalidProblemError(
                    f"`{name}` must lie in (0, 1], got {value!r}. Pass the fraction of "
                    "the original that may remain: 0.4 for 40 %."
                )

    def _given(self) -> dict[str, float]:
        pairs = {"macs": self.macs, "params": self.params, **self.others}
        return {name: value for name, value in pairs.items() if value is not None}

    @property
    def fractions(self) -> dict[str, float]:
        """The fractions that are set."""
        return {name: float(value) for name, value in self._given().items()}

    def limits(self, cost: CostModel) -> dict[str, int]:
        """Return the budget in units of each cost, rounded down."""
        return {
            name: math.floor(fraction * cost.total(name) + 1e-9)
            for name, fraction in self.fractions.items()
        }

    def met(self, cost: CostModel, counts: Mapping[str, int]) -> bool:
        """Tell whether keeping `counts` channels stays within the budget."""
        array = cost.as_counts(counts)
        return all(
            cost.evaluate(name, array) <= limit
            for name, limit in self.limits(cost).items()
        )


@dataclass(frozen=True)
class Allocation:
    """How many channels each unit keeps.

    Attributes
    ----------
    counts : dict of str to int
        By unit.
    kept : dict of str to ndarray, or None
        Which ones, where the allocation decides that, too.
    next_cost : dict of str to int, or None
        Costs of the next larger plan that it could have made, which the budget forbids.
    info : dict
        Details, such as the threshold.
    """

    counts: dict[str, int]
    kept: dict[str, IntArray] | None = None
    next_cost: dict[str, int] | None = None
    info: dict[str, Any] = field(default_factory=dict)


class Allocator(Protocol):
    """Anything that splits a budget over layers."""

    def allocate(
        self, layers: Sequence[Layer], cost: CostModel, budget: Budget
    ) -> Allocation:
        """Return the numbers of channels to keep within `budget`.

        Raises
        ------
        InfeasibleError
            If the smallest plan that it can make is above the budget.
        """
        ...


def check_reachable(
    layers: Sequence[Layer],
    cost: CostModel,
    budget: Budget,
    least: Mapping[str, int],
    reason: str = "",
) -> None:
    """Raise, with the least reachable value and what blocks, if `least` is too much."""
    array = cost.as_counts(least)
    for name, limit in budget.limits(cost).items():
        reached, total = cost.evaluate(name, array), cost.total(name)
        if reached <= limit:
            continue
        form = cost.forms[name]
        shares = array * form.gradient(array)
        order = np.argsort(-shares, kind="stable")[:5]
        units = {layer.name: layer for layer in layers}
        blocking = ", ".join(
            f"{cost.units[i]} ({array[i]} of {cost.sizes[i]} channels kept)"
            for i in order
            if shares[i] > 0 and cost.units[i] in units
        )
        raise InfeasibleError(
            f"`{name}` must be at least {_up(reached / total)}, the least reachable"
            f"{reason}, got {budget.fractions[name]:g}. What is not pruned takes "
            f"{form.const / total:.1%}; the units at their least that weigh most: "
            f"{blocking or 'none'}. Raise the budget, lower min_keep, or ignore fewer "
            "layers."
        )


def _up(value: float) -> str:
    """Return a fraction with four digits, rounded up: it can be asked for."""
    return f"{math.ceil(value * 10_000) / 10_000:g}"


def largest_within(
    candidates: int, counts_of: Any, cost: CostModel, budget: Budget
) -> tuple[int | None, dict[str, int] | None]:
    """Bisect for the largest of a growing family of plans within a budget.

    Parameters
    ----------
    candidates : int
        Number of plans; plan i + 1 keeps at least as much of each unit as plan i.
    counts_of : callable
        ``counts_of(i)`` returns the counts of plan i.
    cost, budget
        What is compared.

    Returns
    -------
    best : int or None
        The largest plan within the budget; None if even plan 0 is above it.
    next_cost : dict or None
        The costs of plan best + 1.
    """
    low, high = -1, candidates
    while high - low > 1:
        middle = (low + high) // 2
        if budget.met(cost, counts_of(middle)):
            low = middle
        else:
            high = middle
    above = cost.predict(counts_of(high)) if high < candidates else None
    return (low if low >= 0 else None), above


def as_mask(kept: IntArray, n: int) -> BoolArray:
    """Return channel numbers as a boolean mask of length n."""
    mask = np.zeros(n, dtype=bool)
    mask[kept] = True
    return mask
