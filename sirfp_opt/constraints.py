"""LayerConstraints: which sets of channels a layer may keep."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sirfp_opt._validate import as_indices, as_int, brief
from sirfp_opt.errors import InvalidProblemError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LayerConstraints", "share_of"]


@dataclass(frozen=True, init=False, repr=False)
class LayerConstraints:
    """How many channels are kept, and which must go together or not at all.

    Parameters
    ----------
    k : int, optional
        Keep exactly k channels. Excludes `k_min` and `k_max`.
    k_min, k_max : int, optional
        Keep at least `k_min` (1 if only `k_max` is given) and at most `k_max`
        (all, if only `k_min` is given) channels.
    multiple_of : int
        The number kept must be a multiple of this one (vector units, heads).
    must_keep, must_drop : sequence of int
        Channels that are in, or out, of every solution.
    tied : sequence of sequences of int
        Groups of channels that are kept or dropped together (grouped
        convolutions, attention heads). Groups that share a channel are one group.

    Raises
    ------
    InvalidProblemError
        If the arguments contradict each other.

    Examples
    --------
    >>> from sirfp_opt import LayerConstraints
    >>> LayerConstraints(k_min=2, k_max=9, multiple_of=4).counts(16)
    (4, 8)
    """

    k: int | None
    k_min: int | None
    k_max: int | None
    multiple_of: int
    must_keep: tuple[int, ...]
    must_drop: tuple[int, ...]
    tied: tuple[tuple[int, ...], ...]

    def __init__(
        self,
        k: int | None = None,
        *,
        k_min: int | None = None,
        k_max: int | None = None,
        multiple_of: int = 1,
        must_keep: Iterable[int] = (),
        must_drop: Iterable[int] = (),
        tied: Iterable[Iterable[int]] = (),
    ) -> None:
        store = object.__setattr__
        for name, value in (("k", k), ("k_min", k_min), ("k_max", k_max)):
            number = None if value is None else as_int(value, name, least=1)
            store(self, name, number)
        step = as_int(multiple_of, "multiple_of", least=1)
        store(self, "multiple_of", step)
        if self.k is not None:
            if self.k_min is not None or self.k_max is not None:
                raise InvalidProblemError(
                    "`k` must stand alone, got k_min or k_max beside it. "
                    "Pass either k or a range."
                )
            if self.k % step:
                raise InvalidProblemError(
                    f"`k` must be a multiple of multiple_of={step}, got {self.k}. "
                    f"Try k={max(step, self.k // step * step)}."
                )
        if (
            self.k_min is not None
            and self.k_max is not None
            and self.k_min > self.k_max
        ):
            raise InvalidProblemError(
                f"`k_min` must be at most k_max={self.k_max}, got {self.k_min}. "
                "Swap them or widen the range."
            )
        keep = as_indices(must_keep, "must_keep")
        drop = as_indices(must_drop, "must_drop")
        if both := sorted({*keep} & {*drop}) if keep and drop else []:
            raise InvalidProblemError(
                f"`must_keep` must share no channel with must_drop, got {both[:5]} "
                "in both. Take them out of one."
            )
        store(self, "must_keep", keep)
        store(self, "must_drop", drop)
        store(self, "tied", _merge(tied))

    def __repr__(self) -> str:
        stated = [
            f"{field.name}={value!r}"
            for field in fields(self)
            if (value := getattr(self, field.name)) not in (None, ())
            and (field.name, value) != ("multiple_of", 1)
        ]
        return f"LayerConstraints({', '.join(stated)})"

    def to_dict(self) -> dict[str, Any]:
        """Return what is stated as plain values: keywords of `LayerConstraints`."""
        stated = {f.name: getattr(self, f.name) for f in fields(self)}
        plain = {k: v for k, v in stated.items() if v not in (None, ())}
        if self.multiple_of == 1:
            del plain["multiple_of"]
        return {
            name: [list(g) if isinstance(g, tuple) else g for g in value]
            if isinstance(value, tuple)
            else value
            for name, value in plain.items()
        }

    @property
    def has_count(self) -> bool:
        """Whether the constraints say how many channels are kept."""
        return not (self.k is None and self.k_min is None and self.k_max is None)

    @cached_property
    def only_k(self) -> bool:
        """Whether a fixed number of channels is all that is asked."""
        plain = not (self.must_keep or self.must_drop or self.tied)
        return plain and self.k is not None and self.multiple_of == 1

    def with_count(self, k: int | tuple[int, int]) -> LayerConstraints:
        """Return a copy that keeps k channels, or a number within (k_min, k_max).

        Parameters
        ----------
        k : int or tuple of two int
            The number of channels, or the least and the most of them.
        """
        if isinstance(k, tuple):
            if len(k) != 2:
                raise InvalidProblemError(
                    f"`k` must be a number or a pair (k_min, k_max), got {k!r}. "
                    "Pass for instance (8, 16)."
                )
            return replace(self, k=None, k_min=k[0], k_max=k[1])
        return replace(self, k=k, k_min=None, k_max=None)

    def counts(self, n: int) -> tuple[int, ...]:
        """Return the numbers of channels, out of `n`, that may be kept, ascending."""
        if self.k is not None:
            low = high = self.k
        else:
            low = self.k_min or 1
            high = n if self.k_max is None else self.k_max
        step = self.multiple_of
        first = -(-low // step) * step
        return tuple(range(first, min(high, n) + 1, step))


def _merge(groups: Any) -> tuple[tuple[int, ...], ...]:
    """Return disjoint groups of two or more channels: overlapping ones are joined."""
    try:
        if isinstance(groups, (str, bytes)):
            raise TypeError
        groups = list(groups)
    except TypeError:
        raise InvalidProblemError(
            f"`tied` must be a sequence of groups of channels, got {brief(groups)}. "
            "Pass for instance [[0, 1], [2, 3]]."
        ) from None
    if not groups:
        return ()
    merged: list[set[int]] = []
    for group in groups:
        joined = set(as_indices(group, "tied"))
        apart = []
        for other in merged:
            if joined & other:
                joined |= other
            else:
                apart.append(other)
        merged = [*apart, joined]
    return tuple(sorted(tuple(sorted(g)) for g in merged if len(g) > 1))


def share_of(ratio: float, n: int, step: int = 1) -> int:
    """Return how many channels a share of them is, as a multiple of `step`."""
    if not 0 < ratio <= 1:
        raise InvalidProblemError(
            f"`k` must be a number of channels or a share in (0, 1], got {ratio}. "
            "Pass for instance 0.5."
        )
    return max(step, int(ratio * n / step + 0.5) * step)
