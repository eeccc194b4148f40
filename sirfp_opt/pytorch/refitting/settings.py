"""How the layers that read pruned channels are refitted: a value."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from math import isfinite
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal

from sirfp_opt._validate import as_int
from sirfp_opt.errors import InvalidProblemError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Refit", "find_refit"]

KINDS = ("merge", "full")
NORMS = ("corrected", "reestimated", "kept")
INPUTS = ("auto", "original", "cut")


@dataclass(frozen=True)
class Refit:
    """How `refit` makes the readers of pruned channels do without them.

    Parameters
    ----------
    kind : {"full", "merge"}
        "full": every weight of a reader is free. "merge": one linear map from kept to
        dropped channels for each input, folded into the filters that read it; cheaper,
        and the same for 1 x 1 convolutions and linear layers.
    inputs : {"auto", "original", "cut"}
        Which inputs a reader is fitted to. "original": those that it has in the network
        before the cut; all readers at once. "cut": those that it has in the pruned
        network, readers in front of it being refitted already, so that it makes up for
        what these could not; a reader after the other. "auto": "cut" for "full" where
        there are fewer than half as many batch norms with running statistics as
        readers, which take most of that away; else "original".
    passes : int
        With inputs of the cut network it is run over the batches at most so many times,
        each time up to the layers that are fitted then: as many layers as it takes
        share a pass.
    ridge : float
        Penalty on the squared change of the weights, in units of the mean variance of
        what they are multiplied with.
    positions : int, optional
        At most so many positions of each picture are used, drawn anew for each batch.
        None takes all.
    max_unknowns : int
        A reader with more free weights to an output is merged instead: the normal
        equations of "full" hold that number squared.
    held_out : float
        Fraction of the pictures that only judge the fit. A layer that errs more on them
        than the cut one is left as it was cut; one that errs less on them when it is
        merged is merged.
    batch_norms : {"corrected", "reestimated", "kept"}
        What becomes of their running statistics afterwards: changed by as much as they
        have changed on these pictures (`correct_batch_norm`), measured anew on these
        alone (`reestimate_batch_norm`), or left as they were.
    seed : int
        Of the positions that are drawn.

    Raises
    ------
    InvalidProblemError
        If a value breaks these rules.

    Examples
    --------
    >>> from sirfp_opt.pytorch import Refit
    >>> Refit("merge").to_dict()["ridge"]
    0.001
    """

    kind: Literal["full", "merge"] = "full"
    inputs: Literal["auto", "original", "cut"] = "auto"
    passes: int = 32
    ridge: float = 1e-3
    positions: int | None = 512
    max_unknowns: int = 4608
    held_out: float = 0.125
    batch_norms: Literal["corrected", "reestimated", "kept"] = "corrected"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidProblemError(
                f"`kind` must be 'full' or 'merge', got {self.kind!r}. "
                "'full' frees every weight, 'merge' is the cheaper one."
            )
        if self.inputs not in INPUTS:
            raise InvalidProblemError(
                f"`inputs` must be 'auto', 'original' or 'cut', got {self.inputs!r}. "
                "'auto' is 'cut' where there are few batch norms."
            )
        as_int(self.passes, "passes", least=1)
        ridge = self.ridge
        if not (isinstance(ridge, Real) and isfinite(ridge) and ridge >= 0):
            raise InvalidProblemError(
                f"`ridge` must be a finite number >= 0, got {ridge!r}. "
                "The default is 0.001."
            )
        if self.positions is not None:
            as_int(self.positions, "positions", least=1)
        as_int(self.max_unknowns, "max_unknowns", least=0)
        as_int(self.seed, "seed", least=0)
        if not (isinstance(self.held_out, Real) and 0.0 <= self.held_out < 1.0):
            raise InvalidProblemError(
                f"`held_out` must lie in [0, 1), got {self.held_out!r}. "
                "Pass the fraction of the pictures that only judge the fit."
            )
        if self.batch_norms not in NORMS:
            raise InvalidProblemError(
                f"`batch_norms` must be one of {NORMS}, got {self.batch_norms!r}. "
                "They are corrected by default."
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain strings and numbers."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Refit:
        """Read what `to_dict` has written.

        Raises
        ------
        InvalidProblemError
            On entries that are no settings.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(data) - set(known))
        if unknown:
            raise InvalidProblemError(
                f"`data` must hold settings of a refit, got {unknown}. "
                f"They are {known}."
            )
        return cls(**data)


def find_refit(how: str | Refit, name: str = "how") -> Refit:
    """Return the settings of a kind by name, or as they are; `name` is the argument's.

    Raises
    ------
    InvalidProblemError
        On anything else.
    """
    if isinstance(how, Refit):
        return how
    if not isinstance(how, str) or how not in KINDS:
        raise InvalidProblemError(
            f"`{name}` must be a Refit, 'full' or 'merge', got {how!r}. "
            "'full' is the better one, 'merge' the cheaper one."
        )
    return Refit(kind=how)  # type: ignore[arg-type]
