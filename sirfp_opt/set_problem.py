"""SetProblem: which sets of channels are allowed, whatever they are worth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sirfp_opt._validate import IntArray, as_channels, in_range
from sirfp_opt.errors import InvalidProblemError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    from sirfp_opt.canonical_form import CanonicalForm
    from sirfp_opt.constraints import LayerConstraints
    from sirfp_opt.objective import Objective
    from sirfp_opt.sense import Sense
    from sirfp_opt.solution import Solution

__all__ = ["SetProblem"]

_NOTHING: frozenset[str] = frozenset()
# Up to so many channels lists are quicker than arrays.
_FEW = 32


class SetProblem(ABC):
    """Keep an allowed set of a layer's channels; the judge of its solutions.

    The front door, `Search` and `Solution` know problems by this class alone. What a
    set is worth is the business of its two kinds, `PruningProblem` and
    `ReconstructionProblem`.

    Attributes
    ----------
    objective : Objective
        What is optimised; solvers declare which objectives they take.
    constraints : LayerConstraints
        Which sets are allowed.
    """

    objective: ClassVar[Objective]
    constraints: LayerConstraints

    @property
    @abstractmethod
    def n(self) -> int:
        """Number of channels."""

    @property
    @abstractmethod
    def sense(self) -> Sense:
        """Which way the objective runs."""

    @property
    @abstractmethod
    def title(self) -> str:
        """The layer's name, for reports."""

    @property
    @abstractmethod
    def channel_labels(self) -> tuple[str, ...] | None:
        """A name for each channel, where there are any."""

    @property
    @abstractmethod
    def canonical(self) -> CanonicalForm:
        """The form that solvers work on (made on first use)."""

    @abstractmethod
    def constrained(self, constraints: LayerConstraints) -> Self:
        """Return the same layer under other constraints."""

    @abstractmethod
    def price_of(self, channels: IntArray) -> float:
        """Return the objective of distinct channels, which are not checked."""

    @property
    def features(self) -> frozenset[str]:
        """What a solver must support to be let near this problem."""
        rules = self.constraints
        if rules.only_k:
            return _NOTHING
        present = {
            "must_keep": bool(rules.must_keep),
            "must_drop": bool(rules.must_drop),
            "tied": bool(rules.tied),
            "k_range": len(rules.counts(self.n)) > 1,
            "multiple_of": rules.multiple_of > 1,
        }
        return frozenset(name for name, here in present.items() if here)

    def evaluate(self, selected: Iterable[int] | Solution) -> float:
        """Return the objective of a set, feasible or not, in float64.

        Parameters
        ----------
        selected : iterable of int, or Solution
            Distinct channels.

        Raises
        ------
        InvalidProblemError
            If an entry is no channel, or comes twice.
        """
        return self.price_of(self._as_channels(selected))

    def check(
        self, selected: Iterable[int] | Solution, *, name: str = "selected"
    ) -> IntArray:
        """Return `selected` as a sorted array if it is feasible, raise if not.

        Parameters
        ----------
        selected : iterable of int, or Solution
        name : str
            What to call the argument in the error.

        Returns
        -------
        ndarray of int64, ascending

        Raises
        ------
        InvalidProblemError
            Names the constraint that is broken and by what.
        """
        chosen = self._as_channels(selected, name)
        rules = self.constraints
        if rules.only_k and chosen.size == rules.k:
            return chosen
        inside = set(chosen.tolist())
        counts = rules.counts(self.n)
        if chosen.size not in counts:
            raise InvalidProblemError(
                f"`{name}` must hold an allowed number of channels ({counts[0]} to "
                f"{counts[-1]}, a multiple of {rules.multiple_of}), got {chosen.size}. "
                "Add or remove channels."
            )
        lost = [c for c in rules.must_keep if c not in inside]
        if lost:
            raise InvalidProblemError(
                f"`{name}` must hold every channel of must_keep, got none of "
                f"{lost[:5]}. Add them."
            )
        barred = [c for c in rules.must_drop if c in inside]
        if barred:
            raise InvalidProblemError(
                f"`{name}` must hold no channel of must_drop, got {barred[:5]}. "
                "Remove them."
            )
        for group in rules.tied:
            if 0 < len(inside.intersection(group)) < len(group):
                raise InvalidProblemError(
                    f"`{name}` must hold all or none of the tied channels "
                    f"{list(group)[:6]}, got {sorted(inside.intersection(group))[:6]}. "
                    "Add or remove the rest."
                )
        return chosen

    def _as_channels(
        self, selected: Iterable[int] | Solution, name: str = "selected"
    ) -> IntArray:
        """Return distinct channels of this layer, ascending."""
        if type(selected) is not np.ndarray:
            # A Solution stands for its set, also where it is that of another problem.
            selected = getattr(selected, "selected", selected)
        if type(selected) is np.ndarray and selected.dtype.kind in "iu":
            if selected.ndim != 1:
                raise InvalidProblemError(
                    f"`{name}` must be a vector of channel numbers, got shape "
                    f"{selected.shape}. Pass .ravel() if the whole array is meant."
                )
            if selected.size > _FEW:
                chosen = np.sort(selected)
                distinct = bool((chosen[1:] > chosen[:-1]).all())
                if distinct and chosen[0] >= 0 and chosen[-1] < self.n:
                    return chosen.astype(np.int64, copy=False)
            listed = selected.tolist()
        else:
            listed = as_channels(selected, name)
        ascending = sorted(set(listed))
        if ascending and not (ascending[0] >= 0 and ascending[-1] < self.n):
            in_range(listed, self.n, name)
        if len(ascending) != len(listed):
            raise InvalidProblemError(
                f"`{name}` must name each channel once, got "
                f"{len(listed) - len(ascending)} repeats. Remove them."
            )
        return np.array(ascending, dtype=np.int64)

    def _require_fit(self) -> None:
        """Raise unless the constraints fit the number of channels."""
        n, rules = self.n, self.constraints
        if rules.only_k and rules.k is not None and rules.k <= n:
            return
        low, name = (rules.k, "k") if rules.k is not None else (rules.k_min, "k_min")
        if low is not None and low > n:
            raise InvalidProblemError(
                f"`{name}` must be at most the number of channels {n}, got {low}. "
                "A layer cannot keep more channels than it has."
            )
        in_range(rules.must_keep, n, "must_keep")
        in_range(rules.must_drop, n, "must_drop")
        for group in rules.tied:
            in_range(group, n, "tied")
        counts = rules.counts(n)
        if not counts:
            raise InvalidProblemError(
                f"`multiple_of` must have a multiple between k_min={rules.k_min} and "
                f"k_max={rules.k_max} (n={n}), got {rules.multiple_of}. "
                "Widen the range."
            )
        if len(rules.must_keep) > counts[-1]:
            raise InvalidProblemError(
                f"`must_keep` must hold at most k={counts[-1]} channels, got "
                f"{len(rules.must_keep)}. Raise k or free some of them."
            )
        if n - len(rules.must_drop) < counts[0]:
            raise InvalidProblemError(
                f"`must_drop` must leave at least k={counts[0]} of {n} channels, got "
                f"{len(rules.must_drop)} dropped. Lower k or drop fewer."
            )
